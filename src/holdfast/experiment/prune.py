"""Making room in a store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast import files
from holdfast.config.load import load_experiment
from holdfast.experiment.plan import KINDS, NAME_LENGTH, make_plan
from holdfast.experiment.runindex import indices_beside
from holdfast.experiment.store import WEIGHTS, Store


@dataclass(frozen=True)
class Candidate:
    """Something that may go.

    Attributes:
        name: its place in the store.
        reason: what it is, or why it may go.
        runs: folders of runs that count on it.
    """

    name: str
    bytes: int
    reason: str
    runs: tuple[str, ...] = ()


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
    users = runs_with(store)
    found: list[Candidate] = []
    if configs:
        used = _used_by(configs)
        for kind in (*KINDS, "work"):
            unused = {name: size for name, size in store.held(kind).items() if name not in used}
            found += _named(unused, "none of these experiments uses it", users)
    if weights:
        gone = {candidate.name for candidate in found}
        labels = {f"{one.kind}/{one.name}": one.label for one in store.entries()}
        for name, size in store.held("learn", WEIGHTS).items():
            if (result := name.removesuffix(f"/{WEIGHTS}")) not in gone:
                whose = labels.get(result, "a trained policy").removesuffix(": learn")
                found.append(Candidate(name, size, f"weights of {whose}", tuple(users.get(result, ()))))
    if damaged:
        found += _named(store.held("damaged") | store.held("trash"), "damaged or half removed", users)
        found += _named(store.half_written(), "half written", {})
    return found


def _used_by(configs: Sequence[Path]) -> set[str]:
    """The places of all that these experiments count on, or keep to go on from."""
    jobs = (job for path in configs for job in make_plan(load_experiment(path)).jobs.values())
    return {place for job in jobs for place in (job.entry, f"work/{job.short_name}")}


def _named(sizes: Mapping[str, int], reason: str, users: Mapping[str, Sequence[str]]) -> list[Candidate]:
    return [Candidate(name, size, reason, tuple(users.get(name, ()))) for name, size in sizes.items()]


def runs_with(store: Store) -> dict[str, list[str]]:
    """The runs beside the store, or in `runs`, that count on each result, by its place."""
    found: dict[str, list[str]] = {}
    for index in sorted(indices_beside(store.root)):
        try:
            places = {f"{row['kind']}/{row['fingerprint'][:NAME_LENGTH]}" for row in files.read_jsonl(index)}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # of an earlier version, or no longer readable
        for place in places:
            found.setdefault(place, []).append(str(index.parent))
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
