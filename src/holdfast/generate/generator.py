"""The door to whatever samples: questions go in, responses come out.

Evaluation and filters know a `Generator` and nothing else of it. The policy in this process is one
(`local.py`), a server is another (`server.py`), and a class of your own with this one method is a third.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.errors import HoldfastError
from holdfast.plugins import shown
from holdfast.policy.settings import Sampling
from holdfast.tasks.example import Example, ImageSource
from holdfast.tasks.prompts import Style, render_prompt
from holdfast.tasks.task import Task

if TYPE_CHECKING:
    from holdfast.policy.batch import Completions


@dataclass(frozen=True)
class Asking:
    """How a policy is asked: what its prompts look like, and how its answers are drawn.

    Attributes:
        templates: of prompts, by style.
        stream: names of the random stream that answers are drawn from.
        batch: examples that are asked together; None: all of them.
    """

    style: Style
    templates: Mapping[Style, str]
    sampling: Sampling
    stream: tuple[object, ...]
    batch: int | None = None

    def at(self, *names: object) -> Asking:
        """The same, with a random stream of these names within its own."""
        return replace(self, stream=(*self.stream, *names))


@dataclass(frozen=True)
class Question:
    """One example as a model is asked it.

    Attributes:
        example: where it comes from; its answer is not for the generator.
        prompt: the user's turn, in the prompt style.
        task: whose example it is.
    """

    example: Example
    prompt: str
    task: str

    @property
    def images(self) -> Sequence[ImageSource]:
        return self.example.images

    @property
    def named(self) -> str:
        """What messages call it."""
        return f"{self.task} {self.example.named}"


@dataclass(frozen=True)
class Answers:
    """Responses to some of the questions, G to each.

    Attributes:
        asked: positions of these questions among all that were given.
        texts: responses, [B][G].
        lengths: tokens of each, None where nobody said.
        finished: it ended by itself, not at the limit of tokens.
        operations: floating-point operations that generating all of them took, None where unknown.
        completions: token ids and the log-probabilities they were drawn with, where they are known, in
            the form that learning takes.
    """

    asked: Sequence[int]
    texts: list[list[str]]
    lengths: list[list[int | None]]
    finished: list[list[bool]]
    operations: float | None = None
    completions: Completions | None = None


class Generator(Protocol):
    """Something that answers.

    Three methods may come on top: `prepare(questions)` is told which questions come next while those before
    are answered; `refresh()` of an engine beside the learner takes the weights of the policy that learns
    (`served.py`); `recall(served)` of a server is told what answered earlier (`server.py`).
    """

    def generate(
        self, questions: Sequence[Question], group: int, sampling: Sampling, stream: tuple[object, ...]
    ) -> Iterator[Answers]:
        """Answer every question `group` times; all at once, or in parts as they come, in any order.

        Parts that were given are kept when the process is killed, and their questions not asked again:
        in parts, an answer must not depend on which other questions there are.

        Args:
            stream: names the random numbers; the same names give the same draws, as far as it is able to.

        Raises:
            InputError: a question cannot be asked.
            HoldfastError: no answer came.
        """


def questions(
    items: Iterable[tuple[Task, Example]], style: Style, templates: Mapping[Style, str]
) -> list[Question]:
    """The examples of tasks as questions of one style."""
    return [Question(example, render_prompt(example, style, templates), task.name) for task, example in items]


def ask(
    generator: Generator,
    asked: Sequence[Question],
    group: int,
    sampling: Sampling,
    stream: tuple[object, ...],
) -> Iterator[Answers]:
    """What a generator answers, checked: every question is answered once, with `group` responses.

    Raises:
        HoldfastError: it is not.
    """
    left, who = set(range(len(asked))), type(generator).__name__
    given = generator.generate(asked, group, sampling, stream)
    for part in given if isinstance(given, Iterable) else () if given is None else (given,):
        try:
            if wrong := _wrong(part):
                raise HoldfastError(f"{who} answered with {wrong}.")
            part = replace(part, asked=[index(one) for one in part.asked])
            counts = set(map(len, (part.asked, set(part.asked), part.texts, part.lengths, part.finished)))
            each = [len(some) for told in (part.texts, part.lengths, part.finished) for some in told]
        except TypeError:  # something else stands in the place of lists, or of positions
            raise HoldfastError(
                f"{who} answered with {shown(part)}; each of its fields must be as `Answers` says."
            ) from None
        if len(counts) > 1 or not left.issuperset(part.asked) or {*each} - {group}:
            raise HoldfastError(
                f"{who} answered a question twice, or not with {group} responses "
                "(a text, a length and whether it is finished for each)."
            )
        left.difference_update(part.asked)
        if part.asked:
            yield part
    if left:
        raise HoldfastError(f"{who} left {len(left)} of {len(asked)} questions open.")


def _wrong(part: Any) -> str | None:
    """What records could not hold of the answers that code from outside gives; None where nothing."""
    if not isinstance(part, Answers):
        return f"{shown(part)}; it must yield `Answers`"
    for texts in part.texts:
        for text in texts:
            if not isinstance(text, str):
                return f"the text {shown(text)}; it must be a str"
            try:
                text.encode()
            except UnicodeEncodeError:
                return f"half of a character (a lone surrogate) in {shown(text)}; write whole ones"
    lengths = [one for each in part.lengths for one in each if one is not None]
    if odd := [one for one in lengths if type(one) is not int or one < 0]:
        return f"the length {shown(odd[0])}; it must be an int of at least 0, or None"
    if odd := [one for each in part.finished for one in each if type(one) is not bool]:
        return f"{shown(odd[0])} for whether it finished; it must be True or False"
    return None
