"""Layers that carry a state from token to token, where others attend to all tokens before.

Gated DeltaNets (arXiv 2412.06464), three of four layers of a Qwen3.5 or a Qwen3-Next. What such a module
knows of a prompt is of one size: the last inputs of its convolution, and a matrix a head. So a group starts
from its prompt's state, which is computed once. transformers' own module does the work, in padded rows; it
is given what it takes for its cache.

Shapes: S rows, L their longest, C hidden size, X channels of the convolution, K its width, H heads, D and E
sizes of a key and a value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F

from holdfast.policy.states import chunk_of

NAME = "linear_attn"  # of such a module in a layer
State = tuple[torch.Tensor, torch.Tensor]  # last inputs [S, X, K - 1], memory [S, H, D, E]


def take_over(text: Any) -> bool:
    """Have layouts lead the recurrent modules of a text model; whether there are any."""
    modules = [getattr(layer, NAME) for layer in text.layers if hasattr(layer, NAME)]
    for module in modules:
        module.forward = MethodType(_forward, module)
    return bool(modules)


def _forward(module: Any, hidden_states: torch.Tensor, *rest: Any, layout: Any = None, **named: Any) -> Any:
    """The module's own, in which a layout scans its packed tokens."""
    own = partial(type(module).forward, module)
    if layout is None:
        return own(hidden_states, *rest, **named)
    return layout.scan(module, partial(scan, own), hidden_states[0])[None]


Scan = Callable[[torch.Tensor, State | None], tuple[torch.Tensor, State]]


def scan(own: Callable[..., torch.Tensor], rows_SLC: torch.Tensor, state: State | None) -> Any:
    """What a module makes of rows that go on from a state, and the state after their last tokens."""
    length, start = rows_SLC.shape[1], 0
    if length == 1 and torch.is_grad_enabled():  # kernels for one token have no way back
        start = int(state is None)  # zeros before all leave no trace; after, in a state that ends here
        rows_SLC = F.pad(rows_SLC, (0, 0, start, 1 - start))
    # transformers' own computation fills up a row to whole chunks, of 64 tokens unless told; kernels know it.
    chunk = {"chunk_size": chunk_of(length)} if rows_SLC.is_cpu else {}
    carried = Carried(state)
    made_SLC = own(rows_SLC, carried, **chunk)[:, start : start + length]
    if carried.inputs is None or carried.memory is None:
        raise ValueError("a module with a state did not leave it")
    return made_SLC, (carried.inputs, carried.memory)


class Carried:
    """One module's state, as it asks transformers' cache for it. Nothing is written in place."""

    def __init__(self, state: State | None):
        self.inputs: torch.Tensor | None = None if state is None else state[0]
        self.memory: torch.Tensor | None = None if state is None else state[1]

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> torch.Tensor | None:
        return self.inputs

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> torch.Tensor | None:
        return self.memory

    def is_recording_past(self, layer_idx: int) -> bool:
        return True  # so that no kernel writes into the last inputs

    def update_conv_state(
        self, inputs_SXL: torch.Tensor, layer_idx: int, conv_kernel_size: int
    ) -> torch.Tensor:
        """The inputs, after those that came before them."""
        before = conv_kernel_size - 1
        if self.inputs is None:
            inputs_SXL = F.pad(inputs_SXL, (before, 0))
        else:
            inputs_SXL = torch.cat([self.inputs, inputs_SXL], -1)
        self.inputs = inputs_SXL[..., inputs_SXL.shape[-1] - before :]
        return inputs_SXL

    def update_recurrent_state(self, memory: torch.Tensor, layer_idx: int) -> None:
        self.memory = memory
