"""The layout behind the group-wise pass: each prompt once, and the completions that go on from it.

Shapes: N packed tokens, H query heads, h key/value heads, M = H / h, D head size; B prompts,
G completions per prompt, P and R longest prompt and completion, K = P + R.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from holdfast.policy import flash
from holdfast.policy.attention import FULL, KV, SLIDING, by_flash
from holdfast.policy.recurrent import Scan, State


class GroupLayout:
    """Prompts, and completions that see their prompt and their own past.

    The packed row holds all prompts one after the other, then all completions, group by group; or
    completions alone, where the prompts' keys are known. Prompts are attended once; a completion's
    keys are its prompt's and its own.

    Attributes:
        kv: keys and values of the prompts, [B, h, P, D], by the id of their attention module.
        states: those of recurrent modules after the prompts, by the module's id.

    Args:
        prompt_lengths: tokens of each prompt, [B], at least 1.
        completion_lengths: tokens of each completion, [B, G]; may be 0. None for prompts alone.
        dtype: that of the model's activations.
        kv, states: those of the prompts, which are not in the row then.
        pictures_N: of each packed prompt token the number of the picture that it is part of, from 1; or 0.
            Tokens of one see each other, in both directions. None: each token sees what came before it.
        ahead: kinds of layers in which they do.
    """

    def __init__(
        self,
        prompt_lengths: torch.Tensor,
        completion_lengths: torch.Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        kv: Mapping[int, KV] | None = None,
        states: Mapping[int, State] | None = None,
        pictures_N: torch.Tensor | None = None,
        ahead: Collection[str] = (),
    ):
        device = prompt_lengths.device
        self.lengths = prompt_lengths, completion_lengths
        self.prompts = len(prompt_lengths)
        self.longest_prompt = int(prompt_lengths.max())
        self.group = 0 if completion_lengths is None else completion_lengths.shape[1]
        self.longest_completion = 0
        steps_P = torch.arange(self.longest_prompt, device=device)
        valid = steps_P < prompt_lengths[:, None]
        slots = valid.flatten() if kv is None else valid.new_empty(0)
        if completion_lengths is not None and completion_lengths.numel():
            self.longest_completion = int(completion_lengths.max())
        if self.longest_completion and completion_lengths is not None:
            steps_R = torch.arange(self.longest_completion, device=device)
            slots = torch.cat([slots, (steps_R < completion_lengths[..., None]).flatten()])
        self.packed = slots.nonzero().squeeze(1)  # padded slot of each packed token
        self.whole = len(self.packed) == len(slots)
        # Packed token of each padded slot; in an empty one the first, which nobody sees.
        self.places = torch.zeros(slots.shape, dtype=torch.long, device=device)
        self.places[self.packed] = torch.arange(len(self.packed), device=device)
        self.has_prompts = kv is None
        self.kv: dict[int, KV] = dict(kv or {})
        self.states: dict[int, State] = dict(states or {})
        self.dtype, self.ahead = dtype, ahead
        self.pictures_BP = None if pictures_N is None else _filled(pictures_N[:, None], valid).squeeze(-1)
        self._masks: dict[tuple[str, int | None, bool], torch.Tensor] = {}

    def _mask(self, of: str, window: int | None, ahead: bool = False) -> torch.Tensor:
        """What is added to scores: 0, or -inf where a token is not seen.

        Of prompts [B or 1, 1, P, P], of completions [B, R, P + R].
        """
        if (key := (of, window, ahead)) not in self._masks:
            sees = self._prompts_see(window, ahead) if of == "prompts" else self._completions_see(window)
            mask = torch.zeros(sees.shape, dtype=self.dtype, device=sees.device)
            self._masks[key] = mask.masked_fill_(~sees, -torch.inf)
        return self._masks[key]

    def _prompts_see(self, window: int | None, ahead: bool) -> torch.Tensor:
        steps_P = torch.arange(self.longest_prompt, device=self.places.device)
        back_PP = steps_P[:, None] - steps_P
        sees_BPP = (back_PP >= 0)[None]
        if ahead and self.pictures_BP is not None:
            is_one_BPP = self.pictures_BP[:, :, None] == self.pictures_BP[:, None]
            sees_BPP = sees_BPP | is_one_BPP & (self.pictures_BP > 0)[:, None]
        return (sees_BPP if window is None else sees_BPP & (back_PP < window))[:, None]

    def _completions_see(self, window: int | None) -> torch.Tensor:
        lengths_B1 = self.lengths[0][:, None]
        steps_P, steps_R = (
            torch.arange(longest, device=lengths_B1.device)
            for longest in (self.longest_prompt, self.longest_completion)
        )
        back_RR = steps_R[:, None] - steps_R
        prompt_BRP = (steps_P < lengths_B1)[:, None].expand(-1, len(steps_R), -1)
        own_BRR = (back_RR >= 0).expand(self.prompts, -1, -1)
        if window is not None:
            back_BRP = (lengths_B1 + steps_R)[..., None] - steps_P
            prompt_BRP, own_BRR = prompt_BRP & (back_BRP < window), own_BRR & (back_RR < window)
        return torch.cat([prompt_BRP, own_BRR], dim=-1)

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
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        window: int | None = None,
    ) -> torch.Tensor:
        ahead = self.pictures_BP is not None and (FULL if window is None else SLIDING) in self.ahead
        if window is not None and window >= self.longest_prompt + self.longest_completion:
            window = None
        if window is None and flash.usable(query, key) and self.parts:
            if ahead:
                return self._by_both(module, query, key, value, scaling)
            return by_flash(query, key, value, self.parts, scaling)
        rows = [x[0].transpose(0, 1) for x in (query, key, value)]
        query, key, value = rows if self.whole else [_Pad.apply(x, self.places, self.packed) for x in rows]
        outputs = []
        if self.has_prompts:
            is_plain = not ahead and (window is None or window >= self.longest_prompt)
            mask = None if is_plain else self._mask("prompts", window, ahead)
            outputs.append(self._prompts(module, query, key, value, scaling, mask))
        if self.longest_completion:
            size = self.prompts * self.longest_prompt if self.has_prompts else 0
            own, mask_BRK = (query[size:], key[size:], value[size:]), self._mask("completions", window)
            outputs.append(self._completions(*own, *self.kv[id(module)], scaling, mask_BRK))
        out = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return (out if self.whole else out.index_select(0, self.packed)).unsqueeze(0)

    def _by_both(
        self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """Prompts by a mask, and what goes on from them by `flash.attend`."""
        query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
        size, slots = self.parts[0].rows.stop, self.prompts * self.longest_prompt
        q, k, v = (_Pad.apply(x[:size], self.places[:slots], self.packed[:size]) for x in (query, key, value))
        mask = self._mask("prompts", None, ahead=True)
        out = self._prompts(module, q, k, v, scaling, mask).index_select(0, self.packed[:size])
        if self.longest_completion:
            own = slice(0, len(query) - size)
            parts = [replace(part, rows=own) for part in self.parts[1:]]
            out = torch.cat([out, flash.attend(query[size:], key, value, parts, scaling)])
        return out[None]

    def _prompts(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attention of all prompts, [B*P, H, D]; their keys are kept. Without a mask it is causal."""
        size = self.prompts * self.longest_prompt
        q_BHPD, k_BhPD, v_BhPD = (
            x[:size].unflatten(0, (self.prompts, self.longest_prompt)).transpose(1, 2)
            for x in (query, key, value)
        )
        self.kv[id(module)] = (k_BhPD, v_BhPD)
        repeats = q_BHPD.shape[1] // k_BhPD.shape[1]
        # Prompts lie at the start of their slots, so that no token of theirs sees the padding after them.
        if mask is None:
            out = F.scaled_dot_product_attention(
                q_BHPD, k_BhPD, v_BhPD, is_causal=True, scale=scaling, enable_gqa=repeats > 1
            )
        else:  # with a mask kernels do not know of shared keys: their query heads are further queries
            queries = q_BHPD.unflatten(1, (-1, repeats)).flatten(2, 3)
            mask = mask.repeat(1, 1, repeats, 1)
            out = F.scaled_dot_product_attention(queries, k_BhPD, v_BhPD, mask, scale=scaling)
            out = out.unflatten(2, (repeats, -1)).flatten(1, 2)
        return out.transpose(1, 2).flatten(0, 1)

    def _completions(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        k_BhPD: torch.Tensor,
        v_BhPD: torch.Tensor,
        scaling: float,
        mask_BRK: torch.Tensor,
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
        mask_B1QK = mask_BRK.repeat(1, heads // kv_heads, 1).unsqueeze(1)
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
