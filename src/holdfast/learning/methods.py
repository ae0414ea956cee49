"""Methods: ways of learning, each a class with the settings that change it.

`objective` chooses the class. Another way of learning is a class made from one of these, here or in a file
of your own (`objective: ways.py:Mine`); an advantage estimator is an `RFT` with `advantages` of its own:

    class Centred(RFT):
        objective: Literal["ways.py:Centred"]

        def advantages(self, rewards_BG, greedy_B):
            return rewards_BG - rewards_BG.mean(dim=1, keepdim=True)

Nothing here needs torch: what learns is made by `make`, in a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from holdfast import plugins
from holdfast.errors import InputError, shortened, suggestion
from holdfast.learning.retention import Strategy, parse_strategies
from holdfast.policy.settings import Sampling
from holdfast.settings import LARGEST, Settings
from holdfast.tasks.prompts import Style

if TYPE_CHECKING:
    import torch

    from holdfast.learning.objectives import Objective
    from holdfast.learning.stage import Stage
    from holdfast.learning.surrogates import Sampled, Surrogate

FILTERS = (
    "none", "rif", "rif_strict", "random_matched", "unsolvable",
    "rif_equal", "unsolvable_equal", "random_equal",
)  # fmt: skip
# What is kept beside weights in bfloat16, so that none of their steps is lost (`bfloat16.py`).
OptimizerState = Literal["float32", "compact", "kahan"]
# The mean of a step's losses: over its tokens; over completions, each the mean of its tokens (as GRPO was
# published); over so many neighbours' means, each over their tokens (as micro-batches make them); or over as
# many tokens as there could be, so that no answer gains by its length (Dr. GRPO).
LossMean = Literal["tokens", "sequences", "constant"] | Annotated[int, Field(ge=1)]
Iterations = Annotated[int, Field(ge=1, le=LARGEST)]
Beta = Annotated[float, Field(ge=0, lt=1)]

# They choose tasks, or count only with what an experiment has: inputs of their own where they count.
_INPUTS_OF_THEIR_OWN = {"joint", "order", "optimizer_state"}
# Settings that came later count where they are used only, so that earlier results stay valid.
_LATER = (
    "dual_clip", "filter_shortens", "positives_only", "drop_zero_variance", "show_answer", "resample_every",
    "reward", "retention", "loss", "loss_mean", "refills", "optimizer",
)  # fmt: skip


class Method(Settings):
    """What every way of learning has.

    One iteration takes `batch` examples (for RFT: prompts, each sampled `group_size` times) and
    makes `updates` optimiser steps on them. `micro_batch` only bounds memory.
    """

    objective: str
    style: Style = "cot"
    joint: bool = False  # all tasks at once (multi-task training), in one stage
    order: str | None = None  # one of the experiment's `orders`; None: as its sequence stands

    # Per task, or for each task its own (task: number); a joint stage makes as many for each of its tasks.
    iterations: Iterations | dict[str, Iterations] = 40
    batch: int = Field(16, ge=1)  # examples per iteration
    updates: int = Field(1, ge=1)  # optimiser steps per iteration
    micro_batch: int | None = Field(None, ge=1)  # examples per forward pass; None: all of a step's

    learning_rate: float = Field(gt=0)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = Field(0.0, ge=0, lt=1)  # share of the stage's steps
    weight_decay: float = Field(0.01, ge=0)
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.999)  # of AdamW
    optimizer_state: OptimizerState = "float32"  # of weights in bfloat16
    clip_grad: float = Field(1.0, gt=0)  # norm

    # Devices against forgetting, in this order; one alone needs no list.
    retention: Annotated[tuple[SerializeAsAny[Strategy], ...], BeforeValidator(parse_strategies)] = ()

    @field_validator("iterations", mode="wrap")
    @classmethod
    def _counts(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            if not isinstance(value, bool):  # true would count as 1
                return validate(value)
        except ValidationError:  # one message in place of one for each form
            pass
        raise ValueError(
            f"must be a whole number of at least 1, or one for each task (task: number), "
            f"not {shortened(repr(value))}"
        )

    @model_validator(mode="after")
    def _fits(self) -> Method:
        if self.batch % self.updates:
            raise ValueError(f"batch ({self.batch}) must be a multiple of updates ({self.updates})")
        if self.retention and self.joint:
            raise ValueError("a joint method has no earlier tasks to retain; leave retention out")
        for strategy in self.retention:
            if reason := strategy.unfit(self):
                raise ValueError(f"retention: {strategy.kind} {reason}")
        return self

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
        if not isinstance(self.iterations, int):
            settings["iterations"] = self.iterations_on(tasks)
        return {
            key: value
            for key, value in settings.items()
            if key not in _LATER or (value and value != type(self).model_fields[key].default)
        }

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
    def filters(self) -> bool:
        """Whether a stage trains on examples that roll-outs chose."""
        return False


class Likely(Method):
    """What learns to write given completions."""

    # dft: dynamic fine-tuning, in which a token counts as much as it is likely (arXiv 2508.05629).
    loss: Literal["nll", "dft"] = "nll"


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
        from holdfast.learning.objectives import Likelihood

        return Likelihood(self, stage.templates)


class SampledSFT(Likely):
    """SFT on completions that a policy, the *writer*, wrote and got right; one for an example."""

    objective: Literal["sft"]
    target: Literal["sampled"]
    group_size: int = Field(8, ge=1)  # completions per prompt
    sampling: Sampling = Sampling()
    sampled_by: Literal["stage_start", "base"] = "stage_start"  # who writes them
    show_answer: bool = False  # the writer is shown the reference answer (rationalisation)
    resample_every: int | None = Field(None, ge=1)  # iterations until the writer is the policy of that moment

    @model_validator(mode="after")
    def _writes(self) -> SampledSFT:
        _needs_differing_completions("target: sampled", self.sampling)
        if self.resample_every and self.sampled_by == "base":
            raise ValueError("resample_every follows the policy that learns; leave sampled_by: base out")
        return self

    def make(self, stage: Stage) -> Objective:
        from holdfast.learning.sampled_targets import SampledLikelihood

        writer = None if self.resample_every == 1 else stage.past(self.sampled_by)
        return SampledLikelihood(self, stage.templates, writer, stage.hint if self.show_answer else None)

    @property
    def sampled(self) -> tuple[int, int] | None:
        return self.group_size, self.sampling.max_tokens

    @property
    def shows_answer(self) -> bool:
        return self.show_answer

    @property
    def looks_at(self) -> Literal["stage_start", "base"] | None:
        return None if self.resample_every == 1 else self.sampled_by


class SDFT(Method):
    """Self-distillation: own answers, judged by the same model shown the reference (arXiv 2601.19897)."""

    objective: Literal["sdft"]
    sampling: Sampling = Sampling()
    teacher: Literal["stage_start", "base"] = "stage_start"

    @model_validator(mode="after")
    def _writes(self) -> SDFT:
        _needs_differing_completions("sdft", self.sampling)
        return self

    def make(self, stage: Stage) -> Objective:
        from holdfast.learning.distillation import SelfDistillation

        return SelfDistillation(self, stage.templates, stage.past(self.teacher), stage.hint)

    @property
    def sampled(self) -> tuple[int, int] | None:
        return 1, self.sampling.max_tokens

    @property
    def shows_answer(self) -> bool:
        return True

    @property
    def looks_at(self) -> Literal["stage_start", "base"] | None:
        return self.teacher


class RFT(Method):
    """Reinforcement fine-tuning: sample groups, grade them, push each completion by its advantage."""

    group_baseline: ClassVar[bool] = False  # whether a group without variance teaches nothing
    greedy: ClassVar[bool] = False  # whether each group has one more completion, decoded greedily

    group_size: int = Field(8, ge=1)  # completions per prompt
    sampling: Sampling = Sampling()
    # What is learned from: parts with their weights, of `accuracy`, `format` and rules.py:NAME. None: 0.9
    # accuracy and 0.1 format under cot, accuracy under direct.
    reward: dict[str, float] | None = Field(None, min_length=1)

    clip_low: float = Field(0.2, ge=0)  # the importance ratio stays in [1 - low, 1 + high]
    clip_high: float = Field(0.3, ge=0)
    # What a token of a completion with advantage A < 0 can cost is at most -dual_clip * A (arXiv 1912.09729).
    dual_clip: float | None = Field(None, gt=1)
    positives_only: bool = False  # wrong completions push nothing
    drop_zero_variance: bool = False  # prompts whose completions all have advantage 0 leave the step
    refills: int = Field(0, ge=0)  # further draws of prompts, until a batch of those that stay is full
    loss_mean: LossMean = "tokens"
    kl_coef: float = Field(0.0, ge=0)  # k3 KL to the reference
    kl_reference: Literal["stage_start", "base"] = "stage_start"

    # RIF-RFT
    filter: Annotated[str, AfterValidator(lambda value: _known(value, FILTERS, "filter"))] = "none"
    filter_samples: int = Field(8, ge=1)  # roll-outs per training example
    filter_shortens: bool = False  # as many passes over what is kept as without the filter: fewer iterations

    @field_validator("reward")
    @classmethod
    def _known_parts(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for part in value or ():
            _known(part, ("accuracy", "format"), "part of a reward")
        return value

    @model_validator(mode="after")
    def _samples(self) -> RFT:
        if self.group_baseline and self.group_size < 2:
            raise ValueError(
                f"{self.objective} compares completions of one prompt, so group_size must be at least 2"
            )
        _needs_differing_completions(self.objective, self.sampling)
        if self.refills and not self.drop_zero_variance:
            raise ValueError(
                "refills take the places of prompts that leave; they need drop_zero_variance: true"
            )
        return self

    def advantages(self, rewards_BG: torch.Tensor, greedy_B: torch.Tensor | None) -> torch.Tensor:
        """How much each completion is pushed.

        Args:
            rewards_BG: of B prompts' G completions.
            greedy_B: rewards of the greedy completions, for a class that is `greedy`.

        Returns:
            Advantages [B, G].
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it weighs completions")

    def surrogate(self, sampled: Sampled) -> Surrogate:
        """What each token counts, and which have no gradient for being clipped, both [B, G, R]."""
        from holdfast.learning.surrogates import clipped_ratio

        return clipped_ratio(sampled, self.clip_low, self.clip_high, self.dual_clip)

    def make(self, stage: Stage) -> Objective:
        from holdfast.learning.objectives import PolicyGradient

        reference = stage.past(self.kl_reference) if self.kl_coef else None
        return PolicyGradient(self, stage.templates, reference, stage.items)

    def determining(self, tasks: Sequence[str]) -> dict[str, Any]:
        settings = super().determining(tasks)
        unused = {"filter", "filter_samples", "filter_shortens"} if self.filter == "none" else set()
        unused |= set() if self.kl_coef else {"kl_reference"}
        # With a penalty, results are others since it is the divergence that is clamped.
        clamp = {"kl_clamp": "k3"} if self.kl_coef else {}
        return {key: value for key, value in settings.items() if key not in unused} | clamp

    @property
    def completions(self) -> int:
        return self.group_size

    @property
    def sampled(self) -> tuple[int, int] | None:
        return self.group_size + self.greedy, self.sampling.max_tokens

    @property
    def looks_at(self) -> Literal["stage_start", "base"] | None:
        return self.kl_reference if self.kl_coef else None

    @property
    def filters(self) -> bool:
        return self.filter != "none"


class GRPO(RFT):
    """Rewards relative to their group: DeepSeekMath (arXiv 2402.03300), eq. 3 with outcome rewards."""

    group_baseline = True
    objective: Literal["grpo"]
    normalise_std: bool = True  # divide by the group's standard deviation

    def advantages(self, rewards_BG: torch.Tensor, greedy_B: torch.Tensor | None) -> torch.Tensor:
        from holdfast.learning.advantages import group_relative

        return group_relative(rewards_BG, self.normalise_std)


class DrGRPO(GRPO):
    """GRPO without what favours long wrong answers: Liu et al. (arXiv 2503.20783), sec. 3."""

    objective: Literal["dr_grpo"]  # type: ignore[assignment]
    normalise_std: bool = False
    loss_mean: LossMean = "constant"


class DAPO(GRPO):
    """GRPO with room above, and batches of prompts that teach: Yu et al. (arXiv 2503.14476), sec. 3.1 to 3.3.

    Its penalty on overlong answers (sec. 3.4) is a reward: `reward: {accuracy: 1, rules.py:brevity: 1}`.
    """

    objective: Literal["dapo"]  # type: ignore[assignment]
    clip_high: float = Field(0.28, ge=0)
    drop_zero_variance: bool = True
    refills: int = Field(9, ge=0)


class GSPO(GRPO):
    """GRPO with one ratio a completion: Zheng et al. (arXiv 2507.18071)."""

    objective: Literal["gspo"]  # type: ignore[assignment]
    clip_low: float = Field(3e-4, ge=0)  # sec. 5.1
    clip_high: float = Field(4e-4, ge=0)
    dual_clip: None = None
    loss_mean: LossMean = "sequences"

    def surrogate(self, sampled: Sampled) -> Surrogate:
        from holdfast.learning.surrogates import clipped_sequence_ratio

        return clipped_sequence_ratio(sampled, self.clip_low, self.clip_high)


class CISPO(GRPO):
    """GRPO that bounds the weight of a token in place of its ratio: MiniMax-M1 (arXiv 2506.13585)."""

    objective: Literal["cispo"]  # type: ignore[assignment]
    clip_low: float = Field(1.0, ge=0)  # none
    dual_clip: None = None

    def surrogate(self, sampled: Sampled) -> Surrogate:
        from holdfast.learning.surrogates import clipped_weight

        return clipped_weight(sampled, self.clip_low, self.clip_high)


class RLOO(RFT):
    """Reward minus the mean of the *other* completions: Ahmadian et al. (arXiv 2402.14740), sec. 2.2."""

    group_baseline = True
    objective: Literal["rloo"]

    def advantages(self, rewards_BG: torch.Tensor, greedy_B: torch.Tensor | None) -> torch.Tensor:
        from holdfast.learning.advantages import leave_one_out

        return leave_one_out(rewards_BG)


class ReMax(RFT):
    """Reward minus that of the greedy completion: Li et al. (arXiv 2310.10505), alg. 2."""

    greedy = True
    objective: Literal["remax"]

    def advantages(self, rewards_BG: torch.Tensor, greedy_B: torch.Tensor | None) -> torch.Tensor:
        assert greedy_B is not None, "there is one more completion for each prompt"
        return rewards_BG - greedy_B.unsqueeze(1)


class Reinforce(RFT):
    """The reward itself, without a baseline (Williams, 1992)."""

    objective: Literal["reinforce"]

    def advantages(self, rewards_BG: torch.Tensor, greedy_B: torch.Tensor | None) -> torch.Tensor:
        return rewards_BG.clone()


WAYS: dict[str, tuple[type[Method], ...]] = {  # those of one name are told apart by their targets
    "sft": (SFT, SampledSFT),
    "sdft": (SDFT,),
    "grpo": (GRPO,),
    "dr_grpo": (DrGRPO,),
    "dapo": (DAPO,),
    "gspo": (GSPO,),
    "cispo": (CISPO,),
    "rloo": (RLOO,),
    "remax": (ReMax,),
    "reinforce": (Reinforce,),
}


def way(settings: Mapping[str, Any]) -> type[Method]:
    """The class that a method's settings choose.

    Raises:
        InputError: there is no such objective, or the code it names cannot be used.
    """
    objective = settings.get("objective")
    if plugins.is_reference(objective):
        found: type[Method] = plugins.load_class(str(objective), Method)
        if found.make is Method.make or (issubclass(found, RFT) and found.advantages is RFT.advantages):
            lacks = "make" if found.make is Method.make else "advantages"
            raise InputError(f"{objective} has no `{lacks}`, which says how it learns; add it to the class")
        return found
    if not isinstance(objective, str) or objective not in WAYS:
        known = ", ".join(WAYS)
        hint = suggestion(objective, WAYS) if isinstance(objective, str) else ""
        raise InputError(f"must be one of {known}, or FILE.py:CLASS, not {objective!r}{hint}")
    classes = WAYS[objective]
    return next((one for one in classes if settings.get("target") in _targets(one)), classes[0])


def make_method(**settings: Any) -> Method:
    """The method with these settings.

    Raises:
        InputError: there is no such objective.
        ValidationError: a setting is wrong.
    """
    return way(settings).model_validate(settings)


def every_setting(methods: Iterable[Any]) -> list[str]:
    """All settings that some way of learning has, the user's own ways among `methods` included."""
    classes = [one for classes in WAYS.values() for one in classes]
    for settings in methods:
        if isinstance(settings, Mapping) and plugins.is_reference(settings.get("objective")):
            with suppress(InputError):  # which is reported where the method is read
                classes.append(way(settings))
    return list(dict.fromkeys(key for one in classes for key in one.model_fields))


def ways_with(key: str) -> list[str]:
    """The objectives that have a setting of this name; with the target where only one of them has it."""
    found = []
    for name, classes in WAYS.items():
        having = [one for one in classes if key in one.model_fields]
        if having:
            only = f" with target: {_targets(having[0])[0]}" if len(having) < len(classes) else ""
            found.append(f"{name}{only}")
    return found


def _targets(one: type[Method]) -> tuple[str, ...]:
    target = one.model_fields.get("target")
    return () if target is None else target.annotation.__args__  # type: ignore[union-attr]


def _known(value: str, names: Sequence[str], what: str) -> str:
    """A name of the package's own, or code of the user's.

    Raises:
        ValueError: it is neither, or the code is not there.
    """
    if plugins.is_reference(value):
        try:
            plugins.load_function(value)
        except InputError as error:
            raise ValueError(str(error)) from None
    elif value not in names:
        known = ", ".join(names)
        raise ValueError(f"must be one of {known}, or FILE.py:NAME, not '{value}'{suggestion(value, names)}")
    return value


def _needs_differing_completions(who: str, sampling: Sampling) -> None:
    if sampling.temperature == 0:
        raise ValueError(
            f"{who} learns from differing completions, so sampling.temperature must be above 0 "
            "(1.0: the policy itself)"
        )
