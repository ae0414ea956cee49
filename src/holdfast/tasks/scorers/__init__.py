"""The rules that score an answer, by name. A rule takes an answer and its Example and gives 0..1.

The same object grades rewards, filters and evaluations. `study` is the rule that the study used
for every task; the others are each benchmark's own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from holdfast import plugins
from holdfast.errors import InputError, meant
from holdfast.tasks import scoring
from holdfast.tasks.example import Example
from holdfast.tasks.scorers import mathematics, mmmu, options, parts, short, study, vqa
from holdfast.tasks.scorers.text import bare, labelled_part

Scorer = Callable[[str, Example], float]


def _by_reference(rule: Callable[[str, str], float], answer: str, example: Example) -> float:
    """By a rule that looks at the reference answer only."""
    return rule(answer, example.answer)


def _bare_too(rule: Callable[[str, str], float], answer: str, example: Example) -> float:
    r"""Likewise, and an answer may be dressed as a whole: models write `\boxed{\text{Paris}}`."""
    return rule(answer, example.answer) or rule(bare(answer), example.answer)


def _by_letter(read: options.Reader, answer: str, example: Example) -> float:
    """By the option that an answer picks."""
    return float(read(answer, example.choices) == example.answer)


def _vqa(answer: str, example: Example) -> float:
    return vqa.soft_accuracy(labelled_part(answer), example.references or (example.answer,))


def _mmmu(answer: str, example: Example) -> float:
    if example.choices:
        return _by_letter(options.mmmu_letter, answer, example)
    return mmmu.open_answer(answer, example.references or (example.answer,))


SCORERS: dict[str, Scorer] = {
    "exact": partial(_bare_too, scoring.exact),
    "choice": partial(_bare_too, scoring.choice),
    "number": partial(_bare_too, scoring.number),
    "study": partial(_by_reference, study.study),
    "options": partial(_by_letter, options.option_letter),
    "vqa": _vqa,
    "gqa": partial(_by_reference, short.gqa),
    "geometry": partial(_by_reference, mathematics.geometry),
    "pathvqa": partial(_by_reference, short.pathvqa),
    "superclevr": partial(_by_reference, short.superclevr),
    "mmmu": _mmmu,
    "mmlu_pro": partial(_by_letter, options.mmlu_pro_letter),
    "mmlu_pro_script": partial(_by_letter, options.mmlu_pro_script_letter),
    "yes_no": partial(_by_reference, short.yes_no),
    "pope": partial(_by_reference, short.pope),
    "parts": parts.parts,
    "option_set": parts.option_set,
    "box": partial(_by_reference, parts.box),
}


def get_scorer(name: str) -> Scorer:
    """The rule of this name, or a function of the user's (`rules.py:score`).

    The user's gets the answer and its Example and returns a number from 0 to 1.

    Raises:
        InputError: there is no such rule, or no such function.
    """
    if plugins.is_reference(name):
        plugins.load_function(name, "answer", "example")
        return partial(_own, name)
    if name not in SCORERS:
        known = ", ".join(SCORERS)
        guess = meant(name, SCORERS)
        raise InputError(f"There is no scorer '{name}'; there is {known}, or FILE.py:NAME{guess or '.'}")
    return SCORERS[name]


def identity(name: str) -> str:
    """A rule's name, with what tells its scores from those of the same name before or elsewhere.

    The study's rule is mathruler's, or our own where that is not installed; their results do not mix.
    """
    version = f" {VERSIONS[name]}" if name in VERSIONS else ""
    return f"{name}{version} by {study.identity()}" if name == "study" else name + version


def _own(name: str, answer: str, example: Example) -> float:
    return plugins.call_for_number(
        name, answer, example, about=f"the answer to {example.id}", least=0.0, most=1.0
    )


OPTION_SCORERS = ("choice", "options", "yes_no", "pope")  # their answers are one of several options
FORMULAS = ("study", "geometry", "parts", "option_set")  # compare formulas, which needs math-verify
# Raise when a rule scores the same answer otherwise.
VERSIONS = {
    **dict.fromkeys(("exact", "choice"), 3),
    **dict.fromkeys(("box", "pope"), 5),
    "study": 5,
    **dict.fromkeys(("gqa", "vqa"), 6),
    "number": 7,
    **dict.fromkeys(("yes_no", "pathvqa", "superclevr"), 11),
    **dict.fromkeys(("parts", "option_set"), 10),
    **dict.fromkeys(("options", "mmmu", "mmlu_pro", "geometry"), 12),
}
