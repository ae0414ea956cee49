"""`holdfast data prepare`: from a release's files to a prepared set, in bounded memory and resumable.

Rows and images are written in parts. A part is a pair of files under their final names and a line
in the journal; a run that was killed goes on after the last part. Image files are copied byte for
byte, each distinct one once, or left where they are (by reference).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from holdfast import files, rng
from holdfast.errors import InputError
from holdfast.tasks.example import Example
from holdfast.tasks.hub.benchmark import BadRow, Benchmark, Keyed, Reader
from holdfast.tasks.hub.source import Source
from holdfast.tasks.imagecheck import SMALLEST_SIDE, BadImage, size_of
from holdfast.tasks.prepared import FORMAT, IMAGES_PER_GROUP, elsewhere, schemas
from holdfast.tasks.task import Split

PART_ROWS, PART_BYTES = 16_384, 96 << 20  # what ends a part
SHOWN_PROBLEMS = 5  # examples of each kind of problem in the manifest

Images = Literal["embed", "reference"]
OnProgress = Callable[[Split, int], None]


@dataclass
class Part:
    """What the next pair of files will hold, and what was met on the way."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def full(self) -> bool:
        return len(self.rows) >= PART_ROWS or self.bytes >= PART_BYTES


def prepare(
    benchmark: Benchmark,
    source: Source,
    folder: Path,
    *,
    images: Images = "embed",
    subset: Mapping[Split, int] | None = None,
    seed: int = 0,
    on_progress: OnProgress = lambda split, rows: None,
) -> dict[str, Any]:
    """Write a prepared set, or go on with it; returns its manifest.

    Args:
        folder: of the set; an earlier set there is replaced when the new one is whole.
        images: copy image files into the set, or keep them by reference to the source folder.
        subset: rows to take of a split, drawn by `seed`; all of the others.
        on_progress: told split and source rows read so far.

    Raises:
        InputError: a split or its subset is not there, or nothing usable was found.
    """
    subset = dict(subset or {})
    for split in subset:
        if split not in source.splits:
            raise InputError(f"Task {benchmark.name} has no {split} split in {source.origin}.")
    if images == "reference" and source.layout == "hub":
        raise InputError("Images in parquet files cannot be kept by reference; leave out --images reference.")
    request = {
        "format": FORMAT, "task": benchmark.name, "version": benchmark.version, "origin": source.origin,
        "state": source.state, "layout": source.layout, "images": images, "subset": subset, "seed": seed,
    }  # fmt: skip
    if (folder / "manifest.json").is_file() and _same_request(folder, request):
        done: dict[str, Any] = files.read_json(folder / "manifest.json")
        return done
    if folder.exists() and any(folder.iterdir()) and not (folder / "request.json").is_file():
        raise InputError(f"{folder} is not empty and holds no prepared set; choose another --out.")
    work = folder.with_name(f".{folder.name}.partial")  # a set that is there stays until the new one is whole
    if not _same_request(work, request):
        shutil.rmtree(work, ignore_errors=True)
        files.write_json(work / "request.json", request)
    splits = {
        split: _Split(work / split, reader, source.folder, images, seed).write(
            split, subset.get(split), on_progress
        )
        for split, reader in source.splits.items()
    }
    if not any(entry["rows"] for entry in splits.values()):
        problems = [line for entry in splits.values() for line in entry["problems"]]
        raise InputError(
            f"Task {benchmark.name}: no row of {source.origin} can be used"
            + (f"; for instance: {problems[0]}." if problems else ".")
        )
    manifest = request | {
        "licence": benchmark.licence,
        "images": {"kept": images, "root": str(source.folder.resolve()) if images == "reference" else ""},
        "splits": splits,
        "overlap": _overlap(work, list(splits)),
        "files": {
            path.relative_to(work).as_posix(): _checksum(path)
            for split in splits
            for path in sorted((work / split).glob("*.parquet"))
        },
    }
    files.write_json(work / "manifest.json", manifest)
    shutil.rmtree(folder, ignore_errors=True)
    work.replace(folder)
    return manifest


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
            lines.append(f"{count} images are in both {pair.replace('/', ' and ')}")
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
    """Writes one split."""

    def __init__(self, folder: Path, reader: Reader, root: Path, images: Images, seed: int) -> None:
        self.folder, self.reader, self.root, self.images, self.seed = folder, reader, root, images, seed
        self.resolved = root.resolve()
        self.journal: list[dict[str, Any]] = []
        self.ids: set[str] = set()
        self.keys: dict[str, str] = {}  # of images met so far: "" or what is wrong with it

    def write(self, split: Split, count: int | None, on_progress: OnProgress) -> dict[str, Any]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        chosen, wanted = self._choose(count)
        if self.reader.images is not None:
            self._images(self.reader.images(), wanted)
        start = next((entry["next"] for entry in reversed(self.journal) if entry["stage"] == "rows"), 0)
        part, read = Part(), start
        for number, item in enumerate(self.reader.rows(), start=1):
            if number <= start:  # done by an earlier run
                if isinstance(item, Example):
                    self.ids.add(item.id)
                continue
            read = number
            self._row(part, item, chosen, read)
            if part.full():
                self._flush(part, "rows", read)
                part = Part()
            if read % 1000 == 0:
                on_progress(split, read)
        if part.rows or part.images or part.counts or not self.journal:
            self._flush(part, "rows", read)
        on_progress(split, read)
        return self._summary(count)

    def _row(self, part: Part, item: Example | BadRow | None, chosen: set[str] | None, number: int) -> None:
        if item is None:
            part.counts["left_out"] += 1
        elif isinstance(item, BadRow):
            self._problem(part, "bad_rows", f"row {number}: {item}")
        elif item.id in self.ids:
            self._problem(part, "duplicates", f"row {number}: id {item.id} again")
        else:
            self.ids.add(item.id)
            part.counts["usable"] += 1
            if chosen is None or item.id in chosen:
                try:
                    keys = [self._image(part, image) for image in item.images]
                except BadImage as bad:
                    self._problem(part, "bad_images", f"row {number} ({item.id}): {bad}")
                else:
                    part.rows.append(self._record(item, keys))

    def _record(self, example: Example, keys: list[str]) -> dict[str, Any]:
        return {
            "id": example.id,
            "order": rng.seed("order", self.seed, example.id),
            "prompt": example.prompt,
            "answer": example.answer,
            "images": keys,
            "choices": example.choices,
            "aliases": example.aliases,
            "references": example.references,
            "rationale": example.rationale,
            "meta": json.dumps(example.meta, ensure_ascii=False, default=str),
        }

    def _image(self, part: Part, image: Any) -> str:
        """The image's key; a new image is checked and taken in."""
        if isinstance(image, Keyed):
            key = image.key
            if key not in self.keys:
                raise BadImage(f"image {key} is not in the table of images")
        elif isinstance(image, Path):
            key = image.relative_to(self.root).as_posix()
            if key not in self.keys:
                self._take(part, key, self._file(image, key))
        else:
            data = bytes(image)
            key = hashlib.sha256(data).hexdigest()
            if key not in self.keys:
                self._take(part, key, data)
        if problem := self.keys[key]:
            raise BadImage(problem)
        return key

    def _file(self, path: Path, key: str) -> bytes:
        try:
            if not path.resolve().is_relative_to(self.resolved):
                raise BadImage(f"{key} leads out of the data folder")
            return path.read_bytes()
        except (OSError, RuntimeError) as error:
            self.keys[key] = f"{key} is {'missing' if isinstance(error, FileNotFoundError) else 'unreadable'}"
            raise BadImage(self.keys[key]) from None

    def _take(self, part: Part, key: str, data: bytes) -> None:
        try:
            width, height = size_of(data)
        except BadImage as bad:
            self.keys[key] = f"image {key[:80]}: {bad}"
            return
        self.keys[key] = ""
        part.counts["images"] += 1
        part.counts["small_images"] += min(width, height) < SMALLEST_SIDE
        embedded = data if self.images == "embed" else None
        part.bytes += len(embedded or b"")
        digest = hashlib.sha256(data).hexdigest()
        part.images.append(
            {"key": key, "sha256": digest, "width": width, "height": height, "bytes": embedded}
        )

    def _images(self, images: Iterator[tuple[str, bytes]], wanted: set[str]) -> None:
        """Take in those images of a table that the chosen rows name."""
        read = next((entry["next"] for entry in reversed(self.journal) if entry["stage"] == "images"), 0)
        part = Part()
        for key, data in islice(images, read, None):
            read += 1
            if key in wanted and key not in self.keys:
                self._take(part, key, data)
            if part.full():
                self._flush(part, "images", read)
                part = Part()
        if part.images:
            self._flush(part, "images", read)

    def _choose(self, count: int | None) -> tuple[set[str] | None, set[str]]:
        """Ids of the subset (None for all), and the keys of images that it names in a table."""
        if count is None and self.reader.images is None:
            return None, set()
        ranks: dict[str, int] = {}
        names: dict[str, list[str]] = {}
        for item in self.reader.rows():
            if isinstance(item, Example):
                ranks.setdefault(item.id, 0 if count is None else rng.seed("subset", self.seed, item.id))
                keyed = [image.key for image in item.images if isinstance(image, Keyed)]
                names.setdefault(item.id, keyed)  # of rows with one id, the first is kept
        if count is not None and count > len(ranks):
            raise InputError(f"A subset of {count} was asked for, but there are {len(ranks)} usable rows.")
        chosen = set(sorted(ranks, key=lambda id: (ranks[id], id))[:count])
        keys = {key for id in chosen for key in names[id]}
        return (None if count is None else chosen), keys

    def _problem(self, part: Part, kind: str, line: str) -> None:
        part.counts[kind] += 1
        shown = sum(kind_ == kind for entry in self.journal for kind_, _ in entry["problems"])
        if shown + sum(kind_ == kind for kind_, _ in part.problems) < SHOWN_PROBLEMS:
            part.problems.append((kind, line))

    def _flush(self, part: Part, stage: str, read: int) -> None:
        """Write a part's files, then its line in the journal."""
        number = len(self.journal)
        rows, images = schemas()
        if part.rows:
            _write(self.folder / f"rows-{number:05d}.parquet", part.rows, rows, 4096)
        if part.images:
            _write(self.folder / f"images-{number:05d}.parquet", part.images, images, IMAGES_PER_GROUP)
        self.journal.append(
            {
                "stage": stage,
                "next": read,
                "rows": len(part.rows),
                "counts": part.counts,
                "problems": part.problems,
            }
        )
        files.write_json(self.folder / "journal.json", {"parts": self.journal, "bad": self._bad()})

    def _bad(self) -> dict[str, str]:
        return {key: problem for key, problem in self.keys.items() if problem}

    def _resume(self) -> None:
        """What an earlier run has finished; files of a part it did not finish go."""
        import pyarrow.parquet as pq

        path = self.folder / "journal.json"
        saved = files.read_json(path) if path.is_file() else {"parts": [], "bad": {}}
        self.journal, self.keys = saved["parts"], saved["bad"]
        for file in sorted(self.folder.glob("*.parquet*")):
            kind, _, number = file.name.split(".")[0].partition("-")
            if file.suffix != ".parquet" or int(number) >= len(self.journal):
                file.unlink()
                continue
            if kind == "images":
                keys = pq.read_table(file, columns=["key"]).column(0).to_pylist()
                self.keys |= dict.fromkeys(keys, "")

    def _summary(self, count: int | None) -> dict[str, Any]:
        total: Counter[str] = Counter()
        for entry in self.journal:
            total.update(entry["counts"])
        names = ("left_out", "duplicates", "bad_rows", "bad_images", "images", "small_images")
        return {
            "rows": sum(entry["rows"] for entry in self.journal),
            "selected_from": total["usable"],
            "subset": count,
            **{name: total[name] for name in names},
            "problems": [line for entry in self.journal for _, line in entry["problems"]],
        }


def _write(path: Path, rows: list[dict[str, Any]], schema: Any, group: int) -> None:
    """A parquet file, whole or not at all. Images are compressed already, texts shrink well."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    compression = {name: "NONE" if name == "bytes" else "ZSTD" for name in schema.names}
    temporary = path.with_suffix(".parquet.part")
    table = pa.Table.from_pylist(rows, schema)
    pq.write_table(
        table, temporary, row_group_size=group, compression=compression, use_dictionary=False,
        write_statistics=False,
    )  # fmt: skip
    files.sync(temporary)
    temporary.replace(path)


def _overlap(folder: Path, splits: list[Split]) -> dict[str, int]:
    """Distinct images that two splits share, by content."""
    import pyarrow.parquet as pq

    contents = {
        split: {
            digest
            for file in (folder / split).glob("images-*.parquet")
            for digest in pq.read_table(file, columns=["sha256"]).column(0).to_pylist()
        }
        for split in splits
    }
    return {
        f"{one}/{other}": len(contents[one] & contents[other])
        for position, one in enumerate(splits)
        for other in splits[position + 1 :]
    }


def _same_request(folder: Path, request: dict[str, Any]) -> bool:
    path = folder / "request.json"
    try:
        return bool(files.read_json(path) == json.loads(json.dumps(request)))
    except (OSError, ValueError):
        return False


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
