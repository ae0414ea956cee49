"""The implicit-regularisation claim, measured instance by instance.

The study (arXiv 2507.05386, v1–v4) explains why RFT forgets less by the forgetting risk R(g) = gᵀFg of
an update g, F being the Fisher information of the old tasks:

    E_{y ~ p}[R(g_RFT(y))] ≈ Var_{y ~ p}[r(x, y)] · R(g_SFT).

Gradients are of whole completions, sums over their tokens: SFT's loss is −log p(target | x), and RFT's
−mean over the group of A · log p(y | x). A learning step divides both by its number of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import Item, Rollouts, roll_out
from holdfast.learning import advantages
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.gradients import completion_gradients, fisher_diagonal, forgetting_risk, mean_gradient
from holdfast.tasks.example import Example
from holdfast.tasks.prompts import Style, Target, render_target
from holdfast.tasks.scoring import RIGHT

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


def risks(
    policy: Policy,
    old: Sequence[Item],
    new: Sequence[Item],
    asking: Asking,
    *,
    samples: int,
    micro_batch: int | None = None,
) -> dict[str, Any]:
    """What updates on single instances of a new task would cost old tasks, SFT's beside RFT's.

    All at the same parameters, those of `policy`, which are left as they are. Memory: a graph of one
    prompt with its group, and about eight vectors as long as the trained parameters.

    Args:
        old: items of earlier tasks, at least one; they give the Fisher information, and what must be kept.
        new: items of the task that is (to be) learned.
        asking: with a temperature above 0.
        samples: G, completions of each item, at least 2; the first of an old one gives the Fisher
            information.
        micro_batch: prompts that are computed together with a gradient; None: all of a batch.

    Returns:
        old, samples (G), parameters (N), fisher_trace (sum of the diagonal), old_right (old items that
        the policy answered right at least once), and instances, a row for each new item:

        task, id; pass_rate (share of right answers), reward_mean, reward_variance (over the G
        completions, divided by G).
        risk_sft_answer, risk_sft_reasoned: R of SFT's gradient for each target (None without a
        rationale, or under direct). risk_sampled: mean of R(∇ log p(y)) over the group. risk_rft,
        risk_rft_std: mean of R(A ∇ log p(y)) = A² R(∇ log p(y)), with A = r − mean, and divided by the
        group's standard deviation as GRPO has it. risk_group, risk_group_std: R of the group's
        gradient, which is what a step takes.
        norm_sft_answer, norm_sft_reasoned, norm_group, norm_group_std: L2 norms of the gradients.
        effect_sft_answer, effect_sft_reasoned, effect_group, effect_group_std: how fast the mean
        log-probability of right answers to old items rises, to first order, per unit of learning
        rate of one gradient step on this instance: −∇L · ∇ mean log p (learning dynamics, arXiv
        2506.23508). The right answer to an old item is the first right one of G that the policy
        draws, or else its reference target (`reasoned` where it can be).

    Raises:
        NotFiniteError: the policy's output is not finite.
    """
    temperature, style = asking.sampling.temperature, asking.style
    was_training = policy.model.training
    fisher_N, keep_N, right = _of_old_items(policy, old, asking, samples, micro_batch)
    rows: list[dict[str, Any]] = []
    for items, rollouts in _rolled_out(policy, new, asking.at("new"), samples):
        for index, (task, example) in enumerate(items):
            prompt, completions = rollouts.prompts.select([index]), rollouts.completions.select([index])
            rewards_G = rollouts.rewards_BG[index]
            gradients = completion_gradients(policy, prompt, completions, temperature)
            rows.append(
                {
                    "task": task.name,
                    "id": example.id,
                    "pass_rate": (rollouts.scores_BG[index] >= RIGHT).float().mean().item(),
                    **estimator_risks(gradients, rewards_G, fisher_N, keep_N),
                    **_sft_risks(policy, prompt, example, style, fisher_N, keep_N),
                }
            )
    policy.model.train(was_training)
    return {
        "instances": rows,
        "old": len(old),
        "old_right": right,
        "fisher_trace": fisher_N.sum(dtype=torch.float64).item(),
        "parameters": len(fisher_N),
        "samples": samples,
    }


def _rolled_out(
    policy: Policy, items: Sequence[Item], asking: Asking, samples: int
) -> Iterator[tuple[Sequence[Item], Rollouts]]:
    """Roll-outs of all items, a batch after the other."""
    size = asking.batch or len(items)
    for start in range(0, len(items), size):
        part = items[start : start + size]
        yield part, roll_out(policy, part, asking.at(start), samples)


def _of_old_items(
    policy: Policy, old: Sequence[Item], asking: Asking, samples: int, micro_batch: int | None
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """What must be kept: means over items of earlier tasks.

    Returns:
        The diagonal of the Fisher information [N], by the first completion of each item; ∇ log p of right
        answers [N]; and how many items the policy answered right itself.
    """
    temperature = asking.sampling.temperature
    fisher_N, keep_N, right = None, None, 0
    for items, rollouts in _rolled_out(policy, old, asking.at("old"), samples):
        prompts, share = rollouts.prompts, len(items) / len(old)
        drawn = rollouts.completions.columns(slice(0, 1))
        part_N = fisher_diagonal(policy, prompts, drawn, temperature).mul_(share)
        fisher_N = part_N if fisher_N is None else fisher_N.add_(part_N)
        answers, own = right_answers(policy, items, rollouts, asking.style)
        part_N = mean_gradient(policy, prompts, answers, temperature, micro_batch).mul_(share)
        keep_N = part_N if keep_N is None else keep_N.add_(part_N)
        right += own
    assert fisher_N is not None and keep_N is not None
    return fisher_N, keep_N, right


def estimator_risks(
    gradients: Iterable[tuple[list[int], torch.Tensor]],
    rewards_G: torch.Tensor,
    fisher_N: torch.Tensor,
    keep_N: torch.Tensor,
) -> dict[str, float]:
    """What `risks` says of the policy gradient of one group.

    Args:
        gradients: members of the group and their ∇ log p(y | x) [N], together all of the group.
        rewards_G: of the group.
        fisher_N: diagonal of the Fisher information.
        keep_N: gradient of what must be kept; effects are products with it.
    """
    group = len(rewards_G)
    advantages_G = {
        end: advantages.group_relative(rewards_G[None], normalise_std)[0]
        for end, normalise_std in (("", False), ("_std", True))
    }
    sampled, single = 0.0, dict.fromkeys(advantages_G, 0.0)
    whole = {end: torch.zeros_like(fisher_N) for end in advantages_G}
    for members, gradient_N in gradients:
        value = forgetting_risk(gradient_N, fisher_N)
        sampled += len(members) * value / group
        for end, advantage_G in advantages_G.items():
            mine = advantage_G[members]
            single[end] += mine.square().sum().item() * value / group
            whole[end].add_(gradient_N, alpha=mine.sum().item() / group)
    row = {
        "reward_mean": rewards_G.mean().item(),
        "reward_variance": rewards_G.var(correction=0).item(),
        "risk_sampled": sampled,
    }
    for end, gradient_N in whole.items():
        row |= {f"risk_rft{end}": single[end], **_update(f"group{end}", gradient_N, fisher_N, keep_N)}
    return row


def _sft_risks(
    policy: Policy,
    prompt: Prompts,
    example: Example,
    style: Style,
    fisher_N: torch.Tensor,
    keep_N: torch.Tensor,
) -> dict[str, float | None]:
    """What `risks` says of SFT on one example, for both targets."""
    targets: list[Target] = ["answer"]
    if _has_reasoning(example, style):
        targets.append("reasoned")
    texts = [render_target(example, style, target) for target in targets]
    completions = Completions.join(
        [policy.encode_completions([text]) for text in texts], policy.draw.pad, axis=1
    )
    row: dict[str, float | None] = {f"{kind}_sft_reasoned": None for kind in ("risk", "norm", "effect")}
    for members, gradient_N in completion_gradients(policy, prompt, completions, temperature=1.0):
        for member in members:
            row |= _update(f"sft_{targets[member]}", gradient_N, fisher_N, keep_N)
    return row


def _update(
    name: str, gradient_N: torch.Tensor, fisher_N: torch.Tensor, keep_N: torch.Tensor
) -> dict[str, float]:
    """Of a step along `gradient_N`, which is −∇L."""
    return {
        f"risk_{name}": forgetting_risk(gradient_N, fisher_N),
        f"norm_{name}": gradient_N.norm().item(),
        f"effect_{name}": torch.dot(gradient_N, keep_N).item(),
    }


def right_answers(
    policy: Policy, items: Sequence[Item], rollouts: Rollouts, style: Style
) -> tuple[Completions, int]:
    """For each item the first right completion of its group, or else its reference target.

    Returns:
        Groups of one, and how many of them are the policy's own.
    """
    is_right_BG = rollouts.scores_BG >= RIGHT
    drawn = replace(rollouts.completions, logprobs_BGR=None)
    answers, own = [], 0
    for index, (_, example) in enumerate(items):
        if is_right_BG[index].any():
            member = int(is_right_BG[index].int().argmax())
            answers.append(drawn.select([index]).columns([member]))
            own += 1
        else:
            target: Target = "reasoned" if _has_reasoning(example, style) else "answer"
            answers.append(policy.encode_completions([render_target(example, style, target)]))
    return Completions.join(answers, policy.draw.pad), own


def _has_reasoning(example: Example, style: Style) -> bool:
    return style == "cot" and bool(example.rationale)
