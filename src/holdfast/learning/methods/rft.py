"""Reinforcement fine-tuning: what all of it has. Its estimators: `estimators.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from holdfast import plugins
from holdfast.errors import InputError, none_of, shortened
from holdfast.generate.settings import Served
from holdfast.learning.methods.method import Method, needs_differing_completions
from holdfast.policy.settings import Sampling

if TYPE_CHECKING:
    import torch

    from holdfast.learning.objectives import Objective
    from holdfast.learning.stage import Stage
    from holdfast.learning.surrogates import Sampled, Surrogate

FILTERS = (
    "none", "rif", "rif_strict", "random_matched", "unsolvable",
    "rif_equal", "unsolvable_equal", "random_equal",
)  # fmt: skip
# The mean of a step's losses: over its tokens; over completions, each the mean of its tokens (as GRPO was
# published); over so many neighbours' means, each over their tokens (as micro-batches make them); or over as
# many tokens as there could be, so that no answer gains by its length (Dr. GRPO).
LossMean = Literal["tokens", "sequences", "constant"] | Annotated[int, Field(ge=1)]


class RFT(Method):
    """Reinforcement fine-tuning: sample groups, grade them, push each completion by its advantage.

    Unless a class says otherwise, bounds of ratios and the mean are those of the study's code: a mean over
    all tokens of a step. GRPO was published with one over completions (`loss_mean: sequences`), DAPO (eq.
    8) with one over the tokens of each group. RLOO and ReMax add up a completion's tokens, which is the
    same up to a factor that all of a step share.
    """

    version: ClassVar[int] = 4
    greedy: ClassVar[bool] = False  # whether each group has one more completion, decoded greedily

    group_size: int = Field(8, ge=1)  # completions per prompt
    sampling: Sampling = Sampling()  # how completions are drawn
    sampler: Served | None = None  # another engine that draws roll-outs; None: the policy itself
    # What is learned from: parts with their weights, of `accuracy`, `format` and rules.py:NAME. None: 0.9
    # accuracy and 0.1 format under cot, accuracy under direct.
    reward: dict[str, float] | None = Field(None, min_length=1)

    clip_low: float = Field(0.2, ge=0)  # the importance ratio stays in [1 - low, 1 + high]
    clip_high: float = Field(0.3, ge=0)  # how far the ratio may go above 1
    # What a token of a completion with advantage A < 0 can cost is at most -dual_clip * A (arXiv 1912.09729).
    dual_clip: float | None = Field(None, gt=1)
    positives_only: bool = False  # wrong completions push nothing
    drop_zero_variance: bool = False  # prompts whose completions all have advantage 0 leave the step
    refills: int = Field(0, ge=0)  # further draws of prompts, until a batch of those that stay is full
    loss_mean: LossMean = "tokens"  # over what a step's loss is the mean
    kl_coef: float = Field(0.0, ge=0)  # k3 KL to the reference
    kl_reference: Literal["stage_start", "base"] = "stage_start"  # the policy that kl_coef holds to

    # On which examples a stage trains, by roll-outs: `rif` (RIF-RFT: what is ever right), `rif_strict`,
    # `random_matched`, `unsolvable`, `rif_equal`, `unsolvable_equal`, `random_equal`, or rules.py:NAME.
    filter: Annotated[str, AfterValidator(lambda value: _known(value, FILTERS, "rows"))] = "none"
    filter_samples: int = Field(8, ge=1)  # roll-outs per training example
    filter_shortens: bool = False  # as many passes over what is kept as without the filter: fewer iterations

    @field_validator("reward")
    @classmethod
    def _known_parts(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for part in value or ():
            _known(part, ("accuracy", "format"), "response", "example")
        names = [part.rpartition(":")[2] for part in value or () if plugins.is_reference(part)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"has two functions called {min(twice)}, which the log tells by name; rename one"
            )
        if value and not any(value.values()):
            raise ValueError("weighs nothing, so nothing would be learned")
        return value

    @field_validator("loss_mean", mode="wrap")
    @classmethod
    def _one_mean(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError:
            options = "'tokens', 'sequences', 'constant' or a whole number of at least 1"
            raise ValueError(f"must be {options}, not {shortened(repr(value))}") from None

    @model_validator(mode="after")
    def _samples(self) -> RFT:
        if self.group_baseline and self.group_size < 2:
            raise ValueError(
                f"{self.objective} compares completions of one prompt, so group_size must be at least 2"
            )
        needs_differing_completions(self.objective, self.sampling)
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
        """What each token counts, and which are clipped (logged, and no more), both [B, G, R]."""
        from holdfast.learning.surrogates import clipped_ratio

        return clipped_ratio(sampled, self.clip_low, self.clip_high, self.dual_clip)

    def make(self, stage: Stage) -> Objective:
        from holdfast.learning.policygradient import PolicyGradient

        reference = stage.past(self.kl_reference) if self.kl_coef else None
        return PolicyGradient(self, stage.templates, reference, stage.items, stage.sampler)

    def determining(self, tasks: Sequence[str]) -> dict[str, Any]:
        settings = super().determining(tasks)
        if self.sampler is not None:
            settings["sampler"] = self.sampler.determining(learns=True)
        unused = {"filter", "filter_samples", "filter_shortens"} if self.filter == "none" else set()
        unused |= set() if self.kl_coef else {"kl_reference"}
        return {key: value for key, value in settings.items() if key not in unused}

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
    def has_ratios(self) -> bool:
        return self.updates > 1

    @property
    def filters(self) -> bool:
        return self.filter != "none"


def _known(value: str, names: Sequence[str], *given: str) -> str:
    """A name of the package's own, or code of the user's, which is called with what is `given`.

    Raises:
        ValueError: it is neither, or the code is not there or cannot be called so.
    """
    if plugins.is_reference(value):
        try:
            plugins.load_function(value, *given)
        except InputError as error:
            raise ValueError(str(error)) from None
    elif value not in names:
        raise ValueError(none_of(value, names, own="FILE.py:NAME"))
    return value
