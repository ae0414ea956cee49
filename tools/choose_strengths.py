"""Choose each strategy's strength from a tuning experiment, and write the experiment that judges them.

The rule, which stands before any result: of each method with a grid, the value with the highest AvgAcc (mean
over seeds); of equal ones the first, as grids go from the gentlest to the firmest. The reference keeps its
whole grid. It and the five with the highest AvgAcc are run in a second order as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from holdfast.api import load_experiment, load_results
from holdfast.errors import HoldfastError, InputError
from holdfast.files import write_text

if TYPE_CHECKING:
    import pandas as pd

    from holdfast.config.experiment import Experiment

LEARNED, LOST = 0.1, 0.05  # what the reference must do with the first task, or there is nothing to retain
BEST = 5  # that are run in two orders
BOTH_ORDERS = {"order": [None, "backwards"]}
JUDGED: dict[str, Any] = {
    "evaluation": {"split": "test"},
    "seeds": [0, 1, 2, 3, 4],
    "max_jobs": 20000,
}


def check_bar(cells: pd.DataFrame, first: str, reference: str) -> None:
    """The first task must be learned and then damaged, on the mean over seeds, without a strategy.

    Raises:
        InputError: it is not.
    """
    of = cells[(cells["method"] == reference) & (cells["task"] == first)]
    accuracy = of.groupby("stage")["accuracy"].mean().sort_index()
    base, learned, end = accuracy.loc[0], accuracy.loc[1], accuracy.iloc[-1]
    if learned - base < LEARNED or learned - end < LOST:
        raise InputError(
            f"There is nothing to retain: {reference} has {100 * base:.1f} points on {first} at first, "
            f"{100 * learned:.1f} after it and {100 * end:.1f} at the end. It must gain {100 * LEARNED:.0f} "
            f"and lose {100 * LOST:.0f} of them again; make stages longer, or the rate higher."
        )


def choose(experiment: Experiment, metrics: pd.DataFrame) -> dict[str, tuple[str, float]]:
    """The chosen method of each family with a grid but the reference's, and its AvgAcc (0..1).

    Raises:
        InputError: a method is not done, or the base is not judged.
    """
    done = metrics.dropna(subset=["avg_acc", "learned"]).groupby("method")["avg_acc"]
    seeds, means = done.size(), done.mean()
    lacking = [name for name in experiment.variants if seeds.get(name, 0) < len(experiment.seeds)]
    if lacking:
        raise InputError(f"{len(lacking)} methods are not done, such as {lacking[0]}; run the tuning first.")
    chosen: dict[str, tuple[str, float]] = {}
    for name, variant in experiment.variants.items():
        if variant.of == _reference_family(experiment):
            continue
        if variant.of not in chosen or means[name] > chosen[variant.of][1]:
            chosen[variant.of] = name, float(means[name])
    return chosen


def judging(
    experiment: Experiment, chosen: dict[str, tuple[str, float]], tuned: str, name: str
) -> dict[str, Any]:
    """The settings of the experiment of this name that judges, which extends the file that tuned."""
    best = sorted(chosen, key=lambda family: -chosen[family][1])[:BEST]
    methods: dict[str, Any] = {_reference_family(experiment): {"grid": BOTH_ORDERS}}
    for family, (best_of, _) in chosen.items():
        grid = {key: [value] for key, value in experiment.variants[best_of].axes.items()}
        methods[family] = {"grid": grid | (BOTH_ORDERS if family in best else {})}
    reference = f"{experiment.reference} order=none"
    orders = {"backwards": list(reversed(experiment.sequence))}
    named = {"extends": tuned, "name": name, **JUDGED}
    return {**named, "orders": orders, "reference": reference, "methods": methods}


def _reference_family(experiment: Experiment) -> str:
    if experiment.reference not in experiment.variants:
        raise InputError("The tuning needs a reference with a grid of its own (lower learning rates).")
    return experiment.variants[experiment.reference].of


class _Plain(yaml.SafeDumper):
    """Writes a list that stands in several places out in each."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tools/choose_strengths.py", description=__doc__)
    parser.add_argument("tuned", type=Path, help="the tuning experiment's file; its results lie in its store")
    parser.add_argument("out", type=Path, help="the judging experiment's file, in the same folder")
    parser.add_argument("settings", nargs="*", help="key=value, as the tuning was run with (store=…)")
    given = parser.parse_args()
    try:
        experiment = load_experiment(given.tuned, given.settings)
        results = load_results(experiment)
        chosen = choose(experiment, results.metrics())
        check_bar(results.cells(), experiment.sequence[0], str(experiment.reference))
        settings = judging(experiment, chosen, given.tuned.name, given.out.stem)
    except HoldfastError as error:
        parser.exit(1, f"{error}\n")
    body = yaml.dump(settings, Dumper=_Plain, sort_keys=False, default_flow_style=None, width=110)
    write_text(
        given.out,
        f"# Made by tools/choose_strengths.py from {given.tuned.name} (docs/retention.md).\n\n{body}",
    )
    for family, (name, accuracy) in chosen.items():
        print(f"{family:14} {100 * accuracy:5.1f}  {name}")


if __name__ == "__main__":
    main()
