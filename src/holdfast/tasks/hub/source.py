"""Finding a benchmark's rows: in a local folder of either layout, or on the hub."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import InputError
from holdfast.tasks.hub import tables
from holdfast.tasks.hub.benchmark import Benchmark, Reader, Table
from holdfast.tasks.task import Split


@dataclass(frozen=True)
class Source:
    """Where rows come from.

    Attributes:
        folder: where the files lie.
        layout: `hub` (parquet) or `official`.
        origin: the hub id with its revision, or the folder.
        state: changes when files of a local folder change; "" where the origin names a revision.
    """

    folder: Path
    layout: str
    origin: str
    splits: Mapping[Split, Reader]
    state: str = ""


def from_folder(benchmark: Benchmark, folder: Path, origin: str = "") -> Source:
    """The splits in a local folder, which is in the hub's layout or the official one.

    Raises:
        InputError: it is neither, with what was looked for.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}. {advice(benchmark)}")
    state = "" if origin else _state(folder)
    origin = origin or str(folder.resolve())
    if found := tables.readers(benchmark, folder):
        return Source(folder, "hub", origin, found, state)
    if official := dict(benchmark.official(folder)):
        return Source(folder, "official", origin, official, state)
    inside = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(inside[:8]) + (", …" if len(inside) > 8 else "") or "nothing"
    archives = [path.name for path in folder.glob("*.zip")]
    unpack = f" Unpack {', '.join(archives[:4])} first." if archives else ""
    if {"dataset_dict.json", "state.json", "dataset_info.json"} & set(inside):
        unpack += " It was written by save_to_disk; write it with to_parquet('SPLIT.parquet') instead."
    raise InputError(
        f"Task {benchmark.name} was not recognised in {folder}; it holds {shown}.{unpack} "
        f"{_expected(benchmark)}"
    )


def _state(folder: Path) -> str:
    """A digest of names, sizes and times of data files and folders; of image files only that one
    came or went (a folder's time tells), as there may be very many."""
    digest = hashlib.sha256()
    for path, folders, names in os.walk(folder):
        folders.sort()
        entries = [name for name in sorted(names) if name.endswith((".json", ".parquet", ".pkl"))]
        for entry in (".", *entries):
            about = os.stat(os.path.join(path, entry))
            size = 0 if entry == "." else about.st_size
            digest.update(f"{os.path.relpath(path, folder)}/{entry}:{size}:{about.st_mtime_ns};".encode())
    return digest.hexdigest()


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
    """How to get the files on another way."""
    configs = sorted({table.config for table in _tables(benchmark)} - {"", "*"})
    only = "".join(f' --include "{config}/*"' for config in configs)
    command = f"hf download {benchmark.hub[0]} --repo-type dataset{only} --local-dir {benchmark.name}"
    return (
        f"On a machine with access, run '{command}', "
        f"copy the folder here, and run 'holdfast data prepare {benchmark.name} --from FOLDER'. "
        f"{_expected(benchmark)}"
    )


def _expected(benchmark: Benchmark) -> str:
    layouts = []
    if benchmark.tables:
        names = (f"{table.config or 'data'}/{table.split}-*.parquet" for table in _tables(benchmark))
        layouts.append(f"parquet files as on the hub ({', '.join(dict.fromkeys(names))})")
    if benchmark.layout:
        layouts.append(f"the official release ({benchmark.layout})")
    return f"Expected {', or '.join(layouts)}."


def _tables(benchmark: Benchmark) -> list[Table]:
    """The first choice of each split's tables, and those of images."""
    return [options[0] for options in benchmark.tables.values()] + list(benchmark.image_tables.values())


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
    except (
        Exception
    ) as error:  # HTTP clients have errors of their own, and the hub library changes its client
        raise _NotThere(f"cannot be reached ({type(error).__name__}: {error})") from None
    return Path(folder), str(info.sha)


def _wanted(benchmark: Benchmark, names: Sequence[str]) -> list[str]:
    """The files of the tables that count, the image tables with them."""
    found: list[str] = []
    for split, alternatives in benchmark.tables.items():
        for table in alternatives:
            if files := tables.files_of(table, names):
                found += files
                if split in benchmark.image_tables:
                    found += tables.files_of(benchmark.image_tables[split], names)
                break
    return sorted(set(found))
