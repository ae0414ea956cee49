"""Trackers: what they are told, once, and that they can neither change nor end a run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from cli_helpers import Call
from experiment_helpers import TINY, make_experiment, run_here, snapshot, write_config
from holdfast import run
from holdfast.errors import InputError
from holdfast.experiment import jobs, tracking
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.tracking import TRACKERS, Tracked, cells, tracker_class

SMALL: dict[str, Any] = {
    "general": [],
    "train_examples": 8,
    "test_examples": 4,
    "defaults": TINY["defaults"] | {"iterations": 4},
    "checkpoint_every": 2,
}
ONE_STAGE = SMALL | {"sequence": ["reading"], "methods": {"sft": {"objective": "sft"}}}

MINE = """
import json
from holdfast.tracking import Tracker


class Lines(Tracker):
    def __init__(self, run):
        super().__init__(run)
        self.file = (run.folder / "lines.jsonl").open("a")

    def write(self, *said):
        self.file.write(json.dumps(said) + "\\n")
        self.file.flush()

    def log(self, line, axis, step, numbers):
        self.write("log", line, axis, step, numbers)

    def table(self, table):
        self.write("table", table["name"])

    def report(self, folder):
        self.write("report", sorted(path.name for path in folder.iterdir()))

    def close(self):
        self.write("closed")


class Raises(Lines):
    def log(self, line, axis, step, numbers):
        raise ValueError("no key was given")


class Exits(Lines):
    def table(self, table):
        raise SystemExit(1)


class Mute(Lines):
    def log(self, line, axis, step, numbers):
        class Mutes(BaseException):
            def __str__(self):
                raise ValueError

        raise Mutes


class Takes(Lines):
    def log(self, line, axis, step, numbers):
        numbers.clear()

    def table(self, table):
        table.clear()


class Keeps(Lines):
    can_flush = False  # it has all on disk when it is closed, and not before

    def __init__(self, run):
        super().__init__(run)
        self.kept = []

    def write(self, *said):
        self.kept.append(said)

    def close(self):
        for said in self.kept:
            super().write(*said)


class Half(Tracker):
    pass
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def lines(folder: Path, kind: str = "log") -> list[list[Any]]:
    """What trackers of all keys were told."""
    return [
        said
        for path in sorted(folder.glob("tracking/*/*/lines.jsonl"))
        for said in _read(path)
        if said[0] == kind
    ]


def _read(path: Path) -> list[list[Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_curves_cells_tables_and_report_are_told(mine: Path, tmp_path: Path, call: Call) -> None:
    config = write_config(tmp_path, SMALL | {"track": ["mine.py:Lines"]})
    said = call("run", config)
    assert said.code == 0 and "Your code is run: " in said.err
    told = lines(tmp_path / "out")
    curve = [
        (step, numbers)
        for _, line, axis, step, numbers in told
        if (line, axis) == ("grpo seed 0", "iteration")
    ]
    assert [step for step, _ in curve] == list(range(1, 9))  # two stages of four
    assert [numbers["train/stage"] for _, numbers in curve] == [1.0] * 4 + [2.0] * 4
    experiment = make_experiment(tmp_path, **SMALL)
    plan, store = make_plan(experiment), Store(experiment.store)
    (chain,) = (chain for chain in plan.chains if chain.method == "grpo")
    rows = [row for name in chain.learn for row in store.rows(plan.jobs[name], "metrics.jsonl")]
    assert [numbers["train/loss"] for _, numbers in curve] == [row["loss"] for row in rows]
    found = {
        (stage, name): value
        for _, line, axis, stage, numbers in told
        for name, value in numbers.items()
        if (line, axis) == ("grpo seed 0", "stage")
    }
    assert found == {
        (stage, f"accuracy/{task}"): store.result(plan.jobs[job])["accuracy"]
        for (stage, task), job in chain.cells.items()
    }
    assert ["table", "headline"] in lines(tmp_path / "out", "table")
    ((_, files),) = lines(tmp_path / "out", "report")
    assert {"index.html", "report.md", "tables"} <= set(files)
    assert len(lines(tmp_path / "out", "closed")) == 1

    assert call("run", config).code == 0  # all is done already
    assert lines(tmp_path / "out") == told and len(lines(tmp_path / "out", "report")) == 1


@pytest.mark.slow
def test_jobs_are_the_same_with_trackers_and_without(mine: Path, tmp_path: Path) -> None:
    with_one = make_experiment(tmp_path / "one", **SMALL, track=[f"{mine}:Lines"])
    without = make_experiment(tmp_path / "none", **SMALL)
    assert make_plan(with_one).jobs.keys() == make_plan(without).jobs.keys()
    assert not make_plan(with_one).code  # so that workers neither load the file nor watch it
    run(with_one)
    assert not run_here(without).failed
    assert snapshot(with_one.store) == snapshot(without.store)


@pytest.mark.slow
def test_a_stopped_run_goes_on_without_telling_a_step_twice(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the third iteration, of which the checkpoint knows two: the third is done again."""
    experiment = make_experiment(tmp_path, **SMALL, track=["mine.py:Lines"])
    monkeypatch.setattr(tracking, "SECONDS", 0.0)
    monkeypatch.setattr("holdfast.experiment.executor.STEP_SECONDS", 0.0)
    learn = jobs.Runner._learn

    def stopped(runner: jobs.Runner, job: Any, on_step: Any) -> None:
        def step(done: int, total: int, numbers: dict[str, float]) -> None:
            on_step(done, total, numbers)
            if done == 3:
                raise KeyboardInterrupt

        learn(runner, job, step)

    with monkeypatch.context() as patch:
        patch.setattr(jobs.Runner, "_learn", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(experiment)
    assert [step for _, _, axis, step, _ in lines(experiment.output) if axis == "iteration"] == [1, 2, 3]
    run(experiment)
    steps = [(line, step) for _, line, axis, step, _ in lines(experiment.output) if axis == "iteration"]
    assert sorted(steps) == [(line, step) for line in ("grpo seed 0", "sft seed 0") for step in range(1, 9)]
    stages = [
        (line, step, *numbers) for _, line, axis, step, numbers in lines(experiment.output) if axis == "stage"
    ]
    assert len(stages) == len(set(stages)) == 2 * 3 * 2


def test_what_a_tracker_keeps_back_until_it_ends_is_not_lost_by_a_kill(mine: Path, tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, **ONE_STAGE)
    assert not run_here(experiment).failed
    plan, store = make_plan(experiment), Store(experiment.store)
    tracking.Tracking(experiment, plan, store, [f"{mine}:Keeps"])  # it is killed, and never closed
    for _ in range(2):
        tracking.Tracking(experiment, plan, store, [f"{mine}:Keeps"]).close()
    steps = [(axis, step) for _, _, axis, step, _ in lines(experiment.output)]
    assert sorted(steps) == [*(("iteration", step) for step in range(1, 5)), ("stage", 0), ("stage", 1)]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("Raises", "line 30: ValueError: no key was given"),
        ("Exits", "line 35: SystemExit: 1"),
        ("Mute", "line 44: Mutes"),
    ],
)
def test_one_that_raises_costs_one_warning_and_not_the_run(
    name: str, cause: str, mine: Path, tmp_path: Path, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path, ONE_STAGE | {"track": [f"mine.py:{name}", "mine.py:Lines"]})
    said = call("run", config)
    assert said.code == 0 and (tmp_path / "out/report/index.html").exists()
    warnings = [record.getMessage() for record in caplog.records if "tracker" in record.getMessage()]
    assert warnings == [f"The tracker {mine}:{name} is left out of this run: {cause}."]
    assert lines(tmp_path / "out", "report")  # the other one goes on


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_one_cannot_change_what_another_is_told(mine: Path, tmp_path: Path, call: Call) -> None:
    config = write_config(tmp_path, ONE_STAGE | {"track": ["mine.py:Takes", "mine.py:Lines"]})
    assert call("run", config).code == 0
    assert all(numbers for *_, numbers in lines(tmp_path / "out")) and lines(tmp_path / "out")
    assert lines(tmp_path / "out", "table")


def test_classes_of_one_name_are_told_apart(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(MINE)
    with pytest.raises(
        InputError, match="both called Lines, as their folder is; give one class another name"
    ):
        make_experiment(tmp_path, **ONE_STAGE, track=["mine.py:Lines", "other.py:Lines"])
    run(make_experiment(tmp_path, **ONE_STAGE, track=["mine.py:Lines"]))
    told = lines(tmp_path / "out")
    run(make_experiment(tmp_path, **ONE_STAGE, track=["other.py:Lines"]))
    assert len(lines(tmp_path / "out")) == 2 * len(told)


@pytest.mark.slow
@pytest.mark.parametrize("said", ["{}", "[]", '{"points": {"JOB": "3"}, "report": ""}', '{"points": {'])
def test_a_damaged_note_of_what_was_told_costs_one_warning(
    said: str, mine: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    experiment = make_experiment(tmp_path, **ONE_STAGE, track=["mine.py:Lines"])
    run(experiment)
    (note,) = (tmp_path / "out/tracking/Lines").glob("*/told.json")
    note.write_text(said.replace("JOB", next(iter(make_plan(experiment).jobs))))
    run(experiment)
    (warning,) = (record.getMessage() for record in caplog.records if "tracker" in record.getMessage())
    assert f"{note} is damaged; remove it" in warning


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    experiment = make_experiment(tmp_path, **ONE_STAGE, track=["tensorboard"])
    experiment.output.mkdir()
    (experiment.output / "tracking").write_text("")
    run(experiment)
    (warning,) = (record.getMessage() for record in caplog.records if "tracker" in record.getMessage())
    assert str(experiment.output / "tracking") in warning and warning.endswith(": not a directory.")


def test_one_that_is_not_installed_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "holdfast.tracking.mlflow", raising=False)
    run(make_experiment(tmp_path, **ONE_STAGE, track=["mlflow"]))
    (warning,) = (record.getMessage() for record in caplog.records if "tracker" in record.getMessage())
    assert warning.startswith("The tracker mlflow is left out of this run: ")
    assert warning.endswith("; pip install mlflow.")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wnadb", "there is no tracker 'wnadb'; did you mean 'wandb'?"),
        ("mine.py:Half", "mine.py:Half has no `log`; add it to the class"),
        ("mine.py:json", "must be a class made from holdfast.tracking.Tracker"),
        ("nowhere.py:Mine", "There is no file"),
    ],
)
def test_a_name_that_is_none_is_refused_before_any_work(
    name: str, expected: str, mine: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as error:
        make_experiment(tmp_path, track=[name])
    assert expected in str(error.value)


@pytest.mark.slow
def test_other_settings_are_another_line(mine: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        run(make_experiment(tmp_path, **ONE_STAGE, seeds=[seed], track=["mine.py:Lines"]))
    assert len(list((tmp_path / "out/tracking/Lines").iterdir())) == 2


@pytest.mark.slow
def test_another_name_of_a_method_is_another_line(mine: Path, tmp_path: Path) -> None:
    """Its results are there already, and are told under that name."""
    settings, found = ONE_STAGE | {"track": ["mine.py:Lines"]}, []
    sft = {"objective": "sft"}
    for methods in ({"one": sft}, {"two": sft}, {"one": sft, "two": sft}):
        run(make_experiment(tmp_path, **settings | {"methods": methods}))
        found.append(sorted({line for _, line, *_ in lines(tmp_path / "out")}))
    assert found[0] == ["one seed 0"] and found[1] == ["one seed 0", "two seed 0"]
    assert len(list((tmp_path / "out/tracking/Lines").iterdir())) == 3


def test_estimates_of_a_table_stand_in_columns() -> None:
    rows = [
        {"method": "sft", "fm": None},
        {"method": "grpo", "fm": {"value": -1.0, "low": -2.0, "high": 0.0}},
    ]
    assert cells({"rows": rows}) == (
        ["method", "fm", "fm_low", "fm_high"],
        [["sft", None, None, None], ["grpo", -1.0, -2.0, 0.0]],
    )


TABLE = {"name": "headline", "title": "Learned", "rows": [{"method": "sft", "fm": 0.5}]}


@pytest.fixture
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MagicMock]:
    """Stands in for the package that a tracker calls."""
    name, *inner = request.param
    package = MagicMock()
    for module in (name, *(f"{name}.{one}" for one in inner)):
        monkeypatch.setitem(sys.modules, module, package)
    ours = {f"holdfast.tracking.{one}" for one in TRACKERS}
    for module in ours & sys.modules.keys():
        monkeypatch.delitem(sys.modules, module)
    yield package
    for module in ours & sys.modules.keys():
        del sys.modules[module]


def told(name: str, folder: Path) -> Tracked:
    """Tell a tracker a little of everything."""
    run = Tracked("study", "0123abcd", folder / "files", {"name": "study"})
    (folder / "report").mkdir(exist_ok=True)
    (folder / "report" / "report.md").write_text("# study")
    tracker = tracker_class(name)(run)
    tracker.log("sft seed 0", "iteration", 3, {"train/loss": 0.5})
    tracker.log("sft seed 0", "stage", 1, {"accuracy/reading (cot)": 0.25})
    tracker.table(TABLE)
    tracker.report(folder / "report")
    tracker.flush()
    tracker.close()
    return run


@pytest.mark.parametrize("package", [("torch.utils.tensorboard",)], indirect=True)
def test_tensorboard_gets_scalars_and_texts(package: MagicMock, tmp_path: Path) -> None:
    run = told("tensorboard", tmp_path)
    folders = [one.args[0] for one in package.SummaryWriter.call_args_list]
    assert folders == [str(run.folder / "sft seed 0"), str(run.folder / "report")]
    writer = package.SummaryWriter.return_value
    assert [one.args for one in writer.add_scalar.call_args_list] == [
        ("train/loss", 0.5, 3),
        ("accuracy/reading (cot)", 0.25, 1),
    ]
    texts = [one.args for one in writer.add_text.call_args_list]
    assert texts == [("Learned", "method | fm\n--- | ---\nsft | 0.5"), ("report", "# study")]
    assert writer.flush.call_count == writer.close.call_count == 2


@pytest.mark.parametrize("package", [("wandb",)], indirect=True)
def test_wandb_is_offline_unless_the_user_says_otherwise(
    package: MagicMock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "")  # so that what the tracker sets goes with the test
    monkeypatch.delenv("WANDB_MODE")
    told("wandb", tmp_path)
    assert os.environ["WANDB_MODE"] == "offline"
    first, second = (one.kwargs for one in package.init.call_args_list)
    assert first["group"] == "study" and first["id"] != second["id"] and first["resume"] == "allow"
    logged = [one.args[0] for one in package.init.return_value.log.call_args_list]
    assert logged[:2] == [
        {"train/loss": 0.5, "iteration": 3},
        {"accuracy/reading (cot)": 0.25, "stage": 1},
    ]
    package.Table.assert_called_once_with(columns=["method", "fm"], data=[["sft", 0.5]])
    package.Artifact.return_value.add_dir.assert_called_once_with(str(tmp_path / "report"))
    assert package.init.return_value.finish.call_count == 2
    monkeypatch.setenv("WANDB_MODE", "online")
    told("wandb", tmp_path)
    assert os.environ["WANDB_MODE"] == "online"
    assert package.init.call_args_list[2].kwargs["id"] == first["id"]  # the next process goes on with it


@pytest.mark.parametrize("package", [("trackio",)], indirect=True)
def test_trackio_gets_steps_and_the_report(package: MagicMock, tmp_path: Path) -> None:
    told("trackio", tmp_path)
    first = package.init.call_args_list[0]
    assert first.args == ("study",) and first.kwargs["name"] == "sft seed 0 0123abcd"
    calls = package.init.return_value.log.call_args_list
    assert [(one.args[0], one.kwargs) for one in calls[:2]] == [
        ({"train/loss": 0.5}, {"step": 3}),
        ({"accuracy/reading (cot)": 0.25}, {"step": 1}),
    ]
    assert package.Table.call_args.kwargs["dataframe"].to_dict("list") == {"method": ["sft"], "fm": [0.5]}
    package.Artifact.return_value.add_dir.assert_called_once_with(str(tmp_path / "report"))
    assert package.init.return_value.finish.call_count == 2


@pytest.mark.parametrize("package", [("mlflow", "entities")], indirect=True)
def test_mlflow_writes_a_database_of_its_own_and_finds_its_runs_again(
    package: MagicMock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"):
        monkeypatch.setenv(name, "1")  # so that what the tracker sets goes with the test
    client = package.MlflowClient.return_value
    client.get_experiment_by_name.return_value = None
    client.search_runs.return_value = []
    run = told("mlflow", tmp_path)
    (first,), (second,) = (one.args for one in package.MlflowClient.call_args_list)
    database = run.folder / "mlflow.db"
    assert database.exists() and second == f"sqlite:///{database}"
    assert first != second and first.endswith(".unfinished")  # whole or not at all, also when it is killed
    client.create_experiment.assert_called_once_with("study", (run.folder / "files").as_uri())
    assert [one.args[0::3] for one in package.Metric.call_args_list] == [
        ("train/loss", 3),
        ("accuracy/reading cot", 1),  # it takes no brackets
    ]
    assert client.log_table.call_args.args[1:] == ({"method": ["sft"], "fm": [0.5]}, "tables/headline.json")
    assert client.log_artifacts.call_args.args[1:] == (str(tmp_path / "report"), "report")
    assert client.create_run.call_count == 2
    client.search_runs.return_value = [MagicMock()]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    told("mlflow", tmp_path)
    assert package.MlflowClient.call_args.args == ("http://localhost:1",)
    assert client.create_run.call_count == 2
    assert client.search_runs.call_args.args[1] == "tags.holdfast = '0123abcd report'"
