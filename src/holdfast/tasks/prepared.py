"""Prepared sets: what `holdfast data prepare` writes, and tasks that read it.

A prepared set is a folder with

    manifest.json          what it is: counts, splits, source, licence, checksums
    SPLIT/rows.arrow       examples in the order in which they are used; images by their SHA-256
    SPLIT/images.arrow     each distinct image: its SHA-256, and the file's bytes
    pictures.json          of a table of one's own: files that rows name, as they were when they were copied

Rows lie in an order shuffled by the seed, so that the first ones are a fair sample even where a
release is sorted by subject or category. Both tables are mapped into memory: an image is read from
the disk when it is shown, and compared with its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError, InputError
from holdfast.files import file_digest, read_if_there, read_json, state
from holdfast.tasks.benchmarks import BENCHMARKS, Benchmark
from holdfast.tasks.example import Example, LazyImage
from holdfast.tasks.tables import library
from holdfast.tasks.task import SPLITS, Split, Task

FORMAT = 2
ROWS, IMAGES, NAMED = "rows.arrow", "images.arrow", "pictures.json"
# Fields of an Example, as columns of rows.
COLUMNS = ("id", "prompt", "answer", "images", "choices", "aliases", "references", "rationale", "meta")
FOLDER_VARIABLE = "HOLDFAST_DATA"

_counted: ContextVar[set[str] | None] = ContextVar("_counted", default=None)  # see `published_sizes`


def data_folder() -> Path:
    """Where prepared sets lie: `$HOLDFAST_DATA`, or `data` in the current folder."""
    return Path(os.environ.get(FOLDER_VARIABLE) or "data")


def prepared_names() -> list[str]:
    """Benchmarks that are prepared, in the study's order."""
    return [
        name for name in BENCHMARKS if (read_manifest(data_folder() / name) or {}).get("format") == FORMAT
    ]


def row_type() -> Any:
    """The columns of rows; `order` is what they are sorted by."""
    Features, Value, List = library().Features, library().Value, library().List
    texts = {name: Value("string") for name in ("id", "prompt", "answer", "rationale", "meta")}
    lists = {name: List(Value("string")) for name in ("images", "choices", "aliases", "references")}
    return Features({**texts, **lists, "order": Value("uint64")})


def image_type() -> Any:
    return library().Features({"sha256": library().Value("string"), "bytes": library().Value("large_binary")})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a prepared set, of whatever version; {} if it is damaged, None if there is none."""
    try:
        manifest = read_json(folder / "manifest.json")
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return manifest if isinstance(manifest, dict) else {}


def facts(file: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, which tell it from a damaged one."""
    now = state(file)
    return {"bytes": now[0], "sha256": _digest(file.absolute(), now)}


@lru_cache(maxsize=64)
def _digest(file: Path, now: tuple[int, ...]) -> str:
    """SHA-256 of a file, which is read again when its state is another."""
    return file_digest(file)


def changed_file(folder: Path, manifest: Mapping[str, Any], thorough: bool = False) -> str | None:
    """A file of a prepared set that is not as its manifest says, if there is one.

    Args:
        thorough: read the images, too. Without it, their size is compared: each is looked at when it
            is shown.

    Raises:
        OSError: a file is not there.
        KeyError: the manifest lacks something, or names other splits.
    """
    for split, entry in manifest["splits"].items():
        if split not in SPLITS:
            raise KeyError(split)  # nothing outside the folder is read
        for name in (ROWS, IMAGES):
            file, known = folder / split / name, entry["files"][name]
            if file.stat().st_size != known["bytes"]:
                return f"{split}/{name}"
            if (thorough or name == ROWS) and facts(file) != known:
                return f"{split}/{name}"
    return None


def picture_state(file: Path) -> list[int] | None:
    """What tells a picture from another under its name; None where there is none."""
    try:
        return [*state(file)]
    except OSError:
        return None


def picture_changed(folder: Path) -> bool:
    """Whether a picture that rows of a copied table name was replaced since, or came only then."""
    known = read_if_there(folder / NAMED)
    return isinstance(known, dict) and any(picture_state(Path(one)) != was for one, was in known.items())


def load_benchmark(name: str) -> Task:
    """The task of a prepared benchmark.

    Raises:
        InputError: it is not prepared (with the command to run), or its folder is damaged.
    """
    folder, counted = data_folder() / name, _counted.get()
    if counted is None or read_manifest(folder) is not None:
        return load_prepared(BENCHMARKS[name], folder)
    counted.add(name)
    return _unprepared(BENCHMARKS[name], folder)


@contextmanager
def published_sizes(wanted: bool = True) -> Iterator[set[str]]:
    """In the block a benchmark that is not prepared is a task of its published size without any rows: enough
    for a plan of what nobody has fetched yet. The names of those that were asked for are in the result."""
    counted = set[str]()
    before = _counted.set(counted if wanted else None)
    try:
        yield counted
    finally:
        _counted.reset(before)


def _unprepared(benchmark: Benchmark, folder: Path) -> Task:
    def load(split: Split, count: int | None) -> list[Example]:
        load_prepared(benchmark, folder)  # says what to do
        raise InputError(f"Task {benchmark.name} was prepared just now; say the command again.")

    sizes = dict(benchmark.sizes or benchmark.about)
    return _task(benchmark, load=load, sizes=sizes, source="not prepared")


def _task(benchmark: Benchmark, **data: Any) -> Task:
    """A benchmark's task over these data."""
    said = ("name", "version", "description", "scorer", "chance", "options")
    return Task(**{key: getattr(benchmark, key) for key in said}, **data)


def load_prepared(benchmark: Benchmark, folder: Path) -> Task:
    """The task of a prepared set, whose files are compared with its manifest.

    Raises:
        InputError: there is none, it was made by another version, or it changed since; with the command
            that makes it.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        name = benchmark.name
        hint = f" or, from files of your own, 'holdfast data prepare {name} --from FOLDER'"
        raise InputError(
            f"Task {name} is not prepared: {folder} holds no prepared set. Run 'holdfast data prepare {name}'"
            f"{hint}; if its set lies elsewhere, set {FOLDER_VARIABLE} to the folder above it."
        )
    again = f"run '{command(benchmark, manifest)}' to make it again."
    if manifest and (manifest.get("format"), manifest.get("version")) != (FORMAT, benchmark.version):
        raise InputError(f"The prepared set {folder} was made by another version of Holdfast; {again}")
    try:
        entries: dict[Split, Any] = manifest["splits"]
        if changed := changed_file(folder, manifest):
            raise InputError(f"The prepared set {folder} is damaged ({changed} changed); {again}")
        parts = {split: _Rows(folder / split) for split in entries}
        sizes: dict[Split, int | None] = {split: entry["rows"] for split, entry in entries.items()}
        content = {split: entry["content"] for split, entry in entries.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder}/manifest.json is damaged ({error}); {again}") from None
    except OSError as error:
        raise InputError(f"The prepared set {folder} is damaged ({error}); {again}") from None

    return _task(
        benchmark,
        load=lambda split, count: parts[split].examples(count),
        sizes=sizes,
        source=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        elsewhere=elsewhere(benchmark, manifest),
    )


def command(benchmark: Benchmark, manifest: Mapping[str, Any]) -> str:
    """The command that made a set, as far as its manifest tells; also one of an earlier version."""
    words = ["holdfast", "data", "prepare", benchmark.name]
    origin, at, revision = str(manifest.get("origin", "")).rpartition("@")
    if at and not Path(origin).is_absolute():
        words += ["--hub", origin, "--revision", revision]
    elif manifest.get("origin") and (benchmark.official or manifest.get("layout") != "official"):
        words += ["--from", str(manifest["origin"])]
    for split, count in dict(manifest.get("subset") or {}).items():
        words += ["--subset", f"{split}={count}"]
    if seed := manifest.get("seed"):
        words += ["--seed", str(seed)]
    return shlex.join(words)


def elsewhere(benchmark: Benchmark, manifest: Mapping[str, Any]) -> str:
    """What to do for published splits that the source of a set did not hold; "" if there are none."""
    missing = [split for split in benchmark.sizes if split not in manifest["splits"]]
    if not missing or not benchmark.official:
        return ""
    return (
        f"For {', '.join(missing)}, prepare it from the official release's files: "
        f"'holdfast data prepare {benchmark.name} --from FOLDER' with {benchmark.layout}."
    )


@dataclass(frozen=True)
class StoredImage(LazyImage):
    """An image of a prepared set."""

    file: Path
    row: int
    sha256: str

    def read(self) -> bytes:
        try:
            data: bytes = _table(self.file)[self.row]["bytes"]
            problem = "" if hashlib.sha256(data).hexdigest() == self.sha256 else "an image in it changed"
        except Exception as error:  # damaged tables raise almost anything
            problem = str(error)
        if problem:
            raise HoldfastError(
                f"{self.file} is damaged or gone ({problem}); run 'holdfast data prepare' for its task "
                "again, or delete its folder if it is the copy of a table of your own."
            )
        return data


@dataclass(frozen=True)
class _Rows:
    """The examples of one split."""

    folder: Path

    def examples(self, count: int | None) -> list[Example]:
        """The first `count` (all for None); images are read when they are opened."""
        columns, pictures = _table(self.folder / ROWS)[:count], self.folder / IMAGES
        return [
            Example(
                id=id,
                prompt=prompt,
                answer=answer,
                images=tuple(StoredImage(pictures, self._places[digest], digest) for digest in images),
                choices=tuple(choices),
                aliases=tuple(aliases),
                references=tuple(references),
                rationale=rationale,
                meta=json.loads(meta),
            )
            for id, prompt, answer, images, choices, aliases, references, rationale, meta in zip(
                *(columns[name] for name in COLUMNS), strict=True
            )
        ]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {digest: row for row, digest in enumerate(_table(self.folder / IMAGES)["sha256"][:])}


def _table(file: Path) -> Any:
    return _mapped(file.absolute(), state(file))


@lru_cache(maxsize=64)
def _mapped(file: Path, now: tuple[int, ...]) -> Any:
    return library().Dataset.from_file(str(file))
