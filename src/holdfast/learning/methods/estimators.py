"""RFT by its advantages (`advantages.py`) and surrogates (`surrogates.py`): a class each, with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from holdfast.learning.methods.rft import RFT, LossMean

if TYPE_CHECKING:
    import torch

    from holdfast.learning.surrogates import Sampled, Surrogate


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

    version: ClassVar[int] = 5  # up to 4, results without refills or with all prompts lay under the same name
    objective: Literal["dapo"]  # type: ignore[assignment]
    clip_high: float = Field(0.28, ge=0)
    drop_zero_variance: bool = True
    refills: int = Field(9, ge=0)


class GSPO(GRPO):
    """GRPO with one ratio a completion: Zheng et al. (arXiv 2507.18071)."""

    objective: Literal["gspo"]  # type: ignore[assignment]
    clip_low: float = Field(3e-4, ge=0)  # both bounds: of its sec. 5.1
    clip_high: float = Field(4e-4, ge=0)
    dual_clip: None = None
    loss_mean: LossMean = "sequences"

    def surrogate(self, sampled: Sampled) -> Surrogate:
        from holdfast.learning.surrogates import clipped_sequence_ratio

        return clipped_sequence_ratio(sampled, self.clip_low, self.clip_high)


class CISPO(GRPO):
    """GRPO that bounds the weight of a token in place of its ratio: MiniMax-M1 (arXiv 2506.13585)."""

    objective: Literal["cispo"]  # type: ignore[assignment]
    clip_low: float = Field(1.0, ge=0)  # 1: no bound below
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

    version: ClassVar[int] = 5  # up to 4, a reference's pass was counted over the greedy answer, too
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
