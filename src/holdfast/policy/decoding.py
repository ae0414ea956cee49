"""Attention of one decoding step: the keys of a prompt are kept once for its whole group.

Shapes: N live completions, H query heads, h key/value heads, M = H / h, D head size; B prompts, P and
R longest prompt and completion, Q queries of one prompt (its slots times M).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from holdfast.policy.attention import KV
from holdfast.policy.recurrent import Scan, State


class Decode:
    """One new token for each live completion, over its prompt's keys and its own.

    The keys of a prompt are held once for its whole group, and all its rows read them in one product.
    A row is a completion, or all those that began alike; which there are, `keep` changes.

    Args:
        prompt_kv: for each layer, keys and values of the prompts, [B, h, P, D].
        prompt_mask_BP: True on prompt tokens.
        group: rows of each prompt at first; row b * group + g is of prompt b.
        steps: most tokens a completion may have.
        states: of recurrent modules after the prompts, by the module's id.
    """

    def __init__(
        self,
        prompt_kv: list[KV],
        prompt_mask_BP: torch.Tensor,
        group: int,
        steps: int,
        states: Mapping[int, State] | None = None,
    ):
        first, prompts = prompt_kv[0][0], len(prompt_mask_BP)
        # As the products read them: a step would copy them again.
        self.prompt_kv = [(k.contiguous(), v.contiguous()) for k, v in prompt_kv]
        self.hidden_BP = torch.zeros(
            prompt_mask_BP.shape, dtype=first.dtype, device=first.device
        ).masked_fill_(~prompt_mask_BP, -torch.inf)
        self.own_kv = [
            tuple(x.new_empty(prompts * group, x.shape[1], steps, x.shape[3]) for x in kv) for kv in prompt_kv
        ]
        self.lengths_B, self.longest = prompt_mask_BP.sum(-1), prompt_mask_BP.shape[1] + steps
        self.layers: dict[int, int] = {}
        self.states = {
            module: (inputs.repeat_interleave(group, 0), memory.repeat_interleave(group, 0))
            for module, (inputs, memory) in (states or {}).items()
        }
        self.step = 0
        self.prompt_of_row = torch.arange(prompts, device=first.device).repeat_interleave(group)
        self._arrange()

    def _arrange(self) -> None:
        """Give each row a slot among the live completions of its prompt (rows are sorted by prompt)."""
        counts = torch.bincount(self.prompt_of_row, minlength=len(self.hidden_BP))
        self.width = int(counts.max())
        starts = counts.cumsum(0) - counts
        rows = torch.arange(len(self.prompt_of_row), device=counts.device)
        slots = self.prompt_of_row * self.width + rows - starts[self.prompt_of_row]
        self.slots = None if bool((counts == self.width).all()) else slots  # none is empty

    def keep(self, rows: torch.Tensor) -> None:
        """Go on from these rows, those of a prompt together; one that comes more than once goes on in several
        ways."""
        self.own_kv = [(k.index_select(0, rows), v.index_select(0, rows)) for k, v in self.own_kv]
        self.states = {
            module: (inputs.index_select(0, rows), memory.index_select(0, rows))
            for module, (inputs, memory) in self.states.items()
        }
        live, self.prompt_of_row = self.prompt_of_row[rows].unique_consecutive(return_inverse=True)
        if len(live) < len(self.hidden_BP):
            self.prompt_kv = [(k.index_select(0, live), v.index_select(0, live)) for k, v in self.prompt_kv]
            self.hidden_BP, self.lengths_B = self.hidden_BP[live], self.lengths_B[live]
        self._arrange()

    def _store(self, layer: int, key_NhD: torch.Tensor, value_NhD: torch.Tensor) -> KV:
        """Keep a step's keys and values; all of the completions so far, [N, h, R, D]."""
        own_k, own_v = self.own_kv[layer]
        own_k[:, :, self.step] = key_NhD
        own_v[:, :, self.step] = value_NhD
        return own_k[:, :, : self.step + 1], own_v[:, :, : self.step + 1]

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
        window: int | None = None,
    ) -> torch.Tensor:
        layer = self.layers.setdefault(id(module), len(self.layers))
        own = self._store(layer, key[0].transpose(0, 1), value[0].transpose(0, 1))
        q_NhMD = query[0].transpose(0, 1).unflatten(1, (key.shape[1], -1))
        if window is not None and window >= self.longest:
            window = None
        out_NhMD = self._look_back(q_NhMD, scaling, own, self.prompt_kv[layer], window)
        return out_NhMD.reshape(1, query.shape[2], -1, query.shape[3])

    def scan(self, module: nn.Module, scan: Scan, rows_NC: torch.Tensor) -> torch.Tensor:
        made_N1C, self.states[id(module)] = scan(rows_NC[:, None], self.states[id(module)])
        return made_N1C[:, 0]

    def _look_back(
        self, q_NhMD: torch.Tensor, scaling: float, own: KV, prompt: KV, window: int | None
    ) -> torch.Tensor:
        """Attention over own keys and values, and the prompts'; arguments as `look_back` takes them."""
        if window is not None:
            own = own[0][:, :, -window:], own[1][:, :, -window:]
        hidden_BP = self._hidden(self.step, window)
        return look_back(q_NhMD, scaling, own, prompt, hidden_BP, self.slots, self.width)

    def _hidden(self, step: int | torch.Tensor, window: int | None) -> torch.Tensor:
        """0 on the prompt tokens that a step sees, -inf on others and on padding."""
        if window is None:
            return self.hidden_BP
        back_BP = (self.lengths_B + step)[:, None] - torch.arange(
            self.hidden_BP.shape[1], device=self.lengths_B.device
        )
        return self.hidden_BP.masked_fill(back_BP >= window, -torch.inf)


def look_back(
    q_NhMD: torch.Tensor,
    scaling: float,
    own: KV,
    prompt: KV,
    hidden_BP: torch.Tensor,
    slots_N: torch.Tensor | None,
    width: int,
    step_1: torch.Tensor | None = None,
    window: int | None = None,
) -> torch.Tensor:
    """Attention of one step, [N, h, M, D].

    Args:
        own, prompt: keys and values of the completions so far [N, h, R, D], and of prompts [B, h, P, D].
        hidden_BP: 0 on prompt tokens, -inf on padding and on what lies before a window.
        slots_N: place of each row among the `width` slots of each prompt; None if all are taken.
        step_1: own keys after it are not there yet; None if all are.
        window: tokens back from `step_1` that are seen, itself included; None for all.
    """
    (own_k, own_v), (prompt_k, prompt_v) = own, prompt
    prompts, q_NhMD = len(prompt_k), q_NhMD * scaling

    def shared(rows_NhMX: torch.Tensor) -> torch.Tensor:
        """The rows of a prompt as queries of one product, [B, h, Q, X]."""
        if slots_N is not None:
            empty = rows_NhMX.new_zeros(prompts * width, *rows_NhMX.shape[1:])
            rows_NhMX = empty.index_copy_(0, slots_N, rows_NhMX)
        return rows_NhMX.unflatten(0, (prompts, width)).transpose(1, 2).flatten(2, 3)

    def apart(rows_BhQX: torch.Tensor) -> torch.Tensor:
        """The inverse of `shared`."""
        rows_NhMX = rows_BhQX.unflatten(2, (width, -1)).transpose(1, 2).flatten(0, 1)
        return rows_NhMX if slots_N is None else rows_NhMX.index_select(0, slots_N)

    scores_NhMP = apart(shared(q_NhMD) @ prompt_k.transpose(2, 3) + hidden_BP[:, None, None])
    scores_NhMR = q_NhMD @ own_k.transpose(2, 3)
    if step_1 is not None:
        steps_R = torch.arange(own_k.shape[2], device=own_k.device)
        hidden_R = steps_R > step_1
        if window is not None:
            hidden_R |= steps_R <= step_1 - window
        scores_NhMR = scores_NhMR.masked_fill(hidden_R, -torch.inf)
    weights = torch.cat([scores_NhMP, scores_NhMR], -1).softmax(
        -1, dtype=torch.promote_types(q_NhMD.dtype, torch.float32)
    )
    weights_NhMP, weights_NhMR = weights.to(q_NhMD.dtype).split([prompt_k.shape[2], own_k.shape[2]], -1)
    return apart(shared(weights_NhMP) @ prompt_v) + weights_NhMR @ own_v
