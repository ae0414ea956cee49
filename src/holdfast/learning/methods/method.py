"""What every way of learning has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from holdfast.learning.retention import Distributions, Strategy, parse_strategies
from holdfast.policy.settings import Sampling
from holdfast.settings import LARGEST, Settings, whole_or_each
from holdfast.tasks.prompts import Style

if TYPE_CHECKING:
    from holdfast.learning.objectives import Objective
    from holdfast.learning.stage import Stage

# What is kept beside weights in bfloat16, so that none of their steps is lost (`bfloat16.py`).
OptimizerState = Literal["float32", "compact", "kahan"]
# What of a stage's training state a rank keeps a part of only: nothing, the optimiser's state, or all of it.
Shard = Literal["none", "optimizer", "full"]
Iterations = Annotated[int, Field(ge=1, le=LARGEST)]
Beta = Annotated[float, Field(ge=0, lt=1)]

# They choose tasks, or count only with what an experiment has: inputs of their own where they count.
_INPUTS_OF_THEIR_OWN = {"joint", "order", "optimizer_state"}
# Settings that came later count where they are used only, so that earlier results stay valid.
_LATER = (
    "dual_clip", "filter_shortens", "positives_only", "drop_zero_variance", "show_answer", "resample_every",
    "reward", "retention", "loss", "eaft_alpha", "stm_perplexity", "psft_clip", "loss_mean", "refills",
    "optimizer", "sampler", "shards",
)  # fmt: skip


class Method(Settings):
    """What every way of learning has.

    One iteration takes `batch` examples (for RFT: prompts, each sampled `group_size` times) and
    makes `updates` optimiser steps on them. `micro_batch` only bounds memory.
    """

    version: ClassVar[int] = 3  # raise when a stage's result changes for the same settings
    shards_version: ClassVar[int] = 3  # the same, where batches are cut into several shards
    group_baseline: ClassVar[bool] = False  # whether completions of one prompt without variance teach nothing

    objective: str  # how it learns: sft, grpo, …, or FILE.py:CLASS
    style: Style = "cot"  # of prompts and answers: reasoned, or bare
    joint: bool = False  # all tasks at once (multi-task training), in one stage
    order: str | None = None  # one of the experiment's `orders`; None: as its sequence stands

    # Per task, or for each task its own (task: number); a joint stage makes as many for each of its tasks.
    iterations: Iterations | dict[str, Iterations] = 40
    batch: int = Field(16, ge=1)  # examples per iteration
    updates: int = Field(1, ge=1)  # optimiser steps per iteration
    micro_batch: int | None = Field(None, ge=1)  # examples per forward pass; None: all of a step's
    # Parts of a batch that are computed apart, so that up to as many devices can share a stage and none
    # changes a bit of it.
    shards: int = Field(1, ge=1)

    learning_rate: float = Field(gt=0)  # of the optimiser, at its highest
    schedule: Literal["constant", "cosine"] = "constant"  # of the learning rate, after its warmup
    warmup: float = Field(0.0, ge=0, lt=1)  # share of the stage's steps
    weight_decay: float = Field(0.01, ge=0)  # decoupled, as in AdamW
    optimizer: Literal["adamw", "muon"] = "adamw"  # muon is for matrices, AdamW for the rest (retention.md)
    betas: tuple[Beta, Beta] = (0.9, 0.999)  # of AdamW
    optimizer_state: OptimizerState = "float32"  # of weights in bfloat16
    clip_grad: float = Field(1.0, gt=0)  # norm

    # Devices against forgetting, in this order; one alone needs no list.
    retention: Annotated[tuple[SerializeAsAny[Strategy], ...], BeforeValidator(parse_strategies)] = ()

    @field_validator("iterations", mode="wrap")
    @classmethod
    def _counts(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        return whole_or_each(value, validate, "of at least 1")

    @model_validator(mode="after")
    def _fits(self) -> Method:
        if self.batch % self.updates:
            raise ValueError(f"batch ({self.batch}) must be a multiple of updates ({self.updates})")
        if self.shards & (self.shards - 1):
            raise ValueError(f"shards must be a power of two, not {self.shards}")
        if self.shards > self.batch // self.updates:
            raise ValueError(
                f"shards ({self.shards}) are parts of a step's examples, of which there are "
                f"{self.batch // self.updates} (batch / updates)"
            )
        if self.retention and self.joint:
            raise ValueError("a joint method has no earlier tasks to retain; leave retention out")
        if len(taking := [strategy.name for strategy in self.retention if strategy.takes_places]) > 1:
            raise ValueError(
                f"retention: {' and '.join(taking)} take the same places of a batch; keep one of them"
            )
        for strategy in self.retention:
            if reason := strategy.unfit(self):
                raise ValueError(f"retention: {strategy.kind} {reason}")
        return self

    def not_shared(self, devices: int) -> str | None:
        """Why so many devices cannot learn a stage together; None if they can."""
        if self.shards % devices == 0:
            return None
        fewer = max(n for n in range(1, devices) if self.shards % n == 0)
        more = "" if devices & (devices - 1) else f", or shards: {devices}, which makes results of its own"
        shards = f"{self.shards} {'shard' if self.shards == 1 else 'shards'}"
        return f"{devices} devices cannot share {shards} evenly; take --devices {fewer}{more}"

    def not_sharded(self, shard: Shard) -> str | None:
        """Why ranks cannot share out so much of a stage's training state; None if they can."""
        if shard != "none" and self.retention:
            return f"strategies look at all of the optimiser's state, so shard: {shard} does not go with them"
        return None

    def make(self, stage: Stage) -> Objective:
        """What learns, at the start of a stage."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it learns by")

    def iterations_on(self, tasks: Sequence[str]) -> int:
        """Iterations of one stage that trains on these tasks."""
        if isinstance(self.iterations, int):
            return self.iterations * len(tasks)
        return sum(self.iterations[task] for task in tasks)

    def determining(self, tasks: Sequence[str]) -> dict[str, Any]:
        """The settings that can change what a stage on these tasks learns, as plain data."""
        settings = self.model_dump(mode="json", exclude=_INPUTS_OF_THEIR_OWN)
        settings["retention"] = [strategy.determining() for strategy in self.retention]
        if not isinstance(self.iterations, int):
            settings["iterations"] = self.iterations_on(tasks)
        return {
            key: value for key, value in settings.items() if key not in _LATER or self._is_used(key, value)
        }

    def _is_used(self, key: str, value: Any) -> bool:
        """Whether a setting is not as it would be anyway; without, some are off in several ways."""
        usual = type(self).model_fields[key].default
        return value != usual and bool(value or usual)

    @property
    def completions(self) -> int:
        """Completions of one prompt that a step learns from."""
        return 1

    @property
    def sampled(self) -> tuple[int, int] | None:
        """Completions of one prompt that a policy writes, and their most tokens; None if it writes none."""
        return None

    @property
    def shows_answer(self) -> bool:
        """Whether who writes is shown the reference answer."""
        return False

    @property
    def looks_at(self) -> Literal["stage_start", "base"] | None:
        """The policy that a stage needs besides the one that learns, if any."""
        return None

    @property
    def has_ratios(self) -> bool:
        """Whether steps hold the policy against that before the iteration's updates, by one more pass."""
        return False

    @property
    def distributions(self) -> Distributions | None:
        """What its loss holds of the vocabulary at once, if that is whole distributions."""
        return None

    @property
    def filters(self) -> bool:
        """Whether a stage trains on examples that roll-outs chose."""
        return False


def needs_differing_completions(who: str, sampling: Sampling) -> None:
    """See that what is sampled may differ.

    Raises:
        ValueError: it would always be the same.
    """
    if sampling.temperature == 0:
        raise ValueError(
            f"{who} learns from differing completions, so sampling.temperature must be above 0 "
            "(1.0: the policy itself)"
        )
