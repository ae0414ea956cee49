"""What a task is: a named set of examples with splits, and the rule that scores an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from holdfast.errors import InputError
from holdfast.tasks.example import Example
from holdfast.tasks.scorers import get_scorer, identity
from holdfast.tasks.scoring import EXTRACTION_VERSION, exact

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Task:
    """A named set of examples.

    Attributes:
        name: as it stands in a config.
        version: raised by hand when the task's examples or scoring change, so that stored
            results made with the old behaviour are not taken for new ones.
        description: one line for `holdfast tasks`.
        load: gives the first `count` examples of a split (all of them for None; a task without
            an end needs a count).
        sizes: examples per split; None means without an end.
        scorer: name of the rule in `holdfast.tasks.scorers.SCORERS`, or FILE.py:NAME.
        chance: accuracy of guessing without the image, 0..1, or None if unknown.
        options: whether every answer is one of several options, alike likely; then k = 1 / chance.
        source: fingerprint of the data, where the name and version do not determine it.
        elsewhere: where to get splits that it lacks, for the message that one is not there.
        missing: positions in the data that `without` left out, ascending, by split.
    """

    name: str
    version: int
    description: str
    load: Callable[[Split, int | None], list[Example]]
    sizes: Mapping[Split, int | None]
    scorer: str = "exact"
    chance: float | None = None
    options: bool = False
    source: str = ""
    elsewhere: str = ""
    missing: Mapping[Split, Sequence[int]] = field(default_factory=dict)

    def examples(self, split: Split, count: int | None = None) -> list[Example]:
        """The first `count` examples of `split`, always the same ones in the same order.

        Raises:
            InputError: the split is unknown or empty, or holds fewer than `count` examples.
        """
        if split not in self.sizes:
            known = ", ".join(self.sizes)
            raise InputError(
                f"Task {self.name} has no split '{split}'; it has {known}. {self.elsewhere}".rstrip()
            )
        size = self.sizes[split]
        if size == 0:
            raise InputError(f"Task {self.name}: its {split} split is empty.")
        if size is None and count is None:
            key = "train_examples" if split == "train" else "test_examples"
            raise InputError(f"Task {self.name} has no end: say with {key} how many to take.")
        if size is not None and count is not None and count > size:
            raise InputError(f"Task {self.name} has {size} {split} examples, but {count} were asked for.")
        return self.load(split, count)

    def without(self, positions: Mapping[Split, Sequence[int]]) -> Task:
        """The task as if the rows at these positions (from 0, ascending) were not in its data."""
        left_out = replace(self, missing=positions)

        def load(split: Split, count: int | None) -> list[Example]:
            passed = set(left_out.passed_over(split, count))
            examples = self.load(split, None if count is None else count + len(passed))
            return [example for position, example in enumerate(examples) if position not in passed]

        sizes = {
            split: None if size is None else size - len(positions.get(split, ()))
            for split, size in self.sizes.items()
        }
        return replace(left_out, load=load, sizes=sizes)

    def passed_over(self, split: Split, count: int | None) -> list[int]:
        """The missing positions that stand before the end of the first `count` examples of a split."""
        return [
            position
            for before, position in enumerate(self.missing.get(split, ()))
            if count is None or position - before < count
        ]

    def score(self, answer: str | None, example: Example) -> float:
        """Accuracy of an extracted answer, 0..1; no answer scores 0."""
        return 0.0 if answer is None else get_scorer(self.scorer)(answer, example)

    @property
    def scoring(self) -> dict[str, str | int]:
        """What determines the score of a response; `version` covers it where nothing else tells the data."""
        if not self.source:
            return {"scorer": self.scorer}
        return {"scorer": identity(self.scorer), "extraction": EXTRACTION_VERSION}

    def scored_by(self, scorer: str) -> Task:
        """The same examples under another rule, such as `study`.

        Raises:
            InputError: there is no such rule.
        """
        get_scorer(scorer)
        return replace(self, scorer=scorer)

    def lenient_score(self, answer: str | None, example: Example) -> float:
        """Like `score`, but an answer in another convention (`aliases`) counts too."""
        if answer is None:
            return 0.0
        return max(self.score(answer, example), *(exact(answer, alias) for alias in example.aliases), 0.0)
