"""What a benchmark reports besides its accuracy, from per-sample records.

POPE: precision, recall, F1 and yes-ratio per category. MMMU, MMLU-Pro and ScienceQA: accuracy per
subject. VizWiz: answerable and unanswerable questions apart, since nearly half of them are
unanswerable. PathVQA: closed and open questions apart. Figures other than counts are 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from holdfast.tasks.scorers.decisions import pope_decision, yes_or_no
from holdfast.tasks.scorers.short import is_closed, token_f1

Record = Mapping[str, Any]
Summary = dict[str, dict[str, float]]


def summarise(kind: str, records: Sequence[Record]) -> Summary:
    """Figures per group of records; the group `all` is always there and comes first.

    A group that the data call `all` is `all (group)`.

    Args:
        kind: the name of the task's official scorer.
        records: each with answer (None where none was found), reference, score and meta.
    """
    figures, group = SUMMARIES.get(kind, (_accuracy, None))
    groups: dict[str, list[Record]] = {"all": list(records)}
    for record in records:
        if group and (name := group(record)):
            groups.setdefault("all (group)" if name == "all" else name, []).append(record)
    return {name: figures(rows) for name, rows in groups.items() if rows}


def _accuracy(records: Sequence[Record]) -> dict[str, float]:
    return {
        "count": len(records),
        "accuracy": _mean(record["score"] for record in records),
        "no_answer": _mean(record["answer"] is None for record in records),
    }


def yes_no_figures(
    records: Sequence[Record], decide: Callable[[str], str | None] = yes_or_no
) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of "yes", the share of yes answers and of unreadable ones.

    An answer that says neither counts as wrong and as not yes. Precision of a model that never
    says yes is 0, as in the official script.
    """
    said = [None if record["answer"] is None else decide(record["answer"]) for record in records]
    pairs = [(one, yes_or_no(record["reference"])) for one, record in zip(said, records, strict=True)]
    both = sum(pair == ("yes", "yes") for pair in pairs)
    said_yes, true_yes = said.count("yes"), sum(wanted == "yes" for _, wanted in pairs)
    precision = both / said_yes if said_yes else 0.0
    recall = both / true_yes if true_yes else 0.0
    return {
        "count": len(records),
        "accuracy": _mean(one == wanted for one, wanted in pairs),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall) if both else 0.0,
        "yes_ratio": said_yes / len(records),
        "no_answer": _mean(one is None for one in said),
    }


def _path(records: Sequence[Record]) -> dict[str, float]:
    f1 = _mean(token_f1(record["answer"] or "", record["reference"]) for record in records)
    return _accuracy(records) | {"f1": f1}


def _meta(key: str, record: Record) -> str:
    return str(record["meta"].get(key) or "")


def _answerable(record: Record) -> str:
    answerable = record["meta"].get("answerable")
    return "" if answerable is None else "answerable" if answerable else "unanswerable"


def _closed(record: Record) -> str:
    return "closed" if is_closed(record["reference"]) else "open"


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


SUMMARIES: dict[str, tuple[Callable[[Sequence[Record]], dict[str, float]], Callable[[Record], str]]] = {
    "yes_no": (yes_no_figures, partial(_meta, "category")),
    "pope": (partial(yes_no_figures, decide=pope_decision), partial(_meta, "category")),
    "options": (_accuracy, partial(_meta, "subject")),
    "mmmu": (_accuracy, partial(_meta, "subject")),
    **dict.fromkeys(("mmlu_pro", "mmlu_pro_script"), (_accuracy, partial(_meta, "category"))),
    "vqa": (_accuracy, _answerable),
    "pathvqa": (_path, _closed),
}
