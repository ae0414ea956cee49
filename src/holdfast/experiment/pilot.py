"""A pilot bar: two stages of the reference say whether there is anything to retain, before all the rest.

A stream whose first task is not learned, or not damaged by the second, cannot rank strategies. What the pilot
makes is the start of the whole experiment, and is not made again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from holdfast.analysis.paired import Change, compare
from holdfast.analysis.results import Results
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment.collect import collect
from holdfast.experiment.plan import Plan, make_plan
from holdfast.experiment.run import Outcome
from holdfast.experiment.store import Store


def stopped_by(
    experiment: Experiment, store: Store, work: Callable[[Experiment, Plan], Outcome]
) -> str | None:
    """Do the pilot, if the experiment has one. Why nothing more is to be done; None where all of it is.

    Jobs that fail here fail in the whole experiment, too, and are told there.

    Args:
        work: does the jobs of a plan.
    """
    if not experiment.pilot:
        return None
    first = pilot_of(experiment)
    plan = make_plan(first)
    if work(first, plan).failed or (reason := failing(collect(first, plan, store))) is None:
        return None
    return (
        f"Stopped at the pilot bar: {reason}. There is nothing to retain; make stages longer or the rate "
        "higher, or take other tasks."
    )


def pilot_of(experiment: Experiment) -> Experiment:
    """The first two stages of the reference, else of the first method that learns in sequence; one seed.

    Raises:
        InputError: no method learns two tasks in sequence.
    """
    reference = experiment.reference
    name = reference or next((name for name, method in experiment.methods.items() if not method.joint), None)
    if name is None or len(experiment.sequence) < 2:
        raise InputError("pilot: needs a method that learns two tasks in sequence; leave it out.")
    method = experiment.methods[name]
    return experiment.model_copy(
        update={
            "sequence": experiment.order_of(method)[:2],
            "general": (),
            "methods": {name: method.model_copy(update={"order": None})},
            "variants": {},
            "reference": name,
            "measures": {},
            "seeds": experiment.seeds[:1],
        }
    )


def failing(results: Results) -> str | None:
    """Why a pilot does not pass its bar, in a sentence; None where it does.

    The first task must be better after its stage than before, and worse after the next than after its own:
    both by the paired 95 % interval over its items.
    """
    task, run = results.sequence[0], results.runs[0]
    scores = [np.array([record["score"] for record in run.cells[stage, task]]) for stage in range(3)]
    learned, kept = compare(task, scores[0], scores[1]), compare(task, scores[1], scores[2])
    if not learned.interval().low > 0:
        return f"{run.method} did not learn {task} in its stage ({_told(learned)})"
    if not kept.interval().high < 0:
        return f"{run.method} forgot nothing of {task} while it learned {results.sequence[1]} ({_told(kept)})"
    return None


def _told(change: Change) -> str:
    interval = change.interval()
    low, high = 100 * interval.low, 100 * interval.high
    return (
        f"{100 * change.before:.1f} before, {100 * change.after:.1f} after, change {100 * change.value:+.1f} "
        f"[{low:+.1f}, {high:+.1f}] on {change.items} items"
    )
