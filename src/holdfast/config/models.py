"""What can be seen of a model without loading it: is its folder whole, and which model adapters are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

from holdfast import files
from holdfast.errors import InputError, shortened
from holdfast.policy.settings import ADAPTERS, ModelSettings, holds_adapters, model_path
from holdfast.weights import count_parameters, indexed
from holdfast.yamlfile import Problem

BASE = "base_model_name_or_path"  # of adapters, as peft writes it


def with_base(adapters: Path, model: ModelSettings) -> tuple[ModelSettings, str]:
    """How adapters are loaded: on the model that is named with them, else on the one that they name.

    Returns:
        The settings, with its path; and a sentence, where it is not as the user may think.

    Raises:
        InputError: it is not said which model they are of, or that is not on this disk; or they are not LoRA.
    """
    file = adapters / ADAPTERS
    try:
        said = files.read_json(file)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise InputError(f"{file} is damaged (it is no JSON object); copy or download the adapters again.")
    if said.get("peft_type") != "LORA":
        raise InputError(f"The adapters in {adapters} are not LoRA ('peft_type' in {file}).")
    named = said.get(BASE)
    base = named if _is_model(named) else None
    if "path" not in model.model_fields_set:
        if base is None:
            other = named if isinstance(named, str) else ""
            hint = f" ({file} names {shortened(other)}, which is no model on this disk)" if other else ""
            raise InputError(f"Say of which model the adapters in {adapters} are: model.path=MODEL{hint}.")
        return model.model_copy(update={"path": base}), f"The adapters are of {base}, says {file}."
    if base is None or model_path(base).resolve() == model_path(model.path).resolve():
        return model, ""
    return model, f"The adapters are put on {model.path}, and {file} says that they are of {base}."


def base_of(adapters: Path) -> str | None:
    """The model that a folder of adapters names, if it lies on this disk."""
    try:
        base = files.read_json(adapters / ADAPTERS)[BASE]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return base if _is_model(base) else None


def _is_model(named: Any) -> TypeGuard[str]:
    """Whether what adapters name is a model's folder."""
    return isinstance(named, str) and (Path(named) / "config.json").is_file() and not holds_adapters(named)


def no_model(path: str) -> str | None:
    """Why this names no model: it is no folder, and cannot be a hub id; None where it may name one."""
    if path == "embedded" or Path(path).is_dir() or files.is_hub_id(path):
        return None
    return f"there is no model '{path}': it is neither 'embedded' nor a folder nor a hub id (owner/name)"


def require_model(path: str) -> None:
    """Refuse what names no model, before anything is read or written.

    Raises:
        InputError: as `no_model` says.
    """
    if text := no_model(path):
        raise InputError(f"T{text[1:]}.")


def check_model(model: ModelSettings) -> list[Problem]:
    """What can be seen of a model without loading it, so that a slip shows before any work."""
    where = ("model", "path")
    if model.path == "embedded":
        return []
    folder = Path(model.path)
    if not folder.is_dir():
        text = no_model(model.path)
        return [(where, text)] if text else []
    if holds_adapters(folder):
        of = f"of {base}" if (base := base_of(folder)) else "of another model"
        merge = f"holdfast merge {folder} --out FOLDER"
        return [(where, f"the folder {folder} holds LoRA adapters {of}; '{merge}' makes a model of them")]
    try:
        indexed(folder)  # before a pipe is waited for
    except InputError as error:
        return [(where, str(error).rstrip("."))]
    if not (folder / "config.json").is_file():
        return [(where, f"the folder {folder} holds no config.json, so it is not a Hugging Face model")]
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return [(where, f"the folder {folder} has no weights (*.safetensors); copy or download them there")]
    problems: list[Problem] = []
    for path in weights:
        try:
            count_parameters(path)
        except InputError as error:
            problems.append((where, str(error).rstrip(".")))
    return problems
