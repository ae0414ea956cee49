"""The command line: what it prints, its exit codes, and that what was computed is never lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError
from transformers import PreTrainedModel

from cli_helpers import Call
from experiment_helpers import TINY, make_experiment, snapshot, write_config
from holdfast import __version__
from holdfast.analysis.results import Results
from holdfast.experiment import jobs, runindex
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.report import page


@pytest.mark.slow
def test_help_and_errors_load_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['holdfast', {}]\n"
        "from holdfast.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)\n"
        "heavy = {} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    heavy = {"torch", "transformers", "matplotlib", "datasets"}
    for arguments, without, expected in (
        ("'--help'", heavy | {"pydantic", "PIL", "numpy"}, "0"),
        ("'run', 'nothing.yaml'", heavy, "2"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code.format(arguments, without)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip().endswith(expected)


@pytest.mark.slow
def test_a_merge_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    code = (
        "import signal, sys; sys.argv = ['holdfast', 'merge', 'a', 'b', '--method', 'wise', '--out', 'new']\n"
        "from pathlib import Path\n"
        "from holdfast.checkpoints import merging\n"
        "from holdfast.cli import main\n"
        "from holdfast.files import whole_folder\n"
        "def merge(*arguments):\n"
        "    with whole_folder(Path('new')):\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "merging.merge_folders = merge\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 130 and "Stopped." in done.stderr
    assert not list(tmp_path.iterdir())


def test_version(call: Call) -> None:
    assert call("version") == (0, f"{__version__}\n", "")


def test_figures_need_no_backend_of_the_environments(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "nonsense")  # with which matplotlib cannot even be imported
    assert call("version").code == 0 and os.environ["MPLBACKEND"] == "agg"


def test_tasks(call: Call, tmp_path: Path) -> None:
    listed = call("tasks")
    assert listed.code == 0
    for name in (*TINY["sequence"], "presence", "Chance", "Scorer"):
        assert name in listed.out
    sheet = tmp_path / "sheet.png"
    assert call("tasks", "show", "reading", "--out", sheet).code == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")
    unknown = call("tasks", "show", "raeding", "--out", sheet)
    assert unknown.code == 2
    assert "reading" in unknown.err
    assert call("tasks", "show", "reading", "--split", "tset", "--out", sheet).code == 2


def test_a_task_of_ones_own_is_shown(call: Call, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "how many ?", "answer": "3"}\n')
    own = {"invoices": {"train": "rows.jsonl", "test": "rows.jsonl", "scorer": "number"}}
    config = write_config(tmp_path, {"tasks": own, "sequence": ["invoices"]})
    sheet = tmp_path / "sheet.png"
    unknown = call("tasks", "show", "invoices", "--out", sheet).err
    assert "--like" in unknown and len(unknown) < 200  # not every name there is
    assert call("tasks", "show", "invoices", "--like", config, "--count", 1, "--out", sheet).code == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_a_bad_experiment_is_refused_before_any_work(call: Call, tmp_path: Path) -> None:
    config = write_config(tmp_path, {"sequence": ["raeding"]})
    said = call("run", config)
    assert said.code == 2
    assert said.err.startswith("Error: ")
    assert "Traceback" not in said.err
    assert not (tmp_path / "store").exists()
    assert "Traceback" in call("run", config, "--debug").err


def test_folders_that_cannot_be_written(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for key in ("output", "store"):
        said = call("run", write_config(tmp_path), f"{key}={tmp_path / 'file' / 'x'}")
        assert said.code == 2
        assert f"The {key} folder" in said.err


def test_run_and_everything_after(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path)
    planned = call("plan", config)
    assert planned.code == 0
    assert "17 jobs (20 if methods shared none), 17 to do" in planned.out
    stages = [re.split(r"  +", line.strip()) for line in planned.out.splitlines()]
    assert stages[3][:3] == ["sft seed 0 stage 2 (counting)", "learn, 3 evaluate", "to do"]
    told = [(int(count or 1)) for line in stages[1:6] for count in re.findall(r"(\d*) ?[a-z]+", line[1])]
    assert sum(told) == 17  # what is shared is in one line
    assert "sft seed 0 stage 2 (counting): learn" in call("plan", config, "--jobs").out

    ran = call("run", config)
    assert ran.code == 0, ran.err
    assert "17 jobs to do in this process" in ran.out
    assert "AvgAcc" in ran.out
    report = tmp_path / "out" / "report"
    assert str(report / "index.html") in ran.out
    for name in ("index.html", "report.md", "tables/headline.csv", "tables/headline.json"):
        assert (report / name).stat().st_size > 0
    store = tmp_path / "store"
    first = snapshot(store)
    assert sum(name.endswith(".safetensors") for name in first) == 2  # of the last stages

    # Again: nothing is done, and soon.
    built: list[Results] = []
    monkeypatch.setattr(page, "build", lambda results, folder, **_: built.append(results))
    start = time.monotonic()
    again = call("run", config)
    assert again.code == 0
    assert "jobs to do" not in again.out
    assert "done already" in again.out
    assert "AvgAcc" in again.out
    assert time.monotonic() - start < 10
    assert "0 to do; everything is done already." in call("plan", config).out

    # What changes the report alone makes it again; where and how work is done does not.
    assert not built
    for changed in (["reference=grpo"], ["name=other"], ["--pictures", "none"], []):
        assert "done already" not in call("run", config, *changed).out
        assert "done already" in call("run", config, *changed, "max_jobs=100", "checkpoint_every=3").out
    assert [results.settings["reference"] for results in built] == ["grpo", None, None, None]
    assert snapshot(store) == first
    # Nor is one of `report` taken for its own, which may have pictures that this one must not.
    assert call("report", config, "--pictures", "none").code == 0
    again = call("run", config).out
    assert "done already" not in again and "All jobs are done; the report is written." in again

    # A cell damaged on disk is done again, and nothing else.
    experiment = make_experiment(tmp_path)
    plan = make_plan(experiment)
    cell = plan.jobs[plan.chains[1].cells[2, "reading"]]
    records = Store(store).folder(cell) / "records.jsonl"
    records.write_bytes(records.read_bytes()[:-10])
    partly = r"grpo seed 0 stage 2 \(counting\) +learn, 3 evaluate +3 of 4 done"
    assert re.search(partly, call("plan", config).out)
    repaired = call("run", config)
    assert repaired.code == 0
    assert "Damaged result, done again: grpo seed 0 stage 2: evaluate reading" in repaired.out
    assert "1 job to do" in repaired.out
    assert snapshot(store).items() >= first.items()

    # The same size but other content is found when the report reads it.
    records.write_bytes(records.read_bytes().replace(b"id", b"di", 1))
    said = call("report", tmp_path / "out")
    assert said.code == 0
    assert "Damaged result: grpo seed 0 stage 2: evaluate reading" in said.err
    for command in (said, call("report", tmp_path / "out")):  # also once it was set aside
        assert f"results are not in {store}; 'holdfast run' makes them." in command.err
    assert "1 job to do" in call("run", config).out
    assert snapshot(store).items() >= first.items()
    assert call("report", tmp_path).code == 2

    # A change of one method computes its chain; with the first stages' weights gone, they come back.
    changed = call("plan", config, "methods.grpo.learning_rate=1e-4")
    assert "7 to do" in changed.out
    changed = call("plan", config, "general=[presence, facts]")
    assert "3 to do" in changed.out

    listed = call("store", "--store", store)
    assert "learn: 4 results" in listed.out
    assert "evaluate: 13 results" in listed.out and "filter: 0" not in listed.out
    assert call("store", "--store", store, "prune").code == 2
    refused = call("store", "--run", tmp_path / "out", "prune", "--weights", "--yes")  # of all runs, that is
    assert refused.code == 2 and "prune takes neither --run" in refused.err
    for kind in ("work", "damaged", "trash", "learn"):  # what is not ours
        (store / kind / "mine").mkdir(parents=True)
        (store / kind / "mine" / "notes.txt").touch()
    would = call("store", "--store", store, "prune", "--weights", "--damaged")
    assert "Would free" in would.out
    assert "Freed" in call("store", "--store", store, "prune", "--weights", "--damaged", "--yes").out
    assert not any(name.endswith(".safetensors") for name in snapshot(store))
    assert "Freed" in call("store", "--store", store, "prune", "--unreferenced", config, "--yes").out
    assert len(list(store.glob("*/mine/notes.txt"))) == 4
    assert call("store", "--store", tmp_path / "nothing").code == 2


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_failure_while_running(call: Call, tmp_path: Path) -> None:
    rows = [{"id": str(i), "prompt": "red red red", "answer": "red"} for i in range(16)]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rules.py").write_text("def score(answer, example):\n    return {'red': 1}[answer]\n")
    own = {"long": {"train": "long.jsonl", "test": "long.jsonl", "scorer": "rules.py:score"}}
    changes = {
        "tasks": own,
        "sequence": ["reading", "long"],
        "general": [],
        "methods": {"s": {"objective": "sft"}},
    }
    said = call("run", write_config(tmp_path, changes))
    assert said.code == 1
    assert "jobs failed" in said.err
    assert "long" in said.err
    assert "Traceback" not in said.out + said.err
    done = {path.parent.parent.name for path in (tmp_path / "store").glob("*/*/result.json")}
    assert done == {"learn", "evaluate"}
    assert "Everything else is done" in said.err


def test_a_full_disk_stops_the_run(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "weights")

    monkeypatch.setattr(jobs.Runner, "_learn", full)
    said = call("run", write_config(tmp_path))
    assert said.code == 1
    assert "No space left on device" in said.err
    assert "run the same command again" in said.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["No space left on device (os error 28)", "Read-only file system (os error 30)"]
)
def test_so_does_one_that_is_full_when_weights_are_saved(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError(f"Error while serializing: I/O error: {text}")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    said = call("run", write_config(tmp_path))
    assert said.code == 1
    assert f"{text}. Check space and permissions. Results so far are safe" in said.err
    assert "jobs failed" not in said.err


def test_a_copy_of_a_run_gets_a_report_of_its_own(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runindex.write_config(make_experiment(tmp_path))
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    written: list[Path] = []
    monkeypatch.setattr(page, "build", lambda results, folder, **_: written.append(folder))
    said = call("report", tmp_path / "copy")
    assert said.code == 0, said.err
    assert written == [tmp_path / "copy" / "report"]
    assert f"{tmp_path / 'copy' / 'report' / 'index.html'}" in said.out


@pytest.mark.parametrize("offline", [True, False])
def test_a_model_that_cannot_be_had_is_said_before_any_job(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    def no_way(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", no_way)  # asked first, once
    said = call("run", write_config(tmp_path, {"model": {"path": "no-one/nothing"}}))
    assert said.code == 2 and "Download it first ('hf download no-one/nothing')" in said.err
    assert "to do" not in said.out and not (tmp_path / "out" / "report").exists()


def test_two_runs_get_a_gallery_of_both(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "build", lambda results, folder, **_: folder / "index.html")
    for name in ("first", "second"):
        runindex.write_config(make_experiment(tmp_path / name))
    said = call("report", tmp_path / "first" / "out", tmp_path / "second" / "out")
    assert said.code == 0, said.err
    html = (tmp_path / "first" / "out" / "report" / "gallery-with-out.html").read_text(encoding="utf-8")
    for label in ("tiny: sft", "tiny: grpo", "tiny (out): sft", "tiny (out): grpo"):
        assert f'"label":"{label}"' in html
    assert f"17 of 17 results are not in {tmp_path / 'second' / 'store'};" in said.err
    assert "If they lie elsewhere, 'holdfast run CONFIG store=FOLDER' goes on with them." in said.err
    monkeypatch.setattr(page, "build", lambda *_, **__: pytest.fail("a report was written first"))
    assert call("report", tmp_path / "first" / "out", tmp_path).code == 2


def test_pictures_are_a_number_or_none(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(page, "build", lambda results, folder, **more: asked.append(more["pictures"]))
    config = write_config(tmp_path)
    for said in ("none", "12"):
        assert call("report", config, "--pictures", said).code == 0
    assert asked == [0, 12]
    wrong = call("report", config, "--pictures", "some")
    assert wrong.code == 2 and "give a number, or none" in wrong.err


def test_a_report_that_is_stopped_says_so(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(page, "build", stop)
    said = call("report", write_config(tmp_path))
    assert said.code == 130
    assert "Stopped while the report was written" in said.err
