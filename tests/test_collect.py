"""What a report gets of an experiment that was really run."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiment_helpers import make_experiment, run_here
from holdfast.analysis.matched import training_flops
from holdfast.analysis.results import Results
from holdfast.analysis.views import analyse
from holdfast.experiment.collect import collect
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.files import read_jsonl
from holdfast.report.sections.training import budget


def collected(folder: Path, **changes: object) -> Results:
    experiment = make_experiment(folder, **{"general": [], **changes})
    assert not run_here(experiment).failed
    return collect(experiment, make_plan(experiment), Store(experiment.store), on_damage=pytest.fail)


@pytest.mark.slow
def test_what_a_filter_took_counts_as_training(tmp_path: Path) -> None:
    method = {"objective": "grpo", "filter": "random_matched", "group_size": 4}
    results = collected(tmp_path, methods={"sft": {"objective": "sft"}, "rif": method})
    sft, rif = results.runs
    filtered = sum(
        row["flops"]
        for path in (tmp_path / "store" / "filter").glob("*/records.jsonl")
        for row in read_jsonl(path)
    )
    learned = sum(total["flops"] for total in rif.totals)
    assert filtered > 0
    assert training_flops([rif], 2) == pytest.approx(learned + filtered)
    assert training_flops([sft], 2) == pytest.approx(sum(total["flops"] for total in sft.totals))
    plain, row = budget(analyse(results)).rows
    assert row["filter_completions"] == 2 * 16 * 4  # two stages, 16 examples, 4 samples of each
    assert (row["flops"], row["filter_flops"]) == pytest.approx((learned, filtered))
    assert row["filter_seconds"] > 0
    assert plain["filter_completions"] is None
