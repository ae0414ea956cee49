"""A step of Holdfast taken apart: every second belongs to one part, and a GPU ends one before the next.

Waiting for the GPU between parts costs a little, so a step that is taken apart is none that is compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

from holdfast.policy import sampling
from holdfast.policy.policy import Policy

SAMPLING = ("encode", "pictures", "prefill", "decode")
TRAINING = ("pictures again", "forward", "backward", "optimiser")
REST = "rest"  # grading and the like


class Parts:
    """A clock for every part; the innermost part that is open runs, those around it stand still."""

    def __init__(self, synchronise: Callable[[], object]) -> None:
        self.seconds: dict[str, float] = {}
        self._open = [REST]
        self._synchronise = synchronise
        self._since = time.perf_counter()

    def book(self) -> None:
        """Count the time until now."""
        self._synchronise()
        now = time.perf_counter()
        self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def within(self, part: str) -> bool:
        return part in self._open

    def begin(self, part: str) -> None:
        self.book()
        self._open.append(part)

    def end(self) -> None:
        self.book()
        self._open.pop()

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, on the clock of a part."""

        def timed(*arguments: Any, **names: Any) -> Any:
            self.begin(part)
            try:
                return work(*arguments, **names)
            finally:
                self.end()

        return timed


@contextmanager
def taken_apart(policy: Policy, objective: Any, optimizer: torch.optim.Optimizer) -> Iterator[Parts]:
    """Times what the block does with these three."""
    on_gpu = policy.device.type == "cuda"
    parts = Parts(torch.cuda.synchronize if on_gpu else lambda: None)
    tower = getattr(policy.model.model, policy.family.vision[0])

    def pictures(*_: Any) -> None:
        parts.begin("pictures again" if parts.within("forward") else "pictures")

    wrapped = (
        (policy, "encode", "encode"),
        (policy, "prefill", "prefill"),
        (sampling, "prefill", "prefill"),
        (policy, "sample", "decode"),  # less what is within it
        (objective, "loss", "forward"),
        (torch.Tensor, "backward", "backward"),
        (optimizer, "step", "optimiser"),
    )
    with ExitStack() as stack:
        for owner, name, part in wrapped:
            work = parts.timed(part, getattr(owner, name))
            stack.enter_context(mock.patch.object(owner, name, work))
        handles = (
            tower.register_forward_pre_hook(pictures),
            tower.register_forward_hook(lambda *_: parts.end()),
        )
        try:
            yield parts
            parts.book()
        finally:
            for handle in handles:
                handle.remove()
