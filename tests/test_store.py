"""Results on disk: whole, checked, locked; and what is left to do because of it."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

import pytest
from typer.testing import CliRunner

import store_helpers
from cli_helpers import Call
from experiment_helpers import make_experiment, write_config
from holdfast import files
from holdfast.cli.store import store_app
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment.locks import check_writable
from holdfast.experiment.plan import Job, Plan, make_plan
from holdfast.experiment.schedule import MOST_DAMAGE, Schedule, pending
from holdfast.experiment.store import Damaged, Store
from processes import FORKED
from store_helpers import fail_on_damage, fill, learn_jobs

experiment, plan, store = store_helpers.experiment, store_helpers.plan, store_helpers.store


def test_a_result_is_there_whole_or_not_at_all(plan: Plan, store: Store) -> None:
    job = learn_jobs(plan)[0]
    store.work(job).mkdir(parents=True)
    with pytest.raises(TypeError), store.writing(job) as folder:
        files.write_json(folder / "result.json", object())
    assert not store.has(job)
    assert not list(store.folder(job).parent.iterdir())
    assert store.work(job).exists()  # to go on from
    fill(store, job)
    assert store.has(job, weights=True)
    assert not store.work(job).exists()
    assert store.result(job) == {"seconds": 1.0}
    assert store.rows(job, "records.jsonl") == [{"text": "0123456789"}]
    described = files.read_json(store.folder(job) / "job.json")
    assert described["inputs"] == job.inputs


def test_what_a_killed_process_left_is_swept_away(plan: Plan, store: Store) -> None:
    job = learn_jobs(plan)[0]
    left = store.folder(job).with_name(f".{store.folder(job).name}.abc")
    left.mkdir(parents=True)
    assert not store.has(job)
    fill(store, job)
    assert not left.exists()


def test_damage_is_found(plan: Plan, store: Store) -> None:
    job = learn_jobs(plan)[0]
    fill(store, job)
    records = store.folder(job) / "records.jsonl"
    good = records.read_text()

    records.write_text(good.replace("5", "6"))  # same size: found when it is read
    assert store.has(job)
    with pytest.raises(Damaged, match="has changed"):
        store.rows(job, "records.jsonl")
    records.write_text(good + " ")
    with pytest.raises(Damaged, match="bytes instead of"):
        store.has(job)
    records.unlink()
    with pytest.raises(Damaged, match="missing"):
        store.has(job)
    records.write_text(good)
    (store.weights(job) / "model.safetensors").write_text("")  # half of the weights is not pruned weights
    with pytest.raises(Damaged):
        store.has(job)
    (store.folder(job) / "manifest.json").write_text("{")
    with pytest.raises(Damaged, match=r"manifest\.json"):
        store.has(job)


def test_damaged_results_are_set_aside_and_done_again(plan: Plan, store: Store) -> None:
    for job in plan.jobs.values():
        fill(store, job)
    assert not pending(plan, store, fail_on_damage)
    cell = plan.jobs[plan.chains[0].cells[1, "reading"]]
    (store.folder(cell) / "records.jsonl").write_text("")
    found: list[Job] = []
    assert set(pending(plan, store, lambda job, damage: found.append(job))) == {cell.fingerprint}
    assert found == [cell]
    target = store.set_aside(cell)
    assert target is not None
    assert target.parent.name == "damaged"
    assert set(pending(plan, store, fail_on_damage)) == {cell.fingerprint}
    assert store.set_aside(cell) is None


def test_pruned_weights_are_made_again_only_when_needed(plan: Plan, store: Store) -> None:
    for job in plan.jobs.values():
        fill(store, job)
    first, second = learn_jobs(plan)
    assert store.prune_weights(first) > 0
    assert store.has(first)
    assert not store.has(first, weights=True)
    assert not pending(plan, store, fail_on_damage)
    shutil.rmtree(store.folder(second))  # needs the weights of the first stage
    assert set(pending(plan, store, fail_on_damage)) == {first.fingerprint, second.fingerprint}
    # The pass rates of the second stage are there, so its filter need not run.


def test_weights_somebody_needs_or_keeps_stay(experiment: Experiment, plan: Plan, store: Store) -> None:
    job = learn_jobs(plan)[0]
    fill(store, job)
    other = Store(experiment.store)
    other.lease_weights(job)
    assert store.prune_weights(job) == 0
    other.end_leases()
    store.keep_weights(job, "another", True)
    assert store.prune_weights(job) == 0
    store.keep_weights(job, "another", False)
    (store.root / "keep" / f"{job.fingerprint[:16]}.another").symlink_to("nowhere/at/all")
    store.keep_weights(job, "another", True)
    assert store.prune_weights(job) == 0
    store.keep_weights(job, "another", False)
    store.lease_weights(job)  # its own lease does not stop it
    assert store.prune_weights(job) > 0


def test_a_lease_waits_for_a_removal_under_way(experiment: Experiment, plan: Plan, store: Store) -> None:
    job, other = learn_jobs(plan)[0], Store(experiment.store)
    fill(store, job)
    store.lease_weights(job)
    store.end_leases()  # the lock's file is there now
    (lock,) = (store.root / "locks").glob("*.weights")
    with lock.open("w") as removing:
        fcntl.flock(removing, fcntl.LOCK_EX)
        leasing = threading.Thread(target=other.lease_weights, args=(job,))
        leasing.start()
        leasing.join(timeout=0.2)
        assert leasing.is_alive()
    leasing.join(timeout=10)
    assert not leasing.is_alive()
    assert store.prune_weights(job) == 0
    other.end_leases()


def test_weights_removed_while_leases_are_taken_are_made_again(
    experiment: Experiment, plan: Plan, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in plan.jobs.values():
        fill(store, job)
    first, second = learn_jobs(plan)
    shutil.rmtree(store.folder(second))
    lease, other = store.lease_weights, Store(experiment.store)

    def too_late(job: Job) -> None:
        other.prune_weights(job)
        lease(job)

    monkeypatch.setattr(store, "lease_weights", too_late)
    schedule = Schedule(experiment, plan, store, fail_on_damage)
    assert set(schedule.todo) == {first.fingerprint, second.fingerprint}
    store.end_leases()


def _hold(store: Store, job: Job, connection: Connection) -> None:
    with store.lock(job) as mine:
        connection.send(mine)
        connection.recv()


def test_one_process_at_a_time_works_on_a_job(plan: Plan, store: Store) -> None:
    job = learn_jobs(plan)[0]
    ours, theirs = FORKED.Pipe()
    process = FORKED.Process(target=_hold, args=(store, job, theirs))
    process.start()
    assert ours.recv()
    with store.lock(job) as mine:
        assert not mine
    with store.lock(learn_jobs(plan)[1]) as mine:
        assert mine
    process.kill()
    process.join()
    with store.lock(job) as mine:  # a dead holder holds nothing
        assert mine


def test_a_failure_takes_only_its_dependants(experiment: Experiment, plan: Plan, store: Store) -> None:
    schedule = Schedule(experiment, plan, store, fail_on_damage)
    done = []
    first = learn_jobs(plan)[0]
    while (job := schedule.take(None, workers=1)) is not None:
        assert all(parent in done for parent in job.parents)
        if job is first:
            schedule.fail(job, "lost_again")
        else:
            schedule.done(job)
            done.append(job.fingerprint)
    below = set(plan.jobs) - set(done) - {first.fingerprint}
    assert schedule.skipped == below
    assert not schedule.open()
    assert {plan.jobs[name].kind for name in done} == {"filter", "evaluate"}
    assert len(done) == 4  # the base's three cells and the first roll-outs


def test_a_worker_judges_what_it_holds_before_it_trains_on(experiment: Experiment, store: Store) -> None:
    experiment = make_experiment(experiment.output.parent)
    plan = make_plan(experiment)
    schedule = Schedule(experiment, plan, store, fail_on_damage)
    first = [schedule.take(None, workers=2), schedule.take(None, workers=2)]
    assert {job.label for job in first if job} == {
        "sft seed 0 stage 1 (reading): learn",
        "grpo seed 0 stage 1 (reading): learn",
    }
    assert first[0] is not None
    schedule.done(first[0])
    held = first[0].fingerprint
    then = []
    for _ in range(3):
        job = schedule.take(held, workers=2)
        assert job is not None
        then.append((job.kind, job.policy == held))
        schedule.done(job)
    assert then == [("evaluate", True), ("evaluate", True), ("learn", True)]
    # Spare workers let training go on and judge meanwhile.
    third = schedule.take(None, workers=8)
    assert third is not None
    assert third.kind == "evaluate"
    store.end_leases()


def test_a_disk_that_damages_again_and_again_is_given_up(
    experiment: Experiment, plan: Plan, store: Store
) -> None:
    schedule = Schedule(experiment, plan, store, lambda job, damage: None)
    first, second = learn_jobs(plan)
    for _ in range(MOST_DAMAGE):
        schedule.damaged(second, Damaged(first.fingerprint, "bad block"))
    assert "check the disk" in schedule.failed[second.fingerprint]
    store.end_leases()


def test_a_result_that_nothing_reads_is_given_up_as_well_where_it_is_damaged_again_and_again(
    experiment: Experiment, plan: Plan, store: Store
) -> None:
    """It is found when what is left to do is looked for anew, as after each damage elsewhere."""
    evaluation = plan.jobs[plan.chains[0].cells[2, "reading"]]
    for job in plan.jobs.values():
        fill(store, job)
    schedule = Schedule(experiment, plan, store, lambda job, damage: None)
    for found in range(1, MOST_DAMAGE + 1):
        (store.folder(evaluation) / "records.jsonl").write_text("")
        schedule._find_todo()
        assert (evaluation.fingerprint in schedule.failed) == (found == MOST_DAMAGE)
        fill(store, evaluation)
    assert "check the disk" in schedule.failed[evaluation.fingerprint] and not schedule.open()
    store.end_leases()


def test_what_damage_adds_below_a_failure_is_skipped(
    experiment: Experiment, plan: Plan, store: Store
) -> None:
    """The first stage fails; the second, thought done, is found damaged by its evaluation."""
    first, second = learn_jobs(plan)
    evaluation = plan.jobs[plan.chains[0].cells[2, "reading"]]
    for job in plan.jobs.values():
        if job not in (first, evaluation):
            fill(store, job)
    schedule = Schedule(experiment, plan, store, lambda job, damage: None)
    assert set(schedule.todo) == {first.fingerprint, evaluation.fingerprint}
    schedule.fail(first, "lost_again")
    assert schedule.take(None, workers=1) is evaluation
    (store.folder(second) / "records.jsonl").write_text("")
    schedule.damaged(evaluation, Damaged(second.fingerprint, "bad block"))
    assert schedule.skipped == {second.fingerprint, evaluation.fingerprint}
    assert not schedule.open()
    store.end_leases()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"The store folder .* cannot be written"):
        check_writable(tmp_path / "file" / "store", "store")


def test_a_disk_without_locks_is_said_before_any_work(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(file: int | IO[str], how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    said = call("run", write_config(tmp_path))
    assert (
        said.code == 2 and f"Files in {tmp_path / 'store' / 'locks'} cannot be locked (no locks" in said.err
    )


def test_two_may_try_a_folder_under_one_process_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes of containers often have the same, and a store may be shared."""
    write = files.write_json

    def other_is_faster(path: Path, value: object) -> None:
        write(path, value)
        path.unlink()

    monkeypatch.setattr(files, "write_json", other_is_faster)
    check_writable(tmp_path, "store")


def test_a_result_that_is_whole_again_is_not_set_aside(plan: Plan, store: Store) -> None:
    job = learn_jobs(plan)[0]
    fill(store, job)
    assert store.set_aside(job) is None
    store.prune_weights(job)
    assert store.set_aside(job) is None
    (store.folder(job) / "records.jsonl").write_text('{"text": "0123456780"}\n')  # of the same size
    with store.lock(job):
        assert store.set_aside(job) is None  # somebody is at it
    assert store.set_aside(job) is not None


@pytest.mark.parametrize(
    "manifest",
    [
        {"files": []},
        {"files": ["a"]},
        {"files": {"result.json": {}}},
        {"files": {"result.json": None}},
        {"files": {"result.json": {"bytes": "9", "sha256": ""}}},
        {},
        [],
        None,
    ],
)
def test_an_odd_manifest_is_damage(plan: Plan, store: Store, manifest: object) -> None:
    job = learn_jobs(plan)[0]
    fill(store, job)
    said = manifest | {"fingerprint": job.fingerprint} if isinstance(manifest, dict) else manifest
    files.write_json(store.folder(job) / "manifest.json", said)
    with pytest.raises(Damaged, match="cannot be read"):
        store.has(job)
    assert store.set_aside(job) is not None


@pytest.mark.parametrize("description", ['{"label": 3}', "[]", "{}", '"x"', "[" * 100_000])
def test_a_listing_passes_over_odd_descriptions(plan: Plan, store: Store, description: str) -> None:
    job, whole = learn_jobs(plan)
    fill(store, job)
    fill(store, whole)
    (store.folder(job) / "job.json").write_text(description)
    assert whole.label in [entry.label for entry in store.entries()]
    result = CliRunner().invoke(store_app, ["--store", str(store.root)])
    assert result.exit_code == 0, result.output


def test_a_link_to_nothing_is_set_aside(plan: Plan, store: Store) -> None:
    job = learn_jobs(plan)[0]
    store.folder(job).parent.mkdir(parents=True)
    store.folder(job).symlink_to(store.root / "nowhere")
    with pytest.raises(Damaged):
        store.has(job)
    assert store.set_aside(job) is not None
    fill(store, job)
    assert store.has(job)


@pytest.mark.parametrize("name", ["keep", "locks", "work", "learn", "damaged"])
def test_a_file_in_place_of_a_folder_of_the_store(
    experiment: Experiment, plan: Plan, store: Store, name: str
) -> None:
    store.root.mkdir()
    (store.root / name).write_text("")
    with pytest.raises(InputError, match=f"{name} is not a folder, but the store .* move it away"):
        Schedule(experiment, plan, store, fail_on_damage)


def test_a_lock_never_empties_what_a_link_points_to(tmp_path: Path, plan: Plan, store: Store) -> None:
    job, target = learn_jobs(plan)[0], tmp_path / "precious"
    with store.lock(job):
        pass
    (lock,) = (store.root / "locks").iterdir()
    lock.unlink()
    target.write_text("text")
    lock.symlink_to(target)
    with store.lock(job) as mine:
        assert mine
    assert target.read_text() == "text"
