"""Where results lie: one folder per job, named by its fingerprint, there whole or not at all.

    <store>/learn/<fingerprint>/      job.json  made.json  result.json  metrics.jsonl  weights/  manifest.json
    <store>/filter/<fingerprint>/     job.json  made.json  result.json  records.jsonl  manifest.json
    <store>/evaluate/<fingerprint>/   job.json  made.json  result.json  records.jsonl  manifest.json
    <store>/<measure>/<fingerprint>/  job.json  made.json  result.json  manifest.json  (kinds: `plan.KINDS`)
    <store>/work/<fingerprint>/       what an unfinished job keeps to go on from
    <store>/trash/                    what is being removed
    <store>/damaged/                  entries that no longer say what was written
    <store>/locks/                    who is at work (`locks.py`)
    <store>/keep/                     an empty file <fingerprint>.<run> where weights are to stay
    <store>/*.json                    what was found of models and rows, which is found again if removed

Only weights may go missing from an entry: they are the bulk, and are removed when no job needs
them any more. `job.json` says what determined a result, `made.json` where, when and with what it was made;
`manifest.json` says what belongs to an entry; sizes are compared whenever the store
is asked for an entry, hashes when its content is read.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from holdfast import files
from holdfast.errors import HoldfastError, InputError, reason
from holdfast.experiment.locks import Locks, check_writable
from holdfast.experiment.plan import KINDS, NAME_LENGTH, Job, names_job

WEIGHTS, MANIFEST, MADE = "weights", "manifest.json", "made.json"


class Damaged(HoldfastError):
    """A stored result is not what was written, or lacks the weights that are needed.

    Attributes:
        fingerprint: of the job whose result it was.
    """

    def __init__(self, fingerprint: str, message: str) -> None:
        super().__init__(message)
        self.fingerprint = fingerprint


@dataclass(frozen=True)
class Entry:
    """What `holdfast store` shows of one result."""

    kind: str
    name: str
    label: str
    bytes: int
    weights: int  # bytes; 0 when they are not there
    seconds: float


class Store(Locks):
    """The results under one folder.

    What a run asks of a store is what is public here. One that does not lie on a disk (`mirror.py`) says
    otherwise what is there, what a file holds, and how things go there and away.

    Attributes:
        root: its folder on this machine.
        place: where results are safe, in words.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.place = str(root)
        self._leases: dict[str, IO[str]] = {}

    # Asking

    def folder(self, job: Job) -> Path:
        return self.root / job.entry

    def work(self, job: Job) -> Path:
        """Where an unfinished job keeps what it needs to go on."""
        return self.root / "work" / job.short_name

    def weights(self, job: Job) -> Path:
        return self.folder(job) / WEIGHTS

    def begin(self, job: Job, weights: bool) -> bool:
        """Get ready to do a job, whose lock the caller holds; True where the result is there, as of `has`."""
        return self.has(job, weights)

    def keep_work(self, job: Job) -> None:
        """Called after every step of a job: what it keeps to go on from may have changed."""

    def clear_work(self, job: Job) -> None:
        """Forget what an unfinished job kept."""
        shutil.rmtree(self.work(job), ignore_errors=True)

    def has(self, job: Job, weights: bool = False) -> bool:
        """The result is there (with its weights), as far as names and sizes tell.

        Raises:
            Damaged: something is there, but not what was written.
        """
        while True:
            before = self._state(job)
            try:
                return before is not None and self._has(job, weights)
            except Damaged:
                if self._state(job) == before:  # else it was pruned or replaced meanwhile: look again
                    raise

    def has_whole(self, job: Job) -> bool:
        """As `has`; what is damaged is not there."""
        try:
            return self.has(job)
        except Damaged:
            return False

    def _state(self, job: Job) -> tuple[int, ...] | None:
        """Changes when the entry is replaced or its weights come or go; None where there is no entry."""
        folder = self.folder(job)
        try:
            facts = folder.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            weights = (folder / WEIGHTS).lstat().st_ino
        except OSError:
            weights = 0
        return facts.st_ino, facts.st_mtime_ns, weights

    def _has(self, job: Job, weights: bool) -> bool:
        folder = self.folder(job)
        pruned = not (folder / WEIGHTS).exists()
        for name, facts in self._manifest(job).items():
            if pruned and is_weights(name):
                continue
            try:
                size = (folder / name).stat().st_size
            except OSError:
                raise Damaged(job.fingerprint, f"{folder / name} is missing") from None
            if size != facts["bytes"]:
                raise Damaged(
                    job.fingerprint, f"{folder / name} has {size} bytes instead of {facts['bytes']}"
                )
        return not (weights and pruned)

    def verify(self, job: Job, part: str = "") -> Path:
        """The entry's folder, after comparing the hashes of the files whose names begin with `part`.

        Raises:
            Damaged: a file is missing or its content has changed.
        """
        for name, facts in self._manifest(job).items():
            if name.startswith(part):
                self._compare(job, name, facts)
        return self.folder(job)

    def _compare(self, job: Job, name: str, facts: dict[str, Any]) -> None:
        path = self.folder(job) / name
        try:
            same = files.file_digest(path) == facts["sha256"]
        except OSError as error:
            raise Damaged(job.fingerprint, f"{path}: {reason(error)}") from None
        if not same:
            raise Damaged(job.fingerprint, f"the content of {path} has changed")

    def inputs(self, kind: str, fingerprint: str) -> dict[str, Any]:
        """What determined a result, whichever experiment asked for it.

        Raises:
            OSError, ValueError, KeyError: it is not there, or not readable.
        """
        return files.read_json(self.root / kind / fingerprint[:NAME_LENGTH] / "job.json")["inputs"]

    def base(self, learn: str) -> dict[str, Any]:
        """What the policy of a `learn` job was before any training.

        Raises:
            OSError, ValueError, KeyError: a result on the way there is gone, or not readable.
        """
        policy: str | dict[str, Any] = learn
        while isinstance(policy, str):
            policy = self.inputs("learn", policy)["policy"]
        return policy

    def remove(self, job: Job) -> None:
        """Remove a result, and what an unfinished job keeps, so that it is done again."""
        with self.lock(job) as mine:
            if mine:
                self.drop(job.entry)
                self.clear_work(job)

    def result(self, job: Job) -> dict[str, Any]:
        """The small facts of a result: totals, seconds, counts."""
        return files.read_json(self.verify(job, "result.json") / "result.json")

    def made(self, job: Job) -> dict[str, Any]:
        """Where, when and with what a result was made, as far as it was noted."""
        noted = files.read_if_there(self.folder(job) / MADE)
        return noted if isinstance(noted, dict) else {}

    def rows(self, job: Job, name: str) -> list[dict[str, Any]]:
        """The rows of `records.jsonl` or `metrics.jsonl`."""
        return files.read_jsonl(self.verify(job, name) / name)

    def _manifest(self, job: Job) -> dict[str, dict[str, Any]]:
        path = self.folder(job) / MANIFEST
        try:
            manifest = files.read_json(path)
            if manifest["fingerprint"] != job.fingerprint:
                raise Damaged(job.fingerprint, f"{path} belongs to another job")
            listed: dict[str, dict[str, Any]] = manifest["files"]
            for facts in listed.values():
                if not isinstance(facts["bytes"], int) or not isinstance(facts["sha256"], str):
                    raise ValueError("sizes or hashes are missing")
            return listed
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(job.fingerprint, f"{path} cannot be read ({error})") from None

    # Changing

    def prepare(self) -> None:
        """Make the folder, see that it can be used, and clear away what was being removed.

        Raises:
            InputError: it cannot be written or locked, or holds something else where a folder belongs.
        """
        check_writable(self.root, "store")
        for name in (*KINDS, "work", "damaged", "locks", "keep", "trash"):
            path = self.root / name
            if os.path.lexists(path) and not path.is_dir():
                raise InputError(
                    f"{path} is not a folder, but the store keeps some of its own there; move it away."
                )
        self.check_lockable()
        for left_over in (self.root / "trash").glob("*"):  # of a killed process
            if names_job(left_over.name):
                shutil.rmtree(left_over, ignore_errors=True)

    def lock(self, job: Job) -> AbstractContextManager[bool]:
        """Hold the job against other processes; gives False when one of them has it.

        The system frees the lock when its holder dies, however it dies.
        """
        return self.locked(job.short_name)

    def use(self, jobs: Iterable[Job]) -> None:
        """As `use_names`, for the results of these jobs."""
        self.use_names(job.short_name for job in jobs)

    @contextmanager
    def writing(self, job: Job, made: Mapping[str, Any] | None = None) -> Iterator[Path]:
        """A folder to put the result in; it becomes the entry when the block ends without an error.

        The caller holds the job's lock.

        Args:
            made: its provenance.
        """
        folder = self.folder(job)
        for left_over in folder.parent.glob(f".{folder.name}.*"):  # of a killed process
            shutil.rmtree(left_over, ignore_errors=True)
        with files.whole_folder(folder) as temporary:
            yield temporary
            description = {"label": job.label, "fingerprint": job.fingerprint, "inputs": job.inputs}
            files.write_json(temporary / "job.json", description)
            files.write_json(temporary / MADE, dict(made or {}))
            manifest = {"fingerprint": job.fingerprint, "files": files.listing(temporary)}
            files.write_json(temporary / MANIFEST, manifest)
        self._written(job)

    def _written(self, job: Job) -> None:
        """The entry is whole in its folder."""
        self.clear_work(job)

    def set_aside(self, job: Job) -> Path | None:
        """Move a damaged entry out of the way, unless another process is at the job or has mended it.

        Returns:
            Where it went; None where it stays.
        """
        with self.lock(job) as mine:
            if not mine or self._is_whole(job):
                return None
            return self._move_aside(self.folder(job), f"{job.kind}-{job.short_name}")

    def set_aside_work(self, job: Job) -> Path | None:
        """Move away what an unfinished job kept and cannot go on from; the caller holds its lock."""
        return self._move_aside(self.work(job), f"work-{job.short_name}")

    def _is_whole(self, job: Job) -> bool:
        try:
            if not self.has(job):
                return False
            pruned = not self.weights(job).exists()
            for name, facts in self._manifest(job).items():
                if not (pruned and is_weights(name)):
                    self._compare(job, name, facts)
        except Damaged:
            return False
        return True

    def _move_aside(self, path: Path, name: str) -> Path | None:
        target = files.free_name(self.root / "damaged" / name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.move(path, target)  # maybe to another disk, where one of these is a link
        except FileNotFoundError:  # another process was faster
            return None
        return target

    # Weights

    def lease_weights(self, job: Job) -> None:
        """Tell other processes that the weights of a job will be needed, until `prune_weights`.

        Waits for one that is removing them just now: look for the weights once they are leased.
        """
        if job.fingerprint not in self._leases:
            file = self.open_lock(f"{job.short_name}.{WEIGHTS}")
            fcntl.flock(file, fcntl.LOCK_SH)
            self._leases[job.fingerprint] = file

    def end_leases(self) -> None:
        for file in self._leases.values():
            file.close()
        self._leases.clear()

    def keep_weights(self, job: Job, run: str, keep: bool) -> None:
        """Note whether a run wants to keep a result's weights when all is done."""
        mark = self.root / "keep" / f"{job.short_name}.{run}"
        if keep:
            mark.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(mark):  # a link to nowhere is a mark, too
                mark.touch()
        else:
            mark.unlink(missing_ok=True)

    def prune_weights(self, job: Job) -> int:
        """Remove the weights of a result, unless another process needs them or a run keeps them.

        Returns:
            Bytes that were freed.
        """
        if (lease := self._leases.pop(job.fingerprint, None)) is not None:
            lease.close()
        if not self.has_weights(job) or self._kept(job.short_name):
            return 0
        with self.locked(f"{job.short_name}.{WEIGHTS}") as mine:
            return self.drop(f"{job.entry}/{WEIGHTS}") if mine else 0

    def has_weights(self, job: Job) -> bool:
        """Whether any are there, of a result that is."""
        return self.weights(job).exists()

    def _kept(self, name: str) -> bool:
        """Whether a run keeps the weights of this name."""
        return any((self.root / "keep").glob(f"{name}.*"))

    def unkeep(self, name: str) -> None:
        """Forget that runs keep the weights of this name."""
        for mark in (self.root / "keep").glob(f"{name}.*"):
            mark.unlink(missing_ok=True)

    # Looking over everything

    def entries(self) -> Iterator[Entry]:
        """Every result, also those of experiments that are not at hand; damaged ones are left out."""
        for kind in KINDS:
            for folder in sorted((self.root / kind).glob("[!.]*")):
                try:
                    label = str(files.read_json(folder / "job.json")["label"])
                    seconds = float(files.read_json(folder / "result.json").get("seconds", 0.0))
                except (OSError, ValueError, KeyError, TypeError, AttributeError):
                    continue
                yield Entry(
                    kind, folder.name, label, files.size(folder), files.size(folder / WEIGHTS), seconds
                )

    def check_there(self) -> None:
        """See that there is a store.

        Raises:
            InputError: there is none.
        """
        if not self.root.is_dir():
            raise InputError(f"There is no store in {self.place}; say where it is with --store FOLDER.")

    def held(self, kind: str, part: str = "") -> dict[str, int]:
        """Bytes of the folders of a kind (or `work`, `damaged`, `trash`), or of a part of each, by name."""
        return {
            str(path.relative_to(self.root)): files.size(path)
            for path in sorted((self.root / kind).glob(f"[!.]*/{part}" if part else "[!.]*"))
            if names_job(str(path.relative_to(self.root)))
        }

    def half_written(self) -> dict[str, int]:
        """Bytes of what is being written, or was when its process was killed, by name."""
        return {
            str(path.relative_to(self.root)): files.size(path)
            for kind in KINDS
            for path in sorted((self.root / kind).glob(".*"))
            if names_job(path.name)
        }

    def drop(self, name: str) -> int:
        """Remove what `held` or `half_written` names, of which no part is ever seen missing; bytes freed."""
        folder = self.root / name
        try:
            return files.remove_folder(folder, self.root / "trash")
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        kind, entry = name.split("/")[:2]  # of which one is a link to another disk: it is hidden there
        hidden = self.root / kind / f".{entry.strip('.')}.removed"
        try:
            return files.remove_folder(folder, hidden)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)


def is_weights(name: str) -> bool:
    """Whether a file of an entry may go missing."""
    return name.startswith(f"{WEIGHTS}/")
