"""Continual Reasoning Gym's visual streams (arXiv 2608.18574): VisuLogic's training set, by kinds of rules.

Its authors publish which question is of which kind (`data/visulogic_subtypes/*.jsonl` of their code). A fifth
is kept for judging: here by the hash of a question's id, not by their draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.errors import InputError
from holdfast.files import parse_json
from holdfast.tasks.benchmarks.benchmark import BadRow, Benchmark, Record, Records
from holdfast.tasks.benchmarks.fields import inside, is_for_test, text, without_markers
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split

STREAMS: Mapping[str, tuple[str, ...]] = {
    "quantitative": ("linear_quantity", "prime_quantity", "point_quantity", "counter_quantity"),
    "spatial": (
        "assembly", "cross_sectional", "hexahedron", "three_views", "spatial_orders", "polyhedron_rotation",
    ),
    "positional": ("translation", "rotation", "comparative", "flip"),
}  # fmt: skip
_TEST_SHARE = 0.2
_LAYOUT = (
    "visulogic_train_qwen.jsonl and images/ of VisuLogic/VisuLogic-Train, and {stream}.jsonl, the authors' "
    "kinds of questions"
)


def example(stage: str, record: Record, split: Split) -> Example | None:
    if record["kind"] != stage:
        return None
    name = text(record.get("id"), "id")
    if is_for_test(name.encode(), _TEST_SHARE) != (split == "test"):
        return None
    parts = _parts(record.get("message"))
    images = [part.get("image") for part in parts if part.get("type") == "image"]
    said = [part.get("text") for part in parts if part.get("type") == "text"]
    if len(images) != 1 or len(said) != 1:
        raise BadRow(f"{len(images)} images and {len(said)} texts in its message, not one of each")
    answer = text(record.get("answer"), "answer").upper()
    if answer not in ("A", "B", "C", "D"):
        raise BadRow(f"answer '{answer}' is no letter from A to D")
    return Example(
        id=name,
        prompt=without_markers(text(said[0], "question"), 1),
        answer=answer,
        images=(inside(record["folder"], images[0]),),
    )


def _parts(message: Any) -> list[Mapping[str, Any]]:
    """What the first turn of a message, which is JSON in a text, is made of."""
    try:
        parts = parse_json(message)[0]["content"]
    except (TypeError, ValueError, LookupError):
        parts = None
    if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
        raise BadRow("its message is no list of turns")
    return parts


def official(stream: str, folder: Path) -> dict[Split, Records]:
    rows, kinds = folder / "visulogic_train_qwen.jsonl", folder / f"{stream}.jsonl"
    if not (rows.is_file() and kinds.is_file()):
        return {}
    return dict.fromkeys(("train", "test"), partial(_records, rows, kinds))


def _records(file: Path, kinds: Path) -> Iterator[Record]:
    known = {str(row.get("id")): _slug(row.get("subcategory")) for row in _lines(kinds)}
    for row in _lines(file):
        yield {**row, "folder": file.parent, "kind": known.get(str(row.get("id")))}


def _lines(file: Path) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            row = parse_json(line) if line.strip() else None
        except ValueError as error:
            raise InputError(f"{file}, line {number} is broken ({error}); download it again.") from None
        if isinstance(row, dict):
            yield row


def _slug(kind: Any) -> str:
    return "_".join("".join(c if c.isalnum() else " " for c in str(kind).casefold()).split())


BENCHMARKS = tuple(
    Benchmark(
        name=f"visulogic_{stage}",
        version=1,
        description=f"{stage.replace('_', ' ')}, four choices in the picture (VisuLogic, {stream})",
        licence="Apache 2.0 by the repository",
        hub=("VisuLogic/VisuLogic-Train",),
        example=partial(example, stage),
        scorer="choice",
        chance=0.25,
        official=partial(official, stream),
        layout=_LAYOUT.format(stream=stream),
    )
    for stream, stages in STREAMS.items()
    for stage in stages
)
