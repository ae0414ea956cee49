"""Distillation over whole distributions, and self-distillation as a way of learning.

SDFT (arXiv 2601.19897): the policy answers x; the teacher is the same model shown the reference answer as
well (`hint`), and at every token the student wrote its distribution is the target,

    loss = Σ_t KL(π_teacher(· | x, c, y_<t) ‖ π(· | x, y_<t))        over all V entries

as a mean over tokens. The paper writes the other direction, KL(π ‖ π_teacher); an independent port reads this
one in the released code. The teacher is the policy of the stage's start, or the base; the authors' moving
average does as well as one that stands still (their ablation), which needs no more than a stage has.

iSDFT (arXiv 2609.24646) goes only a part of the way at each token. With p what the student says and T the
teacher, the target is what is nearest to p and has a share ρ of what the teacher knows better (their code):

    q* = argmin KL(q ‖ p)  such that  E_q[log T − log p] ≥ ρ KL(T ‖ p),    so q* ∝ p^(1 − λ) T^λ,  0 ≤ λ ≤ 1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from holdfast.generate.rollouts import Item, encode_items
from holdfast.learning.groups import Groups
from holdfast.learning.methods import SDFT
from holdfast.learning.objectives import LossSums, Objective
from holdfast.learning.sampled_targets import hinted
from holdfast.learning.spent import Spent
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.reference import Reference
from holdfast.rng import torch_stream
from holdfast.tasks.prompts import Style

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy

ENTRIES = 2**28  # of one distribution that are held at once
# Such that a loss holds: the teacher's logarithms and probabilities, the student's, and two on its way back.
TABLES = 5
BISECTIONS = 24  # as fine as float32


def divergence(teacher_TV: torch.Tensor, student_TV: torch.Tensor) -> torch.Tensor:
    """KL(teacher ‖ student) of each token [T], from log-probabilities, with the student's gradient."""
    return (teacher_TV.exp() * (teacher_TV - student_TV)).sum(-1)


@torch.no_grad()
def part_of_the_way(teacher_TV: torch.Tensor, student_TV: torch.Tensor, share: float) -> torch.Tensor:
    """Log-probabilities [T, V] of q*, which has this share ρ of the teacher's information at each token.

    λ is found by bisection, to 2^-BISECTIONS.
    """
    ahead_TV = teacher_TV - student_TV
    wanted_T1 = share * (teacher_TV.exp() * ahead_TV).sum(-1, keepdim=True)
    low_T1, high_T1 = torch.zeros_like(wanted_T1), torch.ones_like(wanted_T1)
    for _ in range(BISECTIONS):
        middle_T1 = (low_T1 + high_T1) / 2
        found_TV = torch.addcmul(student_TV, middle_T1, ahead_TV).softmax(-1)
        is_low_T1 = found_TV.mul_(ahead_TV).sum(-1, keepdim=True) < wanted_T1
        low_T1, high_T1 = (
            torch.where(is_low_T1, middle_T1, low_T1),
            torch.where(is_low_T1, high_T1, middle_T1),
        )
    return torch.addcmul(student_TV, high_T1, ahead_TV).log_softmax(-1)


def rows_at_once(policy: Policy, completions: Completions) -> int:
    """Prompts whose groups' distributions may be held together; at least one."""
    return max(1, ENTRIES // max(1, int(completions.lengths_BG.sum(-1).max()) * len(policy.draw.banned_V)))


class SelfDistillation(Objective):
    """Own answers, with the distributions of a teacher that knows the reference as targets."""

    def __init__(
        self,
        method: SDFT,
        templates: Mapping[Style, str],
        teacher: Policy | Reference,
        hint: str,
        iterations: int,
    ) -> None:
        self.method, self.templates, self.teacher, self.hint = method, templates, teacher, hint
        self.iterations, self.rho = iterations, method.rho_of(0, iterations)

    def begin(self, policy: Policy, iteration: int) -> None:
        """The share ρ of this iteration."""
        self.rho = self.method.rho_of(iteration, self.iterations)

    def collect(self, policy: Policy, items: Sequence[Item], stream: tuple[object, ...]) -> Groups:
        """Sample; nothing is graded."""
        method = self.method
        prompts = encode_items(policy, items, method.style, self.templates)
        generator = torch_stream(*stream, "sample", device=str(policy.device))
        completions = policy.sample(prompts, 1, method.sampling, generator)
        shown = self._shown(policy, items)
        spent = Spent.sampling(policy.operations, prompts, completions)
        return Groups(
            prompts,
            completions,
            torch.ones(len(items), 1),
            stats={
                "length": completions.lengths_BG.float().mean().item(),
                "unfinished": 1 - completions.finished_BG.float().mean().item(),
            },
            items=tuple(items),
            spent=spent + Spent(flops=policy.operations.forward(shown, completions)),
        )

    def loss(self, policy: Policy, groups: Groups) -> LossSums:
        temperature = self.method.sampling.temperature
        student_TV = policy.distributions(groups.prompts, groups.completions, temperature)
        shown = self._shown(policy, groups.items)
        teacher_TV = self.teacher.group_distributions(shown, groups.completions, temperature)
        if self.rho < 1:
            teacher_TV = part_of_the_way(teacher_TV, student_TV.detach(), self.rho)
        total = divergence(teacher_TV, student_TV).sum()
        with torch.no_grad():
            entropy = float(-(student_TV.exp() * student_TV).sum())
        return LossSums(total, entropy, float(total.detach()))

    def _shown(self, policy: Policy, items: Sequence[Item]) -> Prompts:
        """What the teacher is asked."""
        shown = [(task, hinted(example, self.hint)) for task, example in items]
        return encode_items(policy, shown, self.method.style, self.templates)
