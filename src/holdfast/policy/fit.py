"""Whether a checkpoint's processor belongs to its weights.

Files of two models that were mixed in one folder load without a word, and then answer nonsense or
end in an index error somewhere in the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import InputError, shortened
from holdfast.weights import count_parameters, count_tensors, indexed, whole_numbers

_DEPTHS = ("num_hidden_layers", "depth", "num_layers")
# Of the image processor, and of the model's vision_config.
_SIZES = (
    ("patch_size", "patch_size"),
    ("temporal_patch_size", "temporal_patch_size"),
    ("merge_size", "spatial_merge_size"),
)


def check_fit(source: object, model: Any, processor: Any) -> None:
    """Compare the vocabulary, and in the Qwen-VL family the image token and patch sizes.

    Raises:
        InputError: they do not agree.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    vocabulary = tokenizer.get_vocab()
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(vocabulary.values())
    if largest >= rows:
        _fail(source, f"the tokenizer has ids up to {largest}, the weights embeddings for {rows} tokens")
    images = getattr(processor, "image_processor", None)
    vision = getattr(model.config, "vision_config", None)
    if not hasattr(images, "merge_size"):  # families other than Qwen-VL mean other things by the same names
        return
    token = getattr(processor, "image_token", None)
    expected = getattr(model.config, "image_token_id", None)
    # Gemma 3 writes one token into a prompt and turns it into others, which are the model's.
    ids = {vocabulary.get(token), *getattr(processor, "image_token_ids", ())}
    if isinstance(token, str) and isinstance(expected, int) and expected not in ids:
        found = vocabulary.get(token, "not in the tokenizer")
        _fail(source, f"{token} is {found}, and config.json says image_token_id {expected}")
    for ours, theirs in _SIZES:
        cut, wanted = getattr(images, ours, None), getattr(vision, theirs, None)
        if isinstance(cut, int) and isinstance(wanted, int) and cut != wanted:
            _fail(source, f"the image processor has {ours} {cut}, the vision tower {theirs} {wanted}")


def check_scale(folder: Path, config: Any) -> None:
    """See that a configuration is not that of a far larger model than its weights are of, nor they packed.

    Such a model would be built at that size, whatever it takes, before a shape could be compared; and packed
    weights would be taken for the numbers that stand for them.

    Raises:
        InputError: it has more layers than there are tensors, or a matrix of more numbers than there are; or
            weights are whole numbers.
    """
    if getattr(config, "quantization_config", None) is not None:  # its numbers are packed
        return
    files = indexed(folder) or sorted(folder.glob("*.safetensors"))
    tensors, numbers = sum(map(count_tensors, files)), sum(map(count_parameters, files))
    if packed := [name for file in files for name in whole_numbers(file)]:
        raise InputError(
            f"The weights of {folder} are whole numbers ({packed[0]}, say), and its config.json does not say "
            "how they were packed (quantization_config). Copy both from the same checkpoint."
        )
    text = config.get_text_config()
    for part in (text, getattr(config, "vision_config", None)):
        for name in _DEPTHS:
            if isinstance(layers := getattr(part, name, None), int) and layers > tensors:
                _fail_scale(folder, f"{name} {layers:,}, and there are {tensors:,} tensors")
        width = getattr(part, "hidden_size", None)
        for name in ("intermediate_size", "vocab_size") if part is text else ("intermediate_size",):
            rows = getattr(part, name, None)
            if isinstance(width, int) and isinstance(rows, int) and rows * width > numbers:
                what = f"{name} {rows:,} and hidden_size {width:,}"
                _fail_scale(folder, f"{what}, and there are {numbers:,} numbers in all")


def _fail_scale(folder: Path, reason: str) -> None:
    raise InputError(
        f"The weights of {folder} do not fit its config.json: that says {reason}. "
        "Copy both from the same checkpoint."
    )


def check_shapes(trouble: str, mismatched: Iterable[tuple[str, Sequence[int], Sequence[int]]]) -> None:
    """See that no weight has another shape than the model gives it.

    Args:
        mismatched: name, shape in the file and shape in the model of those that have.

    Raises:
        InputError: one has; `trouble` is how the message begins.
    """
    if wrong := sorted(mismatched):
        name, in_file, in_model = wrong[0]
        more = f", and {len(wrong) - 1} more differ" if len(wrong) > 1 else ""
        raise InputError(f"{trouble}: {name} is {[*in_file]} in the file and {[*in_model]} there{more}.")


def _fail(source: object, reason: str) -> None:
    raise InputError(
        f"The processor of {source} does not fit its weights: {reason}. "
        "Copy tokenizer and processor files from the checkpoint that the weights come from."
    )


def check_attention(source: object, config: Any) -> None:
    """See that a configuration names no kernel of the hub, which transformers would fetch and run.

    Raises:
        InputError: it does.
    """
    parts = [config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", ()))]
    for part in parts:
        name = getattr(part, "_attn_implementation", None)
        if isinstance(name, str) and "/" in name:
            raise InputError(
                f"The config.json of {source} asks for attention by {shortened(name)}, code that lies on the "
                "hub. No code that a checkpoint names is run: take `_attn_implementation` out."
            )
