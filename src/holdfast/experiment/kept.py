"""What the layers of a text model keep for their backward pass, found out without a number being computed.

Layers of the make that `policy/lean.py` writes out are reckoned (`memory.py`). Others have more norms, norms
of queries and keys, or norms in float32: they are shown a few tokens on the meta device.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch

from holdfast.policy.attention import NAME, windows_of
from holdfast.policy.families import Family
from holdfast.policy.lean import Lean

FEW, MORE = 16, 48  # tokens


def kept_per_token(model: Any, family: Family, dtype: torch.dtype) -> int | None:
    """Bytes that a layer keeps of each token of prompts.

    Args:
        model: on the meta device; it takes on the dtype.

    Returns:
        None where they are of the usual make, or cannot be shown anything.
    """
    try:
        text = family.text_model(model)
        with suppress(ValueError):
            Lean(text, windows_of(text))
            return None
        model.to(dtype).set_attn_implementation(NAME)
        own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        fewer, more = (_kept(text, family, tokens, own) for tokens in (FEW, MORE))
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None
    return round((more - fewer) / (MORE - FEW) / len(text.layers))


def _kept(text: Any, family: Family, tokens: int, own: set[int]) -> int:
    """Bytes that so many tokens leave for the backward pass, weights aside."""
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no other gets the same place

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    layout, axes = _Seen(), family.axes
    tokens_N = torch.zeros(tokens, dtype=torch.long, device="meta")
    positions = torch.zeros(axes, 1, tokens, dtype=torch.long, device="meta")
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        text(
            inputs_embeds=text.embed_tokens(tokens_N)[None],
            position_ids=positions if axes > 1 else positions[0],
            attention_mask=torch.empty(1, 1, 1, 1, dtype=torch.bool, device="meta"),
            use_cache=False,
            layout=layout,
            **family.beside_tokens(text, tokens_N),
        )
    return sum(storage.nbytes() for storage in kept.values()) + layout.kept


class _Seen:
    """A layout that computes nothing, and counts what attention keeps: queries, keys, values, results."""

    def __init__(self) -> None:
        self.kept = 0

    def attend(
        self, module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any
    ) -> torch.Tensor:
        self.kept += 2 * query.nbytes + key.nbytes + value.nbytes
        return query.transpose(1, 2) + 0 * (key.sum() + value.sum())
