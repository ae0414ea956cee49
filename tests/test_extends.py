"""Experiment files that say only what differs from another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from experiment_helpers import TINY, write_config
from holdfast.config.load import load_experiment
from holdfast.errors import InputError


def write(folder: Path, text: str, name: str = "other.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_says_what_differs(tmp_path: Path) -> None:
    write_config(tmp_path)
    path = write(
        tmp_path,
        "extends: tiny.yaml\nname: other\noutput: null\n"
        "methods:\n  sft: null\n  grpo: {kl_coef: 0.1}\n  more: {objective: rloo}\n"
        "defaults: {sampling: {top_p: 0.9}}\nsequence: [reading]\n",
    )
    made, base = load_experiment(path), load_experiment(tmp_path / "tiny.yaml")
    assert list(made.methods) == ["grpo", "more"]
    assert made.methods["grpo"].kl_coef == 0.1
    assert made.methods["more"].sampling.top_p == 0.9
    assert made.methods["more"].sampling.max_tokens == 16
    assert made.sequence == ("reading",)
    assert made.general == base.general
    assert made.output == Path("runs/other").absolute()  # what the other says is taken away
    assert load_experiment(path, ["methods.more.batch=8"]).methods["more"].batch == 8


def test_a_runs_folder_stands_for_its_settings_and_another_name_for_another_folder(tmp_path: Path) -> None:
    folder = tmp_path / "runs/first"
    folder.mkdir(parents=True)
    write_config(tmp_path, {"name": "first", "output": str(folder)}).rename(folder / "config.yaml")
    assert load_experiment(folder).output == folder
    assert load_experiment(folder, ["seeds=[1]"]).output == folder
    assert load_experiment(folder, ["name=second"]).output == tmp_path / "runs/second"
    assert load_experiment(folder, ["name=second", f"output={folder}"]).output == folder
    beside = write(tmp_path, "extends: runs/first/config.yaml\nname: third\n")
    assert load_experiment(beside).output == tmp_path / "runs/third"
    assert load_experiment(beside, ["name=fourth"]).output == tmp_path / "runs/fourth"
    elsewhere = write_config(tmp_path, {"name": "first", "output": str(tmp_path / "mine")})
    assert load_experiment(elsewhere, ["name=second"]).output == tmp_path / "mine"  # somebody chose it
    with pytest.raises(InputError, match=r"runs holds no config\.yaml, so"):
        load_experiment(tmp_path / "runs")


def test_a_runs_folder_is_where_it_lies_and_its_store_went_with_it(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    (runs / "store" / "evaluate").mkdir(parents=True)
    said = {"name": "first", "output": str(runs / "first"), "store": str(runs / "store")}
    (runs / "renamed").mkdir()
    write_config(tmp_path, said).rename(runs / "renamed" / "config.yaml")
    renamed = load_experiment(runs / "renamed")
    assert (renamed.name, renamed.output, renamed.store) == ("first", runs / "renamed", runs / "store")
    assert load_experiment(runs / "renamed", ["name=second"]).output == runs / "second"
    copied = tmp_path / "copy"
    shutil.copytree(runs, copied)
    assert load_experiment(copied / "renamed").store == runs / "store"  # the original's is still there
    runs.rename(tmp_path / "moved")
    (runs / "store").mkdir(parents=True)  # as `holdfast plan` leaves it
    moved = load_experiment(tmp_path / "moved" / "renamed", ["name=second"])
    assert (moved.output, moved.store) == (tmp_path / "moved" / "second", tmp_path / "moved" / "store")
    shutil.rmtree(copied / "store")
    assert load_experiment(copied / "renamed").store == runs / "store"  # nothing is known of another


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("methods.sft", {}),
        ("tasks.mine", {"tasks": {"mine": {"train": "rows.jsonl", "test": "rows.jsonl"}}}),
        ("orders.back", {"orders": {"back": ["counting", "reading"]}}),
        ("measures.drift", {"measures": {"drift": {}}}),
        ("cards.mine", {"cards": {"mine": {"memory": 8, "flops": 10, "bandwidth": 100}}}),
    ],
)
def test_null_on_the_command_line_takes_away_what_has_a_name(
    tmp_path: Path, key: str, said: dict[str, object]
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "answer": "b"}\n' * 16)
    config = write_config(tmp_path, said)
    kind, name = key.split(".")
    path = write(tmp_path, f"extends: tiny.yaml\n{kind}: {{{name}: null}}\n")
    assert name in getattr(load_experiment(config), kind)
    taken = load_experiment(config, [f"{key}=null"])
    assert name not in getattr(taken, kind)
    assert taken.resolved() == load_experiment(path).resolved()


def test_what_was_taken_away_has_no_keys(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with pytest.raises(InputError, match="there is no method 'sft', only grpo"):
        load_experiment(config, ["methods.sft=null", "methods.sft.batch=2"])
    with pytest.raises(InputError, match="methods: must not be empty"):
        load_experiment(config, ["methods.sft=null", "methods.grpo=null"])
    defaults = {**TINY["defaults"], "objective": "sft"}
    blank = load_experiment(write_config(tmp_path, {"defaults": defaults}), ["methods.more=null"])
    assert blank.methods["more"].objective == "sft"  # a new one, as in a file


@pytest.mark.parametrize("beside", ["", "kl_coef: null, "])
def test_a_value_of_the_other_file_can_become_an_axis(tmp_path: Path, beside: str) -> None:
    method = {"objective": "grpo", "kl_coef": 0.5, "sampling": {"max_tokens": 16, "top_p": 0.9}}
    write_config(tmp_path, {"methods": {"g": method}})
    grid = f"methods: {{g: {{{beside}grid: {{kl_coef: [0, 0.1], sampling.top_p: [1, 0.8]}}}}}}\n"
    write(tmp_path, "extends: tiny.yaml\n" + grid, "middle.yaml")
    made = load_experiment(write(tmp_path, "extends: middle.yaml\nname: other\n")).methods
    assert [(one.kl_coef, one.sampling.top_p) for one in made.values()] == [
        (0, 1),
        (0, 0.8),
        (0.1, 1),
        (0.1, 0.8),
    ]
    assert {one.sampling.max_tokens for one in made.values()} == {16}


def test_a_value_beside_an_axis_is_named_with_its_file(tmp_path: Path) -> None:
    write_config(tmp_path, {"methods": {"g": {"objective": "grpo", "kl_coef": 0.5}}})
    line = (tmp_path / "tiny.yaml").read_text().splitlines().index("    kl_coef: 0.5") + 1
    path = write(tmp_path, "extends: tiny.yaml\ndefaults: {grid: {kl_coef: [0, 0.1]}}\n")
    with pytest.raises(InputError, match=rf"is set in the method 'g', too \(tiny.yaml line {line}\); take"):
        load_experiment(path)


def test_each_file_speaks_of_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "rows.jsonl").write_text('{"prompt": "a", "answer": "b"}\n' * 16)
    task = {"mine": {"train": "rows.jsonl", "test": "rows.jsonl"}}
    changes = {"tasks": task, "sequence": ["mine"], "general": [], "test_examples": 4}
    write_config(tmp_path / "base", changes, "base.yaml")
    (tmp_path / "middle").mkdir()
    write(tmp_path, "extends: ../base/base.yaml\n", "middle/middle.yaml")
    experiment = load_experiment(write(tmp_path, "extends: middle/middle.yaml\nname: last\n"))
    assert experiment.name == "last"
    assert experiment.tasks["mine"].train == tmp_path / "base" / "rows.jsonl"


def test_an_error_names_the_file_it_stands_in(tmp_path: Path) -> None:
    base = TINY | {"seeds": [], "output": str(tmp_path / "out")}
    write(tmp_path, yaml.safe_dump(base, sort_keys=False), "base.yaml")
    lines = (tmp_path / "base.yaml").read_text().splitlines()
    path = write(tmp_path, "name: other\nextends: base.yaml\ntest_examples: 0\n")
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    assert f"base.yaml line {lines.index('seeds: []') + 1}, seeds: must not be empty" in str(caught.value)
    assert "  line 3, test_examples: must be a whole number from 1" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends: nowhere.yaml\n", "other.yaml line 1, extends: there is no file"),
        ("name: x\nextends: [a.yaml, b.yaml]\n", "line 2, extends: must be the path of one experiment file"),
        ("extends: other.yaml\n", "in a circle: other.yaml → other.yaml"),
        ("extends: second.yaml\n", "in a circle: other.yaml → second.yaml → other.yaml"),
        ("extends: list.yaml\n", "list.yaml holds no settings"),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, text: str, expected: str) -> None:
    write(tmp_path, "extends: other.yaml\n", "second.yaml")
    write(tmp_path, "- 1\n", "list.yaml")
    with pytest.raises(InputError) as caught:
        load_experiment(write(tmp_path, text))
    assert expected in str(caught.value)
