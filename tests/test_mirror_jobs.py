"""Results of jobs in a store away from a disk: whole or not there, from any machine, through errors."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from holdfast import files
from holdfast.experiment import mirror, prune, remote
from holdfast.experiment.mirror import MirrorStore, open_store
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.remote import Remote, Unreachable
from holdfast.experiment.schedule import Schedule, pending
from holdfast.experiment.store import Damaged
from mirror_helpers import (
    WRITING,
    Faults,
    Killed,
    a_stage,
    away,
    fill,
    objects,
    only,
)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., MirrorStore]:
    """A store as another machine opens it: with a cache of its own."""
    numbers = iter(range(100))
    return lambda url: MirrorStore(url, tmp_path / f"machine-{next(numbers)}")


def change(url: str, end: str, content: bytes) -> None:
    Remote(url).write(only(url, end), content)


def test_an_entry_that_is_cut_at_any_put_is_not_there_and_is_put_on(
    plan: Plan, memory: str, faults: Faults, machine: Callable[[str], MirrorStore]
) -> None:
    job, cuts = a_stage(plan), 0
    while True:
        url, left = f"{memory}/{cuts}", [cuts]
        store = machine(url)

        def cut(call: str, path: str, left: list[int] = left) -> None:
            left[0] -= call in WRITING
            if left[0] < 0:
                raise Killed

        faults.at = cut
        try:
            fill(store, job)
        except Killed:
            faults.at = lambda call, path: None
            whole = any(name.endswith("manifest.json") for name in objects(url))
            assert machine(url).has(job) == whole
            again = MirrorStore(url, store.root)
            before = len(faults.calls)
            assert again.begin(job, weights=True)  # put on, not done again
            put = [path for call, path in faults.calls[before:] if call == "put_file"]
            assert len(put) == max(6 - cuts, 0) and all(path.endswith("manifest.json") for path in put[-1:])
            assert machine(url).rows(job, "records.jsonl") == [{"text": "0123456789"}]
            cuts += 1
        else:
            break
    assert cuts == 6 + 1  # the last was when the work was cleared


def test_two_machines_at_one_job_do_no_harm(
    plan: Plan, memory: str, faults: Faults, machine: Callable[[str], MirrorStore]
) -> None:
    job, first, second = a_stage(plan), machine(memory), machine(memory)

    def meanwhile(call: str, path: str) -> None:
        if call == "put_file" and path.endswith("result.json"):
            faults.at = lambda call, path: None
            fill(second, job, seconds=2.0)

    faults.at = meanwhile
    fill(first, job, seconds=1.0)
    assert len([name for name in objects(memory) if name.endswith("manifest.json")]) == 2
    for store in (first, second, machine(memory)):
        assert store.has(job, weights=True)
        assert store.result(job)["seconds"] in (1.0, 2.0)
        assert (store.verify(job) / "weights" / "model.safetensors").read_text() == "0123456789"
    fill(machine(memory), job, seconds=2.0)  # to the last bit the same: nothing more lies there
    assert len([name for name in objects(memory) if name.endswith("manifest.json")]) == 2


def test_a_machine_that_came_further_than_what_lies_there_goes_on_from_its_own(
    plan: Plan, memory: str, machine: Callable[[str], MirrorStore]
) -> None:
    job, here, there = a_stage(plan), machine(memory), machine(memory)
    for store, step in ((there, 2), (here, 3)):
        assert not store.begin(job, weights=True)
        files.write_json(store.work(job) / "checkpoint" / "state.json", {"iteration": step})
    there.keep_work(job)
    assert not here.begin(job, weights=True)
    assert files.read_json(here.work(job) / "checkpoint" / "state.json") == {"iteration": 3}
    here.keep_work(job)
    assert not there.begin(job, weights=True)
    assert files.read_json(there.work(job) / "checkpoint" / "state.json") == {"iteration": 3}


def test_rows_of_an_evaluation_are_put_now_and_then(
    plan: Plan, memory: str, machine: Callable[[str], MirrorStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, store = plan.jobs[plan.chains[0].cells[0, "reading"]], machine(memory)
    assert not store.begin(job, weights=False)
    files.write_text(store.work(job) / "rows.jsonl", "{}\n")
    files.write_text(store.work(job) / "served" / "model.safetensors", "on its way to a server")
    store.keep_work(job)
    assert not objects(memory)
    monkeypatch.setattr(mirror, "ROWS_SECONDS", 0.0)
    store.keep_work(job)
    other = machine(memory)
    assert not other.begin(job, weights=False)
    assert (other.work(job) / "rows.jsonl").read_text() == "{}\n"
    assert not (other.work(job) / "served").exists()
    store.clear_work(job)
    assert not objects(memory)


def test_work_that_is_replaced_while_it_is_fetched_is_looked_for_again(
    plan: Plan, memory: str, faults: Faults, machine: Callable[[str], MirrorStore]
) -> None:
    job, store = a_stage(plan), machine(memory)

    def reach(step: int) -> None:
        files.write_json(store.work(job) / "checkpoint" / "state.json", {"iteration": step})
        store.keep_work(job)

    def replace(call: str, path: str) -> None:
        if call == "get_file":
            faults.at = lambda call, path: None
            reach(2)

    assert not store.begin(job, weights=True)
    reach(1)
    faults.at = replace
    other = machine(memory)
    assert not other.begin(job, weights=True)
    assert files.read_json(other.work(job) / "checkpoint" / "state.json") == {"iteration": 2}


def test_work_that_is_cut_on_its_way_is_fetched_again(
    plan: Plan, memory: str, machine: Callable[[str], MirrorStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, store, other = a_stage(plan), machine(memory), machine(memory)
    assert not store.begin(job, weights=True)
    files.write_json(store.work(job) / "checkpoint" / "state.json", {"iteration": 2})
    files.write_text(store.work(job) / "checkpoint" / "policy.safetensors", "0123456789")
    store.keep_work(job)
    real, cut = MemoryFileSystem.get_file, [True]

    def get_file(self: MemoryFileSystem, path: str, to: str, **options: object) -> None:
        real(self, path, to, **options)
        if path.endswith("policy.safetensors") and cut and cut.pop():
            os.truncate(to, 3)

    monkeypatch.setattr(MemoryFileSystem, "get_file", get_file)
    assert not other.begin(job, weights=True)
    assert (other.work(job) / "checkpoint" / "policy.safetensors").read_text() == "0123456789"


@pytest.mark.parametrize("file", ["records.jsonl", "weights/model.safetensors", "manifest.json"])
@pytest.mark.parametrize("longer", [False, True])
def test_damage_there_is_found_set_aside_and_mended_by_who_has_it_whole(
    plan: Plan, memory: str, machine: Callable[[str], MirrorStore], file: str, longer: bool
) -> None:
    job, good, other = a_stage(plan), machine(memory), machine(memory)
    fill(good, job)
    content = bytearray(Remote(memory).read(only(memory, file)) or b"")
    content[-3] ^= 1
    change(memory, file, bytes(content) + b" " * longer)
    look = other.has if longer or "manifest" in file else other.verify
    with pytest.raises(Damaged, match="bytes instead of" if longer and "man" not in file else "has changed"):
        look(job)
    assert other.set_aside(job) is not None
    assert other.set_aside(job) is None
    assert all(name.startswith("damaged/") for name in objects(memory))
    assert not other.has(job) and not other.begin(job, weights=True)
    assert not good.has(job)
    assert good.begin(job, weights=True)
    assert other.verify(job) == other.folder(job)


def test_two_machines_may_set_the_same_damage_aside(
    plan: Plan, memory: str, faults: Faults, machine: Callable[[str], MirrorStore]
) -> None:
    """Nothing locks them out: the other one is faster with a file that this one is about to move."""
    job, store = a_stage(plan), machine(memory)
    fill(machine(memory), job)
    change(memory, "records.jsonl", b"short")

    def moved_already(call: str, path: str) -> None:
        if call == "cp_file" and path.endswith("records.jsonl"):
            faults.at = lambda call, path: None
            Remote(memory).remove(only(memory, "records.jsonl"))

    faults.at = moved_already
    assert store.set_aside(job) is not None
    assert all(name.startswith("damaged/") for name in objects(memory))


def test_what_goes_while_all_is_looked_over_is_left_out(
    plan: Plan, memory: str, faults: Faults, machine: Callable[[str], MirrorStore]
) -> None:
    store = machine(memory)
    for number in (0, 1):
        fill(store, a_stage(plan, number))
    (gone,) = (
        one for one in objects(memory) if f"{a_stage(plan).short_name}/" in one and one.endswith("job.json")
    )

    def pruned(call: str, path: str) -> None:
        if call == "cat_file" and path.endswith(gone):
            raise FileNotFoundError(path)

    faults.at = pruned
    assert [entry.name for entry in store.entries()] == [a_stage(plan, 1).short_name]


def test_damage_in_the_cache_is_mended_from_there(
    plan: Plan, memory: str, machine: Callable[[str], MirrorStore]
) -> None:
    job, store = a_stage(plan), machine(memory)
    fill(store, job)
    (store.folder(job) / "records.jsonl").write_text("")
    (store.weights(job) / "model.safetensors").unlink()
    (store.folder(job) / "manifest.json").write_text("{")
    assert store.has(job, weights=True)
    assert store.rows(job, "records.jsonl") == [{"text": "0123456789"}]
    assert (store.verify(job) / "weights" / "model.safetensors").read_text() == "0123456789"


def test_a_name_that_leads_out_of_the_cache_is_not_fetched(
    plan: Plan, memory: str, machine: Callable[[str], MirrorStore], tmp_path: Path
) -> None:
    there = Remote(memory)
    there.write("a/b", b"text")
    for name in ("../b", "/b", "c/../../b"):
        assert not there.fetch("a", name, tmp_path / "inside")
    assert there.fetch("a", "b", tmp_path / "inside")


def test_a_put_that_is_lost_is_done_again(
    plan: Plan, memory: str, faults: Faults, machine: Callable[[str], MirrorStore]
) -> None:
    lost: set[str] = set()

    def lose_once(call: str, path: str) -> bool:
        if call != "put_file" or path in lost:
            return False
        lost.add(path)
        return True

    faults.at = lose_once
    fill(machine(memory), a_stage(plan))
    assert len(lost) == 6
    assert machine(memory).verify(a_stage(plan))


def test_a_put_that_is_seen_late_is_not_done_again(
    plan: Plan,
    memory: str,
    faults: Faults,
    machine: Callable[[str], MirrorStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, shown = Remote.sizes, set[str]()

    def sizes(self: Remote, folder: str = "") -> dict[str, int]:
        there = real(self, folder)
        seen = {name: size for name, size in there.items() if f"{folder}/{name}" in shown}
        shown.update(f"{folder}/{name}" for name in there)
        return seen

    monkeypatch.setattr(Remote, "sizes", sizes)
    fill(machine(memory), a_stage(plan))
    put = [path for call, path in faults.calls if call == "put_file"]
    assert len(put) == len(set(put)) == 6


def test_the_last_put_counts_too(
    plan: Plan,
    memory: str,
    faults: Faults,
    machine: Callable[[str], MirrorStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "PAUSES", (0.0,) * 4)
    lost: set[str] = set()

    def lose_all_but_the_last(call: str, path: str) -> bool:
        if call != "put_file" or faults.calls.count((call, path)) == 4:
            return False
        lost.add(path)
        return True

    faults.at = lose_all_but_the_last
    fill(machine(memory), a_stage(plan))
    assert len(lost) == 6
    assert machine(memory).verify(a_stage(plan))


def test_puts_that_are_always_lost_are_given_up(
    plan: Plan, memory: str, faults: Faults, machine: Callable[[str], MirrorStore]
) -> None:
    faults.at = lambda call, path: call == "put_file"
    with pytest.raises(Unreachable, match=rf"{memory}/learn/.* was put 2 times and is not there") as error:
        fill(machine(memory), a_stage(plan))
    assert "\n" not in str(error.value)


def test_errors_that_pass_are_not_seen(
    plan: Plan, memory: str, faults: Faults, machine: Callable[[str], MirrorStore]
) -> None:
    turns: Counter[str] = Counter()

    def fail_twice(call: str, path: str) -> None:
        turns[call] += 1
        if turns[call] <= 2:
            raise (TimeoutError, ConnectionResetError)[turns[call] - 1]("no answer")

    faults.at = fail_twice
    fill(machine(memory), a_stage(plan))
    assert machine(memory).verify(a_stage(plan))
    assert turns.keys() == {"put_file", "find", "rm", "get_file"}


def test_a_full_disk_is_told_apart(plan: Plan, memory: str, faults: Faults, tmp_path: Path) -> None:
    def full(call: str, path: str) -> None:
        raise OSError(28, "No space left on device")

    faults.at = full
    with pytest.raises(OSError, match=f"No space left on device: '{memory}"):
        Remote(memory).write("a", b"")
    assert len(faults.calls) == 1


def test_weights_come_and_go(plan: Plan, url: str, machine: Callable[[str], MirrorStore]) -> None:
    store, other = machine(url), machine(url)
    for job in plan.jobs.values():
        fill(store, job)
    first, second = a_stage(plan, 0), a_stage(plan, 1)

    def none(job: Job, damage: Damaged) -> None:
        pytest.fail(str(damage))

    assert not pending(plan, other, none)
    store.keep_weights(first, "another", True)
    assert other.prune_weights(first) == 0
    store.keep_weights(first, "another", False)
    store.keep_weights(first, "another", False)
    assert other.prune_weights(first) == 10
    assert other.prune_weights(first) == 0
    for one in (store, other):
        assert one.has(first) and not one.has(first, weights=True)
    assert not pending(plan, other, none)
    other.remove(second)
    assert set(pending(plan, other, none)) == {first.fingerprint, second.fingerprint}
    fill(other, first, seconds=3.0)  # learned again
    assert machine(url).has(first, weights=True)
    assert machine(url).verify(first)


def test_pruning_leaves_what_a_run_on_this_machine_uses(plan: Plan, memory: str, tmp_path: Path) -> None:
    experiment = away(tmp_path, memory)
    store = open_store(experiment)
    for job in plan.jobs.values():
        fill(store, job)
    schedule = Schedule(experiment, plan, store, lambda job, damage: None)
    found = [prune.Candidate(f"learn/{store.folder(a_stage(plan)).name}", 1, "")]
    assert prune.remove(open_store(experiment), found) == found
    store.end_use()
    assert prune.remove(open_store(experiment), found) == []
    assert not schedule.todo and not store.has(a_stage(plan))
