"""An experiment file on data of one's own, with its reasons as comments."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from holdfast.start.look import Data, style_for
from holdfast.tasks.example import IMAGE_MARKER, Example
from holdfast.tasks.task import SPLITS

WHY = {"chance": "  # what guessing gets"}  # comments of settings
SHOWN = 5  # words that a model does not know


@dataclass(frozen=True)
class Draft:
    """What is asked of the person.

    Attributes:
        file: the experiment's, in whose folder its paths begin.
        name: of the experiment.
        tasks: their names, in the order in which they are learned.
        skip: whether rows that the model cannot take are left out.
    """

    file: Path
    name: str
    tasks: Sequence[str]
    model: str
    device: str
    skip: bool = False


def text_of(draft: Draft, found: Sequence[Data]) -> str:
    """The YAML text.

    Args:
        found: the data of each task.
    """
    embedded = draft.model == "embedded"
    style, why_style = min(map(style_for, found), key=lambda one: one[0] != "direct")
    rows = min(filter(None, (len(data.examples.get("train", ())) for data in found)), default=0)
    batch = min(16, rows or 16)
    tokens = 32 if embedded else 1024 if style == "cot" else 256
    sft, rft = ("2.0e-4", "1.0e-4") if embedded else ("1.0e-5", "1.0e-6")
    several = len(found) > 1
    counted = f"{rows:,} rows, the smallest task's" if several else f"{rows:,} rows"
    passes = f"; {40 * batch / rows:.1f} passes over {counted}" if rows else ""
    tasks = list[str]()
    for name, data in zip(draft.tasks, found, strict=True):
        tasks += [f"  {_word(name)}:"]
        for key, value in data.settings.items():
            tasks.append(f"    {key}: {_plain(value, draft, key)}{WHY.get(key, '')}")
        tasks += [f"    scorer: {data.scorer}  # {data.why}"]
    order = (
        "one after another" if several else "more tasks, learned one after another, show what is forgotten"
    )
    lines = [
        "# SFT and GRPO on your data, from the same model, under the same prompt and scorer.",
        "#",
        f"#   holdfast plan {shlex.quote(str(draft.file))}",
        f"#   holdfast run {shlex.quote(str(draft.file))} --workers auto",
        "",
        f"name: {_word(draft.name)}  # results go to runs/{draft.name}",
        "",
        "model:",
        f"  path: {_plain(draft.model, draft, 'model')}",
        f"  device: {draft.device}  # auto: a GPU if there is one",
        *_model(embedded),
        "",
        "tasks:",
        *tasks,
        f"sequence: [{', '.join(map(_word, draft.tasks))}]  # {order}",
        *_general(embedded),
        "",
        "train_examples: null  # all; a number is at most so many",
        f"test_examples: {_counts(embedded)}",
        f"bad_rows: {'skip' if draft.skip else 'stop'}  # rows that the model cannot take: "
        + ("some were found, and are left out" if draft.skip else "an error, before any work"),
        "",
        f"prompts: {'embedded' if embedded else 'standard'}  # "
        + ("the words that this model knows" if embedded else "says how to answer, in each style's words"),
        "evaluation:",
        f"  max_tokens: {tokens}  # longest answer",
        "",
        "defaults:",
        f"  style: {style}  # {why_style}",
        f"  iterations: 40  # batches{passes}",
        f"  batch: {batch}",
        f"  sampling: {{max_tokens: {tokens}}}",
        "methods:",
        f"  sft: {{objective: sft, learning_rate: {sft}}}  # imitates the answers",
        f"  grpo: {{objective: grpo, learning_rate: {rft}, group_size: 8}}  # from its own answers' scores",
        "keep_weights: last  # runs/store holds the final models; `holdfast store` lists them",
    ]
    return "\n".join(lines) + "\n"


def _model(embedded: bool) -> list[str]:
    if embedded:
        return []
    return [
        "  dtype: bfloat16",
        "  activation_checkpointing: true  # the same results in less memory",
        "  token_budget: 16384  # tokens of a forward pass; lower it where memory is short",
        "  # lora: {rank: 16, alpha: 32}  # adapters in place of all weights: a fraction of the memory",
    ]


def _general(embedded: bool) -> list[str]:
    if embedded:
        return ["general: [presence]  # what nothing is trained on; judged before and after"]
    return ["general: []  # what nothing is trained on, such as pope after 'holdfast data prepare pope'"]


def _counts(embedded: bool) -> str:
    return "{presence: 200}  # it has no end; the others give all they have" if embedded else "null"


def _word(name: str) -> str:
    """A name as YAML: in quotes where it would be read as a number, a date or a truth value."""
    return yaml.safe_dump(name).splitlines()[0]


def _plain(value: Any, draft: Draft, key: str) -> str:
    """A setting as YAML; a path from the experiment file's folder."""
    if key in (*SPLITS, "hub", "model") and Path(str(value)).exists():
        value = os.path.relpath(value, draft.file.parent.absolute())
    return json.dumps(value, ensure_ascii=False)


def cut_off(lengths: Sequence[int], most: int) -> str | None:
    """A sentence where answers are longer than may be written."""
    longer = sum(length > most for length in lengths)
    if not longer:
        return None
    return (
        f"{longer:,} of {len(lengths):,} answers are longer than max_tokens: {most}, so they can never be "
        f"written whole; the longest has {max(lengths)}: raise evaluation.max_tokens and defaults.sampling."
    )


def unknown_words(tokenizer: Any, rows: Iterable[Example]) -> str | None:
    """A sentence where prompts or answers hold words that a tokenizer with a small vocabulary lacks."""
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is None:
        return None
    texts = (f"{row.prompt} {row.answer}".replace(IMAGE_MARKER, " ") for row in rows)
    words = sorted({word for text in texts for word in text.split()})
    ids = tokenizer(words, add_special_tokens=False)["input_ids"] if words else []
    lacking = [word for word, found in zip(words, ids, strict=True) if unknown in found]
    if not lacking:
        return None
    named = ", ".join(lacking[:SHOWN]) + (", ..." if len(lacking) > SHOWN else "")
    return (
        f"The model does not know {len(lacking):,} of the rows' {len(words):,} words ({named}): it sees "
        f"{tokenizer.unk_token} in their place, and an answer with one is never right."
    )
