"""A store away from a disk: whole or not there, from any machine, through errors, to the same bits."""

from __future__ import annotations

import os
import re
import signal
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, snapshot, write_config
from holdfast import files
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment import mirror, prune, remote
from holdfast.experiment.mirror import MirrorStore, open_place, open_store
from holdfast.experiment.plan import Job, Plan, make_plan
from holdfast.experiment.remote import Remote, Unreachable
from holdfast.experiment.schedule import Schedule, pending
from holdfast.experiment.store import Damaged, Store
from holdfast.learning import loop
from processes import start

SETTINGS: dict[str, Any] = {
    "sequence": ["reading", "counting"],
    "general": [],
    "methods": {"rif": {"objective": "grpo", "filter": "random_matched"}},
    "checkpoint_every": 1,
    "keep_weights": "all",
}


class Killed(BaseException):
    """Stands for SIGKILL in this process."""


class Faults:
    """What happens at calls of a place in memory.

    Attributes:
        at: is told of each call and its path before it is made; an error that it raises is the call's, and
            True loses the call without a word.
        calls: the names of those that were made.
    """

    def __init__(self) -> None:
        self.at: Callable[[str, str], bool | None] = lambda call, path: None
        self.calls: list[tuple[str, str]] = []


WRITING = ("put_file", "pipe_file", "rm", "cp_file")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    made = Faults()

    def faulty(name: str) -> Callable[..., Any]:
        real = getattr(MemoryFileSystem, name)

        def call(self: MemoryFileSystem, *arguments: Any, **options: Any) -> Any:
            path = str(arguments[1] if name in ("put_file", "cp_file") else arguments[0])
            made.calls.append((name, path))
            return None if made.at(name, path) else real(self, *arguments, **options)

        return call

    for name in (*WRITING, "cat_file", "get_file", "find"):
        monkeypatch.setattr(MemoryFileSystem, name, faulty(name))
    monkeypatch.setattr(remote, "PAUSES", (0.0, 0.0))
    return made


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"file://{tmp_path}/place" if request.param == "file" else f"memory://{uuid.uuid4().hex}/runs"


@pytest.fixture
def memory() -> str:
    return f"memory://{uuid.uuid4().hex}/runs"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return make_plan(make_experiment(tmp_path_factory.mktemp("plan"), **SETTINGS))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What the experiment gives in a store on a disk."""
    experiment = make_experiment(tmp_path_factory.mktemp("disk"), **SETTINGS)
    assert not run_here(experiment).failed
    return snapshot(experiment.store_folder)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., MirrorStore]:
    """A store as another machine opens it: with a cache of its own."""
    numbers = iter(range(100))
    return lambda url: MirrorStore(url, tmp_path / f"machine-{next(numbers)}")


def away(folder: Path, url: str, **changes: Any) -> Experiment:
    return make_experiment(folder, **SETTINGS | {"store": url} | changes)


def run(experiment: Experiment, workers: int = 1) -> Any:
    from rich.console import Console

    from holdfast.experiment.executor import run
    from holdfast.experiment.progress import Progress

    plan = make_plan(experiment)
    return run(experiment, plan, open_store(experiment), workers, Progress(Console(quiet=True)))


def verify_all(experiment: Experiment) -> None:
    """Have everything in the cache, as it was written."""
    store = open_store(experiment)
    for job in make_plan(experiment).jobs.values():
        store.verify(job)


def fill(store: Store, job: Job, text: str = "0123456789", seconds: float = 1.0) -> None:
    with store.writing(job) as folder:
        files.write_jsonl(folder / "records.jsonl", [{"text": text}])
        files.write_json(folder / "result.json", {"seconds": seconds})
        if job.kind == "learn":
            files.write_text(folder / "weights" / "model.safetensors", text)


def a_stage(plan: Plan, number: int = 0) -> Job:
    return plan.jobs[plan.chains[0].learn[number]]


def objects(url: str) -> list[str]:
    return sorted(Remote(url).sizes())


def only(url: str, end: str) -> str:
    (name,) = (name for name in objects(url) if name.endswith(end))
    return name


def change(url: str, end: str, content: bytes) -> None:
    Remote(url).write(only(url, end), content)


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


def die_in_the_second_stage() -> None:
    """Kill this process when it has written four checkpoints."""
    real, written = Remote.write, []

    def write(self: Any, name: str, content: Any) -> None:
        real(self, name, content)
        written.extend([1] * name.endswith("latest"))
        if len(written) == 4:
            os.kill(os.getpid(), signal.SIGKILL)

    Remote.write = write  # type: ignore[method-assign]


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


# Damage


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


def test_a_name_that_leads_out_of_the_cache_is_not_fetched(
    plan: Plan, memory: str, machine: Callable[[str], MirrorStore], tmp_path: Path
) -> None:
    there = Remote(memory)
    there.write("a/b", b"text")
    for name in ("../b", "/b", "c/../../b"):
        assert not there.fetch("a", name, tmp_path / "inside")
    assert there.fetch("a", "b", tmp_path / "inside")


# Errors


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


def test_puts_that_are_always_lost_are_given_up(
    plan: Plan, memory: str, faults: Faults, machine: Callable[[str], MirrorStore]
) -> None:
    faults.at = lambda call, path: call == "put_file"
    with pytest.raises(Unreachable, match=rf"{memory}/learn/.* was put 4 times and is not there") as error:
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


def test_a_full_disk_is_told_apart(plan: Plan, memory: str, faults: Faults, tmp_path: Path) -> None:
    def full(call: str, path: str) -> None:
        raise OSError(28, "No space left on device")

    faults.at = full
    with pytest.raises(OSError, match="No space"):
        Remote(memory).write("a", b"")
    assert len(faults.calls) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
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


@pytest.mark.parametrize("store", [3, ["a"], True])
def test_a_store_that_is_neither_folder_nor_url(tmp_path: Path, store: object) -> None:
    with pytest.raises(InputError, match="store: must be a folder, or a URL as in s3://bucket/runs"):
        make_experiment(tmp_path, store=store)


# Weights, and the commands


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


def test_a_run_prunes_the_weights_that_it_does_not_keep(tmp_path: Path, memory: str) -> None:
    experiment = away(tmp_path, memory, keep_weights="last")
    assert not run(experiment).failed
    assert len([name for name in objects(memory) if name.endswith("model.safetensors")]) == 1
    assert len([name for name in objects(memory) if name.startswith("keep/")]) == 1


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
    assert prune_for(config).out.startswith("Freed 0 B")
    assert (
        prune_for(write_config(tmp_path, SETTINGS | {"store": memory, "seeds": [7]}, "other.yaml")).code == 0
    )
    shared = [name for name in objects(memory) if name.endswith("manifest.json")]
    assert len(shared) == 2 and all(name.startswith("evaluate/") for name in shared)  # the base's cells


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
