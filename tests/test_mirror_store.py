"""Runs of a store away from a disk: from any machine, through errors, to the same bits as on a disk."""

from __future__ import annotations

import os
import re
import signal
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, snapshot, write_config
from holdfast import files
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment import remote
from holdfast.experiment.mirror import open_place, open_store
from holdfast.experiment.plan import Plan, make_plan
from holdfast.experiment.remote import Remote, Unreachable
from holdfast.experiment.runindex import index
from holdfast.learning import loop
from mirror_helpers import (
    SETTINGS,
    WRITING,
    Faults,
    Killed,
    a_stage,
    away,
    fill,
    objects,
    only,
    run,
)
from processes import start


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the experiment gives in a store on a disk."""
    experiment = make_experiment(tmp_path_factory.mktemp("disk"), **SETTINGS)
    assert not run_here(experiment).failed
    return snapshot(experiment.store_folder)


def verify_all(experiment: Experiment) -> None:
    """Have everything in the cache, as it was written."""
    store = open_store(experiment)
    for job in make_plan(experiment).jobs.values():
        store.verify(job)


@pytest.mark.slow
def test_an_experiment_gives_the_files_of_a_store_on_a_disk(
    tmp_path: Path, url: str, undisturbed: dict
) -> None:
    experiment = away(tmp_path, url)
    assert experiment.store_folder == tmp_path / "out" / "cache"
    assert not run(experiment, workers=2 if url.startswith("file") else 1).failed
    assert snapshot(experiment.store_folder) == undisturbed
    there = Remote(url)
    for name in there.sizes():
        if name.startswith("keep/"):
            continue
        kind, job, _, file = name.split("/", 3)  # the third is the version
        assert there.read(name) == (experiment.store_folder / kind / job / file).read_bytes()
    other = away(tmp_path, url, cache=str(tmp_path / "elsewhere"))
    assert run(other).done == 0
    verify_all(other)
    assert snapshot(other.store_folder) == undisturbed


def test_where_a_store_lies_is_in_no_fingerprint(tmp_path: Path, plan: Plan) -> None:
    assert make_plan(away(tmp_path, "s3://bucket/runs", cache="c")).digest() == plan.digest()


@pytest.mark.slow
def test_another_machine_goes_on_from_the_step_checkpoint(
    tmp_path: Path, url: str, undisturbed: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    real = loop.step

    def step(*arguments: Any) -> dict[str, float]:
        steps.append(1)
        if len(steps) == 4:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(loop, "step", step)
    with pytest.raises(Killed):
        run(away(tmp_path, url, cache=str(tmp_path / "lost")))
    kept = [name for name in objects(url) if name.startswith("work")]
    latest = only(url, "/latest")
    assert re.fullmatch(rb"[0-9a-f]{8}/3", Remote(url).read(latest) or b"")
    assert {name.split("/")[3] for name in kept if name != latest} == {"3"}
    other = away(tmp_path, url, cache=str(tmp_path / "other"))
    steps[:] = [1] * 4
    assert not run(other).failed
    assert len(steps) - 4 == 2 * 4 - 3
    verify_all(other)
    assert snapshot(other.store_folder) == undisturbed
    assert not [name for name in objects(url) if name.startswith("work")]


def die_in_the_second_stage() -> None:
    """Kill this process when it has written four checkpoints."""
    real, written = Remote.write, []

    def write(self: Any, name: str, content: Any) -> None:
        real(self, name, content)
        written.extend([1] * name.endswith("latest"))
        if len(written) == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    Remote.write = write  # type: ignore[method-assign]


@pytest.mark.slow
def test_a_killed_run_goes_on_elsewhere(tmp_path: Path, undisturbed: dict) -> None:
    url = f"file://{tmp_path}/place"
    config = write_config(tmp_path, SETTINGS | {"store": url, "cache": str(tmp_path / "lost")})
    process = start(tmp_path / "said", "run", config, first=die_in_the_second_stage)
    process.join()
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "said").read_text()
    other = away(tmp_path, url, cache=str(tmp_path / "other"))
    outcome = run(other)
    assert not outcome.failed and 0 < outcome.done < len(make_plan(other).jobs)
    verify_all(other)
    assert snapshot(other.store_folder) == undisturbed


@pytest.mark.slow
def test_a_run_does_again_what_is_damaged_there(
    tmp_path: Path, memory: str, plan: Plan, undisturbed: dict
) -> None:
    """The second stage is asked for again; what it starts from, nobody has whole."""
    assert not run(away(tmp_path, memory)).failed
    other = away(tmp_path, memory, cache=str(tmp_path / "other"))
    store, first = open_store(other), a_stage(plan)
    store.remove(a_stage(plan, 1))
    (name,) = (name for name in objects(memory) if store.folder(first).name in name and "model.saf" in name)
    content = bytearray(Remote(memory).read(name) or b"")
    content[-3] ^= 1
    Remote(memory).write(name, bytes(content))
    assert run(other).done == 2
    verify_all(other)
    made = snapshot(other.store_folder)
    assert {name: made.get(name) for name in undisturbed} == undisturbed
    assert any(name.startswith("damaged/learn-") for name in objects(memory))


@pytest.mark.slow
def test_a_network_that_stays_away_stops_the_run_which_goes_on_afterwards(
    tmp_path: Path, memory: str, faults: Faults, undisturbed: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[int] = []
    real = loop.step
    monkeypatch.setattr(loop, "step", lambda *arguments: learned.append(1) or real(*arguments))
    puts: list[str] = []

    def fail(call: str, path: str) -> None:
        puts.append(path)
        if "weights/model.safetensors" in path and call == "put_file":  # the end of a stage
            raise ConnectionError("name or service not known")

    faults.at = fail
    with pytest.raises(Unreachable) as error:
        run(away(tmp_path, memory))
    assert str(error.value) == (
        f"The store {memory} cannot be written (3 tries; name or service not known). Check the network and "
        "the address; what was done stays, and the same command goes on from there."
    )
    assert len(learned) == 4
    faults.at = lambda call, path: None
    assert not run(away(tmp_path, memory)).failed
    assert len(learned) == 2 * 4
    assert snapshot(tmp_path / "out" / "cache") == undisturbed


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("Access Denied"), r"may not be written \(Access Denied\)\. Ask for the right to"),
        (OSError(30, "read-only"), r"may not be written \(read-only file system\)\. Ask for the right to"),
        (FileNotFoundError("The specified bucket does not exist"), "its bucket is not there. Make it"),
        (RuntimeError("Unable to locate credentials"), "Give credentials as .*AWS_ACCESS_KEY_ID"),
        (RuntimeError("dns"), r"cannot be written \(3 tries; dns\)\. Check the network"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line_before_any_work(
    tmp_path: Path, memory: str, faults: Faults, error: Exception, said: str, call: Call
) -> None:
    def fail(call: str, path: str) -> None:
        if call in WRITING:
            raise error

    faults.at = fail
    end = call("run", write_config(tmp_path, SETTINGS | {"store": memory}))
    assert end.code == 2
    (line,) = end.err.splitlines()
    assert re.search(said, line) and memory in line
    tries = [name for name, _ in faults.calls if name == "pipe_file"]
    assert len(tries) == (3 if "tries" in said else 1)


def test_folders_that_another_machine_clears_meanwhile_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs at one job under file://, of which one is done: no bucket is missing."""
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))
    here, there = tmp_path / "work", Remote(f"file://{tmp_path}/place")
    (here / "checkpoint").mkdir(parents=True)
    for name in ("rows.jsonl", "checkpoint/state.json"):
        (here / name).write_text("text")
    cleared: list[str] = []
    real = LocalFileSystem.put_file

    def cleared_once(self: LocalFileSystem, source: str, target: str, *more: Any, **options: Any) -> Any:
        if not cleared:
            cleared.append(target)
            raise FileNotFoundError(2, "No such file or directory", target)
        return real(self, source, target, *more, **options)

    monkeypatch.setattr(LocalFileSystem, "put_file", cleared_once)
    there.put(here, "work/job/a/1")
    assert cleared and there.sizes("work/job/a/1").keys() == {"rows.jsonl", "checkpoint/state.json"}


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run takes what is done for undone, and weights that another one keeps for its own to remove."""
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))
    url = f"file://{tmp_path}/place"
    experiment = away(tmp_path, url)
    store = open_store(experiment)
    job = a_stage(make_plan(experiment))
    fill(store, job)
    store.keep_weights(job, "another", keep=True)
    real = LocalFileSystem.ls

    def fail(self: LocalFileSystem, path: str, *more: Any, **options: Any) -> Any:
        if str(path).endswith(("/keep", f"/{job.short_name}")):
            raise OSError(5, "Input/output error", str(path))
        return real(self, path, *more, **options)

    monkeypatch.setattr(LocalFileSystem, "ls", fail)
    with pytest.raises(Unreachable, match=r"cannot be read \(3 tries; input/output error"):
        store.has(job)
    with pytest.raises(Unreachable, match="cannot be read"):
        store.prune_weights(job)
    monkeypatch.setattr(LocalFileSystem, "ls", real)
    assert store.has(job, weights=True)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("smb://host/runs", r"needs a package that is not installed: SMB requires .*smbprotocol"),
        ("oci://bucket/runs", r"needs a package that is not installed: pip install ocifs\.$"),
        (
            "nowhere://bucket/runs",
            r"The store nowhere://bucket/runs cannot be used: Protocol not known: nowhere",
        ),
    ],
)
def test_a_place_that_no_package_here_reaches(tmp_path: Path, call: Call, url: str, said: str) -> None:
    for command in ("run", "plan"):
        end = call(command, write_config(tmp_path, SETTINGS | {"store": url}))
        assert end.code == 2
        assert re.search(said, end.err.strip()), end.err


def test_a_missing_package_is_named_in_the_release_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", lacks)
    with pytest.raises(InputError, match=f"pip install s3fs=={fsspec.__version__}"):
        open_place("s3://bucket/runs", tmp_path)


@pytest.mark.parametrize("url", ["file://runs/store", "local://store"])
def test_an_address_on_a_disk_is_whole(tmp_path: Path, url: str) -> None:
    """Else it would be another place for each folder that a command is given in."""
    with pytest.raises(InputError, match=r"is no whole address: write [a-z]+:///PATH"):
        open_place(url, tmp_path)


@pytest.mark.parametrize("url", ["file:///disk/exp[1]/runs", "memory://all*/runs", "s3://bucket/what?/runs"])
def test_an_address_that_is_a_pattern_is_refused(tmp_path: Path, url: str) -> None:
    """Files are removed by path, which fsspec takes for a pattern: those of other stores would go, too."""
    with pytest.raises(InputError, match=r"has . in its address, which stands for other names"):
        open_place(url, tmp_path)


@pytest.mark.parametrize("user", ["me:secret", ":secret", "me:se/secret", "me:1secret", "me:1234"])
def test_a_password_in_an_address_is_refused(tmp_path: Path, call: Call, user: str) -> None:
    """Settings are written into the run's folder and its report."""
    end = call("run", write_config(tmp_path, SETTINGS | {"store": f"sftp://{user}@host/runs"}))
    assert end.code == 2 and "store: the address sftp://host/runs holds a password" in end.err
    assert "FSSPEC_SFTP_PASSWORD" in end.err and user not in end.err
    with pytest.raises(InputError, match="The address sftp://host/runs holds a password"):
        open_place(f"sftp://{user}@host/runs", tmp_path / "cache")


def test_addresses_without_a_password(tmp_path: Path) -> None:
    for address in ("memory://me@host/runs", "memory://host:22/runs@home", "memory://bucket/a:b@c"):
        open_place(address, tmp_path / "cache")


def test_memory_of_one_process_serves_no_other(tmp_path: Path, memory: str) -> None:
    with pytest.raises(InputError, match="Take --workers 1"):
        run(away(tmp_path, memory), workers=2)


@pytest.mark.parametrize("store", [3, ["a"], True])
def test_a_store_that_is_neither_folder_nor_url(tmp_path: Path, store: object) -> None:
    with pytest.raises(InputError, match="store: must be a folder, or a URL as in s3://bucket/runs"):
        make_experiment(tmp_path, store=store)


@pytest.mark.slow
def test_a_run_prunes_the_weights_that_it_does_not_keep(tmp_path: Path, memory: str) -> None:
    experiment = away(tmp_path, memory, keep_weights="last")
    assert not run(experiment).failed
    assert len([name for name in objects(memory) if name.endswith("model.safetensors")]) == 1
    assert len([name for name in objects(memory) if name.startswith("keep/")]) == 1


def test_which_weights_are_kept_is_told_on_a_machine_that_has_none(
    tmp_path: Path, memory: str, plan: Plan
) -> None:
    first, second = (plan.jobs[name] for name in plan.chains[0].learn)
    there, here = (open_place(memory, tmp_path / machine) for machine in ("there", "here"))
    for job in (first, second):
        fill(there, job)
    there.prune_weights(first)
    told = {row["fingerprint"]: row for row in index(plan, here) if row["kind"] == "learn"}
    assert [told[job.fingerprint]["weights"] for job in (first, second)] == [False, True]


def test_with_what_a_result_was_made_is_told_on_another_machine(
    tmp_path: Path, memory: str, plan: Plan
) -> None:
    job = a_stage(plan)
    there, here = (open_place(memory, tmp_path / machine) for machine in ("there", "here"))
    assert here.made(job) == {}
    with there.writing(job, {"machine": "there"}) as folder:
        files.write_json(folder / "result.json", {"seconds": 1.0})
    assert here.made(job) == {"machine": "there"}


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_commands_work_on_it(tmp_path: Path, memory: str, call: Call) -> None:
    config = write_config(tmp_path, SETTINGS | {"store": memory})
    jobs = len(make_plan(away(tmp_path, memory)).jobs)
    assert call("store", "--store", memory).err.strip() == (
        f"Error: There is no store in {memory}; say where it is with --store URL."
    )
    assert f"{jobs} to do" in call("plan", config).out
    assert call("run", config).code == 0
    assert "0 to do" in call("plan", config, f"cache={tmp_path / 'other'}").out
    assert "already" in call("run", config).out
    page = tmp_path / "out" / "report" / "index.html"
    before = re.sub(r"cache.*", "", page.read_text())
    assert call("report", tmp_path / "out").code == 0
    assert re.sub(r"cache.*", "", page.read_text()) == before
    listed = call("store", "--store", memory).out
    assert "learn: 2 results" in listed and "rif seed 0 stage 1" in listed
    there = call("store", "--store", memory, "prune", "--weights")
    assert f"{memory}/learn/" in there.out and "Would free" in there.out
    assert "Freed" in call("store", "--store", memory, "prune", "--weights", "--yes").out
    assert not [name for name in objects(memory) if "/weights/" in name]
    prune_for = partial(call, "store", "--store", memory, "prune", "--yes", "--unreferenced")
    assert prune_for(config).out.startswith("Freed 0 bytes")
    assert (
        prune_for(write_config(tmp_path, SETTINGS | {"store": memory, "seeds": [7]}, "other.yaml")).code == 0
    )
    shared = [name for name in objects(memory) if name.endswith("manifest.json")]
    assert len(shared) == 2 and all(name.startswith("evaluate/") for name in shared)  # the base's cells
