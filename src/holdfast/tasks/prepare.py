"""`holdfast data prepare`: from a published set's rows to a folder that training and evaluation read.

Rows become Examples once. Their texts are kept in a light table, in the order in which they are
used; image files are copied byte for byte, each distinct one once, and read when they are shown.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from holdfast import files, rng
from holdfast.errors import HoldfastError, InputError, reason
from holdfast.tasks.benchmarks import Benchmark
from holdfast.tasks.benchmarks.benchmark import NUMBER, BadRow, Records
from holdfast.tasks.benchmarks.fields import FolderImage
from holdfast.tasks.example import Example, ImageSource, LazyImage
from holdfast.tasks.imagecheck import SMALLEST_SIDE, size_of
from holdfast.tasks.pictures import BadImage
from holdfast.tasks.prepared import (
    COLUMNS,
    FORMAT,
    IMAGES,
    NAMED,
    ROWS,
    changed_file,
    elsewhere,
    facts,
    image_type,
    picture_changed,
    picture_state,
    read_manifest,
    row_type,
)
from holdfast.tasks.source import Source
from holdfast.tasks.tables import library, plain_rows
from holdfast.tasks.task import Split

SHOWN_PROBLEMS = 5  # examples of each kind of problem in the manifest
AT_ONCE = 16  # images that are kept in memory before they are written

OnProgress = Callable[[Split, int], None]


def prepare(
    benchmark: Benchmark,
    source: Source,
    folder: Path,
    *,
    subset: Mapping[Split, int] | None = None,
    seed: int = 0,
    on_progress: OnProgress = lambda split, rows: None,
) -> dict[str, Any]:
    """Write a prepared set; returns its manifest.

    Args:
        folder: of the set; an earlier set there is replaced when the new one is whole, and stays if it
            is the same already.
        subset: rows to take of a split, drawn by `seed`; all of the others.
        on_progress: told split and source rows read so far.

    Raises:
        InputError: a split or its subset is not there, or nothing usable was found.
    """
    subset = dict(subset or {})
    for split in subset:
        if split not in source.splits:
            raise InputError(f"Task {benchmark.name} has no {split} split in {source.origin}.")
    request = {
        "format": FORMAT, "task": benchmark.name, "version": benchmark.version, "origin": source.origin,
        "state": source.state, "subset": subset, "seed": seed,
    }  # fmt: skip
    files.recover_folder(folder)
    there = read_manifest(folder)
    asked = there and all(there.get(key) == value for key, value in request.items())
    if there and asked and _intact(folder, there):
        return there
    if there is None and folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no prepared set; choose another --out.")
    with suppress(_MadeMeanwhile), files.whole_folder(folder) as work:
        writers = {split: _Split(benchmark, split, seed) for split in source.splits}
        splits = {
            split: writer.write(work / split, source.splits[split], subset.get(split), on_progress)
            for split, writer in writers.items()
        }
        _see_that_rows_are_there(benchmark, source, splits)
        shown_in_both = {
            f"{one}/{other}": len(writers[one].shown & writers[other].shown)
            for one, other in combinations(splits, 2)
        }
        manifest = request | {"licence": benchmark.licence, "splits": splits, "overlap": shown_in_both}
        files.write_json(work / "manifest.json", manifest)
        if source.watched:
            named = {str(path): was for writer in writers.values() for path, was in writer.named.items()}
            files.write_json(work / NAMED, named)
        if read_manifest(folder) == manifest and _intact(folder, manifest):
            raise _MadeMeanwhile
    return manifest


def _see_that_rows_are_there(benchmark: Benchmark, source: Source, splits: Mapping[Split, Any]) -> None:
    if not any(entry["rows"] for entry in splits.values()):
        problems = [line for entry in splits.values() for line in entry["problems"]]
        instance = f"; for instance: {problems[0]}" if problems else ""
        raise InputError(f"Task {benchmark.name}: no row of {source.origin} can be used{instance}.")


class _MadeMeanwhile(Exception):
    """Another process made the same set, and may be reading it: it stays."""


def _intact(folder: Path, manifest: Mapping[str, Any]) -> bool:
    try:
        return changed_file(folder, manifest, thorough=True) is None and not picture_changed(folder)
    except (OSError, KeyError):
        return False


def remarks(benchmark: Benchmark, manifest: Mapping[str, Any]) -> list[str]:
    """What a person should know about a set: rows left out, sizes unlike the published ones, overlap."""
    lines = []
    for split, entry in manifest["splits"].items():
        expected = benchmark.sizes.get(split)
        if expected is not None and entry["selected_from"] != expected:
            lines.append(f"{split}: {entry['selected_from']} usable rows, but {expected} are published")
        for name, what in _COUNTS.items():
            if entry[name]:
                lines.append(f"{split}: {entry[name]} {what}")
        lines += [f"{split}: {problem}" for problem in entry["problems"]]
    for pair, count in manifest["overlap"].items():
        if count:
            lines.append(f"{pair.replace('/', ' and ')}: {count} images are in both")
    missing = [split for split in benchmark.sizes if split not in manifest["splits"]]
    if missing:
        lines.append(f"no {', '.join(missing)} split in this source")
    if advice := elsewhere(benchmark, manifest):
        lines.append(advice)
    return lines


_COUNTS = {
    "duplicates": "rows repeat an id (left out)",
    "bad_rows": "rows cannot be used (left out)",
    "bad_images": "rows with missing or corrupt images (left out)",
    "small_images": f"images have a side under {SMALLEST_SIDE} pixels (kept)",
}


class _Split:
    """Writes one split.

    Attributes:
        shown: SHA-256 of the images that its rows show.
        named: files of images that its rows name, as they were before they were read.
    """

    def __init__(self, benchmark: Benchmark, split: Split, seed: int) -> None:
        self.benchmark, self.split, self.seed = benchmark, split, seed
        self.counts: Counter[str] = Counter()
        self.problems: dict[str, list[str]] = {}
        self.shown: set[str] = set()
        self.written: set[str] = set()
        self.named: dict[Path, list[int] | None] = {}
        self.digests: dict[LazyImage, str | BadImage] = {}  # of images that several rows name

    def write(
        self, folder: Path, records: Records, count: int | None, on_progress: OnProgress
    ) -> dict[str, Any]:
        from datasets.arrow_writer import ArrowWriter

        folder.mkdir()
        chosen = None if count is None else self._draw(records, count)
        unsorted, pictures = folder / f"{ROWS}.unsorted", folder / IMAGES
        with (
            ArrowWriter(features=row_type(), path=str(unsorted)) as rows,
            ArrowWriter(features=image_type(), path=str(pictures), writer_batch_size=AT_ONCE) as images,
        ):
            for number, item in self._usable(records):
                if number % 1000 == 0:
                    on_progress(self.split, number)
                if item is None or (chosen is not None and item.id not in chosen):
                    continue
                try:
                    digests = [self._take(image, images) for image in item.images]
                except BadImage as bad:
                    self._problem("bad_images", f"row {number} ({item.id}): {bad}")
                    continue
                self.shown.update(digests)
                self.counts["rows"] += 1
                rows.write(_stored(item, digests) | {"order": rng.seed("order", self.seed, item.id)})
            rows.finalize()
            images.finalize()
        content = _sort(unsorted, folder / ROWS)
        names = ("rows", "left_out", "duplicates", "bad_rows", "bad_images", "small_images")
        return {
            "selected_from": self.counts["usable"],
            "subset": count,
            **{name: self.counts[name] for name in names},
            "images": len(self.shown),
            "problems": [line for lines in self.problems.values() for line in lines],
            "content": content,
            "files": {name: facts(folder / name) for name in (ROWS, IMAGES)},
        }

    def _usable(self, records: Records) -> Iterator[tuple[int, Example | None]]:
        """The rows' numbers from 1, and their Examples; None for those that are left out and counted."""
        ids: set[str] = set()
        for number, record in enumerate(records(), start=1):
            item = None
            try:
                item = self.benchmark.example({"row": number - 1, **record, NUMBER: number - 1}, self.split)
            except BadRow as bad:
                self._problem("bad_rows", f"row {number}: {bad}")
            except KeyError as missing:
                self._problem("bad_rows", f"row {number}: no field {missing}")
            except (TypeError, AttributeError, ValueError, IndexError) as error:  # a column of another type
                self._problem("bad_rows", f"row {number}: {reason(error)}")
            else:
                if item is None:
                    self.counts["left_out"] += 1
                elif item.id in ids:
                    self._problem("duplicates", f"row {number}: id {item.id} again")
                    item = None
                else:
                    self.counts["usable"] += 1
                    ids.add(item.id)
            yield number, item

    def _draw(self, records: Records, count: int) -> set[str]:
        """The ids of a subset."""
        ranks = {item.id: rng.seed("subset", self.seed, item.id) for _, item in self._usable(records) if item}
        self.counts.clear()  # the rows are read and counted again
        self.problems.clear()
        if count > len(ranks):
            raise InputError(f"A subset of {count} was asked for, but there are {len(ranks)} usable rows.")
        return set(sorted(ranks, key=lambda id: (ranks[id], id))[:count])

    def _take(self, image: ImageSource, writer: Any) -> str:
        """The SHA-256 of an image, which is checked and written when it is met first."""
        if not isinstance(image, LazyImage):
            return self._write(bytes(image), writer)  # type: ignore[arg-type]  # rows hold files, no pictures
        if image not in self.digests:
            if isinstance(image, FolderImage):
                self.named[image.folder / image.name] = picture_state(image.folder / image.name)
            try:
                self.digests[image] = self._write(image.read(), writer)
            except BadImage as bad:
                self.digests[image] = BadImage(f"{image}: {bad}")
            except HoldfastError as error:
                self.digests[image] = BadImage(str(error))
        if isinstance(found := self.digests[image], BadImage):
            raise found
        return found

    def _write(self, data: bytes, writer: Any) -> str:
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self.written:
            self.counts["small_images"] += min(size_of(data)) < SMALLEST_SIDE
            self.written.add(digest)
            writer.write({"sha256": digest, "bytes": data})
        return digest

    def _problem(self, kind: str, line: str) -> None:
        self.counts[kind] += 1
        lines = self.problems.setdefault(kind, [])
        if len(lines) < SHOWN_PROBLEMS:
            lines.append(line)


def _stored(example: Example, images: list[str]) -> dict[str, Any]:
    """An Example as a row of a prepared set."""
    fields = {name: getattr(example, name) for name in COLUMNS}
    return fields | {"images": images, "meta": json.dumps(example.meta, ensure_ascii=False, default=str)}


def _sort(unsorted: Path, target: Path) -> str:
    """Write the rows in their shuffled order; returns a digest of what they say."""
    from datasets.arrow_writer import ArrowWriter

    table = library().Dataset.from_file(str(unsorted))
    order = np.argsort(np.asarray(table["order"][:], dtype=np.uint64), kind="stable")
    digest = hashlib.sha256()
    with ArrowWriter(features=row_type(), path=str(target)) as rows:
        for row in plain_rows(table.select(order)):
            rows.write(row)
            digest.update(json.dumps(row, sort_keys=True).encode())
        rows.finalize()
    unsorted.unlink()
    return digest.hexdigest()
