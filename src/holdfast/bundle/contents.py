"""What a bundle holds, and whether it agrees with itself.

    manifest.json         format, versions, and of each file its size and SHA-256; of records a hash a line
    results.json          settings, curves, costs, measures, and which records belong to which cell
    jobs.json             fingerprints with all that determined each result
    records/HASH.jsonl    a cell's records
    tables/NAME.csv .json the report's tables

Anyone can compute the tables from the records; `verify` does. Records, tables and manifest that were
rewritten together agree again: only the file's SHA-256, published by its maker, tells such a bundle from the
first one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.analysis.results import Record, Results
from holdfast.bundle.archive import NAMES, pack, unpack
from holdfast.bundle.plain import from_plain, to_plain
from holdfast.errors import HoldfastError, InputError, shortened
from holdfast.experiment.identity import digest
from holdfast.experiment.plan import Plan
from holdfast.files import parse_json
from holdfast.versions import package_versions

JOBS = "jobs.json"
FORMAT = 1  # raise when a reader of an older one would misunderstand it
_LINE_HASH = 12  # hexadecimal digits
_MOST_TOLD = 20  # of what does not agree, of each kind


@dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes:
        problems: sentences on what does not agree; none where all does.
    """

    name: str
    records: int
    tables: int
    problems: tuple[str, ...]


def bundle(results: Results, plan: Plan, with_texts: bool = False) -> bytes:
    """A run as a zip file; the same run gives the same bytes."""
    said, records = to_plain(results, with_texts)
    jobs = [
        {"fingerprint": job.fingerprint, "kind": job.kind, "label": job.label, "inputs": job.inputs}
        for job in sorted(plan.jobs.values(), key=lambda job: job.fingerprint)
    ]
    files = {"results.json": _dumped(said), JOBS: _dumped(jobs), **records}
    files |= tables_of(_results(files, "the run"))  # of what a reader will have
    manifest = {
        "format": FORMAT,
        "bundled_with": package_versions(),
        "with_texts": with_texts,
        **_of_files(results.name, files),
    }
    assert all(map(NAMES.fullmatch, files)), "a table's name that `unpack` refuses"
    return pack(files | {"manifest.json": _dumped(manifest)})


def tables_of(results: Results) -> dict[str, bytes]:
    """The report's tables as files. No figure is drawn, and nothing that the run names is run."""
    from holdfast.analysis.views import analyse
    from holdfast.report.sections import SECTIONS
    from holdfast.report.table import Table, to_csv, to_json

    analysis = analyse(results)
    files = {}
    for make in SECTIONS:
        for part in make(analysis).parts:
            if isinstance(part, Table) and part.rows:
                files[f"tables/{part.name}.csv"] = to_csv(part).encode()
                files[f"tables/{part.name}.json"] = _dumped(to_json(part))
    return files


def verify(path: Path) -> Verified:
    """Compute every table of a bundle from its records, and compare.

    Raises:
        InputError: it is no whole bundle, or of a later version.
        OSError: it cannot be read.
    """
    files = unpack(path)
    if "manifest.json" not in files or "results.json" not in files:
        raise InputError(f"{path} is no bundle: it has no manifest.json or no results.json.")
    try:
        manifest = parse_json(files["manifest.json"])
    except ValueError as error:
        raise InputError(f"{path} is no bundle: manifest.json is not JSON ({error}).") from None
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if version != FORMAT:
        raise InputError(
            f"{path} is of format {version!r:.100}, and this version of Holdfast reads {FORMAT}: use the one "
            "that wrote it."
        )
    results = _results(files, path)
    problems = list(_file_problems(files, manifest))
    if not problems:
        made = _of_files(results.name, files)
        problems = [
            f"manifest.json has other {key} than the files" for key in made if manifest.get(key) != made[key]
        ]
    problems += _job_problems(files.get(JOBS, b"[]"))
    stored = {name: content for name, content in files.items() if name.startswith("tables/")}
    try:
        computed = tables_of(results)
    except (HoldfastError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        problems.append(f"tables cannot be computed from these records ({type(error).__name__}: {error})")
    else:
        problems += _table_problems(stored, computed)
    records = sum(content.count(b"\n") for name, content in files.items() if name.startswith("records/"))
    return Verified(_line(results.name), records, len(stored) // 2, tuple(map(_line, problems)))


def _of_files(name: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """What the manifest says of a bundle's other files."""
    listed = {name: content for name, content in sorted(files.items()) if name != "manifest.json"}
    return {
        "name": name,
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in listed.items()
        },
        "records": {
            name: _line_hashes(content) for name, content in listed.items() if name.startswith("records/")
        },
    }


def _line(said: object) -> str:
    """What a bundle says, which anybody may have written, as one line of a bounded length."""
    return shortened(" ".join(str(said).split()), 500)


def _results(files: Mapping[str, bytes], source: object) -> Results:
    try:
        records = {
            name: [_record(line, name) for line in content.splitlines()]
            for name, content in files.items()
            if name.startswith("records/")
        }
        return from_plain(parse_json(files["results.json"]), records)
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        said = _line(f"{type(error).__name__}: {error}")
        raise InputError(f"{source} holds no readable results ({said}).") from None


def _record(line: bytes, name: str) -> Record:
    record = parse_json(line)
    if not isinstance(record, dict):
        raise ValueError(f"a line of {name} is no record")
    return record


def _file_problems(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> Iterator[str]:
    """Files that are not what the manifest says, and in record files the records that are not."""
    try:
        listed = {str(name): str(facts["sha256"]) for name, facts in manifest["files"].items()}
        hashes = {str(name): [str(one) for one in lines] for name, lines in manifest["records"].items()}
    except (KeyError, TypeError, AttributeError):
        yield "manifest.json does not list files with their hashes"
        return
    cells = _cells_of(files)
    for name in sorted((listed.keys() | {JOBS}) - files.keys()):
        yield f"{name} is missing"
    for name in sorted(files.keys() - listed.keys() - {"manifest.json"}):
        yield f"{name} is not in the manifest"
    for name in sorted(files.keys() - cells.keys()):
        if name.startswith("records/"):
            yield f"{name} belongs to no cell"
    for name in sorted(listed.keys() & files.keys()):
        if hashlib.sha256(files[name]).hexdigest() == listed[name]:
            continue
        changed = list(_changed_records(name, files[name], hashes.get(name, [])))
        where = f" ({cells[name]})" if name in cells else ""
        yield from (f"{name}{where}: {one}" for one in changed[:_MOST_TOLD])
        if not changed:
            yield f"{name}{where} is not what the manifest says"


def _changed_records(name: str, content: bytes, hashes: list[str]) -> Iterator[str]:
    if not name.startswith("records/"):
        return
    found = _line_hashes(content)
    if len(found) != len(hashes):
        yield f"{len(found)} records instead of {len(hashes)}"
        return
    lines = zip(content.splitlines(), found, hashes, strict=True)
    for number, (line, now, then) in enumerate(lines, start=1):
        if now != then:
            yield f"record {number} ({_record(line, name).get('id')!r:.200}) was changed"


def _job_problems(content: bytes) -> Iterator[str]:
    """Jobs whose fingerprint is not that of what is said to have determined them."""
    try:
        for job in parse_json(content):
            if digest(job["inputs"]) != job["fingerprint"]:
                yield f"{JOBS}: {job['label']} has a fingerprint that its inputs do not make"
    except (LookupError, TypeError, ValueError) as error:
        yield f"{JOBS} is no list of jobs ({type(error).__name__}: {error})"


def _cells_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """What a record file is, for people: the first cell that it belongs to."""
    cells: dict[str, str] = {}
    said = parse_json(files["results.json"])
    for run in (*said["runs"], *said["other_style"]):
        for stage, task, name in run["cells"]:
            who = f"{run['method']} seed {run['seed']} stage {stage}" if stage else "base"
            cells.setdefault(name, f"{who}, {task}")
    return cells


def _table_problems(stored: Mapping[str, bytes], computed: Mapping[str, bytes]) -> Iterator[str]:
    for name in sorted(computed.keys() - stored.keys()):
        yield f"{name} is missing, which its records make"
    for name in sorted(stored.keys() - computed.keys()):
        yield f"{name} is there, which its records do not make"
    for name in sorted(stored.keys() & computed.keys()):
        if stored[name] != computed[name]:
            yield f"{name} is not what its records make: {_difference(stored[name], computed[name])}"


def _difference(stored: bytes, computed: bytes) -> str:
    """The first line that differs."""
    ours, theirs = (content.decode("utf-8", "replace").splitlines() for content in (stored, computed))
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False), start=1):
        if one != other:
            return f"line {number} is {one.strip()[:120]!r}, and they make {other.strip()[:120]!r}"
    return f"it has {len(ours)} lines, and they make {len(theirs)}"


def _line_hashes(content: bytes) -> list[str]:
    return [hashlib.sha256(line).hexdigest()[:_LINE_HASH] for line in content.splitlines()]


def _dumped(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, default=float) + "\n").encode()
