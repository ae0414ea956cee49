"""SFT on what a policy wrote itself and got right: the controls between SFT and RFT.

For each example the *writer* samples completions, and the first right one becomes the target (rejection
sampling). Who the writer is makes the method:

- the policy at the start of the stage: *self-SFT*, off-policy but in the model's own words;
- the policy of every k-th iteration (`resample_every`): *iterative SFT*, about on-policy
  (Retaining by Doing, arXiv 2510.18874; RL's Razor, arXiv 2509.04259);
- the base, shown the reference answer (`show_answer`): *rationalised* targets, as the study's code
  makes its reasoned SFT data (arXiv 2507.05386).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from holdfast.errors import HoldfastError
from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import Item, encode_items, roll_out
from holdfast.learning.groups import Groups
from holdfast.learning.likelihood import WeighedLikelihood
from holdfast.learning.methods import SampledSFT
from holdfast.learning.spent import Spent
from holdfast.policy.batch import Completions
from holdfast.policy.reference import Reference
from holdfast.tasks.example import Example
from holdfast.tasks.prompts import Style
from holdfast.tasks.scoring import RIGHT

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


class SampledLikelihood(WeighedLikelihood):
    """Supervised fine-tuning on sampled targets.

    Args:
        writer: who writes; None stands for the policy that learns, at the moment of the batch.
        hint: the question with its answer shown; None where it is not.
        start: the policy at the stage's start, where the loss asks it.
    """

    method: SampledSFT

    def __init__(
        self,
        method: SampledSFT,
        templates: Mapping[Style, str],
        writer: Policy | Reference | None,
        hint: str | None,
        start: Policy | Reference | None = None,
    ) -> None:
        super().__init__(method, start)
        self.templates, self.writer, self.hint = templates, writer, hint

    def begin(self, policy: Policy, iteration: int) -> None:
        """Let the policy of this iteration be the writer, where it is its turn."""
        every = self.method.resample_every
        if every is not None and every > 1 and iteration % every == 0:
            self.writer = policy.snapshot()

    @property
    def memory(self) -> Mapping[str, torch.Tensor]:
        """What a checkpoint must hold besides the weights: those of a writer from the midst of the stage."""
        if self.method.resample_every and isinstance(self.writer, Reference):
            return self.writer.weights
        return {}

    def recall(self, policy: Policy, memory: Mapping[str, torch.Tensor]) -> None:
        if memory:
            self.writer = policy.with_weights(memory)

    def collect(self, policy: Policy, items: Sequence[Item], stream: tuple[object, ...]) -> Groups:
        """Targets for the examples that the writer gets right; the others are left out, and counted."""
        method = self.method
        shown = (
            items if self.hint is None else [(task, hinted(example, self.hint)) for task, example in items]
        )
        writer = self.writer or policy
        with writer.in_place() if isinstance(writer, Reference) else nullcontext():
            rollouts = roll_out(
                policy if isinstance(writer, Reference) else writer,
                shown,
                Asking(method.style, self.templates, method.sampling, (*stream, "sample")),
                method.group_size,
            )
        # A target that was cut off would teach not to end.
        is_whole_BG = (rollouts.formats_BG == 1) & rollouts.completions.finished_BG.cpu()
        right_BG = (rollouts.scores_BG >= RIGHT) & is_whole_BG
        solved = right_BG.any(dim=1).nonzero().squeeze(1).tolist()
        first_B = right_BG.int().argmax(dim=1)[solved]
        spent = Spent.sampling(policy.operations, rollouts.prompts, rollouts.completions)
        stats = {
            "accuracy": rollouts.scores_BG.mean().item(),
            "format": rollouts.formats_BG.mean().item(),
            "solved": len(solved) / len(items),
        }
        kept = [items[index] for index in solved]
        targets = _members(rollouts.completions.select(solved), first_B)
        if self.hint is None or not solved:  # of no examples there is nothing to encode
            prompts = rollouts.prompts.select(solved)
        else:
            prompts = encode_items(policy, kept, method.style, self.templates)
        ones = torch.ones(len(kept), 1)
        groups = Groups(prompts, targets, ones, stats=stats, items=tuple(kept), spent=spent)
        return self.judged(policy, groups)

    def finish(self, totals: Mapping[str, float]) -> None:
        if totals.get("completions"):
            return
        raise HoldfastError(
            f"target: sampled had no target: none of {totals.get('sampled', 0):,.0f} completions was right, "
            "in the form that was asked for, and ended by itself, so nothing was learned. metrics.jsonl "
            "tells what they lack (accuracy, format). Raise group_size or sampling.max_tokens, set "
            "show_answer, or learn the references themselves (target: answer)."
        )


def hinted(example: Example, hint: str) -> Example:
    """The example with its answer in the question."""
    return replace(example, prompt=hint.format(prompt=example.prompt, answer=example.answer))


def _members(completions: Completions, member_B: torch.Tensor) -> Completions:
    """One completion of each group, as groups of one."""
    rows_B = torch.arange(len(completions), device=completions.tokens_BGR.device)
    member_B = member_B.to(rows_B.device)
    mask_BGR = completions.mask_BGR[rows_B, member_B].unsqueeze(1)
    longest = max(1, int(mask_BGR.sum(-1).max())) if len(completions) else 1
    return Completions(
        completions.tokens_BGR[rows_B, member_B].unsqueeze(1)[..., :longest],
        mask_BGR[..., :longest],
        completions.finished_BG[rows_B, member_B].unsqueeze(1),
    )
