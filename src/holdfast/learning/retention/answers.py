"""Answers that a strategy keeps, how far they have moved, and the gradient of learning from them.

`KeptAnswers` are tensors by name, M rows each: `keys` [M] of their examples, `tokens` and `mask` [M, R], and
what a strategy keeps of each token besides [M, R, ...].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import Literal

import torch
import torch.nn.functional as F

from holdfast.errors import HoldfastError
from holdfast.generate.rollouts import Item, Rollouts, encode_items
from holdfast.learning.groups import Groups
from holdfast.learning.retention import Memory
from holdfast.learning.retention.pool import key_of, known
from holdfast.learning.stage import Stage
from holdfast.policy.batch import Completions, NotFiniteError
from holdfast.policy.gradients import flat, trained_parameters
from holdfast.tasks.scoring import RIGHT

KeptAnswers = dict[str, torch.Tensor]


def answers_of(memory: Mapping[str, torch.Tensor], name: str = "answers") -> KeptAnswers:
    """The answers that a memory holds under a name, on the CPU; empty where there are none."""
    start = f"{name}."
    return {key.removeprefix(start): one.cpu() for key, one in memory.items() if key.startswith(start)}


def keep_answers(memory: Memory, answers: KeptAnswers, name: str = "answers") -> None:
    """Put answers into a memory under a name, in place of what is there."""
    for key in [key for key in memory if key.startswith(f"{name}.")]:
        del memory[key]
    memory.update({f"{name}.{key}": tensor for key, tensor in answers.items()})


def taken(completions: Completions, items: Sequence[Item], chosen: Sequence[tuple[int, int]]) -> KeptAnswers:
    """Completions as answers to their examples: those at these places, each a (row, member)."""
    if not chosen:
        return {}
    device = completions.mask_BGR.device
    rows, members = (torch.tensor(place, device=device) for place in zip(*chosen, strict=True))
    return {
        "keys": torch.tensor([key_of(items[row]) for row, _ in chosen]),
        "tokens": completions.tokens_BGR[rows, members].cpu(),
        "mask": completions.mask_BGR[rows, members].cpu(),
    }


def right_answers(
    groups: Groups | Rollouts, rows: Iterable[int], draw: Random | None = None
) -> list[tuple[int, int]]:
    """(row, member) of an answer that is right and whole, for each of these rows that has one.

    The first, or one that is drawn. What is not graded is right: targets, and answers chosen by others.
    """
    if groups.scores_BG is None:
        return [(row, 0) for row in rows]
    good_BG = (groups.scores_BG >= RIGHT) & groups.completions.finished_BG.cpu()
    found = []
    for row in rows:
        members = good_BG[row].nonzero().flatten().tolist()
        if members:
            found.append((row, draw.choice(members) if draw else members[0]))
    return found


def join(*parts: KeptAnswers) -> KeptAnswers:
    """All of them, one after the other."""
    full = [part for part in parts if part]
    if not full:
        return {}
    longest = max(part["mask"].shape[1] for part in full)

    def filled(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.ndim == 1:
            return tensor
        return F.pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, longest - tensor.shape[1]))

    return {name: torch.cat([filled(part[name]) for part in full]) for name in full[0]}


def select(answers: KeptAnswers, rows: Sequence[int]) -> KeptAnswers:
    """These rows in this order, as long as the longest of them."""
    if not rows:
        return {}
    some = {name: tensor[torch.as_tensor(rows, dtype=torch.long)] for name, tensor in answers.items()}
    longest = int(some["mask"].sum(-1).max())
    return {
        name: tensor if tensor.ndim == 1 else tensor[:, :longest].contiguous()
        for name, tensor in some.items()
    }


def by_task(stage: Stage, answers: KeptAnswers) -> dict[str, list[int]]:
    """Rows of each task that this stage knows, in the tasks' order."""
    examples = known(stage)
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(answers["keys"].tolist() if answers else ()):
        if key in examples:
            rows.setdefault(examples[key][0].name, []).append(row)
    return rows


def as_groups(stage: Stage, answers: KeptAnswers) -> Groups:
    """Answers with their questions, to learn from; groups of one.

    Raises:
        HoldfastError: the stage does not know an example.
    """
    policy, examples = stage.policy, known(stage)
    if not examples.keys() >= set(answers["keys"].tolist()):
        raise HoldfastError(
            "An answer was kept of an example that this stage does not know; `earlier` must hold the "
            "training examples of all tasks before."
        )
    items: list[Item] = [examples[key] for key in answers["keys"].tolist()]
    mask = answers["mask"].to(policy.device)
    tokens = answers["tokens"].to(policy.device).masked_fill(~mask, policy.draw.pad)
    completions = Completions(tokens[:, None], mask[:, None], torch.ones_like(mask[:, :1]))
    prompts = encode_items(policy, items, stage.method.style, stage.templates)
    return Groups(prompts, completions, torch.ones(len(items), 1), items=tuple(items))


@torch.no_grad()
def with_entries(stage: Stage, answers: KeptAnswers, entries: int) -> KeptAnswers:
    """Answers with `ids` and `logprobs` [M, R, K], the most likely entries of each token by the policy."""
    policy, groups = stage.policy, as_groups(stage, answers)
    stage.spent["flops"] += policy.operations.forward(groups.prompts, groups.completions)
    all_TV = policy.group_distributions(groups.prompts, groups.completions)
    found = all_TV.topk(min(entries, all_TV.shape[1]))
    mask_MR = answers["mask"]
    values = {"ids": found.indices, "logprobs": found.values.float()}
    for name, values_TK in values.items():
        padded_MRK = values_TK.new_zeros((*mask_MR.shape, values_TK.shape[1])).cpu()
        padded_MRK[mask_MR] = values_TK.cpu()
        answers[name] = padded_MRK
    return answers


def mismatches(
    stage: Stage, groups: Groups, answers: KeptAnswers, how: Literal["mse", "kl"]
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far each token is from its entries [T]; and log π of all that could be said, [T, V]."""
    now_TV = stage.policy.distributions(groups.prompts, groups.completions)
    ids_TK, then_TK = (answers[name][answers["mask"]].to(now_TV.device) for name in ("ids", "logprobs"))
    return mismatch(then_TK, now_TV.gather(1, ids_TK), how), now_TV


def mismatch(then_TK: torch.Tensor, now_TK: torch.Tensor, how: Literal["mse", "kl"]) -> torch.Tensor:
    """How far log-probabilities are from those of before, [T].

    The mean square over K entries, or KL(then ‖ now) over these and one of all others.
    """
    if how == "mse":
        return (now_TK - then_TK).square().mean(1)
    rest_T, rest_now_T = ((1 - one.exp().sum(1)).clamp_min(1e-6) for one in (then_TK, now_TK))
    inside_T = (then_TK.exp() * (then_TK - now_TK)).sum(1)
    return inside_T + rest_T * (rest_T / rest_now_T).log()


def gradient_of(
    stage: Stage, groups: Groups, loss: Callable[[Groups, range], torch.Tensor], most_rows: int | None = None
) -> torch.Tensor:
    """The gradient [N] of a loss that is a sum over prompts, taken in parts; its operations are counted.

    Args:
        loss: of a part of the groups, and which rows it is.
        most_rows: of a part, which the method's `micro_batch` bounds, too.

    Returns:
        The gradient; not finite where the policy's output is not, so that the step is skipped.
    """
    policy = stage.policy
    parameters = trained_parameters(policy)
    most = min(filter(None, (most_rows, stage.method.micro_batch)), default=None)

    def whole() -> torch.Tensor:
        total = torch.zeros((), device=policy.device)
        for rows in groups.within(policy.budget, most):
            with torch.enable_grad():
                total = total + flat(loss(groups.rows(rows), rows), parameters)
        return total

    stage.spent["flops"] += policy.operations.training(groups.prompts, groups.completions)
    try:
        return policy.budget.attempt(whole)
    except NotFiniteError:
        return torch.full((sum(one.numel() for one in parameters),), torch.nan, device=policy.device)
