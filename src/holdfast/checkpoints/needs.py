"""How many items a comparison needs, told before it is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from holdfast import files
from holdfast.analysis.power import CHURN, items_needed
from holdfast.checkpoints.comparison import ALL
from holdfast.errors import InputError


def churn_seen(folder: Path) -> float | None:
    """The largest share of a task's items that turned in the comparison in a folder; None without one."""
    try:
        rows = files.read_json(folder / "comparison.json")["rows"]
        shares = [(row["lost"] + row["gained"]) / row["items"] for row in rows if row["task"] != ALL]
        return min(1.0, max(map(float, shares)))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None


def check_power(
    sizes: Mapping[str, int],
    folder: Path,
    *,
    power: float,
    loss: float,
    churn: float | None,
    max_drop: float,
    level: float,
    sequential: bool,
) -> str:
    """What every task needs, as a sentence.

    Args:
        sizes: items of each task.
        folder: of the comparison; an earlier one there tells how many items turn.
        loss: that is to be found with probability `power`, 0..1.
        churn: share of items that turn; None: as seen, or assumed.

    Raises:
        InputError: a task has too few items.
    """
    source = "as said"
    if churn is None:
        seen = churn_seen(folder)
        churn, source = (CHURN, "assumed") if seen is None else (max(seen, 0.01), f"as in {folder}")
    rows = len(sizes) + (len(sizes) > 1 and not sequential)
    needed = items_needed(
        power, loss=loss, churn=churn, rows=rows, level=level, max_drop=max_drop, sequential=sequential
    )
    one = f"one of {len(sizes)} tasks" if len(sizes) > 1 else "the task"
    text = (
        f"a loss of {100 * loss:g} points in {one} is found in {100 * power:g} % of cases with {needed:,} "
        f"items of it, if {100 * churn:.3g} % of them turn ({source})"
    )
    if few := {task: items for task, items in sizes.items() if items < needed}:
        has = ", ".join(f"{task} has {items:,}" for task, items in few.items())
        raise InputError(
            f"Too few items for --power {power:g}: {text}, and {has}. Say test_examples={needed} (if there "
            "are so many), be content with a larger --loss, or leave --power out."
        )
    return f"{text[0].upper()}{text[1:]}."
