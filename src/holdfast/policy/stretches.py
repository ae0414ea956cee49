"""Decoding in stretches of steps of one shape, which CUDA replays without Python.

A GPU computes a decoding step faster than Python can launch it. Within a stretch all steps have the
same rows, and read and write the same memory: keys, tokens and the number of the step are tensors
that a step changes in place, and nothing of them is read back. So the first step of a stretch is
launched as usual, a second one captured as a CUDA graph, and the rest are replays of it. Between
stretches the host looks at what has ended and drops those rows.

On the CPU the same steps run one by one, which is slower than the ordinary decode, and how the two
are compared.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import nn

from holdfast.policy.attention import KV
from holdfast.policy.backbone import Backbone
from holdfast.policy.decoding import Decode, look_back
from holdfast.policy.drawing import Recorder
from holdfast.policy.fused import compiled
from holdfast.policy.head import Head
from holdfast.policy.lean import Step
from holdfast.policy.recurrent import Scan, State

STRETCH = 64  # steps; rows that ended are computed until its end
WORTH_CAPTURING = 8  # steps at least: capturing one is work, too

log = logging.getLogger(__name__)


class FixedDecode(Decode):
    """A `Decode` whose step is a tensor, so that steps differ in nothing that Python sees.

    Attributes:
        step_1: [1], tokens that completions had before this step.
        visible: own keys that are looked at, of which those after `step_1` are hidden.
    """

    def __init__(
        self,
        prompt_kv: list[KV],
        prompt_mask_BP: torch.Tensor,
        group: int,
        steps: int,
        states: Mapping[int, State] | None = None,
    ):
        super().__init__(prompt_kv, prompt_mask_BP, group, steps, states)
        for keys, values in self.own_kv:  # a hidden value counts 0 times: it must not be NaN
            keys.zero_()
            values.zero_()
        self.step_1 = torch.zeros(1, dtype=torch.long, device=prompt_mask_BP.device)
        self.visible = steps

    def _store(self, layer: int, key_NhD: torch.Tensor, value_NhD: torch.Tensor) -> KV:
        own_k, own_v = self.own_kv[layer]
        own_k.index_copy_(2, self.step_1, key_NhD.unsqueeze(2))
        own_v.index_copy_(2, self.step_1, value_NhD.unsqueeze(2))
        return own_k[:, :, : self.visible], own_v[:, :, : self.visible]

    def scan(self, module: nn.Module, scan: Scan, rows_NC: torch.Tensor) -> torch.Tensor:
        before = self.states[id(module)]
        made_N1C, after = scan(rows_NC[:, None], before)
        for old, new in zip(before, after, strict=True):
            old.copy_(new)
        return made_N1C[:, 0]

    def _look_back(
        self, q_NhMD: torch.Tensor, scaling: float, own: KV, prompt: KV, window: int | None
    ) -> torch.Tensor:
        rest = self._hidden(self.step_1, window), self.slots, self.width, self.step_1, window
        return compiled(look_back)(q_NhMD, scaling, own, prompt, *rest)


def decode_in_stretches(
    backbone: Backbone,
    decode: FixedDecode,
    out: Recorder,
    tokens_N: torch.Tensor,
    positions_N: torch.Tensor,
) -> None:
    """All steps after the first, into `out`.

    Args:
        tokens_N: the first token of every completion, which `out` has.
        positions_N: its rotary position.

    Raises:
        NotFiniteError: a logit was not finite.
    """
    live = torch.arange(len(tokens_N), device=tokens_N.device)
    done, last = 0, out.sampling.max_tokens - 1
    hidden = backbone.stepper(int(positions_N.max()) + out.sampling.max_tokens)
    while done < last and not bool(out.finished[live].all()):
        going = (~out.finished[live]).nonzero().squeeze(1)
        if len(going) < len(live):
            decode.keep(going)
            live, tokens_N, positions_N = live[going], tokens_N[going], positions_N[going]
        count = min(STRETCH, last - done)
        decode.visible = done + count
        step = _step(hidden, backbone.head, decode, out, live, tokens_N, positions_N)
        if not _repeat(step, count, tokens_N.device if backbone.replays and tokens_N.is_cuda else None):
            backbone.replays = False
        done += count
        out.raise_if_infinite()


def _step(
    hidden: Step,
    head: Head,
    decode: FixedDecode,
    out: Recorder,
    live: torch.Tensor,
    tokens_N: torch.Tensor,
    positions_N: torch.Tensor,
) -> Callable[[], None]:
    """One step, which changes `decode`, `out` and `tokens_N` in place."""

    def step() -> None:
        hidden_ND = hidden(tokens_N, positions_N + decode.step_1, decode)
        decode.step_1 += 1
        tokens_N.copy_(out.record(decode.step_1, live, head(hidden_ND)))

    return step


def _repeat(step: Callable[[], None], count: int, capture: torch.device | None) -> bool:
    """Take `step` so many times.

    Args:
        capture: the card on which a CUDA graph does it from the second time on; None: without.

    Returns:
        False if it could not be captured, after a warning.
    """
    step()
    again, captured = step, True
    if capture is not None and count >= WORTH_CAPTURING:
        try:
            # Left to itself, torch records what the current card does, whichever the step computes on.
            with torch.cuda.device(capture):
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=_beside(capture)):  # records, computes nothing
                    step()
            again = graph.replay
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            log.warning("Decoding steps cannot be captured as a CUDA graph (%s); they are slower.", error)
            captured = False
    for _ in range(count - 1):
        again()
    if capture is not None:
        torch.cuda.current_stream(capture).synchronize()  # before a graph's memory is given back
    return captured


@cache
def _beside(card: torch.device) -> torch.cuda.Stream:
    """The stream of a card that its graphs are recorded on."""
    return torch.cuda.Stream(card)
