"""What code of the user's may do wrong: each is one line that names it, and reaches nothing else."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, write_config
from holdfast import files, plugins
from holdfast.config.load import load_experiment
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.learning.methods import SFT
from holdfast.learning.retention import Strategy
from holdfast.measures import Measure

SMALL: dict[str, Any] = {
    "general": [],
    "train_examples": 8,
    "test_examples": 4,
    "sequence": ["reading", "counting"],
}
MISTAKES = """
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from holdfast import Example, Task
from holdfast.learning.methods import RFT
from holdfast.learning.retention import Strategy
from holdfast.measures import Measure, Request


def mask(rows): return [True] * len(rows)
def array(rows): return np.flatnonzero([row["correct"] < 9 for row in rows])[:4]


def meddles(response, example):
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(2)
    return len(response) / 100


class InPlace(RFT):
    objective: str

    def advantages(self, rewards_BG, greedy_B):
        rewards_BG -= 5
        return rewards_BG


class Fails(RFT):
    objective: str

    def advantages(self, rewards_BG, greedy_B):
        raise ValueError("no idea")


class Exits(Strategy):
    kind: str

    def stepped(self, stage, memory, optimizer):
        sys.exit("enough")


class Says(Strategy):
    kind: str
    what: str

    def batch(self, stage, memory, items, iteration):
        memory["seen"] = 3 if self.what == "memory" else torch.ones(1)
        odd = {"batch": [], "tasks": [(task.name, example) for task, example in items]}
        return odd.get(self.what, items)

    def gradient(self, stage, memory, groups):
        named = {"own loss": {"loss": 1.0}, "own reward": {"reward": 1.0}, "twice": {"x": 1.0},
                 "nan": {"x": float("nan")}}
        return {"x": "much"} if self.what == "gradient" else named.get(self.what)

    def stepped(self, stage, memory, optimizer):
        return {"skipped": 1.0} if self.what == "own skipped" else None

    def rate(self, stage, memory, rate, loss):
        rates = {"rate": None, "no rate": float("nan"), "minus": -rate, "huge": 10**400, "true": True}
        return rates.get(self.what, torch.tensor(rate))

    def collected(self, stage, memory, groups):
        return None if self.what == "collected" else groups

    def end(self, stage, memory):
        return {"end": {"x": 1}, "meta": {"x": torch.ones(1, device="meta")}}.get(self.what)


class Waits(Strategy):
    kind: str

    async def begin(self, stage, memory):
        pass


class Yields(Strategy):
    kind: str

    def end(self, stage, memory):
        yield memory


class Shadows(Strategy):
    kind: str

    @property
    def batch(self):
        return 4


class Opens(Strategy):
    kind: str

    def begin(self, stage, memory):
        open("/nowhere/at/all")


class Short(Strategy):
    kind: str

    def batch(self, stage, memory, items):
        return items


class Long(RFT):
    objective: str

    def advantages(self, rewards_BG, greedy_B, more):
        return rewards_BG


class Careful(Strategy):
    kind: str

    @torch.no_grad()
    def rate(self, stage, memory, rate, loss, calm=1.0):
        return rate * calm

    @staticmethod
    def gradient(*given):
        return {}


class Meddles(Measure):
    def measure(self, job, runner):
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_num_threads(2)
        return {"x": 1}


class Asks(Meddles):
    what: str

    def request(self, moment):
        inputs = {"inputs": {"x": object()}, "noted": {"batch": 4}}.get(self.what, {})
        return Request("nobody" if self.what == "policy" else moment.policies[-1], moment.new, inputs)


def give(count): return [Example(str(n), "How many?", "1") for n in range(count)]
def shown(count, images): return [Example(str(n), "How many?", "1", images) for n in range(count)]


GIVES = {
    "nothing": lambda split, count: None,
    "too_many": lambda split, count: give(count + 1),
    "repeated": lambda split, count: give(1) * count,
    "number": lambda split, count: [Example(str(n), "How many?", n) for n in range(count)],
    "raises": lambda split, count: give(count)[99],
    "text": lambda split, count: shown(count, ("picture.png",)),
    "no_images": lambda split, count: shown(count, None),
    "cut": lambda split, count: shown(count, (Image.open(Path(__file__).parent / "cut.png"),)),
    "junk": lambda split, count: shown(count, (b"junk",)),
    "flat": lambda split, count: shown(count, (Image.new("RGB", (0, 5)),)),
}
for name, load in GIVES.items():
    globals()[name] = Task(name, 1, name, load, {"train": 8, "test": 8})
sizeless = Task("sizeless", 1, "", GIVES["nothing"], {"train": "8", "test": 8})
unscored = Task("unscored", 1, "", GIVES["nothing"], {"train": 8, "test": 8}, scorer="exakt")
function = Task("function", 1, "", GIVES["nothing"], {"train": 8, "test": 8}, scorer=mask)
percent = Task("percent", 1, "", GIVES["nothing"], {"train": 8, "test": 8}, chance=25)


def with_field(**fields):
    load = lambda split, count: [Example(str(i), "what is it?", "yes", **fields) for i in range(count)]
    return Task("fields", 1, "", load, {"train": 8, "test": 8})


one_text = with_field(references="yes")
numbered = with_field(choices=(1, 2))
numpys = with_field(meta={"length": np.float32(2)})
endless = with_field(meta={"length": float("nan")})
halved = with_field(rationale="\\ud800")
"""


@pytest.fixture
def mistakes(tmp_path: Path) -> Path:
    path = tmp_path / "mistakes.py"
    path.write_text(MISTAKES)
    return path


def failure(folder: Path, **method: Any) -> str:
    """What ends the first stage of a method."""
    experiment = make_experiment(folder, **SMALL, methods={"m": {"iterations": 2, **method}})
    return next(iter(run_here(experiment).failed.values()))


def test_a_mask_is_no_list_of_positions(mistakes: Path, tmp_path: Path) -> None:
    said = failure(tmp_path, objective="grpo", filter="mistakes.py:mask")
    assert "mask returned [True, True" in said and "it must return a list of positions from 0 to 7" in said


def test_a_filter_of_ones_own_that_keeps_nothing(mistakes: Path, tmp_path: Path) -> None:
    mistakes.write_text(f"{MISTAKES}\ndef nothing(rows): return []\n")
    said = failure(tmp_path, objective="grpo", filter="mistakes.py:nothing")
    assert said.endswith("nothing keeps none of 8 training examples; it must keep one or more.")


@pytest.mark.slow
def test_positions_may_be_an_array(mistakes: Path, tmp_path: Path) -> None:
    method = {"objective": "grpo", "filter": "mistakes.py:array", "iterations": 1}
    assert not run_here(make_experiment(tmp_path, **SMALL, methods={"m": method})).failed


@pytest.mark.slow
def test_advantages_worked_out_in_place_leave_the_rewards_as_they_were(
    mistakes: Path, tmp_path: Path
) -> None:
    method = {"objective": "mistakes.py:InPlace", "iterations": 1}
    experiment = make_experiment(tmp_path, **SMALL, methods={"m": method})
    assert not run_here(experiment).failed
    plan = make_plan(experiment)
    (row,) = Store(experiment.store).rows(plan.jobs[plan.chains[0].learn[0]], "metrics.jsonl")
    assert 0 <= row["reward"] <= 1


@pytest.mark.slow
def test_errors_of_classes_of_ones_own_have_their_line_and_end_a_job_alone(
    mistakes: Path, tmp_path: Path
) -> None:
    line = {name: MISTAKES[: MISTAKES.index(name)].count("\n") + 1 for name in ("no idea", "enough")}
    said = failure(tmp_path / "a", objective=f"{mistakes}:Fails")
    assert said == f"{mistakes} failed: line {line['no idea']}: ValueError: no idea."
    said = failure(tmp_path / "b", objective="sft", retention={"kind": f"{mistakes}:Exits"})
    assert said == f"{mistakes} failed: line {line['enough']}: SystemExit: enough."
    said = failure(tmp_path / "c", objective="sft", retention={"kind": f"{mistakes}:Opens"})
    assert re.search(r"mistakes.py failed: line \d+: FileNotFoundError: .*/nowhere/at/all", said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("batch", "`batch` gave []; it must give some of the items"),
        ("gradient", "`gradient` gave 'much'; it must give a number"),
        ("own loss", "`gradient` gave 'loss', which the training log has already"),
        ("own skipped", "`stepped` gave 'skipped', which the training log has already"),
        ("tasks", "`batch` gave [('reading', "),
        ("nan", "`gradient` gave nan as 'x' in iteration 0; it must be finite"),
        ("rate", "`rate` gave None; it must give a number"),
        ("no rate", "`rate` gave nan; it must give a finite number that is not below 0"),
        ("minus", "`rate` gave -"),
        ("huge", "`rate` gave 1000"),
        ("true", "`rate` gave True; it must give a number"),
        ("collected", "`collected` gave None; it must give groups"),
        ("memory", "`memory` gave {'seen': 3}; it must give dense tensors by name"),
        ("end", "`end` gave {'x': 1}; it must give dense tensors by name"),
        ("meta", "`end` gave {'x': tensor(..., device='meta', size=(1,))}; it must give dense tensors"),
    ],
)
def test_what_a_hook_gives_is_looked_at(mistakes: Path, tmp_path: Path, what: str, expected: str) -> None:
    said = failure(
        tmp_path, objective="sft", iterations=4, retention={"kind": "mistakes.py:Says", "what": what}
    )
    assert f"mistakes.py:Says: {expected}" in said


def test_what_the_log_says_of_the_batch_is_not_replaced(mistakes: Path, tmp_path: Path) -> None:
    said = failure(
        tmp_path, objective="grpo", iterations=1, retention={"kind": "mistakes.py:Says", "what": "own reward"}
    )
    assert "`gradient` gave 'reward', which the training log has already" in said


def test_hooks_that_cannot_be_called_are_named_before_any_work(mistakes: Path, tmp_path: Path) -> None:
    for method, said in (
        (
            {"objective": "sft", "retention": {"kind": "mistakes.py:Short"}},
            "Short: `batch` takes (self, stage, memory, items), and is called with (self, stage, memory, "
            "items, iteration)",
        ),
        (
            {"objective": "mistakes.py:Long"},
            "Long: `advantages` takes (self, rewards_BG, greedy_B, more), and is called with (self, "
            "rewards_BG, greedy_B)",
        ),
        (
            {"objective": "sft", "retention": {"kind": "mistakes.py:Waits"}},
            "Waits: `begin` must return its result, without `async` or `yield`",
        ),
        ({"objective": "sft", "retention": {"kind": "mistakes.py:Yields"}}, "Yields: `end` must return its"),
        (
            {"objective": "sft", "retention": {"kind": "mistakes.py:Shadows"}},
            "Shadows: `batch` is called by Holdfast, and is no function here; give it another name",
        ),
    ):
        with pytest.raises(InputError, match=re.escape(said)):
            load_experiment(write_config(tmp_path, {**SMALL, "methods": {"m": method}}))
    fine = {"objective": "sft", "retention": {"kind": "mistakes.py:Careful"}}
    load_experiment(write_config(tmp_path, {**SMALL, "methods": {"m": fine}}))


@pytest.mark.slow
def test_hooks_may_give_nothing_and_numbers_of_torch(mistakes: Path, tmp_path: Path) -> None:
    method = {"objective": "sft", "iterations": 4, "retention": {"kind": "mistakes.py:Says", "what": "fine"}}
    assert not run_here(make_experiment(tmp_path, **SMALL, methods={"m": method})).failed


@pytest.mark.slow
def test_what_code_does_to_torch_reaches_no_other_job(mistakes: Path, tmp_path: Path) -> None:
    methods = {"m": {"objective": "sft", "iterations": 1}}
    meddled = make_experiment(tmp_path / "a", **SMALL, methods=methods, measures={f"{mistakes}:Meddles": {}})
    assert not run_here(meddled).failed
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    plain = make_experiment(tmp_path / "b", **SMALL, methods=methods)
    torch.set_default_dtype(torch.float64)  # as a notebook may
    try:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert not run_here(plain).failed
    finally:
        torch.set_default_dtype(torch.float32)
    plan = make_plan(plain)
    last = plan.jobs[plan.chains[0].learn[-1]]
    first, second = (files.listing(Store(one.store).weights(last)) for one in (meddled, plain))
    assert first == second


@pytest.mark.slow
def test_what_a_function_does_to_torch_reaches_not_even_its_own_job(mistakes: Path, tmp_path: Path) -> None:
    method = {"objective": "grpo", "reward": {"mistakes.py:meddles": 1.0}, "iterations": 1}
    threads = torch.get_num_threads()
    assert not run_here(make_experiment(tmp_path, **SMALL, methods={"m": method})).failed
    assert (torch.get_num_threads(), torch.get_default_dtype()) == (threads, torch.float32)


def test_code_that_ends_the_process_is_named_and_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    end = plugins.telling_exit(said.append)
    monkeypatch.setattr(os, "_exit", end)
    (tmp_path / "ends.py").write_text("import os\n\nos._exit(0)\n")
    plugins.load_files([str(tmp_path / "ends.py")])
    assert codes == [1] and said[0].startswith(
        f"{tmp_path / 'ends.py'} line 3 ended Holdfast by os._exit(0)."
    )
    monkeypatch.setattr(os, "getpid", lambda: 0)  # a copy of the process
    end(0)
    assert codes == [1, 0] and len(said) == 1


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("policy", "`request` names 'nobody'"),
        ("inputs", "must be plain values, as JSON has them"),
        ("noted", "hold 'batch', which is noted of every measure"),
    ],
)
def test_what_a_measure_asks_for_must_be_there(
    mistakes: Path, tmp_path: Path, what: str, expected: str
) -> None:
    changes = {**SMALL, "measures": {"mistakes.py:Asks": {"what": what}}}
    with pytest.raises(HoldfastError, match=expected):
        make_plan(make_experiment(tmp_path, **changes))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nothing", "`load` gave for its test examples None; it must give a list of Examples"),
        ("too_many", "`load` gave for its test examples 5 where 4 were asked for"),
        ("repeated", "several of the id '0'; each needs its own"),
        ("number", "id, prompt and answer must be text"),
        ("raises", "failed on its test examples: line"),
        ("text", "0 with images ('picture.png',); they must be a tuple of PIL images, Paths or bytes"),
        ("no_images", "0 with images None; they must be a tuple of PIL images, Paths or bytes"),
        ("sizeless", "`sizes` is {'train': '8', 'test': 8}"),
        ("unscored", "There is no scorer 'exakt'"),
        ("function", "it must be a rule's name, or 'FILE.py:NAME' for code"),
        ("percent", "`chance` is 25; it must be a share from 0 to 1"),
        ("one_text", "'0' with references 'yes'; they must be a tuple of texts"),
        ("numbered", "'0' with choices (1, 2); they must be a tuple of texts"),
        ("numpys", "'0' with meta 'length', which JSON cannot hold (a value in it is of the wrong kind"),
        ("endless", "'0' with meta 'length', which JSON cannot hold (Out of range float"),
        ("halved", "'0' with half of a character (a lone surrogate) in a text"),
    ],
)
def test_examples_of_a_task_in_code_are_looked_at(
    mistakes: Path, tmp_path: Path, name: str, expected: str
) -> None:
    changes = {**SMALL, "tasks": {"mine": f"mistakes.py:{name}"}, "sequence": ["mine"]}
    with pytest.raises(InputError) as caught:
        load_experiment(write_config(tmp_path, changes))
    assert expected in str(caught.value) and len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("base", [Strategy, Measure, SFT])
def test_settings_are_lines_of_a_class(tmp_path: Path, base: type) -> None:
    file = tmp_path / f"{base.__name__}.py"
    made = f"from {base.__module__} import {base.__name__} as Base\n\n\nclass Mine(Base):\n"
    file.write_text(f"{made}    def __init__(self, **settings):\n        pass\n")
    with pytest.raises(InputError, match=r"Mine has an `__init__`, by which .* such as `scale: float = 1.0`"):
        plugins.load_class(f"{file}:Mine", base)


@pytest.mark.parametrize("kind", ["set[str]", "list[frozenset[int]] | None"])
def test_settings_are_no_sets(tmp_path: Path, kind: str) -> None:
    """They come in another order in each process, which then would not find the results of others."""
    (tmp_path / "own.py").write_text(f"""
from holdfast.learning.retention import Strategy

class Mine(Strategy):
    kind: str
    names: {kind} = []
""")
    with pytest.raises(
        InputError, match=r"line 4: .*Mine\.names is a set, which has no order; make it a tuple"
    ):
        plugins.load_class(f"{tmp_path / 'own.py'}:Mine", Strategy)


@pytest.mark.parametrize(
    ("name", "shown", "planned"),
    [
        ("cut", r"Example 0: The image \S+cut\.png cannot be read", "An image of 0 cannot be read: "),
        ("junk", "Example 0: The image in the row's own bytes cannot be read", "Example 0: The image in the"),
        (
            "flat",
            r"Example 0: An image has no pixels\.",
            r"mine 0 cannot be used: it has no pixels \(0 x 5\)",
        ),
    ],
)
def test_broken_pictures_of_a_task_in_code_are_said_with_their_example(
    mistakes: Path, tmp_path: Path, call: Call, name: str, shown: str, planned: str
) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "PNG")
    (tmp_path / "cut.png").write_bytes(picture.getvalue()[:-40])
    changes = {**SMALL, "tasks": {"mine": f"mistakes.py:{name}"}, "sequence": ["mine"]}
    config = write_config(tmp_path, changes)
    said = call("tasks", "show", "mine", "--like", config, "--count", 2, "--out", tmp_path / "sheet.png")
    assert said.code == 1 and re.search(shown, said.err), said.err
    said = call("plan", config)
    assert said.code in (1, 2) and re.search(planned, said.err), said.err
    assert "mistake in Holdfast" not in said.err and "disk" not in said.err


def test_what_planning_cannot_use_of_a_class_is_not_laid_to_holdfast_alone(
    mistakes: Path, tmp_path: Path, call: Call
) -> None:
    mistakes.write_text(f"""{MISTAKES}
class Unordered(Strategy):
    kind: str

    def determining(self):
        return {{"scale": {{1.0}}}}
""")
    methods = {"m": {"objective": "sft", "retention": {"kind": "mistakes.py:Unordered"}}}
    said = call("plan", write_config(tmp_path, {**SMALL, "methods": methods}))
    assert said.code == 1 and f"or in what {mistakes} gives it" in said.err
