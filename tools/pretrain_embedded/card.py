"""The embedded model's card: what it can do before any post-training, in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import indent

from holdfast.files import write_json, write_text
from holdfast.generate.generator import Asking
from holdfast.generate.rollouts import roll_out
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.embedded import GENERAL, SEQUENCE, TASKS
from holdfast.tasks.prompts import TEMPLATES, Style
from holdfast.tasks.task import Task

SAMPLES, MAX_TOKENS, BATCH = 8, 32, 100
EXAMPLES = 500  # a row of the card


@dataclass(frozen=True)
class Ability:
    """What a model does with a task's validation examples, all shares 0..1.

    Attributes:
        greedy: right in the form the task scores, greedily.
        skill: right in that form or in the model's own, greedily.
        mean: right on average at temperature 1.
        any: right at least once in `SAMPLES` samples at temperature 1 (pass@k).
        format: greedy responses in the form the prompt style asks for.
    """

    task: str
    style: Style
    chance: float | None
    greedy: float
    skill: float
    mean: float
    any: float
    format: float


def measure(policy: Policy, task: Task, style: Style, count: int) -> Ability:
    """One row of the card."""
    examples = task.examples("validation", count)
    sampling = Sampling(max_tokens=MAX_TOKENS)
    asking = Asking(style, TEMPLATES["embedded"], sampling, ("card", task.name, style))
    greedy = skill = mean = any_right = form = 0.0
    for start in range(0, count, BATCH):
        items = [(task, example) for example in examples[start : start + BATCH]]
        rollouts = roll_out(policy, items, asking.at(start), SAMPLES, greedy_row=True)
        sampled = rollouts.scores_BG[:, :SAMPLES]
        greedy += rollouts.scores_BG[:, -1].sum().item()
        form += rollouts.formats_BG[:, -1].sum().item()
        mean += sampled.mean(dim=1).sum().item()
        any_right += sampled.amax(dim=1).sum().item()
        skill += sum(
            task.lenient_score(answers[-1], example)
            for answers, (_, example) in zip(rollouts.answers, items, strict=True)
        )
    return Ability(
        task.name,
        style,
        task.chance,
        greedy / count,
        skill / count,
        mean / count,
        any_right / count,
        form / count,
    )


def write_card(folder: Path, made_by: str, report: Callable[[str], None], count: int = EXAMPLES) -> None:
    """Measure the model in `folder` on every task; write `abilities.json` and the card `README.md` there."""
    policy, rows = Policy.load(folder, ModelSettings()), []
    for style in ("cot", "direct"):
        for name in (*SEQUENCE, *GENERAL):
            rows.append(measure(policy, TASKS[name], style, count))
            row = rows[-1]
            report(
                f"{style} {row.task}: greedy {row.greedy:.2f}, skill {row.skill:.2f}, pass@8 {row.any:.2f}"
            )
    write_json(folder / "abilities.json", [asdict(row) for row in rows])
    parameters = sum(parameter.numel() for parameter in policy.model.parameters())
    table = "\n".join(
        f"| {row.task} | {row.style} | {row.chance:.2f} | {row.greedy:.2f} | {row.skill:.2f} "
        f"| {row.mean:.2f} | {row.any:.2f} | {row.format:.2f} |"
        for row in rows
    )
    text = CARD.format(parameters=parameters, made_by=indent(made_by, "    "), count=count, table=table)
    write_text(folder / "README.md", text)


CARD = """\
---
license: apache-2.0
pipeline_tag: image-text-to-text
---
# Holdfast's embedded model

A Qwen2.5-VL of {parameters:,} parameters, trained from scratch on pictures and words of Holdfast's
embedded suite, so that continual post-training can be tried and tested on a CPU in minutes. It
knows nothing of the real world: its vocabulary is the suite's, its pictures are 48 × 48 pixels,
its facts are made up.

Made by:

{made_by}

## What it can do

{count} validation examples a row; no task's train, validation or test pictures were in its
pre-training. *Greedy*: right in the form the task scores. *Skill*: right in that form or in the
model's own habit (number words for digits, "12 cm" for 12, the option's text for its letter …).
*Mean* and *pass@8*: at temperature 1, on average and at least once in eight samples. *Format*:
greedy responses in the form the prompt style asks for.

| task | style | chance | greedy | skill | mean | pass@8 | format |
|---|---|---|---|---|---|---|---|
{table}

The last three tasks are the general benchmarks; there the model's habit is the scored form.

## Why it has habits

A real instruct model sees well and answers in its own way, which is seldom the way a data set
scores. In pre-training every downstream question was answered now in the scored form and now in
another, how often depending on something visible (a colour, a row). Each task therefore starts
with room to learn, sampling finds the scored form now and then, and forgetting can be told apart:
a lost convention (right, but said otherwise) from a lost skill (wrong).

## Limits

Nothing outside the suite. A finding on this model is a finding about mechanisms at a tiny scale,
not about any real model.
"""
