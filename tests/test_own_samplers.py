"""Samplers from outside the package: anything that answers questions can be examined."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.checkpoints.examine import examine
from holdfast.checkpoints.subject import Subject
from holdfast.config.load import load_exam
from holdfast.errors import HoldfastError
from holdfast.generate.generator import Answers, Question
from holdfast.policy.settings import Sampling

pytestmark = pytest.mark.usefixtures("own_store")


class Parrot:
    """A sampler from outside: it repeats the question's last word, in parts that come backwards."""

    def __init__(
        self, group: int = 1, forgets: bool = False, twice: bool = False, mute: bool = False
    ) -> None:
        self.group, self.forgets, self.twice, self.mute = group, forgets, twice, mute
        self.asked: list[str] = []

    def generate(
        self, questions: Sequence[Question], group: int, sampling: Sampling, stream: tuple[object, ...]
    ) -> Iterator[Answers]:
        for place in reversed(range(self.forgets, len(questions))):
            question = questions[place]
            self.asked.append(question.example.id)
            said = f"<think> {len(question.images)} </think> \\boxed{{ {question.prompt.split()[-2]} }}"
            asked = [place] * (1 + self.twice)
            texts = [] if self.mute else [[said] * self.group for _ in asked]
            yield Answers(
                asked, texts, [[None] * self.group for _ in asked], [[True] * self.group for _ in asked]
            )


def test_a_sampler_from_outside_the_package(tmp_path: Path) -> None:
    rows = [{"prompt": f"say {word}", "answer": answer} for word, answer in ("aa", "bb", "cx")]
    data = tmp_path / "say.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    exam = load_exam([f"tasks.say={{test: {data}}}", "prompts={cot: '{prompt} please'}"])
    parrot = Parrot()
    subject = Subject("a parrot", {"sampler": "parrot", "version": 1}, lambda: parrot)
    (one,) = examine(subject, exam)
    assert [(record["answer"], record["score"]) for record in one.records] == [
        ("a", 1.0), ("b", 1.0), ("c", 0.0)
    ]  # fmt: skip
    assert [record["tokens"] for record in one.records] == [None] * 3
    assert parrot.asked == ["test-3", "test-2", "test-1"]
    assert examine(subject, exam)[0].reused
    for bad, message in (
        (Parrot(group=2), "not with 1 responses"),
        (Parrot(twice=True), "answered a question twice"),
        (Parrot(mute=True), "a text, a length and whether it is finished for each"),
        (Parrot(forgets=True), "1 of 3 questions"),
    ):
        broken = Subject("a bad parrot", {"sampler": message}, lambda bad=bad: bad)  # type: ignore[misc]
        with pytest.raises(HoldfastError, match=message):
            examine(broken, exam)
    # What it answered before it failed is kept.
    mended = Parrot()
    (one,) = examine(Subject("a parrot", {"sampler": message}, lambda: mended), exam)
    assert mended.asked == ["test-1"]
    assert [record["answer"] for record in one.records] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (None, "Fixed left 1 of 1 questions open"),
        ([None], "Fixed answered with None; it must yield `Answers`"),
        ([Answers([0], [[None]], [[3]], [[True]])], "with the text None; it must be a str"),  # type: ignore[list-item]
        ([Answers([0], [["\ud800"]], [[3]], [[True]])], "half of a character"),
        (
            [Answers([0], [["a"]], [[np.int64(3)]], [[True]])],
            r"the length .*3.*; it must be an int of at least 0, or None",
        ),
        ([Answers([0], [["a"]], [[-1]], [[True]])], "the length -1; it must be an int of at least 0"),
        ([Answers([0], [["a"]], None, [[True]])], "each of its fields must be as `Answers`"),  # type: ignore[arg-type]
        ([Answers([0], [["a"]], [3], [[True]])], "each of its fields must be as `Answers`"),  # type: ignore[list-item]
        ([Answers(None, [["a"]], [[3]], [[True]])], "each of its fields must be as `Answers`"),  # type: ignore[arg-type]
        (3, "Fixed answered with 3; it must yield `Answers`"),
        ([Answers([], [], [], [])], "Fixed left 1 of 1 questions open.$"),  # of which nothing is kept
        ([Answers([0], [["a"]], [[3]], [[np.True_]])], r"for whether it finished; it must be True or False"),  # type: ignore[list-item]
    ],
)
def test_what_a_sampler_from_outside_tells_is_looked_at(tmp_path: Path, told: Any, message: str) -> None:
    class Fixed:
        def generate(self, *_: object) -> Any:
            return told

    exam = load_exam(["test_examples=1"], tasks=["measures"])
    with pytest.raises(HoldfastError, match=message):
        examine(Subject("fixed", {"sampler": message}, Fixed), exam)


def test_a_model_that_has_answered_is_freed(tmp_path: Path) -> None:
    """Else `check` would hold two models in memory."""
    made: list[weakref.ref[Parrot]] = []

    def load() -> Parrot:
        parrot = Parrot()
        made.append(weakref.ref(parrot))
        return parrot

    exam = load_exam(
        ["prompts=embedded", "evaluation.max_tokens=32", "test_examples=40"], tasks=["measures", "facts"]
    )
    examine(Subject("a parrot", {"sampler": "parrot"}, load), exam)
    assert [parrot() for parrot in made] == [None]
