"""Roll-out based filtering of training examples (RIF, arXiv 2507.05386).

The current policy answers every training example several times; a filter then keeps examples by
how often the answer was right. It looks at accuracy, never at the shaped reward: the format part
of a reward makes groups look different that are all wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast import plugins
from holdfast.errors import HoldfastError
from holdfast.generate.evaluate import OnStep
from holdfast.generate.generator import Generator, ask, questions
from holdfast.generate.rollouts import Item
from holdfast.learning.methods import RFT
from holdfast.rng import stream as named_stream
from holdfast.rowlog import RowLog
from holdfast.tasks.grading import grade
from holdfast.tasks.prompts import Style
from holdfast.tasks.scoring import RIGHT

EQUAL_LIMIT = 7500  # released code: examples in each of the three sets
_NONE_LEFT = {  # what the policy answers right where a filter keeps nothing; for the others none
    "rif_strict": "each of them always or never right",
    "unsolvable": "each of them right at least once",
} | dict.fromkeys(
    ("rif_equal", "unsolvable_equal", "random_equal"), "each of them right at least once, or none"
)


def pass_rates(
    generator: Generator,
    items: Sequence[Item],
    method: RFT,
    *,
    templates: Mapping[Style, str],
    stream: tuple[object, ...],
    on_step: OnStep,
    kept: RowLog | None = None,
) -> list[dict[str, Any]]:
    """How often each example is answered right in `method.filter_samples` samples.

    Args:
        kept: rows that a killed job has found already; new ones are added to it.

    Returns:
        A row an example, in order: task, id, correct, samples, flops (of sampling them, where known).
    """
    kept = kept or RowLog()
    size = method.micro_batch or 32
    for start in range(len(kept.rows), len(items), size):
        part = items[start : start + size]
        asked = questions(part, method.style, templates)
        answered = list(ask(generator, asked, method.filter_samples, method.sampling, (*stream, start)))
        texts = {place: group for one in answered for place, group in zip(one.asked, one.texts, strict=True)}
        scores = [
            [grade(task, example, text, method.style).score for text in texts[place]]
            for place, (task, example) in enumerate(part)
        ]
        shared: dict[str, Any] = {"samples": method.filter_samples}
        operations = [one.operations for one in answered if one.operations is not None]
        if len(operations) == len(answered):
            shared["flops"] = sum(operations) / len(part)
        kept.add(
            [
                {"task": task.name, "id": example.id, "correct": sum(score >= RIGHT for score in group)}
                | shared
                for (task, example), group in zip(part, scores, strict=True)
            ]
        )
        mean = sum(map(sum, scores)) / (len(part) * method.filter_samples)
        on_step(len(kept.rows), len(items), {"accuracy": mean})
    return kept.rows


def select(filter: str, rows: Sequence[Mapping[str, Any]], stream: tuple[object, ...]) -> list[int]:
    """Positions of the examples a filter keeps, ascending.

    `rif` drops those never right (the study's rule), `rif_strict` those always right too. Their
    controls: `random_matched` keeps a random subset as large as what `rif` keeps, and `unsolvable`
    what `rif` drops. `rif_equal`, `unsolvable_equal` and `random_equal` (of all) keep equally many, drawn
    at random: as many as the smaller of what is ever right and what never is, 7,500 at most. A function
    of the user's (`rules.py:keep`) gets the rows and returns such positions.

    Raises:
        HoldfastError: nothing would be left, or a function of the user's failed.
    """
    everything = list(range(len(rows)))
    solvable = [index for index in everything if rows[index]["correct"] > 0]
    unsolvable = [index for index in everything if rows[index]["correct"] == 0]
    match filter:
        case "none":
            kept = everything
        case "rif":
            kept = solvable
        case "rif_strict":
            kept = [index for index in solvable if rows[index]["correct"] < rows[index]["samples"]]
        case "unsolvable":
            kept = unsolvable
        case "random_matched":
            kept = sorted(named_stream(*stream, filter).sample(everything, len(solvable)))
        case "rif_equal" | "unsolvable_equal" | "random_equal":
            among = {"rif_equal": solvable, "unsolvable_equal": unsolvable, "random_equal": everything}
            size = min(len(solvable), len(unsolvable), EQUAL_LIMIT)
            kept = sorted(named_stream(*stream, filter).sample(among[filter], size))
        case _:
            kept = _own_choice(filter, rows)
    if not kept:
        right = _NONE_LEFT.get(filter, f"none of them right in {rows[0]['samples']} tries")
        raise HoldfastError(
            f"Filter {filter} keeps none of {len(rows)} training examples: the policy answers {right}. "
            "Use filter: none, or another task or model; SFT first may help."
        )
    return kept


def _own_choice(filter: str, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """What a function of the user's keeps: each position once, ascending.

    Raises:
        HoldfastError: it failed, or returned something else.
    """
    found = plugins.call(filter, [dict(row) for row in rows], about=f"{len(rows)} pass rates")
    listed = found.tolist() if hasattr(found, "tolist") else found  # of numpy or torch
    several = isinstance(listed, list | tuple | set | range)
    if several and not listed:
        raise HoldfastError(
            f"{filter} keeps none of {len(rows)} training examples; it must keep one or more."
        )
    kept: list[Any] = list(map(plugins.plain_number, listed)) if several else [None]
    if not all(type(index) is int and 0 <= index < len(rows) for index in kept):  # True is no position
        raise HoldfastError(
            f"{filter} returned {plugins.shown(found)}; it must return a list of positions from 0 to "
            f"{len(rows) - 1}."
        )
    return sorted(set(kept))
