"""Making room in a store."""

from __future__ import annotations

import shutil
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.config.load import load_experiment
from holdfast.experiment.plan import KINDS, make_plan
from holdfast.experiment.store import WEIGHTS, Store


@dataclass(frozen=True)
class Candidate:
    """Something that may go; `name` is its place in the store."""

    name: str
    bytes: int
    reason: str


def candidates(
    store: Store, *, weights: bool, damaged: bool, configs: Sequence[Path] | None = None
) -> list[Candidate]:
    """What a pruning would remove.

    Args:
        weights: the weights of all trained policies; the results stay.
        damaged: results that were set aside, or left half written.
        configs: experiments whose results stay; all others go.

    Raises:
        InputError: there is no store, or an experiment cannot be read.
    """
    store.check_there()
    found: list[Candidate] = []

    def add(kind: str, reason: str, but: Container[str] = (), part: str = "") -> None:
        held = store.held(kind, part).items()
        found.extend(Candidate(name, size, reason) for name, size in held if name not in but)

    if configs:
        used: set[str] = set()
        for path in configs:
            jobs = make_plan(load_experiment(path)).jobs.values()
            used |= {f"{kind}/{job.short_name}" for job in jobs for kind in (job.kind, "work")}
        for kind in (*KINDS, "work"):
            add(kind, "no experiment uses it", used)
    if weights:
        gone = {f"{candidate.name}/{WEIGHTS}" for candidate in found}
        add("learn", "weights of a trained policy", gone, WEIGHTS)
    if damaged:
        add("damaged", "damaged or half removed")
        add("trash", "damaged or half removed")
        found.extend(Candidate(name, size, "half written") for name, size in store.half_written().items())
    return found


def remove(store: Store, found: Sequence[Candidate]) -> list[Candidate]:
    """Remove them, each whole or not at all.

    Returns:
        Those that stayed, as a run or an evaluation uses them.
    """
    left = [candidate for candidate in found if not _remove(store, candidate.name)]
    for name in store.held("trash"):
        shutil.rmtree(store.root / name, ignore_errors=True)
    return left


def _remove(store: Store, place: str) -> bool:
    """False where it is in use."""
    kind, name, *part = place.split("/")
    if name.startswith("."):  # of an entry: who writes it holds its lock
        name = name[1:].partition(".")[0]
    if kind in ("damaged", "trash"):
        store.drop(place)
        return True
    if part:
        with store.locked(f"{name}.{WEIGHTS}") as mine:
            if mine:
                store.drop(place)
                store.unkeep(name)
            return mine
    with store.removing() as used, store.locked(name) as mine:
        if mine and name not in used:
            store.drop(place)
            return True
    return False
