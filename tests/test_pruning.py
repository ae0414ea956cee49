"""What is removed from a store, by whom, and what is in use meanwhile."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import pytest
from typer.testing import CliRunner

import store_helpers
from experiment_helpers import make_experiment
from holdfast import files
from holdfast.cli.store import store_app
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment import locks, presence, prune
from holdfast.experiment.plan import Job, Plan, make_plan
from holdfast.experiment.runindex import INDEX
from holdfast.experiment.schedule import Schedule, pending
from holdfast.experiment.store import Store
from processes import FORKED
from store_helpers import fail_on_damage, fill, learn_jobs

experiment, plan, store = store_helpers.experiment, store_helpers.plan, store_helpers.store


def test_pruning_a_store(tmp_path: Path, experiment: Experiment, plan: Plan, store: Store) -> None:
    for job in plan.jobs.values():
        fill(store, job)
    other = make_plan(make_experiment(tmp_path, seeds=[7]))
    stranger = learn_jobs(other)[0]
    fill(store, stranger)
    config = tmp_path / "kept.yaml"
    config.write_text(json.dumps(experiment.resolved()))

    found = prune.candidates(store, weights=False, damaged=False, configs=[config])
    assert [store.root / candidate.name for candidate in found] == [store.folder(stranger)]
    with contextlib.chdir(store.root.parent):
        relative = Store(Path(store.root.name))
        assert prune.candidates(relative, weights=False, damaged=False, configs=[config]) == found
    prune.remove(store, found)
    assert not store.has(stranger)
    assert not pending(plan, store, fail_on_damage)

    store.keep_weights(learn_jobs(plan)[0], "tiny", True)
    found = prune.candidates(store, weights=True, damaged=True)
    assert len(found) == 2
    prune.remove(store, found)
    assert not any(store.has(job, weights=True) for job in learn_jobs(plan))
    assert all(store.has(job) for job in learn_jobs(plan))
    with pytest.raises(InputError, match="no store"):
        prune.candidates(Store(tmp_path / "nothing"), weights=True, damaged=False)


def test_whose_weights_and_which_runs_results_would_go_is_told(plan: Plan, store: Store) -> None:
    job = learn_jobs(plan)[0]
    fill(store, job)
    store.keep_weights(job, "tiny", True)
    run = store.root.parent / "mine"
    files.write_jsonl(run / INDEX, [{"kind": "learn", "fingerprint": job.fingerprint}])
    files.write_text(store.root.parent / "broken" / INDEX, "{}\n")
    (weights,) = prune.candidates(store, weights=True, damaged=False)
    assert weights.reason == f"weights of {job.label.removesuffix(': learn')}" and weights.runs == (str(run),)
    other = run.parent / "other.yaml"
    other.write_text(json.dumps(make_experiment(run.parent, seeds=[7]).resolved()))
    place, what = ["--store", str(store.root)], ["--unreferenced", str(other)]
    for command in ([*place, "prune", *what], ["prune", *place, *what]):
        said = CliRunner().invoke(store_app, command)
        assert "none of these experiments uses it" in said.output
        assert f"Among these: 1 result of {run}" in said.output.replace("\n", " ")


def test_pruning_what_killed_runs_left_half_written_and_not_what_is_written_now(
    plan: Plan, store: Store
) -> None:
    killed, busy = learn_jobs(plan)
    left = store.folder(killed).with_name(f".{store.folder(killed).name}.host-abcd1234.unfinished")
    left.mkdir(parents=True)
    (left / "weights").write_bytes(bytes(1000))
    with Store(store.root).lock(busy), Store(store.root).writing(busy) as unfinished:
        found = prune.candidates(store, weights=False, damaged=True)
        assert sorted(one.name for one in found) == sorted(
            f"learn/{path.name}" for path in (left, unfinished)
        )
        assert [one.name for one in prune.remove(store, found)] == [f"learn/{unfinished.name}"]
        assert not left.exists() and unfinished.exists()


def test_what_a_job_kept_goes_with_the_next_run_where_its_process_was_killed_too_late_to_do_it(
    experiment: Experiment, plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = learn_jobs(plan)
    for job in plan.jobs.values():
        files.write_text(store.work(job) / "checkpoint" / "state.json", "")
        with monkeypatch.context() as context:
            context.setattr(store, "clear_work", lambda job: None)
            fill(store, job)
    store.prune_weights(first)  # and another run is at it again, which was stopped
    with Store(store.root).lock(second):
        Schedule(experiment, plan, store, fail_on_damage)
        assert sorted(path.name for path in (store.root / "work").iterdir()) == sorted(
            job.short_name for job in (first, second)
        )
    Schedule(experiment, plan, store, fail_on_damage)
    assert [path.name for path in (store.root / "work").iterdir()] == [first.short_name]


def test_a_kind_of_results_may_lie_on_another_disk(
    tmp_path: Path, plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first is full, say, and a link leads there."""
    place, moved, rename = tmp_path / "disk", [], os.rename
    place.mkdir()
    store.prepare()
    (store.root / "learn").symlink_to(place)

    def rename_of_two_disks(source: Path, target: Path) -> None:
        ways = [Path(os.path.realpath(Path(one).parent)).is_relative_to(place) for one in (source, target)]
        if ways[0] != ways[1]:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))
        moved.append(target)
        rename(source, target)

    monkeypatch.setattr(os, "rename", rename_of_two_disks)
    first, second = learn_jobs(plan)
    for job in (first, second):
        fill(store, job)
    assert store.prune_weights(first) == 10 and store.has(first) and not store.has(first, weights=True)
    (store.folder(second) / "records.jsonl").write_text("damaged")
    assert (aside := store.set_aside(second)) is not None and (aside / "records.jsonl").exists()
    store.remove(first)
    assert len(moved) == 2 and [*place.iterdir()] == []  # hidden at once, then removed


def test_what_killed_processes_were_removing_goes_with_the_next_run(plan: Plan, store: Store) -> None:
    """And nothing that others put there."""
    name = learn_jobs(plan)[0].short_name
    left, other = (store.root / "trash" / one for one in (f"{name}-weights-1", "of_a_person"))
    for folder in (left, other):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(bytes(1000))
    store.prepare()
    assert not left.exists() and other.exists()


def test_a_result_is_whole_while_another_process_prunes_its_weights(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights go between the look whether they are there and the look at their files."""
    job, other = learn_jobs(plan)[0], Store(store.root)
    fill(store, job)
    manifest = store._manifest

    def prune_first(job: Job) -> dict:
        other.prune_weights(job)
        return manifest(job)

    monkeypatch.setattr(store, "_manifest", prune_first)
    assert not store.has(job, weights=True)
    fill(other, job)
    assert store.has(job)


def test_pruning_leaves_what_is_in_use(
    tmp_path: Path, experiment: Experiment, plan: Plan, store: Store
) -> None:
    for job in plan.jobs.values():
        fill(store, job)
    first, second = learn_jobs(plan)
    shutil.rmtree(store.folder(second))
    store.work(second).mkdir(parents=True)
    other = tmp_path / "other.yaml"
    other.write_text(json.dumps(make_experiment(tmp_path, seeds=[7]).resolved()))

    def prune_all() -> str:
        arguments = ["--store", str(store.root), "prune", "--weights", "--unreferenced", str(other), "--yes"]
        result = CliRunner().invoke(store_app, arguments)
        assert result.exit_code == 0, result.output
        return result.output.splitlines()[-1]

    schedule = Schedule(experiment, plan, store, fail_on_damage)  # a run that needs the first's weights
    count = len(plan.jobs) - 3  # the base's cells are the other experiment's, too
    assert f"; {count} of {count} in use just now and left alone." in prune_all()
    assert store.has(first, weights=True)
    assert store.work(second).exists()
    found = prune.candidates(store, weights=True, damaged=False)
    assert prune.remove(store, found) == found
    store.end_leases()
    assert "in use" in prune_all()  # a report follows
    store.end_use()

    with store.lock(second):  # by a process that says no more than that
        assert "; 1 of" in prune_all()
    assert not store.has(first)
    assert store.work(second).exists()
    assert "in use" not in prune_all()
    assert not store.work(second).exists()
    assert schedule.todo
    assert not [path for path in (store.root / "locks").iterdir() if path.name.startswith("run-")]


def test_what_a_run_that_was_killed_used_is_not_in_use(plan: Plan, store: Store) -> None:
    store.prepare()
    ours, theirs = FORKED.Pipe()
    process = FORKED.Process(target=_use, args=(store.root, plan, theirs))
    process.start()
    ours.recv()
    names = {store.folder(job).name for job in plan.jobs.values()}
    with store.removing() as used:
        assert used == names
    process.kill()
    process.join()
    with store.removing() as used:
        assert not used


def test_what_a_run_uses_is_in_use_also_while_it_says_so_again(plan: Plan, store: Store) -> None:
    """As after its pilot, and for each new try at what was damaged."""
    names = {job.short_name for job in plan.jobs.values()}
    store.use(plan.jobs.values())

    def counted() -> Iterator[str]:
        assert presence.in_use(store).keys() == names
        yield from names

    store.use_names(counted())
    assert presence.in_use(store).keys() == names
    assert len(list((store.root / "locks").glob("run-*"))) == 1


def test_a_run_may_end_while_others_look_what_it_uses(
    plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.use(plan.jobs.values())
    ended, try_lock = Store(store.root), locks.try_lock

    def end_first(file: IO[str]) -> bool:
        store.end_use()
        return try_lock(file)

    monkeypatch.setattr(locks, "try_lock", end_first)
    with ended.removing() as used:
        assert not used


def test_locks_are_taken_as_nfs_has_them(plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shared lock on a file that is open for reading, an exclusive one on a file open for writing."""
    flock = fcntl.flock

    def flock_of_nfs(file: int | IO[str], how: int) -> None:
        mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if mode == (os.O_WRONLY if how & fcntl.LOCK_SH else os.O_RDONLY):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", flock_of_nfs)
    names, job, other = {job.short_name for job in plan.jobs.values()}, learn_jobs(plan)[0], Store(store.root)
    store.prepare()
    store.use(plan.jobs.values())
    store.lease_weights(job)
    with presence.announced(store, pytest.fail), presence.announced(other, pytest.fail):
        assert presence.in_use(other).keys() == names
        with other.removing() as used, store.lock(job) as mine:
            assert used == names and mine
    store.end_leases()
    store.end_use()
    assert not presence.in_use(other)


def _use(root: Path, plan: Plan, connection: Connection) -> None:
    store = Store(root)
    store.use(plan.jobs.values())
    connection.send(True)
    connection.recv()
