"""Roll-outs to learn from: sample completions for a task's examples and grade them.

What is learned from needs more than a `Generator` says: tokens and log-probabilities on the device, a
greedy member of each group, and what was computed of the prompts. Prompts and grades are made by the same
two functions as for evaluation and filters (`questions`, `grade`), so that they cannot disagree about what
a prompt says or what counts as right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from holdfast.generate.generator import Asking, questions
from holdfast.policy.batch import Completions, Prompts, some_rows
from holdfast.policy.encode import Unfit
from holdfast.rng import torch_stream
from holdfast.tasks.example import Example
from holdfast.tasks.grading import Grade, grade, parts_of, weighed
from holdfast.tasks.prompts import Style
from holdfast.tasks.task import Task

if TYPE_CHECKING:
    from holdfast.generate.served import ServedGenerator
    from holdfast.policy.policy import Policy
    from holdfast.policy.prefill import Prefill

Item = tuple[Task, Example]


@dataclass(frozen=True)
class Rollouts:
    """Graded completions: G of each of B examples.

    Attributes:
        texts: responses, [B][G].
        answers: what was extracted from them, None where nothing was.
        scores_BG, formats_BG, rewards_BG: float32, 0..1.
        parts_BG: of the reward, those by functions of the user's, by name: float32, -1..1.
        prefill: of the prompts, with its graph, where it was asked for and the policy keeps it.
    """

    prompts: Prompts
    completions: Completions
    texts: list[list[str]]
    answers: list[list[str | None]]
    scores_BG: torch.Tensor
    formats_BG: torch.Tensor
    rewards_BG: torch.Tensor
    parts_BG: Mapping[str, torch.Tensor]
    prefill: Prefill | None = None

    @classmethod
    def join(cls, parts: Sequence[tuple[Rollouts, Sequence[int]]], prompts: Prompts, pad: int) -> Rollouts:
        """These rows of several, one after the other; their prompts encoded anew."""

        def rows(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
            return torch.cat([one[list(kept)] for one, (_, kept) in zip(tensors, parts, strict=True)])

        return cls(
            prompts,
            Completions.join([part.completions.select(kept) for part, kept in parts], pad),
            [part.texts[row] for part, kept in parts for row in kept],
            [part.answers[row] for part, kept in parts for row in kept],
            rows([part.scores_BG for part, _ in parts]),
            rows([part.formats_BG for part, _ in parts]),
            rows([part.rewards_BG for part, _ in parts]),
            {name: rows([part.parts_BG[name] for part, _ in parts]) for name in parts[0][0].parts_BG},
        )


def encode_items(
    policy: Policy, items: Sequence[Item], style: Style, templates: Mapping[Style, str]
) -> Prompts:
    """The examples as prompts of one style.

    Raises:
        InputError: the model cannot take one, which the message names.
    """
    asked = questions(items, style, templates)
    try:
        return policy.encode([one.prompt for one in asked], [one.images for one in asked])
    except Unfit as problem:
        raise problem.named([one.named for one in asked]) from None


def roll_out(
    policy: Policy,
    items: Sequence[Item],
    asking: Asking,
    group_size: int,
    *,
    greedy_row: bool = False,
    to_train: bool = False,
    parts: Mapping[str, float] | None = None,
    sampler: ServedGenerator | None = None,
) -> Rollouts:
    """Sample `group_size` completions of each example, all at once, and grade them by their task's rule.

    Args:
        greedy_row: add a greedy completion as the last of each group.
        to_train: keep what is computed of the prompts for a training step on all of them.
        parts: of the reward, with their weights (`grading.parts_of`); None: as the style has it.
        sampler: draws in the policy's place.

    Raises:
        InputError: the model cannot take an example, which the message names.
        NotFiniteError: the policy's output is not finite.
    """
    style, templates, sampling, stream = asking.style, asking.templates, asking.sampling, asking.stream
    prompts = encode_items(policy, items, style, templates)
    prefill = policy.prefill(prompts) if to_train and sampler is None else None
    if sampler is None:
        draws = torch_stream(*stream, device=str(policy.device))
        completions = policy.sample(prompts, group_size, sampling, draws, greedy_row, prefill)
    else:
        asked = questions(items, style, templates)
        completions = sampler.draw(asked, prompts, group_size, sampling, stream, greedy_row)

    def graded(rows: range) -> list[list[tuple[str, Grade, dict[str, float]]]]:
        made = []
        texts = policy.decode(some_rows(completions, rows))
        for (task, example), group in zip(items[rows.start : rows.stop], texts, strict=True):
            known: dict[str, tuple[str, Grade, dict[str, float]]] = {}  # equal responses are graded once
            for text in group:
                if text not in known:
                    one = grade(task, example, text, style, policy.encoder.opens_thought)
                    known[text] = text, one, parts_of(one, text, example, style, parts)
            made.append([known[text] for text in group])
        return made

    groups = [group for made in policy.shards.each([1] * len(items), graded) for group in made]
    return Rollouts(
        prompts,
        completions,
        [[text for text, _, _ in group] for group in groups],
        [[one.answer for _, one, _ in group] for group in groups],
        torch.tensor([[one.score for _, one, _ in group] for group in groups]),
        torch.tensor([[one.format for _, one, _ in group] for group in groups]),
        torch.tensor([[weighed(values, style, parts) for _, _, values in group] for group in groups]),
        {
            part: torch.tensor([[values[part] for _, _, values in group] for group in groups])
            for part in parts or ()
            if part not in ("accuracy", "format")
        },
        prefill,
    )
