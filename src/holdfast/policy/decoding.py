"""Attention of one decoding step: the keys of a prompt are kept once for its whole group.

Shapes: N live completions, H query heads, h key/value heads, M = H / h, D head size; B prompts, P and
R longest prompt and completion, Q queries of one prompt (its slots times M).
"""

from __future__ import annotations

import torch
from torch import nn


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
        # As the products read them: a step would copy them again.
        self.prompt_keys = [(k.contiguous(), v.contiguous()) for k, v in prompt_keys]
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

    def _store(
        self, layer: int, key_NhD: torch.Tensor, value_NhD: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep a step's keys and values; all of the completions so far, [N, h, R, D]."""
        own_k, own_v = self.own_keys[layer]
        own_k[:, :, self.step] = key_NhD
        own_v[:, :, self.step] = value_NhD
        return own_k[:, :, : self.step + 1], own_v[:, :, : self.step + 1]

    def _hide(self, scores_NhMR: torch.Tensor) -> torch.Tensor:
        """Scores of own keys, -inf for those that are not there yet: none here."""
        return scores_NhMR

    def attend(
        self, module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        layer = self.layers.setdefault(id(module), len(self.layers))
        rows, kv_heads, size = query.shape[2], key.shape[1], query.shape[3]
        own_k, own_v = self._store(layer, key[0].transpose(0, 1), value[0].transpose(0, 1))
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
        scores_NhMR = self._hide(q_NhMD @ own_k.transpose(2, 3))
        weights = torch.cat([scores_NhMP, scores_NhMR], -1).softmax(
            -1, dtype=torch.promote_types(query.dtype, torch.float32)
        )
        weights_NhMP, weights_NhMR = weights.to(query.dtype).split(
            [scores_NhMP.shape[-1], own_k.shape[2]], -1
        )

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
