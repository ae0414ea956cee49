"""Attention over packed rows.

A transformers model calls one attention function per layer. Ours is registered under a name of its
own; without a *layout* it is plain scaled-dot-product attention, and with one (passed through the
model's keyword arguments) it computes attention for many sequences that lie in one row of tokens,
with nothing spent on padding elsewhere in the model.

Shapes: N packed tokens, H query heads, h key/value heads, D head size, S segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from holdfast.policy import flash
from holdfast.policy.recurrent import Scan
from holdfast.policy.states import KIND

NAME = "holdfast"
FULL, SLIDING = "full_attention", "sliding_attention"  # among a text model's `layer_types`
# Arguments of a model's call that do not say how tokens of a layout attend.
BESIDE = {"is_causal", "output_attentions", "position_ids", "use_cache"}
KV = tuple[torch.Tensor, torch.Tensor]  # keys and values, [rows, h, tokens, D] each


class Layout(Protocol):
    """How the packed tokens of a call attend to one another."""

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        window: int | None = None,
    ) -> torch.Tensor:
        """query [1, H, N, D], key and value [1, h, N, D] to [1, N, H, D].

        Args:
            window: tokens of its row that a token sees, itself the last of them; None for all before it.
        """

    def scan(self, module: nn.Module, scan: Scan, rows_NC: torch.Tensor) -> torch.Tensor:
        """What a recurrent module makes of the packed tokens, [N, C]."""


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The function a model calls, in the signature that transformers gives it.

    Raises:
        ValueError: the model asks for more than a layout gives: a cap, sinks, chosen keys, sizes.
    """
    if layout is not None:
        if beyond := [name for name, value in kwargs.items() if value is not None and name not in BESIDE]:
            raise ValueError(f"its attention has {beyond[0]}")
        if key.shape[-1] != value.shape[-1]:
            raise ValueError("its keys and values differ in size")
        return layout.attend(module, query, key, value, scaling, sliding_window), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
    )


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def windows_of(text: Any) -> list[int | None]:
    """How many tokens each layer of a text model sees back, itself included; None for all.

    Raises:
        ValueError: a layer's tokens see others than a window, or all that came before.
    """
    config, count = text.config, len(text.layers)
    try:
        window = getattr(config, "sliding_window", None)
    except RuntimeError as error:  # how transformers says that layers differ in it
        raise ValueError(f"{type(text).__name__} has windows of several sizes") from error
    kinds = getattr(config, "layer_types", None) or [FULL if window is None else SLIDING] * count
    if set(kinds) - {FULL, SLIDING, KIND} or (window is None and SLIDING in kinds):
        raise ValueError(
            f"{type(text).__name__} has layers that see other tokens than those that came before"
        )
    return [window if kind == SLIDING else None for kind in kinds]


class Segments:
    """Independent segments that attend within themselves: images, or windows of images.

    Args:
        whole: tokens in each segment of a layer with full attention.
        windows: the same for layers with window attention.
        whole_modules: the attention modules of the layers with full attention; None means all.
    """

    def __init__(
        self,
        whole: Sequence[int],
        windows: Sequence[int],
        whole_modules: frozenset[int] | None,
        device: torch.device,
    ):
        self.whole = _by_length(whole, device)
        self.windows = self.whole if list(windows) == list(whole) else _by_length(windows, device)
        self.whole_modules = whole_modules
        self.lengths = windows, whole
        self.device = device

    @cached_property
    def bounds(self) -> list[flash.Bounds]:
        """Of windows and of whole segments, for `flash.attend`."""
        return [flash.Bounds.of(torch.tensor(lengths, device=self.device)) for lengths in self.lengths]

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        window: int | None = None,
    ) -> torch.Tensor:
        if window is not None:
            raise ValueError("segments attend to themselves as a whole, and are asked for a window")
        is_whole = self.whole_modules is None or id(module) in self.whole_modules
        if flash.usable(query, key):
            bounds, every = self.bounds[is_whole], slice(0, query.shape[2])
            part = flash.Part(every, bounds, every, bounds, causal=False)
            return by_flash(query, key, value, [part], scaling)
        equal = self.whole if is_whole else self.windows
        rows_NHD = [x[0].transpose(0, 1) for x in (query, key, value)]
        if equal.order is not None:
            rows_NHD = [x.index_select(0, equal.order) for x in rows_NHD]
        outputs, start = [], 0
        for length, count in equal.counts:
            q, k, v = (
                x[start : start + length * count].unflatten(0, (count, length)).transpose(1, 2)
                for x in rows_NHD
            )
            out_SHLD = F.scaled_dot_product_attention(q, k, v, scale=scaling)
            outputs.append(out_SHLD.transpose(1, 2).flatten(0, 1))
            start += length * count
        out_NHD = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return (out_NHD if equal.inverse is None else out_NHD.index_select(0, equal.inverse)).unsqueeze(0)


def by_flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, parts: Sequence[flash.Part], scaling: float
) -> torch.Tensor:
    """`flash.attend` in the shapes of `Layout.attend`."""
    q_NHD, k_NhD, v_NhD = (x[0].transpose(0, 1) for x in (query, key, value))
    return flash.attend(q_NHD, k_NhD, v_NhD, parts, scaling)[None]


@dataclass(frozen=True)
class _ByLength:
    """Segments of one length put together, so that each length is one batch.

    Attributes:
        counts: (length, number of segments), the shortest first.
        order: of tokens then, and `inverse` of it; None where they lie so already.
    """

    counts: list[tuple[int, int]]
    order: torch.Tensor | None = None
    inverse: torch.Tensor | None = None


def _by_length(lengths: Sequence[int], device: torch.device) -> _ByLength:
    counts = {length: list(lengths).count(length) for length in sorted(set(lengths))}
    grouped = list(counts.items())
    if len(counts) == 1:
        return _ByLength(grouped)
    token_lengths = torch.repeat_interleave(torch.tensor(lengths), torch.tensor(lengths))
    order = torch.argsort(token_lengths, stable=True).to(device)
    return _ByLength(grouped, order, torch.argsort(order))
