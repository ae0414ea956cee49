"""Which mechanisms are measured, on how much; each is a job of its own beside training.

The defaults keep drift and risk together below a fifth of the stage they describe
(benchmarks/measures.py).
"""

from __future__ import annotations

from pydantic import Field

from holdfast.settings import Settings


class Drift(Settings):
    """After each stage: how far the policy has moved, in what it says and in its weights."""

    prompts: int = Field(5, ge=2)  # of each task: the new one, earlier ones, general benchmarks
    samples: int = Field(1, ge=1)  # completions of each prompt and policy
    methods: tuple[str, ...] | None = Field(None, min_length=1)  # which are measured; None: all


class Risk(Settings):
    """Before each stage but the first: what an update on each instance would do to earlier tasks."""

    instances: int = Field(4, ge=2)  # of the new task
    samples: int = Field(8, ge=2)  # completions of each
    old: int = Field(8, ge=1)  # of all earlier tasks together
    methods: tuple[str, ...] | None = Field(None, min_length=1)


class Probe(Settings):
    """After the last stage: how much of each old task a few SFT steps bring back, on a copy."""

    examples: int = Field(16, ge=1)  # of the old task's training examples
    steps: int = Field(8, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    test_examples: int | None = Field(None, ge=1)  # of those that judge; None: all of them
    methods: tuple[str, ...] | None = Field(None, min_length=1)


class Measures(Settings):
    """What is measured besides accuracy; nothing unless it is asked for."""

    drift: Drift | None = None
    risk: Risk | None = None
    probe: Probe | None = None
