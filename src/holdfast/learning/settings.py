"""A method: objective, filter, and the numbers that drive the loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from holdfast.policy.settings import Sampling
from holdfast.settings import Settings
from holdfast.tasks.prompts import Style, Target

Objective = Literal["sft", "grpo", "rloo", "remax", "reinforce"]
Filter = Literal["none", "rif", "rif_strict", "random_matched", "unsolvable"]


# What is kept beside weights in bfloat16, so that none of their steps is lost (`bfloat16.py`).
OptimizerState = Literal["float32", "compact", "kahan"]


class Method(Settings):
    """Everything that determines how one stage learns.

    One iteration takes `batch` examples (for RFT: prompts, each sampled `group_size` times) and
    makes `updates` optimiser steps on them. `micro_batch` only bounds memory.
    """

    objective: Objective
    style: Style = "cot"
    target: Target = "answer"  # what SFT writes
    joint: bool = False  # all tasks at once (multi-task training), in one stage
    order: str | None = None  # one of the experiment's `orders`; None: as its sequence stands

    # Per task, or for each task its own (task: number); a joint stage makes as many for each of its tasks.
    iterations: PositiveInt | dict[str, PositiveInt] = 40
    batch: int = Field(16, ge=1)  # examples per iteration
    updates: int = Field(1, ge=1)  # optimiser steps per iteration
    micro_batch: int | None = Field(None, ge=1)  # examples per forward pass; None: all of a step's

    learning_rate: float = Field(gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = Field(0.0, ge=0, lt=1)  # share of the stage's steps
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    optimizer_state: OptimizerState = "float32"  # of weights in bfloat16
    clip_grad: float = Field(1.0, gt=0)  # norm

    # RFT, and SFT on sampled targets
    group_size: int = Field(8, ge=1)  # completions per prompt
    sampling: Sampling = Sampling()

    # SFT on sampled targets (target: sampled): completions of a policy that are right, one an example.
    sampled_by: Literal["stage_start", "base"] = "stage_start"  # who writes them
    show_answer: bool = False  # the writer is shown the reference answer (rationalisation)
    resample_every: int | None = Field(None, ge=1)  # iterations until the writer is the policy of that moment

    # RFT
    clip_low: float = Field(0.2, ge=0)  # the importance ratio stays in [1 - low, 1 + high]
    clip_high: float = Field(0.3, ge=0)
    # What a token of a completion with advantage A < 0 can cost is at most -dual_clip * A (arXiv 1912.09729).
    dual_clip: float | None = Field(None, gt=1)
    normalise_std: bool = True  # GRPO: divide by the group's standard deviation
    positives_only: bool = False  # wrong completions push nothing
    drop_zero_variance: bool = False  # prompts whose completions all have advantage 0 leave the step
    kl_coef: float = Field(0.0, ge=0)  # k3 KL to the reference
    kl_reference: Literal["stage_start", "base"] = "stage_start"

    # RIF-RFT
    filter: Filter = "none"
    filter_samples: int = Field(8, ge=1)  # roll-outs per training example
    filter_shortens: bool = False  # as many passes over what is kept as without the filter: fewer iterations

    @field_validator("iterations", mode="wrap")
    @classmethod
    def _counts(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            if not isinstance(value, bool):  # true would count as 1
                return validate(value)
        except ValidationError:  # one message in place of one for each form
            pass
        raise ValueError(
            f"must be a whole number of at least 1, or one for each task (task: number), not {value!r}"
        )

    def iterations_on(self, tasks: Sequence[str]) -> int:
        """Iterations of one stage that trains on these tasks."""
        if isinstance(self.iterations, int):
            return self.iterations * len(tasks)
        return sum(self.iterations[task] for task in tasks)

    @property
    def samples(self) -> bool:
        """Whether it learns from completions that a policy wrote."""
        return self.objective != "sft" or self.target == "sampled"

    def _changed(self, *keys: str) -> list[str]:
        """Which of these settings are not at their defaults."""
        return [key for key in keys if getattr(self, key) != type(self).model_fields[key].default]

    @model_validator(mode="after")
    def _consistent(self) -> Method:
        if self.objective in ("grpo", "rloo") and self.group_size < 2:
            raise ValueError(
                f"{self.objective} compares completions of one prompt, so group_size must be at least 2"
            )
        if self.objective == "sft":
            for key in self._changed("filter", "kl_coef", "positives_only", "drop_zero_variance"):
                raise ValueError(f"{key} needs an RFT objective (grpo, rloo, remax, reinforce)")
        else:
            for key in self._changed("target", "sampled_by", "show_answer", "resample_every"):
                raise ValueError(f"{key} is about what SFT writes; leave it out or use objective: sft")
        if self.objective != "grpo" and not self.normalise_std:
            raise ValueError(f"{self.objective} never normalises; leave normalise_std out")
        if self.samples and self.sampling.temperature == 0:
            raise ValueError(
                f"{'target: sampled' if self.objective == 'sft' else self.objective} learns from differing "
                "completions, so sampling.temperature must be above 0 (1.0: the policy itself)"
            )
        if self.objective == "sft" and self.target != "sampled":
            for key in self._changed("sampled_by", "show_answer", "resample_every"):
                raise ValueError(f"{key} needs target: sampled")
        if self.resample_every and self.sampled_by == "base":
            raise ValueError("resample_every follows the policy that learns; leave sampled_by: base out")
        if self.style == "direct" and self.target == "reasoned":
            raise ValueError("target: reasoned needs style: cot")
        if self.batch % self.updates:
            raise ValueError(f"batch ({self.batch}) must be a multiple of updates ({self.updates})")
        return self
