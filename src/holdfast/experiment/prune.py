"""Making room in a store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.config.load import load_experiment
from holdfast.errors import InputError
from holdfast.experiment.plan import KINDS, make_plan
from holdfast.experiment.store import WEIGHTS, Store
from holdfast.files import remove_folder, size


@dataclass(frozen=True)
class Candidate:
    """Something that may go."""

    path: Path
    bytes: int
    reason: str


def candidates(
    root: Path, *, weights: bool, damaged: bool, configs: Sequence[Path] | None = None
) -> list[Candidate]:
    """What a pruning would remove.

    Args:
        weights: the weights of all trained policies; the results stay.
        damaged: results that were set aside.
        configs: experiments whose results stay; all others go.

    Raises:
        InputError: there is no store, or an experiment cannot be read.
    """
    if not root.is_dir():
        raise InputError(f"There is no store in {root}; say where it is with --store FOLDER.")
    root = root.absolute()  # jobs in use are compared by path
    store, found = Store(root), []
    if configs:
        used = set()
        for path in configs:
            plan = make_plan(load_experiment(path))
            used |= {folder for job in plan.jobs.values() for folder in (store.folder(job), store.work(job))}
        for kind in (*KINDS, "work"):
            for folder in sorted((root / kind).glob("[!.]*")):
                if folder not in used:
                    found.append(Candidate(folder, size(folder), "no experiment uses it"))
    gone = {candidate.path for candidate in found}
    if weights:
        found += [
            Candidate(folder, size(folder), "weights of a trained policy")
            for folder in sorted((root / "learn").glob(f"[!.]*/{WEIGHTS}"))
            if folder.parent not in gone
        ]
    if damaged:
        for name in ("damaged", "trash"):
            found += [
                Candidate(folder, size(folder), "damaged or half removed")
                for folder in sorted((root / name).glob("*"))
            ]
    return found


def remove(root: Path, found: Sequence[Candidate]) -> list[Candidate]:
    """Remove them, each whole or not at all.

    Returns:
        Those that stayed, as a run or an evaluation uses them.
    """
    store = Store(root)
    left = [candidate for candidate in found if not _remove(store, candidate)]
    shutil.rmtree(root / "trash", ignore_errors=True)
    return left


def _remove(store: Store, candidate: Candidate) -> bool:
    """False where it is in use."""
    path, trash = candidate.path, store.root / "trash"
    if path.parent in (store.root / "damaged", trash):
        remove_folder(path, trash)
        return True
    if path.name == WEIGHTS:
        with store.locked(f"{path.parent.name}.{WEIGHTS}") as mine:
            if mine:
                remove_folder(path, trash)
                for mark in (store.root / "keep").glob(f"{path.parent.name}.*"):
                    mark.unlink(missing_ok=True)
            return mine
    with store.removing() as used, store.locked(path.name) as mine:
        if mine and path.name not in used:
            remove_folder(path, trash)
            return True
    return False
