"""The rules that score an answer, by name. A rule takes an answer and its Example and gives 0..1.

The same object grades rewards, filters and evaluations. `study` is the rule that the study used
for every task; the others are each benchmark's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from holdfast.tasks import scoring
from holdfast.tasks.scorers import mathematics, mmmu, options, short, vqa
from holdfast.tasks.scorers.text import final_part

if TYPE_CHECKING:
    from holdfast.tasks.example import Example

Scorer = Callable[[str, "Example"], float]


def _by_reference(rule: Callable[[str, str], float]) -> Scorer:
    """A rule that looks at the reference answer only."""

    def score(answer: str, example: Example) -> float:
        return rule(answer, example.answer)

    return score


def _vqa(answer: str, example: Example) -> float:
    return vqa.soft_accuracy(final_part(answer), example.references or (example.answer,))


def _options(answer: str, example: Example) -> float:
    return float(options.option_letter(answer, example.choices) == example.answer)


def _mmlu_pro(answer: str, example: Example) -> float:
    return float(options.mmlu_pro_letter(answer, example.choices) == example.answer)


def _mmmu(answer: str, example: Example) -> float:
    if example.choices:
        return float(options.mmmu_letter(answer, example.choices) == example.answer)
    return mmmu.open_answer(answer, example.references or (example.answer,))


SCORERS: dict[str, Scorer] = {
    "exact": _by_reference(scoring.exact),
    "choice": _by_reference(scoring.choice),
    "number": _by_reference(scoring.number),
    "study": _by_reference(mathematics.study),
    "options": _options,
    "vqa": _vqa,
    "gqa": _by_reference(short.gqa),
    "geometry": _by_reference(mathematics.geometry),
    "pathvqa": _by_reference(short.pathvqa),
    "superclevr": _by_reference(short.superclevr),
    "mmmu": _mmmu,
    "mmlu_pro": _mmlu_pro,
    "yes_no": _by_reference(short.yes_no),
}
FORMULAS = ("study", "geometry")  # compare formulas, which needs math-verify
