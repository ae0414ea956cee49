"""What goes into linear layers, heard while a pass goes on: what SSU and GPM measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


@contextmanager
def listening(
    policy: Policy, names: Iterable[str], heard: Callable[[str, torch.Tensor], object]
) -> Iterator[None]:
    """Within the block, what goes into these matrices is told, [..., I] in float32, with the name.

    Each rank hears all: else a pass that they share out would let a rank hear its own part alone.
    """

    def listen(name: str, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        heard(name, inputs[0].detach().float())

    handles = [
        policy.model.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(
            partial(listen, name)
        )
        for name in names
    ]
    try:
        with policy.shards.by_itself():
            yield
    finally:
        for handle in handles:
            handle.remove()
