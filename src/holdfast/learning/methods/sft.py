"""Ways of learning that imitate: references, own right answers, or the policy that is shown the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from holdfast.learning.methods.method import Method, Shard, needs_differing_completions
from holdfast.learning.retention import Distributions
from holdfast.policy.settings import Sampling

if TYPE_CHECKING:
    from holdfast.learning.objectives import Objective
    from holdfast.learning.stage import Stage
    from holdfast.policy.policy import Policy
    from holdfast.policy.reference import Reference

# Settings that are about one loss, and that loss.
LOSS_SETTINGS = {"eaft_alpha": "eaft", "stm_perplexity": "stm", "psft_clip": "psft"}


class Likely(Method):
    """What learns to write given completions."""

    # dft: dynamic fine-tuning, in which a token counts as much as it is likely (arXiv 2508.05629). eaft:
    # entropy-adaptive, in which it counts as much as the policy is unsure there (arXiv 2601.02151). stm:
    # selective token masking, without what surprises the policy at the stage's start (arXiv 2501.14315).
    # psft: proximal, in which a token rests once an iteration has made it so much likelier (2508.17784).
    loss: Literal["nll", "dft", "eaft", "stm", "psft"] = "nll"
    eaft_alpha: float = Field(1.0, gt=0)  # the power of eaft's weights
    stm_perplexity: float = Field(2.5, gt=1)  # stm learns tokens of at most this, 1 over their probability
    psft_clip: float = Field(0.28, gt=0)  # how much likelier psft makes a token in an iteration

    @model_validator(mode="after")
    def _several_updates(self) -> Likely:
        if self.loss == "psft" and self.updates == 1:
            raise ValueError(
                "loss: psft holds steps to the policy before the first of an iteration; set updates above 1"
            )
        return self

    def determining(self, tasks: Sequence[str]) -> dict[str, Any]:
        settings = super().determining(tasks)
        others = {name for name, loss in LOSS_SETTINGS.items() if loss != self.loss}
        return {key: value for key, value in settings.items() if key not in others}

    @property
    def has_ratios(self) -> bool:
        return self.loss == "psft"

    @property
    def looks_at(self) -> Literal["stage_start", "base"] | None:
        return "stage_start" if self.loss == "stm" else None

    def _start(self, stage: Stage) -> Policy | Reference | None:
        """The policy at the stage's start, where the loss asks it."""
        return stage.past("stage_start") if self.loss == "stm" else None


class SFT(Likely):
    """Supervised fine-tuning on reference answers."""

    objective: Literal["sft"]
    target: Literal["answer", "reasoned"] = "answer"  # what it learns to write

    @model_validator(mode="after")
    def _target_of_style(self) -> SFT:
        if self.style == "direct" and self.target == "reasoned":
            raise ValueError("target: reasoned needs style: cot")
        return self

    def make(self, stage: Stage) -> Objective:
        from holdfast.learning.likelihood import Likelihood

        return Likelihood(self, stage.templates, self._start(stage))


class SampledSFT(Likely):
    """SFT on completions that a policy, the *writer*, wrote and got right; one for an example."""

    version: ClassVar[int] = 4
    objective: Literal["sft"]
    target: Literal["sampled"]  # it learns to write what a policy wrote and was right
    group_size: int = Field(8, ge=1)  # completions per prompt
    sampling: Sampling = Sampling()  # how they are drawn
    sampled_by: Literal["stage_start", "base"] = "stage_start"  # who writes them
    show_answer: bool = False  # the writer is shown the reference answer (rationalisation)
    resample_every: int | None = Field(None, ge=1)  # iterations until the writer is the policy of that moment

    @model_validator(mode="after")
    def _writes(self) -> SampledSFT:
        needs_differing_completions("target: sampled", self.sampling)
        if self.resample_every and self.sampled_by == "base":
            raise ValueError("resample_every follows the policy that learns; leave sampled_by: base out")
        if self.loss == "stm" and self.sampled_by == "base":
            raise ValueError("loss: stm asks the policy at the stage's start; leave sampled_by: base out")
        return self

    def make(self, stage: Stage) -> Objective:
        from holdfast.learning.sampled_targets import SampledLikelihood

        writer = None if self.resample_every == 1 else stage.past(self.sampled_by)
        hint = stage.hint if self.show_answer else None
        return SampledLikelihood(self, stage.templates, writer, hint, self._start(stage))

    @property
    def sampled(self) -> tuple[int, int] | None:
        return self.group_size, self.sampling.max_tokens

    @property
    def shows_answer(self) -> bool:
        return self.show_answer

    @property
    def looks_at(self) -> Literal["stage_start", "base"] | None:
        return super().looks_at if self.resample_every == 1 else self.sampled_by


class SDFT(Method):
    """Self-distillation: own answers, judged by the same model shown the reference (arXiv 2601.19897)."""

    objective: Literal["sdft"]
    sampling: Sampling = Sampling()  # how its answers are drawn
    teacher: Literal["stage_start", "base"] = "stage_start"  # the policy that is shown the reference
    # iSDFT (arXiv 2609.24646): the share of what the teacher knows better that a target has; 1: all of it.
    rho: float = Field(1.0, gt=0, le=1)
    rho_start: float | None = Field(None, gt=0, le=1)  # in the first iteration of a stage; None: as rho
    rho_ramp: float = Field(1.0, gt=0, le=1)  # share of a stage's iterations after which it is rho

    @model_validator(mode="after")
    def _writes(self) -> SDFT:
        needs_differing_completions("sdft", self.sampling)
        return self

    def make(self, stage: Stage) -> Objective:
        from holdfast.learning.distillation import SelfDistillation

        teacher = stage.past(self.teacher)
        return SelfDistillation(self, stage.templates, teacher, stage.hint, stage.iterations)

    def rho_of(self, iteration: int, iterations: int) -> float:
        """The share of an iteration of a stage; it changes evenly."""
        start = self.rho if self.rho_start is None else self.rho_start
        return start + (self.rho - start) * min(1.0, iteration / (self.rho_ramp * iterations))

    def determining(self, tasks: Sequence[str]) -> dict[str, Any]:
        settings = super().determining(tasks)
        unused = {"rho"} if self.rho == 1 else set()  # as before there was such a setting
        unused |= {"rho_start", "rho_ramp"} if self.rho_start in (None, self.rho) else set()
        return {key: value for key, value in settings.items() if key not in unused}

    def not_sharded(self, shard: Shard) -> str | None:
        if shard == "full":
            return "its teacher is asked within a step, where shard: full has other weights; take optimizer"
        return super().not_sharded(shard)

    @property
    def sampled(self) -> tuple[int, int] | None:
        return 1, self.sampling.max_tokens

    @property
    def distributions(self) -> Distributions:
        from holdfast.learning.distillation import TABLES

        tables = TABLES + (min(self.rho, self.rho_start or 1) < 1)  # what the teacher is ahead
        return Distributions(tables, self.batch // self.updates, 1)

    @property
    def shows_answer(self) -> bool:
        return True

    @property
    def looks_at(self) -> Literal["stage_start", "base"] | None:
        return self.teacher
