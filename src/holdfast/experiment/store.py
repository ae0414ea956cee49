"""Where results lie: one folder per job, named by its fingerprint, there whole or not at all.

    <store>/learn/<fingerprint>/      job.json  result.json  metrics.jsonl  weights/  manifest.json
    <store>/filter/<fingerprint>/     job.json  result.json  records.jsonl  manifest.json
    <store>/evaluate/<fingerprint>/   job.json  result.json  records.jsonl  manifest.json
    <store>/drift|risk|probe|measure/<fingerprint>/   job.json  result.json  manifest.json
    <store>/work/<fingerprint>/       what an unfinished job keeps to go on from
    <store>/trash/                    what is being removed
    <store>/damaged/                  entries that no longer say what was written
    <store>/locks/                    one empty file per job, locked by the process that works on it; and one
                                      per run (`run-...`), locked as long as it lives: the jobs it counts on
    <store>/keep/                     an empty file <fingerprint>.<experiment> where weights are to stay

Only weights may go missing from an entry: they are the bulk, and are removed when no job needs
them any more. `manifest.json` says what belongs to an entry; sizes are compared whenever the store
is asked for an entry, hashes when its content is read.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from holdfast import files
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment.plan import KINDS, Job

WEIGHTS = "weights"
RUN = "run-"  # lock files, as the next
_USE = "use"
_LENGTH = 16  # of a fingerprint in a name


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


class Store:
    """The results under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._leases: dict[str, IO[str]] = {}
        self._use: weakref.finalize | None = None

    # Asking

    def folder(self, job: Job) -> Path:
        return self.root / job.kind / job.fingerprint[:_LENGTH]

    def work(self, job: Job) -> Path:
        """Where an unfinished job keeps what it needs to go on."""
        return self.root / "work" / job.fingerprint[:_LENGTH]

    def weights(self, job: Job) -> Path:
        return self.folder(job) / WEIGHTS

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
            if pruned and name.startswith(WEIGHTS + "/"):
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
            raise Damaged(job.fingerprint, f"{path}: {error.strerror}") from None
        if not same:
            raise Damaged(job.fingerprint, f"the content of {path} has changed")

    def inputs(self, kind: str, fingerprint: str) -> dict[str, Any]:
        """What determined a result, whichever experiment asked for it.

        Raises:
            OSError, ValueError, KeyError: it is not there, or not readable.
        """
        inputs: dict[str, Any] = files.read_json(self.root / kind / fingerprint[:_LENGTH] / "job.json")[
            "inputs"
        ]
        return inputs

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
                files.remove_folder(self.folder(job), self.root / "trash")
                shutil.rmtree(self.work(job), ignore_errors=True)

    def result(self, job: Job) -> dict[str, Any]:
        """The small facts of a result: totals, seconds, counts."""
        result: dict[str, Any] = files.read_json(self.verify(job, "result.json") / "result.json")
        return result

    def rows(self, job: Job, name: str) -> list[dict[str, Any]]:
        """The rows of `records.jsonl` or `metrics.jsonl`."""
        return files.read_jsonl(self.verify(job, name) / name)

    def _manifest(self, job: Job) -> dict[str, dict[str, Any]]:
        path = self.folder(job) / "manifest.json"
        try:
            manifest = files.read_json(path)
            if manifest["fingerprint"] != job.fingerprint:
                raise Damaged(job.fingerprint, f"{path} belongs to another job")
            listed: dict[str, dict[str, Any]] = manifest["files"]
            for facts in listed.values():
                if not isinstance(facts["bytes"], int) or not isinstance(facts["sha256"], str):
                    raise ValueError("sizes or hashes are missing")
            return listed
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Damaged(job.fingerprint, f"{path} cannot be read ({error})") from None

    # Changing

    def prepare(self) -> None:
        """Make the folder, and see that it can be written.

        Raises:
            InputError: it cannot, or holds something else where a folder belongs.
        """
        check_writable(self.root, "store")
        for name in (*KINDS, "work", "damaged", "locks", "keep", "trash"):
            path = self.root / name
            if os.path.lexists(path) and not path.is_dir():
                raise InputError(
                    f"{path} is not a folder, but the store keeps some of its own there; move it away."
                )

    @contextmanager
    def lock(self, job: Job) -> Iterator[bool]:
        """Hold the job against other processes; gives False when one of them has it.

        The system frees the lock when its holder dies, however it dies.
        """
        with self.locked(job.fingerprint[:_LENGTH]) as mine:
            yield mine

    @contextmanager
    def locked(self, name: str) -> Iterator[bool]:
        """As `lock`, for the entry or (`<name>.weights`) the weights of this name."""
        with self._open_lock(name) as file:
            yield _try_lock(file, fcntl.LOCK_EX)

    # Results that are in use

    def use(self, jobs: Iterable[Job]) -> None:
        """Tell other processes that the results of these jobs are counted on.

        Until `end_use`, or as long as this object lives: a report that follows a run counts on them, too.
        """
        self.end_use()
        with self._open_lock(_USE) as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)  # nothing is being removed while it is said
            path = self.root / "locks" / f"{RUN}{os.getpid()}-{uuid.uuid4().hex[:8]}"
            file = path.open("x")
            fcntl.flock(file, fcntl.LOCK_SH)
            file.write("".join(f"{job.fingerprint[:_LENGTH]}\n" for job in jobs))
            file.flush()
        self._use = weakref.finalize(self, _end_use, path, file)

    def end_use(self) -> None:
        if self._use is not None:
            self._use()
            self._use = None

    @contextmanager
    def removing(self) -> Iterator[set[str]]:
        """The names of results that are in use; no process begins to use any in the block."""
        with self._open_lock(_USE) as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            used: set[str] = set()
            for path in (self.root / "locks").glob(f"{RUN}*"):
                with path.open("a+") as file:
                    if _try_lock(file, fcntl.LOCK_EX):
                        path.unlink()  # its process is gone
                    else:
                        file.seek(0)
                        used |= set(file.read().split())
            yield used

    @contextmanager
    def writing(self, job: Job) -> Iterator[Path]:
        """A folder to put the result in; it becomes the entry when the block ends without an error.

        The caller holds the job's lock.
        """
        folder = self.folder(job)
        for left_over in folder.parent.glob(f".{folder.name}.*"):  # of a killed process
            shutil.rmtree(left_over, ignore_errors=True)
        with files.whole_folder(folder) as temporary:
            yield temporary
            description = {"label": job.label, "fingerprint": job.fingerprint, "inputs": job.inputs}
            files.write_json(temporary / "job.json", description)
            manifest = {"fingerprint": job.fingerprint, "files": files.listing(temporary)}
            files.write_json(temporary / "manifest.json", manifest)
        shutil.rmtree(self.work(job), ignore_errors=True)

    def set_aside(self, job: Job) -> Path | None:
        """Move a damaged entry out of the way, unless another process is at the job or has mended it.

        Returns:
            Where it went; None where it stays.
        """
        with self.lock(job) as mine:
            if not mine or self._is_whole(job):
                return None
            return self._move_aside(self.folder(job), f"{job.kind}-{job.fingerprint[:_LENGTH]}")

    def set_aside_work(self, job: Job) -> Path | None:
        """Move away what an unfinished job kept and cannot go on from; the caller holds its lock."""
        return self._move_aside(self.work(job), f"work-{job.fingerprint[:_LENGTH]}")

    def _is_whole(self, job: Job) -> bool:
        try:
            if not self.has(job):
                return False
            pruned = not self.weights(job).exists()
            for name, facts in self._manifest(job).items():
                if not (pruned and name.startswith(WEIGHTS + "/")):
                    self._compare(job, name, facts)
        except Damaged:
            return False
        return True

    def _move_aside(self, path: Path, name: str) -> Path | None:
        target = files.free_name(self.root / "damaged" / name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.rename(target)
        except FileNotFoundError:  # another process was faster
            return None
        return target

    # Weights

    def lease_weights(self, job: Job) -> None:
        """Tell other processes that the weights of a job will be needed, until `prune_weights`.

        Waits for one that is removing them just now: look for the weights once they are leased.
        """
        if job.fingerprint not in self._leases:
            file = self._open_lock(f"{job.fingerprint[:_LENGTH]}.weights")
            fcntl.flock(file, fcntl.LOCK_SH)
            self._leases[job.fingerprint] = file

    def end_leases(self) -> None:
        for file in self._leases.values():
            file.close()
        self._leases.clear()

    def keep_weights(self, job: Job, experiment: str, keep: bool) -> None:
        """Note whether an experiment wants to keep a result's weights when all is done."""
        mark = self.root / "keep" / f"{job.fingerprint[:_LENGTH]}.{experiment}"
        if keep:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        else:
            mark.unlink(missing_ok=True)

    def prune_weights(self, job: Job) -> int:
        """Remove the weights of a result, unless another process needs them or an experiment keeps them.

        Returns:
            Bytes that were freed.
        """
        lease = self._leases.pop(job.fingerprint, None)
        if lease is not None:
            lease.close()
        weights = self.weights(job)
        if not weights.exists() or any((self.root / "keep").glob(f"{job.fingerprint[:_LENGTH]}.*")):
            return 0
        with self.locked(f"{job.fingerprint[:_LENGTH]}.weights") as mine:
            return files.remove_folder(weights, self.root / "trash") if mine else 0

    # Looking over everything

    def entries(self) -> Iterator[Entry]:
        """Every result, also those of experiments that are not at hand; damaged ones are left out."""
        for kind in KINDS:
            for folder in sorted((self.root / kind).glob("[!.]*")):
                try:
                    label = str(files.read_json(folder / "job.json")["label"])
                    seconds = float(files.read_json(folder / "result.json").get("seconds", 0.0))
                except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    continue
                yield Entry(
                    kind, folder.name, label, files.size(folder), files.size(folder / WEIGHTS), seconds
                )

    def _open_lock(self, name: str) -> IO[str]:
        path = self.root / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")  # where a link lies there, its target stays as it is


def _end_use(path: Path, file: IO[str]) -> None:
    path.unlink(missing_ok=True)
    file.close()


def _try_lock(file: IO[str], mode: int) -> bool:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_writable(folder: Path, purpose: str) -> None:
    """See that files can be written in a folder, which is made if needed.

    Raises:
        InputError: they cannot.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text(json.dumps({"probe": " " * 4096}))
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"The {purpose} folder {folder} cannot be written: {error.strerror}. "
            f"Choose another with {purpose}=FOLDER, or make room there."
        ) from None
