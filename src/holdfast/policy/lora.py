"""Low-rank adapters: added to a model, saved, loaded, merged. Needs peft.

The adapters are injected into the model that is there; its own weights stop being trained. Their
files are those of peft, whose `PeftModel.from_pretrained` reads them too.
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import logging
import re
from pathlib import Path
from typing import Any

import torch
import transformers

from holdfast.errors import InputError, meant, reason
from holdfast.policy.environment import MissingPackage
from holdfast.policy.families import Family
from holdfast.policy.fit import check_shapes
from holdfast.policy.settings import ADAPTERS, Lora
from holdfast.rng import seed
from holdfast.weights import whole_numbers

# What saved adapters' settings may say. All else is more than a product B A that is added to the base: DoRA's
# lengths, biases and tokens that are trained, too, a base from which PiSSA or OLoRA took what A and B begin
# with. Without the adapters that would not be the base, and merging would write it wrongly.
PLAIN = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying",
    "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights",
    "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config",
    "megatron_core", "peft_type", "peft_version", "r", "rank_pattern", "revision", "runtime_config",
    "target_modules", "task_type", "use_rslora",
}  # fmt: skip
EMPTY: tuple[Any, ...] = ([], {}, set())  # as peft writes what is not there, in a mixture's settings say
PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # with a product of 0
# Names that peft takes for those of stacked experts, wherever they stand (findings/peft-moe-names.sh).
OF_EXPERTS = {"gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3"}
# In which peft adapts no `out_proj`, whose weight some kernels read themselves.
MAMBA = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}

log = logging.getLogger(__name__)


def adapted_modules(model: Any, family: Family, lora: Lora) -> dict[str, Any]:
    """The modules that get adapters, by name.

    Args:
        model: without adapters; its weights are not looked at.

    Raises:
        InputError: the model has no such modules, or the adapters could not be saved.
    """
    ends, kind = lora.target_modules or usual_ends(model, family), type(model).__name__
    inside = {
        name: module
        for name, module in model.named_modules()
        if lora.target_modules is not None or family.part_of(name) is None
    }
    found = {end: [name for name in inside if f".{name}".endswith(f".{end}")] for end in ends}
    missing = [end for end, names in found.items() if not names]
    if lora.target_modules is not None and missing:
        layers = {
            name.rpartition(".")[2] for name, module in inside.items() if hasattr(module, "in_features")
        }
        raise InputError(
            f"model.lora does not fit {kind}: it has no module {missing[0]} (target_modules)"
            f"{meant(missing[0], layers) or '.'} Its linear layers are {', '.join(sorted(layers))}."
        )
    if not ends:
        raise InputError(
            f"model.lora does not fit {kind}: its text model has no linear layers but its head. Name modules "
            "with model.lora.target_modules."
        )
    names = {name for some in found.values() for name in some}
    modules = {name: module for name, module in inside.items() if name in names}
    both = model.get_input_embeddings(), model.get_output_embeddings()
    tied = [name for name, module in modules.items() if module in both]
    if _are_tied(model) and len(tied) == 2:
        raise InputError(
            f"model.lora.target_modules names both {' and '.join(tied)}, which share their weights in "
            f"{kind}: such adapters cannot be saved. Name one of them."
        )
    return modules


def usual_ends(model: Any, family: Family) -> tuple[str, ...]:
    """Ends of the names of linear layers of the text model, without its head and a mixture's MLPs."""
    head = model.get_output_embeddings()
    text = {name: module for name, module in model.named_modules() if family.part_of(name) is None}
    linear = [name for name in text if name and text[name] is not head and _takes_adapters(model, name)]
    others = {end for name in text.keys() - set(linear) for end in _ends_of(name)}
    # A number in a list, or the last part of another module's name, would say more than is meant.
    ends = {next(end for end in _ends_of(name) if not (end.isdigit() or end in others)) for name in linear}
    if _has_experts(model):
        ends = {end for end in ends if end.rpartition(".")[2] not in OF_EXPERTS}
    return tuple(sorted(ends))


def _ends_of(name: str) -> list[str]:
    """What a dotted name ends in, from its last part to the whole."""
    places = name.split(".")
    return [".".join(places[start:]) for start in reversed(range(len(places)))]


def _takes_adapters(model: Any, name: str) -> bool:
    """Whether a module is a linear layer that is called as such, for what it returns."""
    module = model.get_submodule(name)
    parent, _, place = name.rpartition(".")
    if not isinstance(module, torch.nn.Linear) or not _maps(module):
        return False
    if place == "dt_proj" and hasattr(model.get_submodule(parent), "x_proj"):
        return False  # Mamba reads the numbers of its weight itself: adapters would change nothing
    return place != "out_proj" or model.config.model_type not in MAMBA


@torch.no_grad()
def _maps(module: torch.nn.Linear) -> bool:
    """Whether a linear layer, of a model's own making perhaps, gives what its sizes say; routers do not."""
    if not type(module).__module__.startswith("transformers.models."):
        return True
    try:
        made = module(module.weight.new_zeros(1, module.in_features))
    except (IndexError, RuntimeError, TypeError, ValueError):
        return False
    return isinstance(made, torch.Tensor) and made.shape == (1, module.out_features)


def _has_experts(model: Any) -> bool:
    return any(".experts." in name for name, _ in model.named_parameters())


def add_adapters(model: Any, family: Family, lora: Lora) -> None:
    """New adapters, which change nothing yet: their second matrix is zero.

    Raises:
        InputError: peft is missing, or the model has no such modules.
    """
    require()
    from peft import LoraConfig

    named, kind = adapted_modules(model, family, lora), type(model).__name__
    ends = lora.target_modules or usual_ends(model, family)
    if lora.target_modules is None and _has_experts(model):
        log.warning("The MLPs of %s, a mixture of experts, get no adapters.", kind)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(ends))
    elsewhere = (name for name, _ in model.named_modules() if family.part_of(name) is not None)
    if lora.target_modules is None and any(end in ends for name in elsewhere for end in _ends_of(name)):
        parts = "|".join(re.escape(part) for part in (*family.vision, *family.projector))
        config.exclude_modules = rf"(.*\.)?({parts})\..*"
    with torch.random.fork_rng():  # peft draws from the global generator
        torch.manual_seed(seed("lora"))
        try:
            model.add_adapter(config)
        except ValueError as error:
            advice = " Without target_modules the linear layers of the text model are adapted."
            why = reason(error).rstrip(".") + "." + advice * (lora.target_modules is not None)
            raise InputError(f"model.lora does not fit {kind}: {why}") from error
    adapted = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    if adapted != named.keys():
        raise InputError(
            f"model.lora: peft puts the adapters of {kind} elsewhere than target_modules says (see "
            f"{min(adapted ^ named.keys())}); leave {', '.join(sorted(OF_EXPERTS & {*ends}) or ends)} out."
        )
    _in_float32(model)


def load_adapters(model: Any, folder: Path) -> None:
    """The adapters saved in `folder`, to be trained further.

    Raises:
        InputError: peft is missing, or they do not fit the model.
    """
    require()
    if packed := [name for file in folder.glob("*.safetensors") for name in whole_numbers(file)]:
        raise InputError(
            f"The adapters in {folder} are whole numbers ({packed[0]}, say), which are no LoRA's."
        )
    # How weights are named in files: `load_adapter` leaves the adapters' naming here, under which the
    # merged model would be saved, too.
    names = getattr(model, "_weight_conversions", None)
    try:
        report = model.load_adapter(str(folder), is_trainable=True, ignore_mismatched_sizes=True)
    except Exception as error:  # damaged files and wrong shapes show in many ways
        raise InputError(
            f"The adapters in {folder} cannot be used with this model: {reason(error)}."
        ) from error
    model._weight_conversions = names
    (config,) = model.peft_config.values()
    if beside := _beside(config):
        raise InputError(
            f"The adapters in {folder} are not LoRA alone ({', '.join(beside)} in {ADAPTERS}). Merge them "
            "into their model with peft's merge_and_unload, and name the folder of that."
        )
    check_shapes(f"The adapters in {folder} do not fit this model", report.mismatched_keys)
    missing = sorted(name for name in report.missing_keys if ".lora_" in name)
    if missing:
        raise InputError(f"The adapters in {folder} are incomplete: {missing[0]} is missing.")
    if unknown := sorted(report.unexpected_keys):
        raise InputError(
            f"The adapters in {folder} do not fit this model: they hold {unknown[0]}, which it has no place "
            "for. Name the model that they were trained on with model.path."
        )
    _in_float32(model)


def _beside(config: Any) -> list[str]:
    """The settings by which adapters are more than a product that is added."""
    usual = type(config)()
    beside = [
        name
        for name, value in vars(usual).items()
        if name not in PLAIN and getattr(config, name) not in (value, *EMPTY)
    ]
    return beside + ["init_lora_weights"] * (config.init_lora_weights not in PLAIN_STARTS)


def quantised(model: Any) -> str | None:
    """What a model's weights are packed by; they can then be neither trained nor added to."""
    method = getattr(model, "quantization_method", None)
    return None if method is None else str(getattr(method, "value", method))


def has_adapters(model: Any) -> bool:
    return bool(getattr(model, "_hf_peft_config_loaded", False))


def merged(model: Any) -> Any:
    """A copy of the model with its adapters added into the weights.

    Embeddings and head that shared their weights part where either is adapted.
    """
    from peft.tuners.lora import LoraLayer

    result = copy.deepcopy(model)
    inner, head = result.get_input_embeddings(), result.get_output_embeddings()
    if isinstance(inner, LoraLayer) or isinstance(head, LoraLayer):
        if _are_tied(result):
            layer = getattr(head, "base_layer", head)
            layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
        result.config.tie_word_embeddings = result.config.get_text_config().tie_word_embeddings = False
    for name, module in list(result.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(result.get_submodule(parent), child, module.get_base_layer())
    result._hf_peft_config_loaded = False
    return result


def switched_off(model: Any) -> dict[str, torch.Tensor]:
    """Weights that make the adapters add exactly nothing, by parameter name."""
    return {
        name: torch.zeros_like(parameter)
        for name, parameter in model.named_parameters()
        if ".lora_B." in name or ".lora_embedding_B." in name
    }


def _are_tied(model: Any) -> bool:
    """Whether embeddings and head are the same weights."""
    inner, head = model.get_input_embeddings(), model.get_output_embeddings()
    return head is not None and head.weight is inner.weight


def _in_float32(model: Any) -> None:
    """Small updates would be lost in a half-precision weight."""
    for name, parameter in model.named_parameters():
        if ".lora_" in name and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()


def require() -> None:
    """Find out before any work whether adapters can be used.

    Raises:
        MissingPackage: peft is not installed.
        InputError: it is too old for the transformers beside it.
    """
    if importlib.util.find_spec("peft") is None:
        raise MissingPackage("model.lora needs peft: pip install peft 'transformers<5.24'")
    from transformers.integrations.peft import MIN_PEFT_VERSION
    from transformers.utils.peft_utils import check_peft_version

    try:
        check_peft_version(min_version=MIN_PEFT_VERSION)
    except ValueError as error:
        raise InputError(
            f"transformers {transformers.__version__} needs peft {MIN_PEFT_VERSION} or later, and peft "
            f"{importlib.metadata.version('peft')} is installed. Install versions that go together: "
            "pip install --upgrade peft 'transformers<5.24'"
        ) from error
