"""A measure from outside the package: named by its file, run as jobs, in store, Python and report."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import Call
from experiment_helpers import TINY, make_experiment, run_here, snapshot, write_config
from holdfast import load_results
from holdfast.config.load import load_experiment
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment.plan import make_plan
from holdfast.measures import KINDS

RULES = '''
import torch

from holdfast.measures import Measure, Request


class Length(Measure):
    """Length of the weights, and how many examples it was given."""

    version = 3
    power: float = 2.0

    def measure(self, job, runner):
        policy = runner.policy_of(job)
        weights = [weight.detach() for weight in policy.model.parameters()]
        items = runner.asked(job)
        found = {"length": sum(weight.abs().pow(self.power).sum() for weight in weights), "none": None}
        with torch.no_grad():
            for weight in policy.model.parameters():
                weight.zero_()  # as no measure should
        return found | {f"items of {task}": len(some) for task, some in items.items()}


class Refuses(Measure):
    def problems(self, experiment):
        return "needs another model"

    def measure(self, job, runner):
        return {}


class Unusual(Measure):
    power: float = "two"

    def measure(self, job, runner):
        return {}


class AtTheEnd(Measure):
    """Both policies around the last stage."""

    share: float = 0.5

    def request(self, moment):
        if not moment.is_last:
            return None
        asked = [moment.data(task, "train", 3) for task in moment.new]
        return Request(moment.policies[-1], moment.new, {"tasks": asked}, others=moment.policies[-2:-1])

    def measure(self, job, runner):
        (items,) = runner.asked(job).values()
        folders = {runner.weights_of(name) for name in job.loads}
        return {"share": self.share, "given": len(items), "folders": len(folders)}


class Empty(Measure):
    pass


class drift(Length):
    pass


def function():
    pass
'''


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.py"
    path.write_text(RULES)
    return path


METHODS = {
    "sft": {"objective": "sft", "iterations": 2, "learning_rate": 1e-4},
    "joint": {"objective": "sft", "iterations": 2, "joint": True},
}
SMALL: dict[str, Any] = {"general": [], "train_examples": 8, "test_examples": 4, "methods": METHODS}


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_measure_of_ones_own_from_the_command_line_to_the_report(
    rules: Path, tmp_path: Path, call: Call
) -> None:
    measures = {"rules.py:Length": {"methods": ["sft"]}, "rules.py:AtTheEnd": {"share": 0.25}, "drift": {}}
    config = write_config(tmp_path, SMALL | {"measures": measures, "methods": {"sft": METHODS["sft"]}})
    said = call("run", config, "measures.drift=null", "--workers", "2")
    assert said.code == 0, said.err
    assert f"Your code is run: {rules}:Length" in said.err

    # In the store, under what determines it.
    entries = [json.loads(path.read_text()) for path in (tmp_path / "store/measure").glob("*/job.json")]
    inputs = next(entry["inputs"] for entry in entries if entry["label"] == "sft seed 0 stage 2: Length")
    assert (inputs["version"], inputs["settings"]) == (3, {"power": 2.0})
    assert inputs["measure"].startswith("Length of ") and str(tmp_path) not in json.dumps(inputs)
    listed = call("store", "--store", tmp_path / "store")
    assert "measure: 3 results" in listed.out

    # From Python.
    (run,) = load_results(load_experiment(tmp_path / "out" / "config.yaml")).runs
    assert run.measures.keys() == {"Length", "AtTheEnd"}
    lengths = {stage: found["length"] for stage, found in run.measured("Length").items()}
    assert lengths.keys() == {1, 2} and 0 < lengths[1] != lengths[2] > 0
    last = run.measured("AtTheEnd")[2]
    assert (last["share"], last["given"], last["folders"]) == (0.25, 3, 2)

    # In the report.
    report = tmp_path / "out/report"
    rows = list(csv.DictReader((report / "tables/measure_Length.csv").open()))
    assert [(row["method"], row["stage"]) for row in rows] == [("sft", "1"), ("sft", "2")]
    assert [float(row["length"]) for row in rows] == pytest.approx([lengths[1], lengths[2]])
    assert [row["items of counting"] for row in rows] == ["", "4.0"] and rows[0]["none"] == ""
    assert "## Measures of your own" in (report / "report.md").read_text()
    assert 'id="measures"' in (report / "index.html").read_text()

    assert "Everything is done already." in call("run", config, "measures.drift=null").out
    planned = call("plan", config, "measures.drift=null", "--jobs")
    assert "sft seed 0 stage 1: Length" in planned.out and "0 to do" in planned.out


def test_measures_are_read_without_torch(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"measures": {name: {} for name in KINDS}})
    script = (
        "import sys; from pathlib import Path; from holdfast.config.load import load_experiment\n"
        f"print(*load_experiment(Path({str(config)!r})).measures, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*KINDS, "False"]


@pytest.mark.slow
def test_what_it_does_to_a_policy_reaches_nothing_else(rules: Path, tmp_path: Path) -> None:
    """`Length` leaves the policy at zero, in the process that goes on with it."""
    bare = make_experiment(tmp_path / "bare", **SMALL, keep_weights="all")
    both = {f"{rules}:Length": {}, f"{rules}:AtTheEnd": {"methods": ["sft"]}}
    measured = make_experiment(tmp_path / "measured", **SMALL, keep_weights="all", measures=both)
    assert not run_here(bare).failed and not run_here(measured).failed
    without, with_measures = snapshot(bare.store), snapshot(measured.store)
    assert without.items() <= with_measures.items()
    assert {name.split("/")[0] for name in with_measures.keys() - without.keys()} == {"measure"}


@pytest.mark.parametrize("name", KINDS)
def test_how_many_are_answered_together_names_the_result(tmp_path: Path, name: str) -> None:
    """Of it depend the last bits of log-probabilities, and whatever is drawn."""

    def jobs(batch: int) -> set[str]:
        evaluation = {**TINY["evaluation"], "batch": batch}
        plan = make_plan(make_experiment(tmp_path, measures={name: {}}, evaluation=evaluation))
        return {one for one, job in plan.jobs.items() if job.kind == name}

    assert jobs(4) == jobs(4) and jobs(4).isdisjoint(jobs(3)) and jobs(4)


def test_its_file_its_settings_and_its_version_name_the_result(rules: Path, tmp_path: Path) -> None:
    def jobs(key: str = "rules.py:Length", folder: Path = tmp_path, **settings: Any) -> set[str]:
        plan = make_plan(make_experiment(folder, **SMALL, measures={key: settings}))
        return {name for name, job in plan.jobs.items() if job.kind == "measure"}

    first = jobs()
    assert len(first) == 3  # a stage each, and the joint one
    assert jobs(power=2) == first != jobs(power=3)
    assert jobs(methods=["sft"]) < first
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "other.py").write_text(RULES)
    assert jobs("other.py:Length", elsewhere) == first
    rules.write_text(RULES + "# another\n")
    assert jobs().isdisjoint(first)
    (elsewhere / "newer.py").write_text(RULES.replace("version = 3", "version = 4"))
    assert jobs("newer.py:Length", elsewhere).isdisjoint(first | jobs())


@pytest.mark.parametrize(
    ("measures", "expected"),
    [
        ({"nowhere.py:Mine": {}}, "There is no file"),
        ({"broken.py:Mine": {}}, "broken.py cannot be run: line 2: ZeroDivisionError"),
        ({"rules.py:Lenght": {}}, "has nothing called Lenght; did you mean 'Length'?"),
        ({"rules.py:function": {}}, "must be a class made from holdfast.measures.Measure"),
        ({"rules.py:Empty": {}}, "has no `measure`, which says what it finds"),
        ({"rules.py:Length": {"powr": 2}}, "Length.powr: unknown key; did you mean 'power'?"),
        ({"rules.py:Length": {"power": "two"}}, "Length.power: must be a valid number"),
        ({"rules.py:Length": {"methods": ["sfd"]}}, "there is no method 'sfd'; did you mean 'sft'?"),
        ({"rules.py:Unusual": {}}, "Unusual.power: must be a valid number"),
        ({"rules.py:Refuses": {}}, "Refuses: needs another model"),
        ({"rules.py:Length": 3}, "Length: must be a mapping (key: value)"),
        ({"rules.py:drift": {}}, "there is another measure called drift; rename the class"),
        ({"rules.py:Length": {}, "more.py:Length": {}}, "there is another measure called Length"),
        ({"drfit": {}}, "measures.drfit: is neither a measure nor FILE.py:CLASS; did you mean 'drift'?"),
        ({"drift": {"promts": 3}}, "measures.drift.promts: unknown key; did you mean 'prompts'?"),
        (["drift"], "measures: must be a mapping (key: value)"),
    ],
)
def test_what_cannot_be_used_is_said_before_any_work(
    rules: Path, tmp_path: Path, measures: Any, expected: str
) -> None:
    (tmp_path / "broken.py").write_text("x = 1\ny = x / 0\n")
    (tmp_path / "more.py").write_text(RULES)
    with pytest.raises(InputError) as caught:
        load_experiment(write_config(tmp_path, SMALL | {"measures": measures}))
    assert expected in str(caught.value)
    assert "has an error" in str(caught.value)  # and no other


WRONG = {
    "None": "returned None; `measure` must return numbers by name",
    "'0.5'": "returned '0.5'; `measure` must return numbers by name",
    "{}": "returned {}; `measure` must return",
    "{'x': float('nan')}": "returned nan as x; it must be a finite number, or None for none",
    "{'x': 'large'}": "returned 'large' as x; it must be a finite number",
    "{'x': [1, 2]}": "returned [1, 2] as x; it must be a finite number",
    "{'stage': 1}": "returned a number called 'stage'; give it another name",
    "{1: 1}": "returned a number called 1; give it another name",
    # Without the name of the job, so that jobs that fail alike are told together.
    "1 / 0": "failed: line 19: ZeroDivisionError: division by zero",
}


@pytest.mark.slow
def test_those_that_return_no_numbers_fail_alone_and_say_why(tmp_path: Path) -> None:
    classes = [
        f"class Bad{number}(holdfast.measures.Measure):\n    def measure(self, job, runner): return {how}\n"
        for number, how in enumerate(WRONG)
    ]
    (tmp_path / "bad.py").write_text("import holdfast.measures\n" + "".join(classes))
    changes = SMALL | {"sequence": ["reading"], "methods": {"sft": METHODS["sft"] | {"iterations": 1}}}
    measures = {f"bad.py:Bad{number}": {} for number in range(len(WRONG))}
    outcome = run_here(make_experiment(tmp_path, **changes, measures=measures))
    assert len(outcome.failed) == len(WRONG) and outcome.done > 0
    for number, expected in enumerate(WRONG.values()):
        message = outcome.failed[f"sft seed 0 stage 1: Bad{number}"]
        assert message.startswith(f"{tmp_path}/bad.py:Bad{number} ") and expected in message
    assert not any((tmp_path / "store").glob("measure/[!.]*"))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("moment.nothing", r"bad.py:Bad failed on stage 1: line 4: AttributeError"),
        ("moment.new", r"bad.py:Bad: `request` returned \('reading',\); it must be a Request, or None"),
        ("Request([], moment.new)", r"bad.py:Bad: `request` names \[\], which is none of the moment's pol"),
        ("Request(None, 'reading')", "bad.py:Bad: the tasks of its Request must be a list of names"),
        (
            "Request(None, (), {'tasks': moment.new})",
            "'tasks' among the inputs of its Request must be a list of",
        ),
        ("Request(None, (), {1: 2, 'x': 3})", "the inputs of its Request must be plain values"),
        ("Request(None, (), {'x': float('nan')})", "the inputs of its Request must be plain values"),
    ],
)
def test_a_request_that_is_none_says_where(tmp_path: Path, how: str, expected: str) -> None:
    (tmp_path / "bad.py").write_text(
        "from holdfast.measures import Measure, Request\n"
        "class Bad(Measure):\n"
        "    def measure(self, job, runner): return {}\n"
        f"    def request(self, moment): return {how}\n"
    )
    experiment = make_experiment(tmp_path, **SMALL, measures={"bad.py:Bad": {}})
    with pytest.raises(HoldfastError, match=expected):
        make_plan(experiment)
