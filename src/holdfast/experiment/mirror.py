"""A store away from a disk (s3://bucket/runs), and the folder of this machine through which it is used.

    <url>/<kind>/<fingerprint>/<version>/...    a result; whole where its manifest.json is, which is put last
    <url>/work/<fingerprint>/<attempt>/<step>/  what an unfinished job goes on from
    <url>/work/<fingerprint>/latest             one object, which names the newest of them
    <url>/keep/, <url>/damaged/                 as on a disk

Such places rename no folders and know no locks. So a version bears the hash of its manifest: two machines
that do one job put the same files, or two results, either whole. Locks are those of the cache, between the
processes that share it. What the cache holds whole and the place lacks is put again, not done again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from holdfast import files
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment.locks import check_writable
from holdfast.experiment.plan import KINDS, Job, names_job
from holdfast.experiment.remote import Remote, Unreachable
from holdfast.experiment.store import MADE, MANIFEST, WEIGHTS, Damaged, Entry, Store, is_weights

ROWS_SECONDS = 60.0  # between two puts of the rows that a filter or an evaluation has so far
_LENGTH = 16  # of a version's name
_KEPT = ("checkpoint/", "metrics.jsonl", "rows.jsonl")  # of a job's work, what it goes on from
_DESCRIPTION = ("job.json", "result.json")
_TRIES = 3  # to fetch work that its machine replaces meanwhile

Sizes = dict[str, int]  # bytes of files, by name


def open_store(experiment: Experiment) -> Store:
    """The store that an experiment names, on any machine that is handed the experiment.

    Raises:
        InputError: as of `open_place`.
    """
    return open_place(experiment.store, experiment.store_folder)


def open_place(place: Path | str, cache: Path) -> Store:
    """The store in a folder, or under a URL.

    Args:
        cache: the folder of this machine through which a URL is used.

    Raises:
        InputError: the URL is of no known kind, or of one whose package is not installed.
    """
    return Store(place) if isinstance(place, Path) else MirrorStore(place, cache)


class MirrorStore(Store):
    """The results under a URL; they are brought to a folder here when they are asked for.

    What goes there or asks there raises Unreachable where that fails.
    """

    def __init__(self, url: str, cache: Path) -> None:
        super().__init__(cache)
        self.remote = Remote(url)
        self.place = self.remote.url
        self._attempt = uuid.uuid4().hex[:8]
        self._kept_work: dict[str, tuple[int, float]] = {}  # the step that is there, and when it was put

    def prepare(self) -> None:
        check_writable(self.root, "cache")
        super().prepare()
        probe = f".probe-{self._attempt}"
        try:
            self.remote.write(probe, b"probe")
            self.remote.remove(probe)
        except Unreachable as error:
            raise InputError(str(error)) from None

    def check_there(self) -> None:
        if not any(map(self.remote.sizes, (*KINDS, "work", "keep", "damaged"))):
            raise InputError(f"There is no store in {self.place}; say where it is with --store URL.")

    # What is there

    def _find(self, job: Job) -> tuple[str, Sizes]:
        """Where the result lies and its files, none of which there may be; the cache has its manifest then.

        Raises:
            Damaged: the manifest is not what was written.
        """
        entry, folder = job.entry, self.folder(job)
        here = _digest(folder / MANIFEST)
        for version, sizes in _versions(self.remote.sizes(entry), here):
            if version != here:
                self.remote.fetch(f"{entry}/{version}", MANIFEST, folder)
                if _digest(folder / MANIFEST) != version:
                    raise Damaged(job.fingerprint, f"the content of {entry}/{version}/{MANIFEST} has changed")
            return f"{entry}/{version}", sizes
        return entry, {}

    def has(self, job: Job, weights: bool = False) -> bool:
        place, sizes = self._find(job)
        if not sizes:
            return False
        listed = self._manifest(job)
        pruned = any(name not in sizes for name in listed if is_weights(name))  # wholly, or just now
        for name, facts in listed.items():
            if not (pruned and is_weights(name)) and sizes.get(name) != facts["bytes"]:
                size = sizes.get(name, "no")
                text = f"{self.place}/{place}/{name} has {size} bytes instead of {facts['bytes']}"
                raise Damaged(job.fingerprint, text)
        return not weights or (not pruned and any(map(is_weights, listed)))

    def _manifest(self, job: Job) -> dict[str, dict[str, Any]]:
        if not (self.folder(job) / MANIFEST).exists():
            self._find(job)
        return super()._manifest(job)

    def made(self, job: Job) -> dict[str, Any]:
        with suppress(Damaged):
            self.verify(job, MADE)  # brings it
        return super().made(job)

    def _compare(self, job: Job, name: str, facts: dict[str, Any]) -> None:
        """As on a disk; what the cache lacks or holds otherwise is brought before."""
        with suppress(Damaged):
            return super()._compare(job, name, facts)
        place, sizes = self._find(job)
        if name in sizes:
            self.remote.fetch(place, name, self.folder(job))
        super()._compare(job, name, facts)

    def _is_whole(self, job: Job) -> bool:
        """Of what lies there, whatever the cache holds."""
        try:
            place, sizes = self._find(job)
            return self.has(job) and all(
                self.remote.digest(f"{place}/{name}") == facts["sha256"]
                for name, facts in self._manifest(job).items()
                if name in sizes
            )
        except (Damaged, FileNotFoundError):
            return False

    # Doing a job

    def begin(self, job: Job, weights: bool) -> bool:
        if self.has(job, weights):
            return True
        with suppress(Damaged):
            self.verify(job)
            self._written(job)
            return True
        self._kept_work[job.fingerprint] = self._fetch_work(job), time.monotonic()
        return False

    def _written(self, job: Job) -> None:
        folder = self.folder(job)
        self.remote.put(folder, f"{job.entry}/{_digest(folder / MANIFEST)}", last=MANIFEST)
        super()._written(job)

    def keep_work(self, job: Job) -> None:
        work, name = self.work(job), f"work/{job.short_name}"
        before, when = self._kept_work[job.fingerprint]
        if not _checkpoint(work).exists() and time.monotonic() - when < ROWS_SECONDS:
            return
        if (step := _step(work)) == before:
            return
        self.remote.put(work, f"{name}/{self._attempt}/{step}", begin=_KEPT)
        self.remote.write(f"{name}/latest", f"{self._attempt}/{step}".encode())
        self.remote.remove(f"{name}/{self._attempt}/{before}")
        self._kept_work[job.fingerprint] = step, time.monotonic()

    def _fetch_work(self, job: Job) -> int:
        """Take on what the newest attempt left, where it came further than this machine; the step there.

        Who goes on from it sees whether it is what was written.
        """
        name, work = f"work/{job.short_name}", self.work(job)
        for _ in range(_TRIES):
            latest = (self.remote.read(f"{name}/latest") or b"").decode(errors="replace")
            attempt, _, step = latest.partition("/")
            if not (attempt.isalnum() and step.isdecimal()):
                return 0
            if int(step) <= _step(work):
                return int(step)
            with suppress(FileNotFoundError), files.whole_folder(work) as folder:
                place = f"{name}/{latest}"
                sizes = self.remote.sizes(place)
                if not sizes or not all(self.remote.fetch(place, one, folder) for one in sizes):
                    raise FileNotFoundError  # a newer one has its place by now
                if any((folder / one).stat().st_size != size for one, size in sizes.items()):
                    raise FileNotFoundError  # it was cut on its way
        return 0

    def clear_work(self, job: Job) -> None:
        super().clear_work(job)
        self.remote.remove(f"work/{job.short_name}")

    def set_aside(self, job: Job) -> Path | None:
        """As on a disk; a whole result in the cache stays there, to be put again."""
        with self.lock(job) as mine:
            if not mine or self._is_whole(job):
                return None
            moved, name = None, f"{job.kind}-{job.short_name}"
            here = _digest(self.folder(job) / MANIFEST)
            for version, _ in _versions(self.remote.sizes(job.entry), here)[:1]:
                moved = Path("damaged", f"{name}-{version}")
                self.remote.move(f"{job.entry}/{version}", str(moved), first=MANIFEST)
            try:
                self.verify(job)
            except Damaged:
                return self._move_aside(self.folder(job), name) or moved
            return moved

    # Weights

    def keep_weights(self, job: Job, run: str, keep: bool) -> None:
        mark = f"keep/{job.short_name}.{run}"
        if keep:
            self.remote.write(mark, b"")
        else:
            self.remote.remove(mark)

    def has_weights(self, job: Job) -> bool:
        return any(map(is_weights, self._find(job)[1]))

    def _kept(self, name: str) -> bool:
        return any(mark.startswith(f"{name}.") for mark in self.remote.sizes("keep"))

    def unkeep(self, name: str) -> None:
        for mark in self.remote.sizes("keep"):
            if mark.startswith(f"{name}."):
                self.remote.remove(f"keep/{mark}")

    # Looking over everything

    def entries(self) -> Iterator[Entry]:
        for kind in KINDS:
            found = _by_first(self.remote.sizes(kind))
            whole = {
                name: f"{kind}/{name}/{version}"
                for name, sizes in found.items()
                for version, files_ in _versions(sizes)[:1]
                if files_.keys() >= set(_DESCRIPTION)
            }
            asked = [f"{place}/{file}" for place in whole.values() for file in _DESCRIPTION]
            said = iter(self.remote.read_all(asked))
            for name, job, result in zip(whole, said, said, strict=True):
                try:
                    label = str(files.parse_json(job)["label"])
                    seconds = float(files.parse_json(result).get("seconds", 0.0))
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue
                weights = sum(size for file, size in found[name].items() if f"/{WEIGHTS}/" in file)
                yield Entry(kind, name, label, sum(found[name].values()), weights, seconds)

    def held(self, kind: str, part: str = "") -> Sizes:
        found = {}
        for name, sizes in _by_first(self.remote.sizes(kind)).items():
            bytes_ = [size for file, size in sizes.items() if not part or f"/{part}/" in f"/{file}"]
            if bytes_ and names_job(name):
                found[f"{kind}/{name}/{part}".rstrip("/")] = sum(bytes_)
        return found

    def drop(self, name: str) -> int:
        """As on a disk, here and there; of a result, its manifest goes first."""
        super().drop(name)
        kind, entry, *part = name.split("/")
        sizes = self.remote.sizes(f"{kind}/{entry}")
        versions = dict.fromkeys(file.partition("/")[0] for file in sizes) if kind in KINDS else ()
        for version in versions:
            self.remote.remove(f"{kind}/{entry}/{version}/{part[0] if part else MANIFEST}")
        if not part:
            self.remote.remove(name)
        return sum(size for file, size in sizes.items() if not part or f"/{part[0]}/" in file)


def _by_first(sizes: Mapping[str, int]) -> dict[str, Sizes]:
    """Files by the folder that they lie in."""
    found: dict[str, Sizes] = {}
    for name, size in sizes.items():
        first, _, rest = name.partition("/")
        found.setdefault(first, {})[rest] = size
    return found


def _versions(sizes: Mapping[str, int], here: str = "") -> list[tuple[str, Sizes]]:
    """The whole versions of a result: the fullest first (weights may be gone from others), of equals the one
    that is here."""
    whole = [(version, found) for version, found in _by_first(sizes).items() if MANIFEST in found]
    return sorted(whole, key=lambda one: (-len(one[1]), one[0] != here, one[0]))


def _digest(manifest: Path) -> str:
    """The name of the version that a manifest describes; empty where there is none."""
    return files.file_digest(manifest)[:_LENGTH] if manifest.is_file() else ""


def _checkpoint(work: Path) -> Path:
    return work / "checkpoint" / "state.json"


def _step(work: Path) -> int:
    """How far the work of a job goes: iterations of its step checkpoint, else batches of rows."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(files.read_json(_checkpoint(work))["iteration"])
    with suppress(OSError):
        return (work / "rows.jsonl").read_bytes().count(b"\n")
    return 0
