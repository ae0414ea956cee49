"""The public face: an experiment from Python, and its results as frames."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import holdfast
from cli_helpers import Call
from experiment_helpers import TINY, make_experiment, write_config
from results_helpers import make_results

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.mark.slow
def test_an_experiment_from_a_mapping_to_frames(tmp_path: Path) -> None:
    settings = TINY | {"output": str(tmp_path / "out"), "store": str(tmp_path / "store"), "general": []}
    settings["methods"] = {"sft": {"objective": "sft", "iterations": 1}}
    experiment = holdfast.load_experiment(settings, ["seeds=[0, 1]"])
    results = holdfast.run(experiment)
    metrics, cells, records = results.metrics(), results.cells(), results.records()
    assert list(metrics["method"]) == ["sft", "sft"] and list(metrics["seed"]) == [0, 1]
    assert len(cells) == 2 * 3 * 2  # seeds, stages with the base, tasks
    assert len(records) == 8 * len(cells)
    assert set(cells["trained_on"].dropna()) == {"reading", "counting"}
    last = cells[(cells["stage"] == 2) & (cells["seed"] == 1)]
    assert metrics["avg_acc"][1] == pytest.approx(last["accuracy"].mean())
    grouped = records.groupby(["seed", "stage", "task"])["score"].mean()
    one = cells.iloc[5]
    assert grouped[one["seed"], one["stage"], one["task"]] == pytest.approx(one["accuracy"])
    again = holdfast.load_results(write_config(tmp_path, {**settings, "seeds": [0, 1]}))
    assert again.metrics().equals(metrics)


@pytest.mark.slow
def test_a_run_from_python_has_its_folder(call: Call, tmp_path: Path) -> None:
    settings = TINY | {"sequence": ["reading"], "general": [], "output": str(tmp_path / "out")}
    settings |= {"store": str(tmp_path / "store"), "methods": {"sft": {"objective": "sft", "iterations": 1}}}
    holdfast.run(settings)
    again = holdfast.load_experiment(tmp_path / "out")
    assert len(holdfast.load_results(again).cells()) == 2
    index = (tmp_path / "out" / "index.jsonl").read_text().splitlines()
    assert len(index) == 3 and all(json.loads(row)["done"] for row in index)
    said = call("report", tmp_path / "out")
    assert said.code == 0, said.err
    with pytest.raises(holdfast.InputError, match="holds a report of other settings"):
        holdfast.run(settings | {"seeds": [1]})
    (tmp_path / "file").write_text("")
    with pytest.raises(holdfast.InputError, match=r"The output folder .* cannot be written"):
        holdfast.run(settings | {"output": str(tmp_path / "file" / "out")})


def test_what_should_be_known_of_a_run_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"prompt": f"what is number {number}?", "answer": "red"} for number in range(6)]
    rows[4]["prompt"] = "word " * 600
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    settings = TINY | {"sequence": ["mine"], "general": [], "output": str(tmp_path / "out")}
    settings |= {"tasks": {"mine": {"train": str(data), "test": str(data)}}, "bad_rows": "skip"}
    settings |= {"store": str(tmp_path / "store"), "train_examples": 5, "test_examples": 5}
    holdfast.run(settings | {"methods": {"sft": {"objective": "sft", "iterations": 1, "batch": 2}}})
    said = "\n".join(caplog.messages)
    assert "1 of 6 test rows of mine is left out: the model cannot take it: " in said
    assert "rows.jsonl, line 5" in said and re.search("train.* judged|judged.* train", said), said


def test_failures_are_raised(tmp_path: Path) -> None:
    settings = TINY | {"output": str(tmp_path / "out"), "store": str(tmp_path / "store")}
    with pytest.raises(holdfast.InputError, match="sequense"):
        holdfast.load_experiment(settings | {"sequense": []})


def test_an_unfinished_run_has_what_there_is() -> None:
    results = make_results(methods=("sft", "joint_sft"), stages_done=0, items=5)
    assert results.metrics()["fm"].isna().tolist() == [False, True]
    assert set(results.cells()["method"]) == {"sft", "joint_sft"}


def test_the_names_are_there_and_cost_nothing() -> None:
    assert set(holdfast.__all__) <= set(dir(holdfast))
    for name in holdfast.__all__:
        assert getattr(holdfast, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        holdfast.nothing  # noqa: B018
    script = "import holdfast, sys; print(*{'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.slow
def test_the_page_on_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of the page, in order, as in a notebook."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(PAGE.parents[1] / "configs")
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)


def test_paths_in_a_mapping_are_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": str(number), "prompt": f"Say w{number}.", "answer": "red"} for number in range(16)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("ways.py").write_text("def score(answer, example): return 1\n")
    mine = {"train": Path("rows.jsonl"), "test": "rows.jsonl", "scorer": "ways.py:score"}
    settings = TINY | {"tasks": {"mine": mine}, "sequence": ("mine",), "general": [], "seeds": np.arange(2)}
    experiment = holdfast.load_experiment(settings)
    assert experiment.task("mine").examples("test", 1)[0].id == "0" and experiment.seeds == (0, 1)
    write_config(tmp_path, {"name": "first"})
    assert holdfast.load_experiment({"extends": "tiny.yaml", "name": "second"}).sequence == (
        "reading",
        "counting",
    )
    with pytest.raises(holdfast.InputError, match="The mapping holds what no experiment file can: <function"):
        holdfast.load_experiment(settings | {"seeds": test_failures_are_raised})
    for odd in ({0}, b"0"):
        with pytest.raises(holdfast.InputError, match="The mapping holds what no experiment file can: "):
            holdfast.load_experiment(settings | {"seeds": odd})
    with pytest.raises(holdfast.InputError, match="The mapping has an error:"):
        holdfast.load_experiment(settings | {"seeds": []})
    settings["tasks"] = settings
    with pytest.raises(holdfast.InputError, match="The mapping is nested too deeply, or holds itself"):
        holdfast.load_experiment(settings)


def test_frames_have_their_columns_before_and_after(tmp_path: Path) -> None:
    experiment = make_experiment(
        tmp_path, sequence=["reading"], general=[], methods={"sft": {"objective": "sft"}}
    )
    before = holdfast.load_results(experiment)
    after = holdfast.run(experiment)
    for name in ("records", "cells", "metrics"):
        empty, filled = getattr(before, name)(), getattr(after, name)()
        assert list(empty.columns) == list(filled.columns)
    assert before.records().empty and before.cells().empty


def test_what_is_run_and_by_how_many(tmp_path: Path) -> None:
    config = write_config(tmp_path, {"sequense": []})
    with pytest.raises(holdfast.InputError, match="sequense"):
        holdfast.run(config)
    for workers in (0, -1, 1.5, "2", None):
        with pytest.raises(holdfast.InputError, match="must be a whole number of at least 1"):
            holdfast.run(config, workers=workers)  # type: ignore[arg-type]
    for overrides in ("seeds=[1]", {"seeds": [1]}, [3], None):
        with pytest.raises(holdfast.InputError, match="it must be a list of texts"):
            holdfast.load_experiment(config, overrides)  # type: ignore[arg-type]
    for nothing in (None, 3, b"x.yaml"):
        with pytest.raises(holdfast.InputError, match="is no experiment; give its file"):
            holdfast.load_results(nothing)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_script_without_a_guard_is_run_once(tmp_path: Path) -> None:
    """Python imports the script in each process that it starts."""
    settings = {"sequence": ["reading"], "general": [], "train_examples": 4, "test_examples": 2}
    config = write_config(tmp_path, settings | {"methods": {"sft": {"objective": "sft", "iterations": 1}}})
    script = tmp_path / "script.py"
    script.write_text(
        f"import holdfast\nprint(len(holdfast.run({str(config)!r}, workers=2).cells()), __file__)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"2 {script}\n", "")


def test_threads_load_one_after_another() -> None:
    def load(_: int) -> float:
        policy = holdfast.Policy.load("embedded", holdfast.ModelSettings(device="cpu"))
        return float(next(iter(policy.model.parameters())).detach().sum())

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(load, range(8)))) == 1
    load(0)  # and the process is as before


def test_a_policy_says_what_it_must_be_given(tmp_path: Path) -> None:
    policy = holdfast.Policy.load("embedded", holdfast.ModelSettings(device="cpu"))
    policy.save(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "config.json").exists()
    file = tmp_path / "picture.png"
    keys = []
    for colour, size in (("red", 56), ("blue", 84)):  # the file as it is now, not as it was
        Image.new("RGB", (size, size), colour).save(file)
        keys.append([policy.encode(["what is it?"], [[one]]).image_keys for one in (str(file), file)])
        assert keys[-1][0] == keys[-1][1]
    assert keys[0] != keys[1]
    square = Image.new("RGB", (56, 56))
    for prompts, images, said in (
        ("what", [[]], "prompts is 'what'; it must be a list of texts"),
        ([3], [[]], "prompts is [3]; it must be a list of texts"),
        ([], [], "prompts is empty"),
        (["what"], None, "images must hold a list of pictures for each prompt"),
        (["what"], [square], "images must hold a list of pictures for each prompt"),
        (["what"], ["picture.png"], "images must hold a list of pictures for each prompt"),
        (["what", "which"], [[]], "There are 2 prompts and pictures for 1"),
        (["what"], [[np.zeros((56, 56, 3))]], "A picture of prompt 0 is of the type ndarray"),
    ):
        with pytest.raises(holdfast.InputError, match=re.escape(said)):
            policy.encode(prompts, images)  # type: ignore[arg-type]
