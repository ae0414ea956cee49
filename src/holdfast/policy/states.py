"""Memory of layers that carry a state (`policy/recurrent.py`), as transformers' own code computes them.

It works in float32, chunk by chunk, on pairs of a chunk's tokens, and keeps much of that for the backward
pass; the kernels of flash-linear-attention, where they are installed, keep a fraction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

KIND = "linear_attention"  # among a text model's `layer_types`
CHUNK = 64  # tokens, at most


@dataclass(frozen=True)
class States:
    """Gated DeltaNets (arXiv 2412.06464) of a text model.

    Attributes:
        layers: how many there are.
        heads, key, value: matrices of a layer's state, and their sizes.
        channels: of the convolution in front.
    """

    layers: int
    heads: int
    key: int
    value: int
    channels: int

    @classmethod
    def of(cls, text: Any) -> States | None:
        """Of a text model's transformers configuration; None if it has none that are known."""
        layers = list(getattr(text, "layer_types", None) or []).count(KIND)
        if not layers or not hasattr(text, "linear_num_value_heads"):
            return None
        heads, key, value = text.linear_num_value_heads, text.linear_key_head_dim, text.linear_value_head_dim
        return cls(layers, heads, key, value, 2 * text.linear_num_key_heads * key + heads * value)

    def kept(self, rows: Iterable[tuple[int, int]], size: int) -> int:
        """Bytes that one layer keeps for the backward pass over rows: how many, and how long.

        Per token the convolution's inputs and outputs, gates and norms (4 X + 4 h E, in the model's
        numbers). In float32 per token and head queries and keys as they are normalised, scaled, weighed and
        decayed (11 D), values and what is computed of them (8 E), and six numbers a pair of a chunk's
        tokens; per chunk three states (D E). Kernels keep queries, keys and values, and one number a pair,
        in the model's.
        """
        total = 0
        for count, length in rows:
            wide = 4 * self.channels + 4 * self.heads * self.value
            total += count * length * size * wide
            if find_spec("fla") is not None:
                total += count * length * size * self.heads * (2 * self.key + self.value + CHUNK)
                continue
            chunk = chunk_of(length)
            each = chunk * (11 * self.key + 8 * self.value + 6 * chunk) + 3 * self.key * self.value
            total += count * -(-length // chunk) * self.heads * 4 * each
        return total

    def sampled(self, rows: int, size: int) -> int:
        """Bytes of the states and last inputs of so many rows that are drawn, with a step's new ones."""
        each = 4 * self.heads * self.key * self.value + 4 * self.channels * size
        return 2 * self.layers * rows * each


def chunk_of(length: int) -> int:
    """Tokens of a chunk of rows that long on a CPU; rows are filled up to whole chunks."""
    return min(CHUNK, -(-length // 8) * 8)
