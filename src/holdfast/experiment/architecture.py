"""What a model's memory and its operations depend on, from its configuration alone; no weights are read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from holdfast.config.experiment import Experiment
from holdfast.experiment.identity import model_folder
from holdfast.policy.modelfacts import FACTS, ModelFacts
from holdfast.policy.operations import Operations
from holdfast.policy.settings import ModelSettings
from holdfast.policy.states import States

if TYPE_CHECKING:
    from holdfast.policy.families import Family


@dataclass(frozen=True)
class Tower:
    """A stack of equal transformer layers.

    Attributes:
        layers: how many.
        hidden, query, key, intermediate: widths of the residual stream, of all query heads, of all key
            heads, and of the feed-forward part.
    """

    layers: int
    hidden: int
    query: int
    key: int
    intermediate: int


@dataclass(frozen=True)
class Vision:
    """A vision tower. `features` are the numbers of one patch; `merge`² patches become one token."""

    tower: Tower
    patch: int
    merge: int
    features: int


@dataclass(frozen=True)
class Architecture:
    """A model with its settings applied.

    Attributes:
        parameters: numbers in its weights (in a LoRA model: without the adapters).
        trained: numbers that are trained (in a LoRA model: of the adapters).
        sees: whether gradients flow through the vision tower.
        vocabulary: rows of the output embedding.
        matrices: those of the trained numbers that are in linear layers but the head.
        adapted: in a LoRA model, the modules with adapters in each part; None in any other.
        operations: what a token and an image patch pass through.
        states: of the text model's layers that carry one; the others attend.
        kept: bytes that a layer of the text model keeps of each token for its backward pass, where that was
            found out (`kept.py`).
    """

    parameters: int
    trained: int
    vocabulary: int
    text: Tower
    vision: Vision | None
    sees: bool
    adapted: dict[str, int] | None
    matrices: int
    operations: Operations
    states: States | None = None
    kept: int | None = None

    def adapters(self) -> str | None:
        """Where a LoRA model has its adapters, in words."""
        if self.adapted is None:
            return None
        places = {"text": "text model", "vision": "vision tower", "projector": "projector"}
        counts = [f"{self.adapted[part] or 'none'} in the {place}" for part, place in places.items()]
        return f"Modules with adapters: {', '.join(counts if self.vision else counts[:1])}"


def architecture_of(experiment: Experiment) -> Architecture | None:
    """Of an experiment's model; what is found is remembered in its store."""
    return architecture(experiment.model, experiment.store_folder / FACTS)


def architecture(settings: ModelSettings, memory: Path | None = None) -> Architecture | None:
    """Of a model folder, or of a hub id that is on this disk; None if it cannot be known.

    Builds the model without its weights, so that every parameter is counted as it will be loaded.

    Args:
        memory: of what was found before (`policy/modelfacts.py`).
    """
    known = ModelFacts(memory, settings.path, settings)
    if (facts := known.get("architecture")) is not None and "learned_text" in facts.get("operations", {}):
        return TypeAdapter(Architecture).validate_python(facts)
    found = _built(settings)
    if found is not None:
        known.keep("architecture", asdict(found))
    return found


def _built(settings: ModelSettings) -> Architecture | None:
    from transformers import AutoConfig

    from holdfast.policy.fit import check_attention

    folder = model_folder(settings)
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    if folder is None and settings.revision is not None:
        options["revision"] = settings.revision
    try:
        config = AutoConfig.from_pretrained(folder or settings.path, **options)
    except (OSError, ValueError):
        return None
    check_attention(folder or settings.path, config)  # before any part of it is built
    return of_config(config, settings)


def of_config(config: Any, settings: ModelSettings) -> Architecture | None:
    """The same, of a transformers configuration; None where its parts have other names."""
    import torch

    from holdfast.experiment.kept import kept_per_token
    from holdfast.policy.families import family_of
    from holdfast.policy.load import without_weights

    text = config.get_text_config()
    seen = getattr(config, "vision_config", None)
    try:
        model = without_weights(config)
        family = family_of(config)
        vision = None if seen is None else _vision(seen, family)
        adapted = _adapted(model, settings, family)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(family.part_of(name) not in settings.freeze)
        trained = _trained(model, settings, family, adapted)
        sees = "vision" not in settings.freeze and (adapted is None or bool(adapted["vision"]))
        return Architecture(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            trained=trained,
            vocabulary=text.vocab_size,
            text=_tower(text),
            vision=vision,
            sees=sees,
            adapted=None if adapted is None else {part: len(sizes) for part, sizes in adapted.items()},
            matrices=trained if adapted is not None else _in_matrices(model, settings, family),
            operations=_operations(model, family, adapted),
            states=(states := States.of(text)),
            # The model is another afterwards. Layers that carry a state are reckoned.
            kept=None if states else kept_per_token(model, family, getattr(torch, settings.dtype)),
        )
    except (AttributeError, ImportError, KeyError, RuntimeError, StopIteration, TypeError, ValueError):
        return None  # an architecture that does not fit this description


def _tower(config: Any) -> Tower:
    heads = _first(config, "num_attention_heads", "num_heads")
    hidden = _first(config, "embed_dim", "hidden_size")  # a tower that has both calls its output's the latter
    size = _usual(config, "head_dim") or hidden // heads
    return Tower(
        layers=_first(config, "num_hidden_layers", "depth"),
        hidden=hidden,
        query=heads * size,
        key=(_usual(config, "num_key_value_heads") or heads) * size,
        intermediate=_intermediate(config, hidden),
    )


def _intermediate(config: Any, hidden: int) -> int:
    """Width of an MLP; of a mixture of experts, of those together that a token passes through."""
    if width := getattr(config, "moe_intermediate_size", None):
        return width * config.num_experts_per_tok + (
            getattr(config, "shared_expert_intermediate_size", 0) or 0
        )
    return _usual(config, "intermediate_size") or int(config.mlp_ratio * hidden)


def _usual(config: Any, name: str) -> int | None:
    """A size of each layer; where they differ, as in Gemma 4, their mean."""
    try:
        return getattr(config, name, None)
    except RuntimeError:  # how transformers says that they do
        each = [getattr(config.per_layer_config[layer], name) for layer in range(config.num_hidden_layers)]
        return round(sum(each) / len(each))


def _vision(config: Any, family: Family) -> Vision:
    channels = getattr(config, "in_channels", None) or getattr(config, "num_channels", None) or 3
    frames = getattr(config, "temporal_patch_size", 1)
    if (patch := family.patch) is None:
        raise ValueError("the size of its patches is not known")
    return Vision(_tower(config), patch, family.merge, channels * frames * patch**2)


def _first(config: Any, *names: str) -> int:
    return int(next(value for name in names if (value := getattr(config, name, None))))


def _adapted(model: Any, settings: ModelSettings, family: Family) -> dict[str, list[int]] | None:
    """Numbers in the adapters of each module that `Policy` will train, by part; None without LoRA."""
    from holdfast.policy.lora import adapted_modules

    if settings.lora is None:
        return None
    sizes: dict[str, list[int]] = {"text": [], "vision": [], "projector": []}
    for name, module in adapted_modules(model, family, settings.lora).items():
        if (part := family.part_of(name)) not in settings.freeze:
            sizes[part or "text"].append(settings.lora.rank * sum(module.weight.shape))
    return sizes


def _operations(model: Any, family: Family, adapted: dict[str, list[int]] | None) -> Operations:
    """Of a model; of one with adapters, only these learn."""
    bare = Operations.of(model)
    if adapted is None:
        return bare
    text = sum(adapted["text"])
    vision = sum(adapted["vision"]) + sum(adapted["projector"]) / family.merge**2
    return replace(
        bare,
        text=bare.text + text,
        vision=bare.vision + vision,
        learned_text=text,
        learned_vision=vision if adapted["vision"] else 0,
    )


def _trained(
    model: Any, settings: ModelSettings, family: Family, adapted: dict[str, list[int]] | None
) -> int:
    """Numbers in trained weights, as `Policy` will choose them."""
    if adapted is not None:
        return sum(sum(sizes) for sizes in adapted.values())
    return sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if family.part_of(name) not in settings.freeze
    )


def _in_matrices(model: Any, settings: ModelSettings, family: Family) -> int:
    """Numbers in the trained weights that `trained_matrices` of such a policy finds."""
    from torch import nn

    head = model.get_output_embeddings()
    return sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module is not head
        and family.part_of(name) not in settings.freeze
    )
