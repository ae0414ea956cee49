"""`holdfast merge`: adapters into the weights of their model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.console import Debug, out
from holdfast.errors import InputError


def merge(
    adapters: Annotated[Path, typer.Argument(metavar="ADAPTERS", help="A folder of LoRA adapters.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder of the new model.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Of which model they are, and how to load it."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Add adapters into the weights of their model, and write an ordinary model folder.

    Say of which model with model.path=BASE, and in which precision to write it with model.dtype=bfloat16
    (normally float32). It is done on the CPU and takes twice the model's memory.
    """
    from holdfast.policy.environment import torchvision_works

    torchvision_works()

    from holdfast.config.load import load_exam
    from holdfast.files import whole_folder
    from holdfast.policy import lora
    from holdfast.policy.policy import Policy

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning" if debug else "error")
    if not (adapters / lora.CONFIG).is_file():
        raise InputError(f"{adapters} holds no adapters: it has no {lora.CONFIG}.")
    chosen = load_exam(overrides or ()).model
    if "path" not in chosen.model_fields_set:
        raise InputError(f"Say of which model the adapters in {adapters} are: model.path=MODEL.")
    if folder.exists():
        raise InputError(f"{folder} is there already; choose another folder with --out.")
    if "device" not in chosen.model_fields_set:
        chosen = chosen.model_copy(update={"device": "cpu"})
    policy = Policy.load(adapters, chosen)
    with whole_folder(folder) as unfinished:
        policy.save(unfinished, merge=True)
    out.print(f"The merged model lies in {folder}.")
