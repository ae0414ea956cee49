"""Doors for code from outside: rules, rewards, filters, ways of learning and strategies in a file."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, write_config
from holdfast import plugins
from holdfast.config.load import load_experiment
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment.inputs import Inputs
from holdfast.experiment.plan import make_plan
from holdfast.experiment.progress import Progress
from holdfast.experiment.run import run
from holdfast.experiment.store import Store
from holdfast.tasks.example import Example
from holdfast.timelimit import TooSlow, time_limit

RULES = '''
import time
from typing import ClassVar, Literal

import torch

from holdfast import Example, Task
from holdfast.learning.methods import RFT, SFT
from holdfast.learning.retention import Strategy


def score(answer, example):
    return float(answer.strip() == example.answer)


def short(response, example):
    return -min(1.0, len(response) / 1000)


def hardest(rows):
    return [index for index, row in enumerate(rows) if row["correct"] < row["samples"]][:6]


class Centred(RFT):
    objective: str
    scale: float = 1.0

    def advantages(self, rewards_BG, greedy_B):
        return self.scale * (rewards_BG - rewards_BG.mean(dim=1, keepdim=True))


class Empty(RFT):
    objective: str


class Shapeless(RFT):
    objective: str

    def advantages(self, rewards_BG, greedy_B):
        return rewards_BG.mean()


class Counting(Strategy):
    """Counts its hooks, and stands still where it is told to."""

    rehearses = True
    kind: str
    still: bool = False

    def unfit(self, method):
        return "is not for ReMax" if method.objective == "remax" else None

    def begin(self, stage, memory):
        before = stage.inherited.get(self.name, {"steps": torch.zeros(1)})
        memory["before"], memory["steps"] = before["steps"].clone(), torch.zeros(1)
        memory["earlier"] = torch.tensor([float(len(stage.earlier))])

    def batch(self, stage, memory, items, iteration):
        return items[:2]

    def gradient(self, stage, memory, groups):
        memory["steps"] += 1
        if self.still:
            for parameter in stage.policy.model.parameters():
                parameter.grad = None
        return {"steps_before": memory["before"].item(), "earlier": memory["earlier"].item()}

    def end(self, stage, memory):
        return {"steps": memory["before"] + memory["steps"]}


def add(split, count):
    return [Example(f"{split}-{n}", f"What is {n} and 1?", str(n + 1)) for n in range(count or 20)]


def make_sums():
    return Task("ignored", 1, "sums", add, {"train": 20, "test": 20}, scorer="number")


SUMS = make_sums()


def bad_none(answer, example): return None
def bad_text(answer, example): return "right"
def bad_nan(answer, example): return float("nan")
def bad_large(answer, example): return 1.7
def bad_raises(answer, example):
    return 1 / 0
def bad_hangs(answer, example):
    while True:
        try:
            time.sleep(1)
        except Exception:
            pass
bad_hangs.seconds = 0.2
def bad_exits(answer, example): raise SystemExit(0)
def bad_huge(answer, example): return 10**400
def bad_shown(answer, example): return Shown()
def bad_said(answer, example): raise ValueError("one\\ntwo" * 1000)
def bad_limit(answer, example): return 1.0
bad_limit.seconds = "slow"
def bad_yields(response, example): yield 1.0
def bad_catches(answer, example):
    try:
        time.sleep(9)
    except BaseException:
        return 1.0
bad_catches.seconds = 0.2


class Shown:
    def __repr__(self):
        raise ValueError


not_a_function = 3
'''


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.py"
    path.write_text(RULES)
    return path


def own_task(folder: Path, scorer: str) -> dict[str, Any]:
    rows = [{"id": str(index), "prompt": f"Say w{index}.", "answer": "red"} for index in range(8)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {"mine": {"train": "rows.jsonl", "test": "rows.jsonl", "scorer": scorer}}


SMALL: dict[str, Any] = {
    "general": [],
    "train_examples": 8,
    "test_examples": 4,
    "sequence": ["reading", "counting"],
}


@pytest.mark.slow
def test_a_way_of_learning_a_reward_a_filter_and_a_strategy_of_ones_own(rules: Path, tmp_path: Path) -> None:
    methods = {
        "mine": {
            "objective": "rules.py:Centred", "scale": 2.0, "filter": "rules.py:hardest",
            "reward": {"accuracy": 1.0, "rules.py:short": 0.5}, "iterations": 2,
            "retention": {"kind": "rules.py:Counting"},
        },
        "sft": {
            "objective": "sft", "iterations": 2, "retention": [{"kind": "rules.py:Counting", "still": True}],
        },
    }  # fmt: skip
    experiment = make_experiment(tmp_path, **SMALL, methods=methods, keep_weights="all")
    outcome = run_here(experiment)
    assert not outcome.failed
    plan, store = make_plan(experiment), Store(experiment.store)
    for chain in plan.chains:
        first, second = (store.rows(plan.jobs[name], "metrics.jsonl") for name in chain.learn)
        assert [row["steps_before"] for row in first + second] == [0, 0, 2, 2]  # of the stage before
        assert [row["earlier"] for row in first + second] == [0, 0, 1, 1]
        assert plan.jobs[chain.learn[1]].inputs["earlier"][0]["name"] == "reading"
    mine = plan.chains[0]
    assert store.result(plan.jobs[mine.learn[0]])["kept"] <= 6
    rows = store.rows(plan.jobs[mine.learn[0]], "metrics.jsonl")
    assert all(row["reward.short"] < 0 for row in rows)  # every response has a length
    sums = [row["accuracy"] + 0.5 * row["reward.short"] for row in rows]
    assert [row["reward"] for row in rows] == pytest.approx(sums)
    assert not run_here(experiment).done

    # The same file elsewhere is the same code; another one is another experiment.
    texts = json.dumps([plan.jobs[name].inputs for name in mine.learn])
    assert str(tmp_path) not in texts
    assert plugins.file_hash(rules) in texts
    rules.write_text(RULES + "# another rule\n")
    again = make_plan(make_experiment(tmp_path, **SMALL, methods=methods, keep_weights="all"))
    assert set(again.chains[0].learn).isdisjoint(mine.learn)


def test_a_scorer_of_ones_own_in_training_filter_and_evaluation(
    rules: Path, tmp_path: Path, call: Call
) -> None:
    changes = {
        **SMALL, "sequence": ["mine"], "tasks": own_task(tmp_path, "rules.py:score"),
        "methods": {"r": {"objective": "rloo", "filter": "random_matched", "iterations": 1}},
    }  # fmt: skip
    config = write_config(tmp_path, changes)
    planned = call("plan", config)
    assert planned.code == 0, planned.err
    assert f"Your code is run: {rules}:score" in planned.err
    experiment = load_experiment(config)
    assert experiment.task("mine").score("red ", experiment.task("mine").examples("test")[0]) == 1
    assert experiment.task("mine").score("Red", experiment.task("mine").examples("test")[0]) == 0
    plan = make_plan(experiment)
    assert any("score of" in str(job.inputs["tasks"][0]["scorer"]) for job in plan.jobs.values())


@pytest.mark.slow
def test_workers_of_their_own_know_the_code(rules: Path, tmp_path: Path) -> None:
    mine = {"objective": "rules.py:Centred", "iterations": 1, "retention": {"kind": "rules.py:Counting"}}
    changes = {**SMALL, "sequence": ["reading"], "methods": {"mine": mine, "two": mine | {"scale": 2.0}}}
    assert not run_here(make_experiment(tmp_path, **changes), workers=2).failed
    changed = make_experiment(tmp_path, **changes | {"seeds": [1]})
    plan = make_plan(changed)
    rules.write_text(RULES + "# another\n")
    outcome = run(changed, plan, Store(changed.store), 2, Progress(Console(quiet=True)))
    assert all("rules.py has changed" in text for text in outcome.failed.values()) and outcome.failed


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SUMS", "make_sums"])
def test_a_task_of_ones_own(rules: Path, tmp_path: Path, name: str) -> None:
    changes = {**SMALL, "tasks": {"sums": f"rules.py:{name}"}, "sequence": ["reading", "sums"]}
    experiment = make_experiment(tmp_path, **changes, methods={"sft": {"objective": "sft", "iterations": 1}})
    task = experiment.task("sums")
    assert task.name == "sums" and task.score("4", task.examples("test", 4)[3]) == 1
    assert not run_here(experiment).failed
    before = make_plan(experiment).chains[0].learn
    rules.write_text(RULES + "# another\n")
    after = make_plan(
        make_experiment(tmp_path, **changes, methods={"sft": {"objective": "sft", "iterations": 1}})
    )
    assert before[0] == after.chains[0].learn[0]  # it trains on another task
    assert before[1] != after.chains[0].learn[1]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("rules.py:nothing", "has nothing called nothing"),
        ("rules.py:score", "failed on the task sums"),
        ("rules.py:not_a_function", "must be a function"),
        ("rules", "must be a mapping (train, test, ...) or code as FILE.py:NAME, not 'rules'"),
    ],
)
def test_code_that_is_no_task(rules: Path, tmp_path: Path, task: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        load_experiment(write_config(tmp_path, {**SMALL, "tasks": {"sums": task}, "sequence": ["sums"]}))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bad_none", "returned None"),
        ("bad_text", "returned 'right'"),
        ("bad_nan", "returned nan"),
        ("bad_large", "must return a number from 0 to 1"),
        ("bad_raises", "line 88: ZeroDivisionError: division by zero"),
        ("bad_hangs", "took more than 0.2 s over the answer to 0"),
        ("bad_catches", "took more than 0.2 s over the answer to 0"),
        ("bad_exits", "SystemExit: 0"),
        ("bad_huge", "returned 1000"),
        ("bad_shown", "returned an object of Shown"),
        ("bad_said", "ValueError: one twoone two"),
    ],
)
def test_a_rule_that_fails_says_where(rules: Path, tmp_path: Path, name: str, expected: str) -> None:
    task = load_experiment(
        write_config(
            tmp_path, {**SMALL, "sequence": ["mine"], "tasks": own_task(tmp_path, f"rules.py:{name}")}
        )
    ).task("mine")
    with pytest.raises(HoldfastError) as caught:
        task.score("red", task.examples("test")[0])
    assert expected in str(caught.value)
    assert f"rules.py:{name}" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 700


def test_a_call_has_ten_seconds_or_what_the_function_says(
    rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = list[float]()
    for module in (plugins.calling, plugins.modules):
        monkeypatch.setattr(module, "time_limit", lambda limit: limits.append(limit) or nullcontext())
    function = plugins.load_function(f"{rules}:short")
    example = Example("1", "what ?", "red")
    plugins.call(f"{rules}:short", "red", example, about="it")
    monkeypatch.setattr(function, "seconds", 2.5, raising=False)
    plugins.call(f"{rules}:short", "red", example, about="it")
    assert limits == [60.0, 10.0, 2.5]  # the file itself has a minute


def test_a_limit_goes_on_after_one_within_it() -> None:
    def work() -> None:
        with time_limit(9):
            pass
        time.sleep(3)

    with pytest.raises(TooSlow), time_limit(0.2):
        work()


def test_a_file_that_never_ends_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins.modules, "TO_RUN", 0.1)
    (tmp_path / "loops.py").write_text("while True: pass\n")
    with pytest.raises(InputError, match=r"loops.py takes more than 0.1 s to be run"):
        plugins.load(f"{tmp_path}/loops.py:score")


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ({"objective": "nowhere.py:Mine"}, "objective: There is no file"),
        ({"objective": "rules.py:Centered"}, "has nothing called Centered; did you mean 'Centred'?"),
        (
            {"objective": "rules.py:score"},
            "must be a class made from holdfast.learning.methods.method.Method",
        ),
        ({"objective": "broken.py:Mine"}, "broken.py cannot be run: line 2: ZeroDivisionError"),
        ({"objective": "beside.py:Mine"}, "put what it needs of broken.py into it"),
        ({"objective": "syntax.py:Mine"}, "syntax.py cannot be run: line 1: "),
        ({"objective": "grpo", "filter": "rules.py:not_a_function"}, "must be a function"),
        (
            {"objective": "grpo", "filter": "rules.py:score"},
            "takes (answer, example), and is called with (rows)",
        ),
        ({"objective": "grpo", "filter": "rules.py:bad_limit"}, "takes (answer, example), and is called"),
        ({"objective": "grpo", "reward": {"rules.py:bad_limit": 1}}, "its attribute `seconds` is 'slow'"),
        ({"objective": "grpo", "reward": {"rules.py:bad_yields": 1}}, "without `async` or `yield`"),
        ({"objective": "grpo", "filter": "riff"}, "filter: must be one of none, rif"),
        ({"objective": "grpo", "reward": {"acuracy": 1}}, "did you mean 'accuracy'?"),
        (
            {"objective": "grpo", "reward": {"rules.py:short": 1, "more/rules.py:short": 1}},
            "reward: has two functions called short, which the log tells by name; rename one",
        ),
        ({"objective": "grpo", "reward": {"rules.py:longest": 1}}, "has nothing called longest"),
        ({"objective": "rules.py:Empty"}, "has no `advantages`, which says how it learns"),
        ({"objective": "rules.py:Centred", "skale": 2}, "unknown key; did you mean 'scale'?"),
        ({"objective": "sft", "retention": {"kind": "ewk", "strength": 1}}, "not 'ewk'; did you mean 'ewc'?"),
        ({"objective": "sft", "retention": {"kind": "ewc"}}, "ewc: strength: is missing; it has no default"),
        ({"objective": "sft", "retention": {"kind": "rules.py:Centred"}}, "must be a class made from"),
        ({"objective": "remax", "retention": {"kind": "rules.py:Counting"}}, "is not for ReMax"),
        ({"objective": "sft", "joint": True, "retention": {"kind": "er"}}, "no earlier tasks to retain"),
        ({"objective": "sft", "retention": [{"kind": "er"}, {"kind": "er"}]}, "names a kind twice"),
        (
            {"objective": "grpo", "retention": [{"kind": "er"}, {"kind": "kl_old"}]},
            "er and kl_old take the same places of a batch; keep one of them",
        ),
        (
            {"objective": "sft", "batch": 4, "retention": {"kind": "er", "share": 0.9}},
            "er has no place for new examples: lower share (0.9), or raise batch (4)",
        ),
        (
            {"objective": "grpo", "batch": 4, "retention": {"kind": "opd", "share": 0.9}},
            "opd has no place for new examples",
        ),
        (
            {"objective": "grpo", "batch": 3, "retention": {"kind": "remind"}},
            "remind has no place for earlier examples: raise share (0.25), or raise batch (3)",
        ),
        (
            {"objective": "grpo", "batch": 1, "retention": {"kind": "cpr"}},
            "cpr has no place for earlier examples",
        ),
        ({"objective": "sft", "retention": "er"}, "must be a mapping such as {kind: er}"),
        ({"objective": "sft", "retention": {"kind": ["er"]}}, "not ['er']"),
    ],
)
def test_what_cannot_be_used_is_said_before_any_work(
    rules: Path, tmp_path: Path, methods: dict[str, Any], expected: str
) -> None:
    (tmp_path / "broken.py").write_text("x = 1\ny = x / 0\n")
    (tmp_path / "syntax.py").write_text("def (:\n")
    (tmp_path / "beside.py").write_text("import broken\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "rules.py").write_text(RULES)
    with pytest.raises(InputError) as caught:
        load_experiment(write_config(tmp_path, {**SMALL, "methods": {"m": methods}}))
    assert expected in str(caught.value)
    assert "methods.m" in str(caught.value)


def test_advantages_of_the_wrong_shape_end_the_job_with_its_name(rules: Path, tmp_path: Path) -> None:
    methods = {"m": {"objective": "rules.py:Shapeless", "iterations": 1}}
    outcome = run_here(make_experiment(tmp_path, **SMALL, methods=methods))
    assert any("must return a tensor of the rewards' shape" in text for text in outcome.failed.values())


def test_a_scorer_that_changed_since_the_plan_is_no_change_of_data(rules: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "?", "answer": "x"}\n' * 4)
    rows = {"train": "rows.jsonl", "test": "rows.jsonl", "scorer": "rules.py:score"}
    changes = SMALL | {"sequence": ["mine"], "tasks": {"mine": rows}, "defaults": {"batch": 4}}
    changes["methods"] = {"sft": {"objective": "sft", "learning_rate": 1e-3, "iterations": 1}}
    experiment = make_experiment(tmp_path, **changes)
    inputs = Inputs(experiment, make_plan(experiment))
    assert inputs.task("mine").name == "mine"
    rules.write_text(RULES + "\n")
    with pytest.raises(InputError, match=r"rules\.py has changed since this run began"):
        inputs.task("mine")


def test_code_that_changed_since_the_plan_is_not_run(rules: Path, tmp_path: Path) -> None:
    methods = {"m": {"objective": "rules.py:Centred", "iterations": 1}}
    experiment = make_experiment(tmp_path, **SMALL, methods=methods)
    plan = make_plan(experiment)
    rules.write_text(RULES + "\n")
    with pytest.raises(InputError, match=r"rules\.py has changed"):
        plugins.check_unchanged(plan.code)


def test_the_code_that_runs_is_the_code_that_is_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python knows its own bytecode by size and seconds, which an edit need not change."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path, found = tmp_path / "rules.py", []
    for number in (5, 7):
        path.write_text(f"def score(answer, example):\n    return 0.{number}\n")
        os.utime(path, (1e9, 1e9))
        plugins.modules.run_file.cache_clear()  # as in a process of its own
        found.append(plugins.load(f"{path}:score")("", None))
    assert found == [0.5, 0.7]


def test_a_name_that_came_after_the_file_was_run_is_no_slip(tmp_path: Path) -> None:
    path = tmp_path / "rules.py"
    path.write_text("one = 1\n")
    assert plugins.load(f"{path}:one") == 1
    path.write_text("one = 1\ntwo = 2\n")
    with pytest.raises(
        InputError, match=r"rules\.py has changed since this run began; start it again, in a new"
    ):
        plugins.load(f"{path}:two")
    path.write_text("one = 1\n")
    with pytest.raises(InputError, match="has nothing called two"):
        plugins.load(f"{path}:two")
