"""The noise floor: how many judgements turn when the same checkpoint is asked the same twice.

What turns by itself cannot be told from what was forgotten. So the base is judged twice in the mode that the
comparison will use. Where the two disagree by more than a margin, the items on which they do are asked again
with one setting after another made steady, until two answers agree: that setting made them differ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.analysis.results import Record
from holdfast.checkpoints.comparable import MADE
from holdfast.checkpoints.examine import examine
from holdfast.checkpoints.folder import Examined
from holdfast.checkpoints.subject import Subject
from holdfast.config.exam import Exam
from holdfast.errors import HoldfastError
from holdfast.experiment.collect import judged
from holdfast.generate.evaluate import evaluate
from holdfast.generate.generator import Asking
from holdfast.report.table import number

ASKED_AGAIN = 32  # items of a task at most, to find what makes them differ


@dataclass(frozen=True)
class Noise:
    """Two judgements of one checkpoint on one task.

    Attributes:
        turned: positions of items whose score was not the same in both.
        worded: items whose responses were not the same text.
    """

    task: str
    items: int
    turned: tuple[int, ...]
    worded: int

    @property
    def share(self) -> float:
        """The share of items that turned, 0..1."""
        return len(self.turned) / self.items

    @property
    def text(self) -> str:
        return (
            f"{self.task}: {len(self.turned):,} of {self.items:,} judgements turned "
            f"({number(self.share, 'points')} points), "
            f"{self.worded:,} {'response differs' if self.worded == 1 else 'responses differ'}"
        )


def asked_again(subject: Subject, exam: Exam) -> list[Examined]:
    """A second judgement, made from nothing. Where answers are drawn, with other draws."""
    seeds = tuple(seed + 1 for seed in exam.seeds) if exam.evaluation.temperature > 0 else exam.seeds
    with tempfile.TemporaryDirectory(prefix="holdfast-") as store:
        return examine(subject, exam.model_copy(update={"store": Path(store), "seeds": seeds}))


def noise_of(first: Examined, second: Examined) -> Noise:
    """How two judgements differ."""
    pairs = zip(first.records, second.records, strict=True)
    worded = sum(one["response"] != other["response"] for one, other in pairs)
    return Noise(first.task, len(first.records), _turned(first.records, second.records), worded)


def check_noise(
    first: Sequence[Examined],
    second: Sequence[Examined],
    exam: Exam,
    find: Callable[[Exam], Subject],
    margin: float,
) -> list[Noise]:
    """The noise of every task.

    Args:
        find: the checkpoint, as an exam with other settings loads or asks it.
        margin: largest share of judgements that may turn, 0..1.

    Raises:
        HoldfastError: more did, on some task; it names the setting that makes them differ.
    """
    found = [noise_of(*pair) for pair in zip(first, second, strict=True)]
    loud = max(found, key=lambda noise: noise.share)
    if loud.share > margin:
        place = found.index(loud)
        cause = _changed(first[place], second[place]) or _cause(loud, exam, find)
        raise HoldfastError(
            f"The same checkpoint was judged twice, and more than {100 * margin:g} points turned: "
            f"{loud.text}. What a new checkpoint forgot cannot be told from that. {cause}"
        )
    return found


def _changed(first: Examined, second: Examined) -> str:
    """What was not the same around the two judgements, the first of which may be an older one."""
    ours, theirs = first.setting or {}, second.setting or {}
    for key in (*MADE, "served"):
        if ours and ours.get(key) != theirs.get(key):
            return f"They were not made alike: {key} was {ours.get(key)} and is {theirs.get(key)}."
    return ""


def _cause(noise: Noise, exam: Exam, find: Callable[[Exam], Subject]) -> str:
    """The setting that makes answers differ, found by making one after another steady."""
    tried = []
    for name, steady in _steadier(exam):
        tried.append(name)
        subject = find(steady)
        if not _turned(*(_answers(subject, noise, steady, draw) for draw in (0, 1))):
            others = f" (with {', '.join(tried[:-1])})" if tried[:-1] else ""
            return f"It is the setting {name}{others}: so asked, two answers agree."
    held = f"also with {', '.join(tried)}" if tried else "though no setting asks for it"
    return f"Answers differ {held}: it is in what computes them, such as kernels that add in no fixed order."


def _steadier(exam: Exam) -> Iterator[tuple[str, Exam]]:
    """Settings that can make answers differ, each made steady, and those before it too."""
    if exam.evaluation.temperature > 0:
        exam = exam.changed("evaluation", temperature=0.0)
        yield "evaluation.temperature=0", exam
    if exam.server.model and exam.server.concurrency > 1:
        exam = exam.changed("server", concurrency=1)
        yield "server.concurrency=1", exam
    if not exam.server.model and exam.model.dtype != "float32":
        exam = exam.changed("model", dtype="float32")
        yield "model.dtype=float32", exam


def _answers(subject: Subject, noise: Noise, exam: Exam, draw: int) -> list[Record]:
    """The items that turned, asked again."""
    examples = judged(exam, subject.plan(exam), noise.task)
    return evaluate(
        subject.load(),
        exam.task(noise.task),
        [examples[place] for place in noise.turned[:ASKED_AGAIN]],
        Asking(
            exam.style,
            exam.prompts,
            exam.evaluation.sampling(),
            stream=("noise", draw, noise.task),
            batch=None if exam.server.model else exam.evaluation.batch,
        ),
    )


def _turned(first: Sequence[Record], second: Sequence[Record]) -> tuple[int, ...]:
    """Positions of the items that have another score in one judgement than in the other."""
    pairs = enumerate(zip(first, second, strict=True))
    return tuple(place for place, (one, other) in pairs if one["score"] != other["score"])
