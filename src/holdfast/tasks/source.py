"""Finding a published set's rows: in a local folder, or on the hub."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from holdfast.errors import HoldfastError, InputError
from holdfast.files import scratch_folder
from holdfast.tasks.benchmarks import Benchmark
from holdfast.tasks.benchmarks.benchmark import Record, Records
from holdfast.tasks.example import LazyImage
from holdfast.tasks.prepared import data_folder
from holdfast.tasks.tables import columns_of, library, plain_rows, read_parquet, said_if_damaged
from holdfast.tasks.task import Split


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        origin: the hub id with its revision, or the folder.
        state: changes when files of a local folder change; "" where the origin names a revision.
        splits: rows of each split.
        watched: rows may name pictures whose changes `state` does not tell.
    """

    origin: str
    splits: Mapping[Split, Records]
    state: str = ""
    watched: bool = False


def from_folder(benchmark: Benchmark, folder: Path, origin: str = "") -> Source:
    """The splits in a local folder: parquet files as on the hub, or an official release that is read.

    Raises:
        InputError: it is neither, with what was looked for; a file cannot be read, or lacks a column.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. {advice(benchmark)}")
    state = "" if origin else state_of(folder.rglob("*"))
    splits = _tables(benchmark, folder) or (dict(benchmark.official(folder)) if benchmark.official else {})
    if splits:
        return Source(origin or str(folder.resolve()), splits, state)
    inside = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(inside[:8]) + (", …" if len(inside) > 8 else "") or "nothing"
    archives = [path.name for path in folder.glob("*.zip")]
    unpack = f" Unpack {', '.join(archives[:4])} first." if archives and benchmark.official else ""
    if {"dataset_dict.json", "state.json", "dataset_info.json"} & set(inside):
        unpack += " It was written by save_to_disk; write it with to_parquet('SPLIT.parquet') instead."
    raise InputError(
        f"Task {benchmark.name} was not recognised in {folder}; it holds {shown}.{unpack} {advice(benchmark)}"
    )


def state_of(paths: Iterable[Path]) -> str:
    """A digest of the names, sizes and times of change of files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        if path.is_file():
            about = path.stat()
            digest.update(f"{path}:{about.st_size}:{about.st_mtime_ns};".encode())
    return digest.hexdigest()


def _tables(benchmark: Benchmark, folder: Path) -> dict[Split, Records]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet") if path.is_file()]
    found: dict[Split, Records] = {}
    for split, parts in _files(benchmark, names).items():
        files, pictures = ([folder / name for name in part] for part in (parts.rows, parts.pictures))
        _check_whole(benchmark, files, benchmark.columns)
        rows: Records = partial(read_parquet, files, (*benchmark.columns, *benchmark.optional))
        if table := benchmark.pictures.get(split):
            if not pictures:
                raise InputError(
                    f"Task {benchmark.name}: the {split} questions are in {folder}, but not their images; "
                    f"download the folder {table.partition('/')[0]} too."
                )
            _check_whole(benchmark, pictures, ("id", "image"))
            rows = partial(_joined, rows, pictures)
        found[split] = rows
    return found


class _Files(NamedTuple):
    """Names of the files of a split: of its rows, and of the images that these name."""

    rows: list[str]
    pictures: list[str]


def _files(benchmark: Benchmark, names: Sequence[str]) -> dict[Split, _Files]:
    """The files of each split that is there, of the first of its tables that is."""
    found: dict[Split, _Files] = {}
    for split, alternatives in benchmark.tables.items():
        if rows := next(filter(None, (files_of(table, names) for table in alternatives)), None):
            pictures = benchmark.pictures.get(split)
            found[split] = _Files(rows, files_of(pictures, names) if pictures else [])
    return found


def files_of(table: str, names: Sequence[str]) -> list[str]:
    """Those of the relative paths `names` that hold the table `split` or `config/split`, in order.

    The hub's layouts: `data/train-00000-of-00003.parquet`, `CONFIG/train-….parquet`, and the
    automatic conversion's `CONFIG/train/0000.parquet`.
    """
    config, _, split = table.rpartition("/")
    begins = re.compile(rf"{re.escape(split)}(?:-.*|_\d+.*)?\.parquet")
    found = []
    for name in sorted(names):
        *folders, file = PurePosixPath(name).parts
        if not file.endswith(".parquet"):
            continue
        if not begins.fullmatch(file):
            if not folders or folders[-1] != split:
                continue
            folders.pop()
        above = [folder for folder in folders if folder not in ("data", "default")]
        if config == "*" or above == ([config] if config else []):
            found.append(name)
    return found


def _wanted(benchmark: Benchmark, names: Sequence[str]) -> list[str]:
    """The files that preparing reads, of all these."""
    return sorted({name for parts in _files(benchmark, names).values() for part in parts for name in part})


def _joined(rows: Records, files: Sequence[Path]) -> Iterator[Record]:
    """Rows with the images that they name, from a copy of their table that is kept for as long."""
    with scratch_folder(data_folder() / "images") as copy:
        pictures = _Pictures(files, copy)
        for record in rows():
            yield {**record, "image": pictures[str(record["imageId"])]}


class _Pictures:
    """A table of images with ids, which another table's rows name.

    Args:
        copy: a folder for a copy in which any row is found at once.
    """

    def __init__(self, files: Sequence[Path], copy: Path) -> None:
        with said_if_damaged(files[0].parent):
            table = library().load_dataset(
                "parquet", data_files=list(map(str, files)), split="train", cache_dir=str(copy)
            )
        self.table = table.with_format("arrow")
        ids = table.select_columns(["id"])
        self.rows = {str(record["id"]): row for row, record in enumerate(plain_rows(ids))}

    def __getitem__(self, id: str) -> LazyImage | None:
        return _Picture(self, self.rows[id]) if id in self.rows else None


@dataclass(frozen=True)
class _Picture(LazyImage):
    pictures: _Pictures
    row: int

    def __str__(self) -> str:
        return f"row {self.row + 1} of the table of images"

    def read(self) -> bytes:
        (record,) = self.pictures.table[self.row].to_pylist()
        image = record["image"]
        data = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(data, bytes):
            raise HoldfastError(f"{self} holds no image")
        return data


def _check_whole(benchmark: Benchmark, files: Sequence[Path], columns: Sequence[str]) -> None:
    """See that files are all there (`train-00000-of-00003.parquet` says how many) and have the columns."""
    for folder in {file.parent for file in files}:
        here = [file for file in files if file.parent == folder]
        of = re.search(r"-of-(\d+)", here[0].name)
        if of and len(here) != int(of[1]):
            raise InputError(
                f"Task {benchmark.name}: {folder} holds {len(here)} of the {int(of[1])} files that "
                f"{here[0].name} belongs to; the download is incomplete, run it again."
            )
    for file in files:
        names = columns_of(file)
        if missing := [name for name in columns if name not in names]:
            raise InputError(
                f"Task {benchmark.name}: {file} has no column '{missing[0]}'; it has {', '.join(names)}. It "
                "may be another data set, or a newer revision of it: prepare an older one with --revision."
            )


def from_hub(benchmark: Benchmark, repository: str | None, revision: str | None) -> Source:
    """Download a benchmark's parquet files (a download that broke off goes on) and find its splits.

    Args:
        repository: a hub id in place of the known ones.
        revision: a commit or branch.

    Raises:
        InputError: no id can be reached or holds the files; says what to do instead.
    """
    if not benchmark.tables:
        raise InputError(f"Task {benchmark.name} is no table on the hub. {advice(benchmark)}")
    problems = []
    for id in [repository] if repository else benchmark.hub:
        try:
            folder, commit = _download(benchmark, id, revision)
        except _NotThere as problem:
            problems.append(f"  {id}: {problem}")
            continue
        return from_folder(benchmark, folder, f"{id}@{commit}")
    raise InputError(
        f"Task {benchmark.name} could not be fetched from the hub:\n"
        + "\n".join(problems)
        + f"\n{advice(benchmark)}"
    )


def advice(benchmark: Benchmark) -> str:
    """How to get the files another way."""
    prepare = f"'holdfast data prepare {benchmark.name} --from FOLDER'"
    official = f"{prepare} with the unpacked files of the official release: {benchmark.layout}."
    if not benchmark.tables:
        return f"Run {official}"
    tables = [*(options[0] for options in benchmark.tables.values()), *benchmark.pictures.values()]
    configs = sorted({table.rpartition("/")[0] for table in tables} - {"", "*"})
    only = "".join(f' --include "{config}/*"' for config in configs)
    command = f"hf download {benchmark.hub[0]} --repo-type dataset{only} --local-dir {benchmark.name}"
    names = (f"{table.rpartition('/')[0] or 'data'}/{table.rpartition('/')[2]}-*.parquet" for table in tables)
    return (
        f"On a machine with access, run '{command}', copy the folder here, and run {prepare}. It is read in "
        f"the hub's form: {', '.join(dict.fromkeys(names))}."
        + (f" Or run {official}" if benchmark.official else "")
    )


class _NotThere(Exception):
    """An id that does not lead to the files, and why."""


def _download(benchmark: Benchmark, id: str, revision: str | None) -> tuple[Path, str]:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        info = HfApi().dataset_info(id, revision=revision)
        names = [file.rfilename for file in info.siblings or ()]
        wanted = _wanted(benchmark, names)
        if not wanted:
            raise _NotThere("it holds none of the parquet files")
        folder = snapshot_download(id, repo_type="dataset", revision=info.sha, allow_patterns=wanted)
    except GatedRepoError:
        raise _NotThere(
            "access must be granted: accept its terms on its page, then 'hf auth login'"
        ) from None
    except RepositoryNotFoundError:
        raise _NotThere("there is no such data set (or it is private: 'hf auth login')") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()
        raise _NotThere(f"cannot be reached ({reason[0] if reason else type(error).__name__})") from None
    except _NotThere:
        raise
    except Exception as error:  # of HTTP clients, which the hub library has changed before
        raise _NotThere(f"cannot be reached ({type(error).__name__}: {error})") from None
    return Path(folder), str(info.sha)
