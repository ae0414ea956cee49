"""Calibration: whether a policy is as often right as the probability of its answers says.

The *confidence* of a response is the probability at temperature 1 that the policy gives to its own final
answer, given all that it wrote before it: the product over the answer's tokens. These are the tokens that
hold a character of what stands in the last `\\boxed{…}`, and the one that closes the box (without it the
probability of 1 would include that of 12). Of an answer without a box, under `direct`, they are all to its
end, the end token included. What led to the answer is taken as it was written: its probability is no part.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from holdfast.measures import Measure, Moment, Request
from holdfast.tasks.scoring import RIGHT, answer_place

if TYPE_CHECKING:
    from holdfast.experiment.jobs import Runner
    from holdfast.experiment.plan import Job
    from holdfast.generate.generator import Asking
    from holdfast.generate.rollouts import Item
    from holdfast.policy.batch import Completions
    from holdfast.policy.policy import Policy
    from holdfast.tasks.prompts import Style


class Calibration(Measure):
    first_stage: ClassVar[int] = 0
    unit_seconds: ClassVar[float] = 0.0025

    examples: int | None = Field(None, ge=1)  # of each task, the first of those that judge; None: all of them

    def determining(self) -> dict[str, Any]:
        return {}

    def request(self, moment: Moment) -> Request | None:
        """The items that judge, once more: of the base on all tasks, after each stage on the tasks so far."""
        tasks = (*moment.earlier, *moment.new) if moment.stage else moment.experiment.sequence
        return moment.judging(tasks, self.examples)

    def measure(self, job: Job, runner: Runner) -> dict[str, Any]:
        """For each task, whether each item was answered right, and how confidently."""
        rows = []
        for task, items in runner.asked(job).items():
            right, confidence = confidences(runner.policy_of(job), items, runner.asking(job, task))
            rows.append({"task": task, "right": right, "confidence": confidence})
        return {"rows": rows}


def confidences(
    policy: Policy, items: Sequence[Item], asking: Asking
) -> tuple[list[int], list[float | None]]:
    """Have each item answered once.

    Returns:
        For each item 1 where it is right, else 0; and its confidence, None where there is no answer.

    Raises:
        InputError: the model cannot take an item.
        NotFiniteError: its output is not finite.
    """
    import torch

    from holdfast.generate.rollouts import encode_items
    from holdfast.rng import torch_stream
    from holdfast.tasks.grading import grade

    style, batch = asking.style, asking.batch or len(items)
    right: list[int] = []
    confidence: list[float | None] = []
    for start in range(0, len(items), batch):
        part = items[start : start + batch]
        prompts = encode_items(policy, part, style, asking.templates)
        draws = torch_stream(*asking.stream, start, device=str(policy.device))
        completions = policy.sample(prompts, 1, asking.sampling, draws)
        with torch.no_grad():
            logprobs_BGR = policy.group_logprobs(prompts, completions).logprobs_BGR.double().cpu()
        for row, ((task, example), (text,)) in enumerate(zip(part, policy.decode(completions), strict=True)):
            where = answer_tokens(policy, completions.select([row]), text, style)
            graded = grade(task, example, text, style, policy.encoder.opens_thought)
            right.append(int(where is not None and graded.score >= RIGHT))
            confidence.append(None if where is None else logprobs_BGR[row, 0, where].sum().exp().item())
    return right, confidence


def answer_tokens(policy: Policy, response: Completions, text: str, style: Style) -> slice | None:
    """Which tokens of one response are its final answer, with what ends it; None without an answer.

    Args:
        response: a group of one.
        text: as the policy decodes it.
    """
    place = answer_place(text, style)
    if place is None:
        return None
    first, end = place
    boxed = text.startswith("}", end)
    end += boxed
    length, place_BGR = int(response.lengths_BG), response.mask_BGR.cumsum(-1)

    def said(count: int) -> int:
        """How far the first so many tokens go along the text; the first bytes of a character go nowhere."""
        some = replace(response, mask_BGR=response.mask_BGR & (place_BGR <= count))
        pairs = zip(policy.decode(some)[0][0], text, strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    counts = range(length + 1)
    # A token without a character of its own counts with those behind it.
    start = bisect_left(counts, True, key=lambda count: said(count) >= first or said(count + 1) > first)
    stop = bisect_left(counts, True, key=lambda count: said(count) >= end)
    return slice(start, stop if boxed or end < len(text) else length)
