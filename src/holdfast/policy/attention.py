"""Attention over packed rows: the layouts behind the group-wise pass.

A transformers model calls one attention function per layer. Ours is registered under a name of its
own; without a *layout* it is plain scaled-dot-product attention, and with one (passed through the
model's keyword arguments) it computes attention for many sequences that lie in one row of tokens,
with nothing spent on padding elsewhere in the model.

Shapes: N packed tokens, H query heads, h key/value heads, M = H / h, D head size; B prompts,
G completions per prompt, P and R longest prompt and completion, S segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "holdfast"


class Layout(Protocol):
    """How the packed tokens of a call attend to one another."""

    def attend(
        self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """query [1, H, N, D], key and value [1, h, N, D] to [1, N, H, D]."""


def attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, layout=None, **kwargs):
    """The function a model calls, in the signature that transformers gives it."""
    if layout is not None:
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

    def attend(self, module, query, key, value, scaling):
        is_whole = self.whole_modules is None or id(module) in self.whole_modules
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

    The packed row holds all prompts one after the other, then all completions, group by group.
    Prompts are attended once; a completion's keys are its prompt's and its own.

    Args:
        prompt_lengths: tokens of each prompt, [B], at least 1.
        completion_lengths: tokens of each completion, [B, G]; may be 0. None for prompts alone.
        keep: remember the keys and values of prompts, layer by layer, for decoding.
    """

    def __init__(
        self,
        prompt_lengths: torch.Tensor,
        completion_lengths: torch.Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        keep: bool = False,
    ):
        device = prompt_lengths.device
        self.prompts = len(prompt_lengths)
        self.longest_prompt = int(prompt_lengths.max())
        self.group = 0 if completion_lengths is None else completion_lengths.shape[1]
        self.longest_completion = 0
        steps_P = torch.arange(self.longest_prompt, device=device)
        valid = self.prompt_mask_BP = steps_P < prompt_lengths[:, None]
        slots = valid.flatten()
        if completion_lengths is not None:
            self.longest_completion = int(completion_lengths.max()) if completion_lengths.numel() else 0
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
            mask_BRK = torch.zeros(sees_BRK.shape, dtype=dtype, device=device).masked_fill_(
                ~sees_BRK, -torch.inf
            )
            self.mask_XRK = mask_BRK.repeat_interleave(self.group, 0)
        self.packed = slots.nonzero().squeeze(1)  # padded slot of each packed token
        places = torch.full(slots.shape, len(self.packed), device=device)
        places[self.packed] = torch.arange(len(self.packed), device=device)
        self.places = places  # packed token of each padded slot; N for an empty one
        self.kept: list[tuple[torch.Tensor, torch.Tensor]] | None = [] if keep else None

    def attend(self, module, query, key, value, scaling):
        size = self.prompts * self.longest_prompt
        query, key, value = (
            _Pad.apply(x[0].transpose(0, 1), self.places, self.packed) for x in (query, key, value)
        )
        q_BHPD, k_BhPD, v_BhPD = (
            x[:size].unflatten(0, (self.prompts, self.longest_prompt)).transpose(1, 2)
            for x in (query, key, value)
        )
        if self.kept is not None:
            self.kept.append((k_BhPD, v_BhPD))
        repeats = q_BHPD.shape[1] // k_BhPD.shape[1]
        # Prompts lie at the start of their slots, so that causality alone hides the padding after them.
        out = F.scaled_dot_product_attention(
            q_BHPD, k_BhPD, v_BhPD, is_causal=True, scale=scaling, enable_gqa=repeats > 1
        )
        out = out.transpose(1, 2).flatten(0, 1)
        if self.longest_completion:
            out = torch.cat(
                [out, self._completions(query[size:], key[size:], value[size:], k_BhPD, v_BhPD, scaling)]
            )
        return out.index_select(0, self.packed).unsqueeze(0)

    def _completions(self, query, key, value, k_BhPD, v_BhPD, scaling):
        """Attention of all completions, [B*G*R, H, D]; X = B*G."""
        rows, heads, size = query.shape
        kv_heads, length = key.shape[1], self.longest_completion
        sequences = rows // length
        keys, values = (
            torch.cat(
                [
                    prompt[:, None].expand(-1, self.group, -1, -1, -1).flatten(0, 1),
                    own.view(sequences, length, kv_heads, size).transpose(1, 2),
                ],
                dim=2,
            )
            for prompt, own in ((k_BhPD, key), (v_BhPD, value))
        )
        # The M query heads of a key head are laid out as further queries: no key is repeated for them.
        q_XhQD = query.view(sequences, length, kv_heads, -1, size).permute(0, 2, 3, 1, 4).flatten(2, 3)
        mask = self.mask_XRK.repeat(1, heads // kv_heads, 1).unsqueeze(1)
        out = F.scaled_dot_product_attention(q_XhQD, keys, values, attn_mask=mask, scale=scaling)
        out = out.view(sequences, kv_heads, -1, length, size).permute(0, 3, 1, 2, 4)
        return out.reshape(rows, heads, size)


class _Pad(torch.autograd.Function):
    """Packed rows to padded slots; both ways a gather, where autograd's own way back would scatter."""

    @staticmethod
    def forward(ctx, rows_NHD, places, packed):
        ctx.packed = packed
        return torch.cat([rows_NHD, rows_NHD.new_zeros(1, *rows_NHD.shape[1:])]).index_select(0, places)

    @staticmethod
    def backward(ctx, grad):
        return grad.index_select(0, ctx.packed), None, None


class Decode:
    """One new token for each live completion, over its prompt's keys and its own.

    The keys of a prompt are held once for its whole group, and all live completions of a prompt
    read them in one product. Completions that ended are removed by `drop`.

    Args:
        prompt_keys: for each layer, keys and values of the prompts, [B, h, P, D].
        prompt_mask_BP: True on prompt tokens.
        group: completions per prompt; row b * group + g is completion g of prompt b.
        steps: most tokens a completion may have.
    """

    def __init__(
        self,
        prompt_keys: list[tuple[torch.Tensor, torch.Tensor]],
        prompt_mask_BP: torch.Tensor,
        group: int,
        steps: int,
    ):
        first = prompt_keys[0][0]
        prompts, kv_heads, _, size = first.shape
        self.prompt_keys = prompt_keys
        self.hidden_BP = torch.zeros(
            prompt_mask_BP.shape, dtype=first.dtype, device=first.device
        ).masked_fill_(~prompt_mask_BP, -torch.inf)
        shape = (prompts * group, kv_heads, steps, size)
        self.own_keys = [(first.new_empty(shape), first.new_empty(shape)) for _ in prompt_keys]
        self.layers: dict[int, int] = {}
        self.step = 0
        self.prompt_of_row = torch.arange(prompts, device=first.device).repeat_interleave(group)
        self._arrange()

    def _arrange(self) -> None:
        """Give each row a slot among the live completions of its prompt (rows are sorted by prompt)."""
        counts = torch.bincount(self.prompt_of_row, minlength=len(self.hidden_BP))
        self.width = int(counts.max())
        starts = counts.cumsum(0) - counts
        rows = torch.arange(len(self.prompt_of_row), device=counts.device)
        self.slots = self.prompt_of_row * self.width + rows - starts[self.prompt_of_row]
        self.full = bool((counts == self.width).all())

    def drop(self, keep: torch.Tensor) -> None:
        """Keep only these rows (sorted indices)."""
        self.own_keys = [(k.index_select(0, keep), v.index_select(0, keep)) for k, v in self.own_keys]
        live, self.prompt_of_row = self.prompt_of_row[keep].unique_consecutive(return_inverse=True)
        if len(live) < len(self.hidden_BP):
            self.prompt_keys = [
                (k.index_select(0, live), v.index_select(0, live)) for k, v in self.prompt_keys
            ]
            self.hidden_BP = self.hidden_BP[live]
        self._arrange()

    def attend(self, module, query, key, value, scaling):
        layer = self.layers.setdefault(id(module), len(self.layers))
        rows, kv_heads, size = query.shape[2], key.shape[1], query.shape[3]
        own_k, own_v = self.own_keys[layer]
        own_k[:, :, self.step] = key[0].transpose(0, 1)
        own_v[:, :, self.step] = value[0].transpose(0, 1)
        own_k, own_v = own_k[:, :, : self.step + 1], own_v[:, :, : self.step + 1]
        prompt_k, prompt_v = self.prompt_keys[layer]
        prompts = len(prompt_k)

        q_NhMD = (query[0].transpose(0, 1) * scaling).unflatten(1, (kv_heads, -1))
        shared = (
            q_NhMD
            if self.full
            else q_NhMD.new_zeros(prompts * self.width, *q_NhMD.shape[1:]).index_copy_(0, self.slots, q_NhMD)
        )
        q_BhQD = shared.unflatten(0, (prompts, self.width)).transpose(1, 2).flatten(2, 3)
        scores_BhQP = q_BhQD @ prompt_k.transpose(2, 3) + self.hidden_BP[:, None, None]
        scores_NhMP = scores_BhQP.unflatten(2, (self.width, -1)).transpose(1, 2).flatten(0, 1)
        if not self.full:
            scores_NhMP = scores_NhMP.index_select(0, self.slots)
        scores_NhMR = q_NhMD @ own_k.transpose(2, 3)
        weights = torch.cat([scores_NhMP, scores_NhMR], -1).softmax(
            -1, dtype=torch.promote_types(query.dtype, torch.float32)
        )
        weights_NhMP, weights_NhMR = weights.to(query.dtype).split([scores_NhMP.shape[-1], self.step + 1], -1)

        shared = (
            weights_NhMP
            if self.full
            else weights_NhMP.new_zeros(prompts * self.width, *weights_NhMP.shape[1:]).index_copy_(
                0, self.slots, weights_NhMP
            )
        )
        from_prompt = shared.unflatten(0, (prompts, self.width)).transpose(1, 2).flatten(2, 3) @ prompt_v
        from_prompt = from_prompt.unflatten(2, (self.width, -1)).transpose(1, 2).flatten(0, 1)
        if not self.full:
            from_prompt = from_prompt.index_select(0, self.slots)
        return (from_prompt + weights_NhMR @ own_v).reshape(1, rows, -1, size)
