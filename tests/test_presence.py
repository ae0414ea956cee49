"""Several machines on one store: locks that do not hold between them, and other versions, are noticed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, snapshot, write_config
from holdfast.errors import InputError
from holdfast.experiment import presence
from holdfast.experiment.store import Store

SMALL = {
    "sequence": ["reading"],
    "general": [],
    "train_examples": 8,
    "test_examples": 4,
    "methods": {"sft": {"objective": "sft"}},
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(presence, "BEAT_SECONDS", 0.05)
    made = Store(tmp_path)
    made.prepare()
    (tmp_path / "locks").mkdir(exist_ok=True)
    return made


def announce(store: Store, monkeypatch: pytest.MonkeyPatch, host: str) -> tuple[object, list[str]]:
    monkeypatch.setattr(presence.platform, "node", lambda: host)
    said: list[str] = []
    return presence.announced(store, said.append), said


def test_machines_that_see_one_anothers_locks_work_side_by_side(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = announce(store, monkeypatch, "a")
    with first:
        second, said = announce(store, monkeypatch, "b")
        with second:
            assert not said and len(list(store.root.glob("locks/host-*"))) == 2
    assert not list(store.root.glob("locks/host-*"))


def test_locks_that_do_not_hold_between_machines_stop_the_second(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = announce(store, monkeypatch, "a")
    with first:
        monkeypatch.setattr(presence, "_free", lambda path: True)  # as on a disk without locks
        second, _ = announce(store, monkeypatch, "b")
        with pytest.raises(InputError, match=r"a works on the store .* its locks are not seen"), second:
            pass


def test_what_a_dead_run_left_is_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    left = store.root / "locks" / "host-1-dead"
    left.write_text(json.dumps({"host": "a", "versions": {}, "count": 7}))
    (store.root / "locks" / "host-2-cut").write_text('{"host": "a", "ver')
    alone, said = announce(store, monkeypatch, "b")
    with alone:
        assert not left.exists() and not said


def test_many_dead_machines_are_waited_for_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        left = {"host": f"node{number}", "versions": {}, "count": 7}
        (store.root / "locks" / f"host-{number}-dead").write_text(json.dumps(left))
    alone, said = announce(store, monkeypatch, "b")
    begun = time.monotonic()
    with alone:
        assert time.monotonic() - begun < 2.0 and not said  # one after the other takes 20 × 4 × 0.05 s
        assert len(list(store.root.glob("locks/host-*"))) == 1


def test_a_store_that_cannot_be_written_any_more_hides_no_other_error(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    def work() -> None:
        with alone:
            store.use([])
            monkeypatch.setattr(Path, "unlink", refuse)
            store.end_use()
            raise ValueError("the real one")

    alone, _ = announce(store, monkeypatch, "a")
    with pytest.raises(ValueError, match="the real one"):
        work()


def test_other_versions_at_work_are_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = announce(store, monkeypatch, "a")
    with first:
        monkeypatch.setattr(presence, "package_versions", lambda: {"torch": "1.0"})
        second, said = announce(store, monkeypatch, "b")
        with second:
            assert len(said) == 1 and said[0].startswith("a works on this store with holdfast ")
            assert "this machine with torch 1.0: results may differ" in said[0]


@pytest.mark.usefixtures("undrawn")
def test_a_run_may_leave_the_report_to_another(tmp_path: Path, call: Call) -> None:
    config = write_config(tmp_path, SMALL)
    said = call("run", config, f"store={tmp_path / 'shared'}", "--no-report")
    assert said.code == 0, said.err
    folder = tmp_path / "out"
    assert not (folder / "report").exists() and f"'holdfast report {folder}'" in " ".join(said.out.split())
    told = call("report", folder)  # which knows of the store
    assert told.code == 0 and "are not there" not in told.err and (folder / "report/index.html").exists()


@pytest.mark.slow
def test_nothing_of_it_stays_in_the_results(tmp_path: Path) -> None:
    one, two = (
        make_experiment(tmp_path / name, **SMALL, ray={"retries": n}) for n, name in ((0, "a"), (9, "b"))
    )
    assert not run_here(one).failed and not run_here(two).failed
    assert snapshot(one.store) == snapshot(two.store)
