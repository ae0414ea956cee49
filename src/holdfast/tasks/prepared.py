"""Prepared sets: what `holdfast data prepare` writes, and tasks that read it.

A prepared set is a folder with

    manifest.json                what it is: counts, splits, source, licence, checksums
    SPLIT/rows-00000.parquet     examples; images are named by their keys
    SPLIT/images-00000.parquet   one row a distinct image: key, sha256, size, and the file's bytes
                                 unless images are kept by reference

Images lie in row groups of a few, so that one can be read without its neighbours.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.errors import HoldfastError, InputError
from holdfast.files import read_json
from holdfast.tasks.example import Example, LazyImage
from holdfast.tasks.hub import BENCHMARKS, Benchmark
from holdfast.tasks.task import Split, Task

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
IMAGES_PER_GROUP = 8
_COLUMNS = ("id", "prompt", "answer", "images", "choices", "aliases", "references", "rationale", "meta")
FOLDER_VARIABLE = "HOLDFAST_DATA"


def data_folder() -> Path:
    """Where prepared sets lie: `$HOLDFAST_DATA`, or `data` in the current folder."""
    return Path(os.environ.get(FOLDER_VARIABLE) or "data")


def prepared_names() -> list[str]:
    """Benchmarks that are prepared, in the study's order."""
    return [name for name in BENCHMARKS if (data_folder() / name / "manifest.json").is_file()]


def schemas() -> tuple[pa.Schema, pa.Schema]:
    """Of rows and of images."""
    import pyarrow as pa

    rows = [(name, pa.string()) for name in ("id", "prompt", "answer", "rationale", "meta")]
    rows += [(name, pa.list_(pa.string())) for name in ("images", "choices", "aliases", "references")]
    images = [("key", pa.string()), ("sha256", pa.string()), ("bytes", pa.large_binary())]
    images += [("width", pa.int32()), ("height", pa.int32())]
    return pa.schema([*rows, ("order", pa.uint64())]), pa.schema(images)


def load_prepared(name: str) -> Task:
    """The task of a prepared benchmark.

    Raises:
        InputError: it is not prepared (with the command to run), or its folder is damaged.
    """
    benchmark, folder = BENCHMARKS[name], data_folder() / name
    if not (folder / "manifest.json").is_file():
        hint = f" or, from files of your own, 'holdfast data prepare {name} --from FOLDER'"
        raise InputError(
            f"Task {name} is not prepared: {folder} holds no prepared set. Run 'holdfast data prepare {name}'"
            f"{hint}; if its set lies elsewhere, set {FOLDER_VARIABLE} to the folder above it."
        )
    try:
        manifest = read_json(folder / "manifest.json")
        if manifest["format"] != FORMAT or manifest["version"] != benchmark.version:
            raise InputError(
                f"The prepared set {folder} was made by another version of Holdfast; run "
                f"'holdfast data prepare {name}' again."
            )
        parts = {split: SplitParts(folder, split, manifest) for split in manifest["splits"]}
        sizes: dict[Split, int | None] = {split: entry["rows"] for split, entry in manifest["splits"].items()}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}/manifest.json is damaged ({error}); run 'holdfast data prepare {name}' again."
        ) from None

    def load(split: Split, count: int | None) -> list[Example]:
        return parts[split].examples(count)

    return Task(
        name=name,
        version=benchmark.version,
        description=benchmark.description,
        load=load,
        sizes=sizes,
        scorer=benchmark.scorer,
        chance=benchmark.chance,
        options=benchmark.options,
        source=fingerprint(manifest),
        elsewhere=elsewhere(benchmark, manifest),
    )


def elsewhere(benchmark: Benchmark, manifest: Mapping[str, Any]) -> str:
    """What to do for published splits that the source of a set did not hold; "" if there are none."""
    missing = [split for split in benchmark.sizes if split not in manifest["splits"]]
    if not missing or not benchmark.layout:
        return ""
    return (
        f"For {', '.join(missing)}, prepare it from the official release's files: "
        f"'holdfast data prepare {benchmark.name} --from FOLDER' with {benchmark.layout}."
    )


def fingerprint(manifest: dict[str, Any]) -> str:
    """Of a set's content, wherever its files and images lie."""
    content = {"files": manifest["files"], "format": manifest["format"]}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class StoredImage(LazyImage):
    """An image in a parquet file of a prepared set."""

    file: Path
    row: int

    def read(self) -> bytes:
        import pyarrow as pa

        try:
            group, row = divmod(self.row, IMAGES_PER_GROUP)
            table = _parquet(self.file).read_row_group(group, columns=["bytes"])
            data: bytes = table.column(0)[row].as_py()
        except (pa.ArrowException, OSError, IndexError) as error:
            raise HoldfastError(
                f"{self.file} is damaged or gone ({error}); run 'holdfast data prepare' for its task again."
            ) from None
        return data


@lru_cache(maxsize=64)
def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path)


class SplitParts:
    """One split of a prepared set. Rows come in a shuffled order that is fixed, so that the first
    ones are a fair sample even where a release is sorted by subject or category."""

    def __init__(self, folder: Path, split: Split, manifest: dict[str, Any]) -> None:
        self.folder = folder / split
        self.root = Path(manifest["images"]["root"]) if manifest["images"]["root"] else None
        self.size: int = manifest["splits"][split]["rows"]
        self._places: dict[str, tuple[Path, int]] | None = None

    def examples(self, count: int | None) -> list[Example]:
        """The first `count` examples (all for None); images are read when they are opened.

        Raises:
            InputError: a file is missing or damaged.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = sorted(self.folder.glob("rows-*.parquet"))
        try:
            orders = [pq.read_table(file, columns=["order"]).column(0).to_numpy() for file in files]
            if sum(map(len, orders)) != self.size:
                raise InputError(
                    f"{self.folder} is incomplete; run 'holdfast data prepare' for its task again."
                )
            starts = np.cumsum([0, *map(len, orders)])
            chosen = np.argsort(np.concatenate(orders), kind="stable")[:count]
            found: dict[int, Example] = {}
            for file, start, end in zip(files, starts, starts[1:], strict=False):
                here = np.sort(chosen[(chosen >= start) & (chosen < end)])
                if len(here):
                    table = pq.read_table(file, columns=list(_COLUMNS)).take(pa.array(here - start))
                    columns = [table.column(name).to_pylist() for name in _COLUMNS]
                    for place, *row in zip(here.tolist(), *columns, strict=True):
                        found[place] = self._example(*row)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{self.folder} is damaged ({error}); run 'holdfast data prepare' for its task again."
            ) from None
        return [found[place] for place in chosen.tolist()]

    def _example(
        self,
        id: str,
        prompt: str,
        answer: str,
        images: list[str],
        choices: list[str],
        aliases: list[str],
        references: list[str],
        rationale: str,
        meta: str,
    ) -> Example:
        return Example(
            id=id,
            prompt=prompt,
            answer=answer,
            images=self._images(images),
            choices=tuple(choices),
            aliases=tuple(aliases),
            references=tuple(references),
            rationale=rationale,
            meta=json.loads(meta),
        )

    def _images(self, keys: Sequence[str]) -> tuple[Path | LazyImage, ...]:
        if self.root is not None:
            return tuple(self.root / key for key in keys)
        if keys and self._places is None:
            self._places = image_places(self.folder)
        return tuple(StoredImage(*(self._places or {})[key]) for key in keys)


def image_places(folder: Path) -> dict[str, tuple[Path, int]]:
    """File and row of every image of a split, by key."""
    import pyarrow.parquet as pq

    places: dict[str, tuple[Path, int]] = {}
    for file in sorted(folder.glob("images-*.parquet")):
        for row, key in enumerate(pq.read_table(file, columns=["key"]).column(0).to_pylist()):
            places[key] = (file, row)
    return places
