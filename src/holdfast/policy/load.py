"""Finding and loading a checkpoint, with errors that say what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from holdfast import files, hub
from holdfast.errors import HoldfastError, InputError, reason
from holdfast.policy import lora
from holdfast.policy.device import device_for
from holdfast.policy.encode import Encoder
from holdfast.policy.environment import MissingPackage, loading, not_fetched
from holdfast.policy.families import FAMILIES, family_of
from holdfast.policy.fit import check_attention, check_fit, check_scale, check_shapes
from holdfast.policy.generation import check_settings
from holdfast.policy.processor import load_processor
from holdfast.policy.settings import ModelSettings, holds_adapters, model_path
from holdfast.weights import indexed

transformers.utils.logging.disable_progress_bar()  # a load or save of a small model would flash several


def load_model(source: str | Path, settings: ModelSettings) -> tuple[Any, Any]:
    """The model, in evaluation mode on its device, and its processor (a tokenizer for text-only models).

    Weights come from safetensors alone and no code of a checkpoint is run. A folder of LoRA adapters
    is loaded on top of the model in `settings.path`.

    Args:
        source: a folder, `embedded`, or a hub id such as `Qwen/Qwen2.5-VL-3B-Instruct`.

    Raises:
        InputError: nothing usable is there, or its parts do not fit; the message names what is missing.
    """
    if holds_adapters(source) and str(source) != settings.path:
        model, processor = load_model(settings.path, settings)
        lora.load_adapters(model, Path(source))
        return model, processor
    folder, options = resolve(source, settings)
    config = _config(folder, options)
    is_text_only = not hasattr(config, "vision_config")
    processor = load_processor(folder, is_text_only, **options)
    check_settings(folder, options)
    auto = AutoModelForCausalLM if is_text_only else AutoModelForImageTextToText
    with loading("weights", source):
        model, report = auto.from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told here
            dtype=getattr(torch, settings.dtype),
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    check_shapes(f"The weights of {source} do not fit its config.json", report["mismatched_keys"])
    if report["missing_keys"]:
        first, *others = sorted(report["missing_keys"])
        missing = f"{first} and {len(others)} more are missing" if others else f"{first} is missing"
        raise InputError(f"The weights of {source} are incomplete: {missing}; copy or download them again.")
    check_fit(source, model, processor)
    model = model.to(device_for(settings.device)).eval()
    if is_text_only or model.config.model_type in FAMILIES:  # of others it is not known what they need
        with loading("model", source):
            _check_direction(model)
    return model, processor


@torch.no_grad()
def _check_direction(model: Any) -> None:
    """See that a model predicts from what came before alone; it goes through it once.

    Raises:
        InputError: it looks ahead, as BERT does: what it says of a token given the next is no probability.
    """
    rows = torch.tensor([[0, 0, 0], [0, 0, 1]], device=model.device)
    first, second = model(input_ids=rows, use_cache=False).logits[:, :2].float()
    rounding = (1e-3 if model.dtype in (torch.float32, torch.float64) else 0.1) * float(first.std())
    if float((first - second).abs().max()) > rounding:
        raise InputError(
            f"{type(model).__name__} looks at tokens that come later, so it cannot be sampled from and "
            "trained token by token. Take a model that writes from left to right."
        )


def check_loadable(source: str, settings: ModelSettings) -> None:
    """Load what is not weights, and see whether adapters can be used.

    Args:
        source: as `load_model` takes it. Of a hub id only what is on this disk is looked at.

    Raises:
        InputError: something is missing or cannot be loaded.
    """
    is_adapters = holds_adapters(source) and source != settings.path
    if is_adapters or settings.lora is not None:
        lora.require()
    folder, options = resolve(settings.path if is_adapters else source, settings)

    is_folder = "local_files_only" in options
    options["local_files_only"] = True
    try:
        encoder = make_encoder(folder, options, settings)
        with loading("processor", folder):
            encoder.try_out()
        check_settings(folder, options)
        config = _config(folder, options)
        if packing := getattr(config, "quantization_config", None):
            from transformers.quantizers import AutoHfQuantizer  # some thirty modules, for few models

            with loading("model", folder):
                AutoHfQuantizer.from_config(packing).validate_environment()
        if settings.lora is not None and not is_adapters:
            with loading("config.json", folder):
                model = without_weights(config)
            lora.adapted_modules(model, family_of(model.config), settings.lora)
    except MissingPackage:
        raise
    except InputError:
        if is_folder:
            raise  # else it is not on this disk, or in part


def check_fetched(settings: ModelSettings) -> None:
    """Fetch the configuration of a hub id whose files are not on this disk.

    Raises:
        InputError: the hub cannot be reached, or has no such model.
    """
    folder, options = resolve(settings.path, settings)
    if "local_files_only" in options:
        return
    try:
        _config(folder, options | {"local_files_only": True})
    except InputError:
        from huggingface_hub.errors import HfHubHTTPError

        try:
            hub.reach("model", folder, settings.revision)
        except HfHubHTTPError:
            pass  # it is there, and what it refuses is said by what asks it next
        except Exception as error:
            raise not_fetched(folder) from error
        _config(folder, options)


def make_encoder(folder: str, options: dict[str, Any], settings: ModelSettings) -> Encoder:
    """What turns rows into tokens for a model, without its weights; arguments as `resolve` gives them.

    Raises:
        InputError: the model's configuration or processor cannot be used.
    """
    config = _config(folder, options)
    processor = load_processor(folder, not hasattr(config, "vision_config"), **options)
    with loading("processor", folder):
        return family_of(config).encoder(processor, settings, torch.device("cpu"))


def without_weights(config: Any) -> Any:
    """The model of a transformers configuration as it is built, with parameters that hold no numbers."""
    auto = AutoModelForImageTextToText if hasattr(config, "vision_config") else AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(config)


def _config(folder: str, options: dict[str, Any]) -> Any:
    with loading("config.json", folder):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, **options)
    check_attention(folder, config)
    if Path(folder).is_dir():
        check_scale(Path(folder), config)
    return config


def resolve(source: str | Path, settings: ModelSettings) -> tuple[str, dict[str, Any]]:
    """Where the checkpoint lies, and the options for `from_pretrained`.

    The network may be used only for a hub id that names no folder.
    """
    folder = model_path(source)
    if not folder.exists() and files.is_hub_id(str(source)):
        return str(source), {} if settings.revision is None else {"revision": settings.revision}
    if not folder.is_dir():
        raise InputError(
            f"There is no model folder {folder}. Give a folder, a hub id (owner/name), or 'embedded'."
        )
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} is not a model folder: it has no config.json.")
    if not any(folder.glob("*.safetensors")):
        other = "; its .bin weights must be converted to safetensors" if any(folder.glob("*.bin")) else ""
        raise InputError(f"The model folder {folder} has no weights (*.safetensors){other}.")
    indexed(folder)  # or say that it names weights elsewhere
    return os.fspath(folder), {"local_files_only": True}


def save_model(model: Any, processor: Any, folder: str | Path) -> None:
    """Write a folder that `from_pretrained` and `load_model` can read.

    Raises:
        HoldfastError: it cannot be written.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    except Exception as error:  # safetensors reports a full disk with an error of its own
        raise HoldfastError(
            f"The model cannot be saved in {folder}: {reason(error)}. Check space and permissions."
        ) from error
