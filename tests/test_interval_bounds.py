"""Intervals end where the quantity does, however few and unlike the seeds are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from holdfast.analysis.bootstrap import Estimate
from holdfast.analysis.regularisation import mean_by_bin, mean_of
from holdfast.analysis.results import Results
from holdfast.analysis.views import Analysis, analyse
from holdfast.report.sections.calibration import calibration
from holdfast.report.sections.drift import movement
from holdfast.report.sections.learned import headline, origins
from measured_results import with_measures
from results_helpers import SHORT, make_results

KINDS = {"points": (0, 1), "change": (-1, 1), "digits": (0, np.inf)}
OWN = {"cosine": (-1, 1), "ctm": (0, np.inf), "bwt": (-1, 1)}


def scored(results: Results, share: dict[tuple[int, bool], float]) -> Results:
    """With this share of items right, by the seed and whether the policy is the base."""
    runs = []
    for run in results.runs:
        cells = {
            (stage, task): [
                record | {"score": float(at < share[run.seed, stage == 0] * len(rows))}
                for at, record in enumerate(rows)
            ]
            for (stage, task), rows in run.cells.items()
        }
        runs.append(replace(run, cells=cells))
    return replace(results, runs=tuple(runs))


def unlike() -> Analysis:
    """Two seeds that differ as much as they can: t is 12.7. (Bases differ where answers are drawn.)"""
    results = make_results(("sft", "joint_sft"), seeds=(0, 1), items=8, sequence=SHORT)
    shares = {(0, True): 0.25, (0, False): 0.25, (1, True): 0.5, (1, False): 1.0}
    measured = with_measures(scored(results, shares))
    for run in measured.runs:
        for drift in run.measured("drift").values():
            for row in drift["movement"]:
                row |= {"l2": 1.0 + 9 * run.seed, "share_1e-3": 0.9 * run.seed, "cosine": 0.9 * run.seed}
    return analyse(measured)


@pytest.mark.parametrize("make", [headline, origins, movement, calibration])
def test_no_interval_holds_what_cannot_be(make):
    table, reached = make(unlike()), 0
    for row in table.rows:
        for column in table.columns:
            value = row.get(column.key)
            if isinstance(value, Estimate) and not np.isnan(value.value):
                least, most = OWN.get(column.key) or KINDS[column.kind]
                assert least <= value.low <= value.value <= value.high <= most, (row["method"], column.key)
                reached += value.low == least or value.high == most
    assert reached  # some would go beyond


def test_what_later_stages_add_is_weighed_like_its_interval():
    """(T - 1) / T of a BWT between -1 and 1, of three tasks: two thirds at most."""
    results = make_results(("sft",), seeds=(0, 1), items=8, sequence=SHORT, general=())
    first, second = scored(results, {(0, True): 0, (0, False): 1, (1, True): 0, (1, False): 1}).runs
    lost = {
        (stage, task): [record | {"score": float(stage < 3)} for record in rows]
        for (stage, task), rows in second.cells.items()
    }
    analysis = analyse(replace(results, runs=(first, replace(second, cells=lost))))
    (row,) = origins(analysis).rows
    assert row["bwt"] == Estimate(pytest.approx(-1 / 3), -2 / 3, 2 / 3)


def test_a_mean_of_shares_has_no_interval_below_none():
    """Draws are 0 where the one item is not among them; wider by sqrt(5 / 4) they are 0.02 - 0.0224."""
    one_of_five = np.array([0, 0, 0, 0, 0.1])
    assert mean_of(one_of_five, -1).low == pytest.approx(0.02 * (1 - np.sqrt(5 / 4)))
    assert mean_of(one_of_five, 0, 1).low == 0
    rows = [{"pass_rate": 0.5, "norm_group": value, "effect_group": value} for value in one_of_five]
    assert [mean_by_bin(rows, name)[2].low < 0 for name in ("norm_group", "effect_group")] == [False, True]


def test_there_is_no_share_of_a_joint_average_of_nothing():
    results = make_results(("sft", "joint_sft"), items=8, sequence=SHORT)
    sft, joint = results.runs
    (none,) = scored(replace(results, runs=(joint,)), {(0, True): 0, (0, False): 0}).runs
    analysis = analyse(replace(results, runs=(sft, none)))
    assert analysis.ctm(analysis.methods[0]) is None
