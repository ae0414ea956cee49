"""Random scenes: which cells hold which objects."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from holdfast.tasks.embedded.words import CELLS, KINDS, OPTIONS


def random_scene(
    rng: random.Random, count: int, kinds: Sequence[str] = KINDS, repeat: bool = False
) -> dict[int, str]:
    """`{cell: kind}` in reading order; kinds are distinct unless `repeat`."""
    cells = sorted(rng.sample(range(9), count))
    chosen = rng.choices(kinds, k=count) if repeat else rng.sample(kinds, count)
    return dict(zip(cells, chosen, strict=True))


def content_of(scene: Mapping[int, str]) -> str:
    return " ".join(f"{CELLS[cell]}:{kind}" for cell, kind in scene.items())


def options(
    rng: random.Random, answer: str, values: Sequence[str], count: int
) -> tuple[tuple[str, ...], str]:
    """`count` shuffled options with the answer among them, and the answer's letter."""
    chosen = [answer, *rng.sample([value for value in values if value != answer], count - 1)]
    rng.shuffle(chosen)
    return tuple(chosen), OPTIONS[chosen.index(answer)]


def option_text(choices: Sequence[str]) -> str:
    return " ".join(f"{letter} {choice}" for letter, choice in zip(OPTIONS, choices, strict=False))
