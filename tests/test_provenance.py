"""What results say of where they come from, finding and exporting them, and reports that are not lost."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as parquet
import pytest
import torch

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, write_config
from holdfast import load_results
from holdfast.cli.export import SIZE
from holdfast.config.load import load_experiment
from holdfast.experiment import export, jobs, prune
from holdfast.experiment.plan import make_plan
from holdfast.experiment.provenance import hub_commit
from holdfast.experiment.runindex import _differences, index
from holdfast.experiment.store import Store
from holdfast.files import read_json, read_jsonl
from holdfast.generate.local import LocalGenerator
from holdfast.generate.setting import machine, setting_of
from holdfast.policy.settings import ModelSettings
from holdfast.report.paper import write_figures
from holdfast.versions import package_versions

SMALL: dict[str, Any] = {"general": [], "train_examples": 8, "test_examples": 4, "keep_weights": "all"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run, made under a mask that lets the group read."""
    folder = tmp_path_factory.mktemp("ran")
    before = os.umask(0o027)
    try:
        assert not run_here(make_experiment(folder, **SMALL)).failed
    finally:
        os.umask(before)
    return folder


@pytest.fixture
def config(ran: Path, call: Call) -> Path:
    path = write_config(ran, SMALL)
    if not (ran / "out/report/index.html").exists():
        assert call("run", path).code == 0
    return path


pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.slow
def test_every_result_says_with_what_it_was_made_and_is_named_without(ran: Path) -> None:
    experiment = make_experiment(ran, **SMALL)
    plan, store = make_plan(experiment), Store(experiment.store)
    for job in plan.jobs.values():
        made = store.made(job)
        assert made["versions"] == package_versions() and made["threads"] == 1
        assert made["machine"] and made["device"] == machine("cpu") != "" and made["date"].endswith("+00:00")
        assert "versions" not in read_json(store.folder(job) / "job.json")


def test_of_several_cards_the_one_that_computes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the card {device}")
    policy: Any = SimpleNamespace(device=torch.device("cuda:1"), model=torch.nn.Linear(1, 1))
    assert setting_of(LocalGenerator(policy), 4)["machine"] == "the card cuda:1"
    machine.cache_clear()


@pytest.mark.slow
def test_results_can_be_read_by_the_group_where_the_mask_lets_it(ran: Path) -> None:
    files = [path for path in (ran / "store/learn").rglob("*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}


def test_the_commit_of_a_hub_id_is_that_of_the_files_on_this_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, commit = tmp_path / "models--owner--name", "0123456789abcdef0123456789abcdef01234567"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs/main").write_text(commit)
    (cache / "snapshots" / commit).mkdir(parents=True)
    (cache / "snapshots" / commit / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert hub_commit(ModelSettings(path="owner/name")) == commit
    assert hub_commit(ModelSettings(path="owner/other")) is None
    assert hub_commit(ModelSettings(path="embedded")) is None


def test_the_index_lists_each_job_of_each_method(ran: Path, config: Path) -> None:
    rows = read_jsonl(ran / "out/index.jsonl")
    experiment = make_experiment(ran, **SMALL)
    assert rows == index(make_plan(experiment), Store(experiment.store))
    (row,) = (r for r in rows if (r["kind"], r["method"], r["stage"]) == ("learn", "grpo", 2))
    assert row["tasks"] == ["counting"] and row["seed"] == 0 and row["done"] and row["weights"]
    assert (Path(row["folder"]) / "weights/config.json").exists()
    cells = [(r["method"], r["stage"], *r["tasks"]) for r in rows if r["kind"] == "evaluate"]
    assert len(cells) == len(set(cells)) == 2 * 3 * 2  # the base's, which are shared, stand under both


def test_the_report_says_with_what_it_was_made(ran: Path, config: Path) -> None:
    text = (ran / "out/report/report.md").read_text()
    versions = ", ".join(f"{name} {number}" for name, number in package_versions().items())
    assert versions in text and "Threads of a job" in text


def test_a_checkpoint_is_exported(ran: Path, config: Path, tmp_path: Path, call: Call) -> None:
    said = call("export", ran / "out", "--method", "grpo", "--seed", "0", "--stage", "1", tmp_path / "model")
    assert said.code == 0 and "grpo seed 0 after stage 1" in said.out
    rows = read_jsonl(ran / "out/index.jsonl")
    (row,) = (r for r in rows if (r["kind"], r["method"], r["stage"]) == ("learn", "grpo", 1))
    source = Path(row["folder"]) / "weights"
    assert {p.name: p.read_bytes() for p in source.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "model").iterdir()
    }
    assert call("export", config, "--method", "grpo", tmp_path / "model").code == 2  # it is there
    for wrong, expected in (
        (["--method", "gpro"], "did you mean 'grpo'"),
        (["--method", "grpo", "--seed", "7"], "There is no seed 7"),
        (["--method", "grpo", "--stage", "3"], "the stages 1 to 2, not 3"),
        ([], "Say which checkpoint: --method (sft, grpo)"),
    ):
        said = call("export", config, *wrong, tmp_path / "other")
        assert said.code == 2 and expected in said.err
    assert "needs --records" in call("export", config, tmp_path / "all.csv").err


def test_weights_are_not_pruned_while_they_are_exported(
    ran: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ran / "store", tmp_path / "store")
    config = write_config(tmp_path, SMALL)
    real, said = export.copy_folder, []

    def pruned_meanwhile(*arguments: Any, **options: Any) -> None:
        store = Store(tmp_path / "store")
        said.extend(prune.remove(store, prune.candidates(store, weights=True, damaged=False)))
        real(*arguments, **options)

    monkeypatch.setattr(export, "copy_folder", pruned_meanwhile)
    assert call("export", config, "--method", "grpo", tmp_path / "model").code == 0
    assert len(said) == 1 and (tmp_path / "model" / "config.json").is_file()  # the others are gone
    monkeypatch.setattr(export, "copy_folder", real)
    store = Store(tmp_path / "store")
    assert prune.remove(store, prune.candidates(store, weights=True, damaged=False)) == []


def test_what_comes_there_while_a_checkpoint_is_exported_stays(
    config: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def theirs(*arguments: Any, **options: Any) -> None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "theirs").touch()

    monkeypatch.setattr(export, "copy_folder", theirs)
    said = call("export", config, "--method", "grpo", tmp_path / "model")
    assert said.code == 1 and "This came there while it was made" in said.err
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["theirs"]


@pytest.mark.slow
def test_weights_that_were_not_kept_are_said(tmp_path: Path, call: Call) -> None:
    changes = SMALL | {
        "sequence": ["reading"],
        "keep_weights": "none",
        "methods": {"sft": {"objective": "sft"}},
    }
    config = write_config(tmp_path, changes)
    assert "is not done; 'holdfast run' does it" in call("export", config, tmp_path / "model").err
    assert call("run", config).code == 0
    said = call("export", config, tmp_path / "model")
    assert said.code == 1 and "were not kept, and what is done is not learned again. Remove " in said.err
    assert "Everything is done already." in call("run", config, "keep_weights=all").out
    shutil.rmtree(said.err.split("Remove ")[1].split(" and run with keep_weights=all")[0])
    assert "1 job to do" in call("run", config, "keep_weights=all").out
    assert call("export", config, tmp_path / "model").code == 0
    away = SimpleNamespace(place="s3://bucket/runs", root=tmp_path)
    assert "Run with keep_weights=all and another store" in export._again(Any, away)  # type: ignore[arg-type]


def test_records_are_exported_in_three_forms(ran: Path, config: Path, tmp_path: Path, call: Call) -> None:
    for name in ("all.jsonl", "all.csv", "all.parquet"):
        assert call("export", ran / "out", "--records", tmp_path / name).code == 0
    rows = read_jsonl(tmp_path / "all.jsonl")
    assert len(rows) == 2 * 3 * 2 * 4
    with (tmp_path / "all.csv").open() as file:
        from_csv = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    for one, other, third in zip(rows, from_csv, table, strict=True):
        assert (one["method"], one["id"]) == (other["method"], other["id"]) == (third["method"], third["id"])
        assert one["score"] == float(other["score"]) == third["score"]
        assert one["meta"] == json.loads(other["meta"]) == json.loads(third["meta"])
    said = call("export", config, "--records", "--method", "grpo", "--stage", "2", tmp_path / "few.jsonl")
    assert said.out.startswith("8 records") and len(read_jsonl(tmp_path / "few.jsonl")) == 8
    for choice, told in {("--method", "grppo"): "no method 'grppo'", ("--stage", 9): "no stage 9"}.items():
        assert told in call("export", config, "--records", *choice, tmp_path / "none.csv").err
    assert "must end in .jsonl, .csv, .parquet" in call("export", config, "--records", tmp_path / "x.xls").err


@pytest.mark.slow
def test_an_export_says_what_it_lacks(ran: Path, tmp_path: Path, call: Call) -> None:
    """A file of fewer records looks like the whole."""
    shutil.copytree(ran / "store", tmp_path / "store")
    config = write_config(tmp_path, SMALL)
    assert call("export", config, "--records", tmp_path / "all.csv").err == ""
    total = len(make_plan(load_experiment(config)).jobs)
    damaged, gone, *_ = sorted((tmp_path / "store" / "evaluate").iterdir())
    (damaged / "records.jsonl").write_text("{}")
    shutil.rmtree(gone)
    for what, target in (("--records", "few.csv"), ("--figures", "figures")):
        said = call("export", config, what, tmp_path / target)
        assert said.code == 0
        left_out, missing = said.err.splitlines()
        assert left_out.startswith("Damaged result, left out: ") and str(damaged) in left_out
        assert missing == f"2 of {total} results are not in {tmp_path / 'store'}; 'holdfast run' makes them."


@pytest.mark.slow
def test_figures_are_drawn_for_a_column(ran: Path, config: Path, tmp_path: Path, call: Call) -> None:
    sizes = {}
    for width, options in ((3.25, ()), (6.75, ("--width", 6.75))):
        said = call("export", config, "--figures", *options, tmp_path / str(width))
        assert said.code == 0, said.err
        for file in (tmp_path / str(width)).iterdir():
            assert str(file) in said.out.splitlines() and file.suffix == ".pdf"
            content = file.read_bytes()
            sizes[width, file.stem] = re.findall(rb"/MediaBox \[ *0 0 ([0-9.]+) ([0-9.]+) *\]", content)
            assert b"/FontFile2" in content  # fonts are in it
    names = {name for _, name in sizes}
    assert {"learned_forgotten", "accuracy_matrices", "task_curves", "training_curves"} <= names
    for name in names:
        ((narrow, _),), ((wide, _),) = sizes[3.25, name], sizes[6.75, name]
        assert float(narrow) <= 3.25 * 72 + 0.01 and float(narrow) <= float(wide) <= 6.75 * 72 + 0.01
    assert sizes[3.25, "training_curves"][0][0] == b"234"
    again = write_figures(load_results(config), tmp_path / "again", 3.25, SIZE)
    for file in (f"{name}.pdf" for name in again):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "3.25" / file).read_bytes()
    assert set(again) == names
    assert "not both" in call("export", config, "--figures", "--records", tmp_path / "x").err
    (tmp_path / "file").touch()
    said = call("export", config, "--figures", tmp_path / "file")
    assert said.code == 2 and "file is a file; figures go to a folder." in said.err
    assert call("export", config, "--figures", "--width", "20", tmp_path / "x").code == 2
    said = call("export", config, "--records", "--width", 5, tmp_path / "x.csv")
    assert said.code == 2 and "--width is for --figures" in said.err
    said = call("export", config, "--figures", "--method", "sft", tmp_path / "x")
    assert said.code == 2 and "--method chooses none of the figures" in said.err


def test_the_store_of_a_run_is_what_it_counts_on(ran: Path, config: Path, call: Call) -> None:
    fewer = write_config(
        ran, SMALL | {"sequence": ["reading"], "methods": {"sft": {"objective": "sft"}}}, "few.yaml"
    )
    assert "learn: 4 results" in call("store", "--run", ran / "out").out
    assert "learn: 1 result," in call("store", "--run", fewer).out


def test_what_a_grid_and_strategies_differ_in_is_named_once() -> None:
    grid = {"of": "sft", "axes": {"batch": 8}}
    before = {"methods": {"a": {"retention": [{"kind": "ewc", "strength": 300}]}}, "variants": {"a": grid}}
    now = {"methods": {"a": {"retention": [{"kind": "ewc", "strength": 100}]}}, "variants": {}}
    assert list(_differences(before, now)) == ["methods.a.retention.0.strength: 300, now 100"]
    (said,) = _differences({"methods": {"a": {"retention": []}}}, before)
    assert said.startswith("methods.a.retention: [], now [{")


@pytest.mark.slow
def test_a_report_of_other_settings_is_not_replaced_without_a_word(
    ran: Path, config: Path, call: Call
) -> None:
    page = ran / "out/report/index.html"
    before = page.read_bytes(), (ran / "out/config.yaml").read_text()
    said = call("run", config, "methods.sft.learning_rate=0.5")
    assert said.code == 2 and "holds a report of other settings: 6 of its" in said.err
    assert "methods.sft.learning_rate: 0.001, now 0.5" in said.err and "--replace" in said.err
    changed = write_config(ran, SMALL | {"seeds": [1]}, "changed.yaml")
    assert "seeds: [0], now [1]" in call("report", changed).err
    assert before == (page.read_bytes(), (ran / "out/config.yaml").read_text())
    assert call("run", config, "keep_weights=last", "--no-report").code == 0  # which loses nothing
    (ran / "out/config.yaml").write_text("seeds: [1")  # damaged: nothing can be said of it
    assert call("run", config, "methods.sft.learning_rate=0.5", "--no-report").code == 0


@pytest.mark.slow
def test_data_that_changed_lose_no_report(tmp_path: Path, call: Call) -> None:
    rows = [{"id": str(number), "prompt": f"Say w{number}.", "answer": "red"} for number in range(16)]
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    tasks = {"mine": {"train": "rows.jsonl", "test": "rows.jsonl", "scorer": "exact"}}
    methods = {"sft": {"objective": "sft", "iterations": 1}}
    config = write_config(tmp_path, SMALL | {"tasks": tasks, "sequence": ["mine"], "methods": methods})
    assert call("run", config).code == 0
    page = tmp_path / "out/report/index.html"
    before = page.read_bytes()
    data.write_text("\n".join(map(json.dumps, rows[1:])))
    said = call("report", tmp_path / "out")
    assert said.code == 2 and "3 of its 3 results are no part of this run" in said.err
    assert "the model, the device, data or code" in said.err
    assert page.read_bytes() == before


def test_a_bundle_says_what_it_lacks(ran: Path, config: Path, tmp_path: Path, call: Call) -> None:
    methods = {"sft": {"objective": "sft"}, "more": {"objective": "sft", "learning_rate": 0.25}}
    more = write_config(ran, SMALL | {"methods": methods}, "more.yaml")
    said = call("bundle", more, "--out", tmp_path / "x.zip")
    assert said.code == 0 and f"results are not in {ran / 'store'}; 'holdfast run' makes them" in said.err
    assert "results are not" not in call("bundle", config, "--out", tmp_path / "y.zip").err


@pytest.mark.slow
def test_notes_that_say_something_else_are_none(tmp_path: Path, call: Call) -> None:
    config = write_config(
        tmp_path, {**SMALL, "sequence": ["reading"], "methods": {"sft": {"objective": "sft"}}}
    )
    assert call("run", config).code == 0
    notes = list((tmp_path / "store").glob("*/*/made.json"))
    assert len(notes) > 2
    for note, text in zip(notes, ("{}", "[1]", *['{"versions": 3}'] * len(notes)), strict=False):
        note.write_text(text.ljust(note.stat().st_size))  # or it would be found damaged
    said = call("report", tmp_path / "out")
    assert said.code == 0 and not said.err
    assert call("export", tmp_path / "out", "--records", tmp_path / "all.csv").code == 0


def test_a_report_of_nothing_replaces_none_of_something(
    ran: Path, config: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (ran / "out/report/index.html").read_bytes()

    def fails(*_: object) -> None:
        raise OSError("no")

    for name in ("_learn", "_evaluate"):
        monkeypatch.setattr(jobs.Runner, name, fails)
    said = call("run", config, "--replace", f"store={ran / 'elsewhere'}")
    assert said.code == 1 and "the earlier report stays" in said.err
    assert (ran / "out/report/index.html").read_bytes() == before


@pytest.mark.slow
def test_an_export_of_adapters_says_what_makes_a_model_of_them(tmp_path: Path, call: Call) -> None:
    pytest.importorskip("peft")
    methods = {"sft": {"objective": "sft"}}
    changes = SMALL | {"sequence": ["reading"], "methods": methods, "model": {"lora": {"rank": 2}}}
    config = write_config(tmp_path, changes)
    assert call("run", config, "--no-report").code == 0
    said = call("export", config, tmp_path / "model")
    assert f"LoRA adapters; 'holdfast merge {tmp_path / 'model'} --out FOLDER'" in said.out
    assert call("merge", tmp_path / "model", "--out", tmp_path / "whole").code == 0
