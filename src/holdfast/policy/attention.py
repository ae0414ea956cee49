"""Attention over packed rows: the layouts behind the group-wise pass.

A transformers model calls one attention function per layer. Ours is registered under a name of its
own; without a *layout* it is plain scaled-dot-product attention, and with one (passed through the
model's keyword arguments) it computes attention for many sequences that lie in one row of tokens,
with nothing spent on padding elsewhere in the model.

Shapes: N packed tokens, H query heads, h key/value heads, M = H / h, D head size; B prompts,
G completions per prompt, P and R longest prompt and completion, S segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from holdfast.policy import flash
from holdfast.policy.recurrent import Scan, State

NAME = "holdfast"
# Arguments of a model's call that do not say how tokens of a layout attend.
BESIDE = {"is_causal", "output_attentions", "position_ids", "use_cache"}
Keys = tuple[torch.Tensor, torch.Tensor]  # and values


class Layout(Protocol):
    """How the packed tokens of a call attend to one another."""

    def attend(
        self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """query [1, H, N, D], key and value [1, h, N, D] to [1, N, H, D]."""

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
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The function a model calls, in the signature that transformers gives it.

    Raises:
        ValueError: the model asks for more than a layout gives: a window, a cap, sinks, chosen keys, sizes.
    """
    if layout is not None:
        if beyond := [name for name, value in kwargs.items() if value is not None and name not in BESIDE]:
            raise ValueError(f"its attention has {beyond[0]}")
        if key.shape[-1] != value.shape[-1]:
            raise ValueError("its keys and values differ in size")
        return layout.attend(module, query, key, value, scaling), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
    )


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


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
        self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        is_whole = self.whole_modules is None or id(module) in self.whole_modules
        if flash.usable(query, key):
            bounds, every = self.bounds[is_whole], slice(0, query.shape[2])
            part = flash.Part(every, bounds, every, bounds, causal=False)
            return _packed(query, key, value, [part], scaling)
        lengths, order, inverse = self.whole if is_whole else self.windows
        rows_NHD = [x[0].transpose(0, 1) for x in (query, key, value)]
        if order is not None:
            rows_NHD = [x.index_select(0, order) for x in rows_NHD]
        outputs, start = [], 0
        for length, count in lengths:
            q, k, v = (
                x[start : start + length * count].unflatten(0, (count, length)).transpose(1, 2)
                for x in rows_NHD
            )
            out_SHLD = F.scaled_dot_product_attention(q, k, v, scale=scaling)
            outputs.append(out_SHLD.transpose(1, 2).flatten(0, 1))
            start += length * count
        out_NHD = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return (out_NHD if inverse is None else out_NHD.index_select(0, inverse)).unsqueeze(0)


def _packed(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, parts: Sequence[flash.Part], scaling: float
) -> torch.Tensor:
    """`flash.attend` in the shapes of `Layout.attend`."""
    q_NHD, k_NhD, v_NhD = (x[0].transpose(0, 1) for x in (query, key, value))
    return flash.attend(q_NHD, k_NhD, v_NhD, parts, scaling)[None]


def _by_length(
    lengths: Sequence[int], device: torch.device
) -> tuple[list[tuple[int, int]], torch.Tensor | None, torch.Tensor | None]:
    """Equal segments put together: [(length, count)], the order of tokens, its inverse (None: as is)."""
    counts = {length: list(lengths).count(length) for length in sorted(set(lengths))}
    grouped = list(counts.items())
    if len(counts) == 1:
        return grouped, None, None
    token_lengths = torch.repeat_interleave(torch.tensor(lengths), torch.tensor(lengths))
    order = torch.argsort(token_lengths, stable=True).to(device)
    return grouped, order, torch.argsort(order)


class Groups:
    """Prompts, and completions that see their prompt and their own past.

    The packed row holds all prompts one after the other, then all completions, group by group; or
    completions alone, where the prompts' keys are known. Prompts are attended once; a completion's
    keys are its prompt's and its own.

    Attributes:
        keys: keys and values of the prompts, [B, h, P, D], by the id of their attention module.
        states: those of recurrent modules after the prompts, by the module's id.

    Args:
        prompt_lengths: tokens of each prompt, [B], at least 1.
        completion_lengths: tokens of each completion, [B, G]; may be 0. None for prompts alone.
        dtype: that of the model's activations.
        keys, states: those of the prompts, which are not in the row then.
    """

    def __init__(
        self,
        prompt_lengths: torch.Tensor,
        completion_lengths: torch.Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        keys: Mapping[int, Keys] | None = None,
        states: Mapping[int, State] | None = None,
    ):
        device = prompt_lengths.device
        self.lengths = prompt_lengths, completion_lengths
        self.prompts = len(prompt_lengths)
        self.longest_prompt = int(prompt_lengths.max())
        self.group = 0 if completion_lengths is None else completion_lengths.shape[1]
        self.longest_completion = 0
        steps_P = torch.arange(self.longest_prompt, device=device)
        valid = steps_P < prompt_lengths[:, None]
        slots = valid.flatten() if keys is None else valid.new_empty(0)
        if completion_lengths is not None and completion_lengths.numel():
            self.longest_completion = int(completion_lengths.max())
        if self.longest_completion and completion_lengths is not None:
            steps_R = torch.arange(self.longest_completion, device=device)
            slots = torch.cat([slots, (steps_R < completion_lengths[..., None]).flatten()])
            sees_BRK = torch.cat(
                [
                    valid[:, None].expand(-1, self.longest_completion, -1),
                    (steps_R <= steps_R[:, None]).expand(self.prompts, -1, -1),
                ],
                dim=-1,
            )
            self.mask_BRK = torch.zeros(sees_BRK.shape, dtype=dtype, device=device)
            self.mask_BRK.masked_fill_(~sees_BRK, -torch.inf)
        self.packed = slots.nonzero().squeeze(1)  # padded slot of each packed token
        self.whole = len(self.packed) == len(slots)
        # Packed token of each padded slot; in an empty one the first, which nobody sees.
        self.places = torch.zeros(slots.shape, dtype=torch.long, device=device)
        self.places[self.packed] = torch.arange(len(self.packed), device=device)
        self.has_prompts = keys is None
        self.keys: dict[int, Keys] = dict(keys or {})
        self.states: dict[int, State] = dict(states or {})

    @cached_property
    def parts(self) -> list[flash.Part]:
        """What prompts and completions that lie in one row see, for `flash.attend`; else nothing."""
        prompt_lengths, completion_lengths = self.lengths
        if not self.has_prompts or completion_lengths is None:
            return []
        prompts, groups, members = map(
            flash.Bounds.of, (prompt_lengths, completion_lengths.sum(-1), completion_lengths)
        )
        size = int(prompt_lengths.sum())
        first, rest = slice(0, size), slice(size, len(self.packed))
        parts = [flash.Part(first, prompts, first, prompts, causal=True)]
        if self.longest_completion:
            parts.append(flash.Part(rest, groups, first, prompts, causal=False))
            parts.append(flash.Part(rest, members, rest, members, causal=True))
        return parts

    def attend(
        self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        if flash.usable(query, key) and self.parts:
            return _packed(query, key, value, self.parts, scaling)
        rows = [x[0].transpose(0, 1) for x in (query, key, value)]
        query, key, value = rows if self.whole else [_Pad.apply(x, self.places, self.packed) for x in rows]
        outputs = [self._prompts(module, query, key, value, scaling)] if self.has_prompts else []
        if self.longest_completion:
            size = self.prompts * self.longest_prompt if self.has_prompts else 0
            outputs.append(
                self._completions(query[size:], key[size:], value[size:], *self.keys[id(module)], scaling)
            )
        out = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return (out if self.whole else out.index_select(0, self.packed)).unsqueeze(0)

    def _prompts(
        self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """Attention of all prompts, [B*P, H, D]; their keys are kept."""
        size = self.prompts * self.longest_prompt
        q_BHPD, k_BhPD, v_BhPD = (
            x[:size].unflatten(0, (self.prompts, self.longest_prompt)).transpose(1, 2)
            for x in (query, key, value)
        )
        self.keys[id(module)] = (k_BhPD, v_BhPD)
        repeats = q_BHPD.shape[1] // k_BhPD.shape[1]
        # Prompts lie at the start of their slots, so that causality alone hides the padding after them.
        out = F.scaled_dot_product_attention(
            q_BHPD, k_BhPD, v_BhPD, is_causal=True, scale=scaling, enable_gqa=repeats > 1
        )
        return out.transpose(1, 2).flatten(0, 1)

    def _completions(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        k_BhPD: torch.Tensor,
        v_BhPD: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Attention of all completions, [B*G*R, H, D]. A group's members count as further heads (X = G h)."""
        rows, heads, size = query.shape
        kv_heads, length = key.shape[1], self.longest_completion
        members = (self.prompts, self.group, length)
        k_BXKD, v_BXKD = (
            torch.cat(
                [
                    prompt[:, None].expand(-1, self.group, -1, -1, -1).flatten(1, 2),
                    own.view(*members, kv_heads, size).transpose(2, 3).flatten(1, 2),
                ],
                dim=2,
            )
            for prompt, own in ((k_BhPD, key), (v_BhPD, value))
        )
        # The M query heads of a key head are laid out as further queries: no key is repeated for them.
        q_BXQD = (
            query.view(*members, kv_heads, -1, size).permute(0, 1, 3, 4, 2, 5).flatten(3, 4).flatten(1, 2)
        )
        mask_B1QK = self.mask_BRK.repeat(1, heads // kv_heads, 1).unsqueeze(1)
        out = F.scaled_dot_product_attention(q_BXQD, k_BXKD, v_BXKD, attn_mask=mask_B1QK, scale=scaling)
        out = out.view(self.prompts, self.group, kv_heads, -1, length, size).permute(0, 1, 4, 2, 3, 5)
        return out.reshape(rows, heads, size)

    def scan(self, module: nn.Module, scan: Scan, rows_NC: torch.Tensor) -> torch.Tensor:
        """Prompts from nothing, completions from their prompt's state."""
        prompt_lengths, completion_lengths = self.lengths
        outputs, size = [], 0
        if self.has_prompts:  # filled up in front, where rows of zeros leave no trace
            size = int(prompt_lengths.sum())
            steps_P = torch.arange(self.longest_prompt, device=rows_NC.device)
            valid_BP = steps_P >= self.longest_prompt - prompt_lengths[:, None]
            made_BPC, self.states[id(module)] = scan(_filled(rows_NC[:size], valid_BP), None)
            outputs.append(made_BPC[valid_BP])
        if self.longest_completion and completion_lengths is not None:
            steps_R = torch.arange(self.longest_completion, device=rows_NC.device)
            valid_SR = steps_R < completion_lengths.flatten()[:, None]
            inputs, memory = (part.repeat_interleave(self.group, 0) for part in self.states[id(module)])
            made_SRC, _ = scan(_filled(rows_NC[size:], valid_SR), (inputs, memory))
            outputs.append(made_SRC[valid_SR])
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _filled(rows_NC: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Rows in the places that are valid, in order, and zeros in the others."""
    places = valid.flatten().nonzero().squeeze(1)
    empty = rows_NC.new_zeros(valid.numel(), rows_NC.shape[1])
    return empty.index_copy(0, places, rows_NC).unflatten(0, valid.shape)


class _Pad(torch.autograd.Function):
    """Packed rows to padded slots; both ways a gather, where autograd's own way back would scatter."""

    @staticmethod
    def forward(ctx: Any, rows_NHD: torch.Tensor, places: torch.Tensor, packed: torch.Tensor) -> torch.Tensor:
        ctx.packed = packed
        return rows_NHD.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return grad.index_select(0, ctx.packed), None, None
