"""Sets in LLaVA's form: JSON arrays of conversations to learn from, and of questions to judge by.

A training row is `{"image": NAME, "conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}`; a
row to judge by may be another, or `{"question_id": …, "image": NAME, "text": …, "answer": …}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.tasks.benchmarks.benchmark import Benchmark, Record, Records, json_rows
from holdfast.tasks.benchmarks.fields import FolderImage, inside, question_and_answer, text, without_markers
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split


def conversations(
    name: str,
    description: str,
    *,
    hub: str,
    files: Mapping[Split, Sequence[str]],
    pictures: Sequence[str],
    scorer: str,
    licence: str = "not confirmed",
    answer: str = "answer",
    sizes: Mapping[Split, int] | None = None,
) -> Benchmark:
    """A set of such files, which are read from a folder.

    Args:
        hub: the id of its files; they are no table, so `--from` is needed.
        files: of each split, places inside the folder; the first that is there counts.
        pictures: folders inside it that names of images may begin from; the first that has one counts.
        answer: the field of a question's answer.
    """
    layout = ", ".join(options[0] for options in files.values())
    return Benchmark(
        name=name,
        version=1,
        description=description,
        licence=licence,
        hub=(hub,),
        example=partial(_example, pictures, answer),
        scorer=scorer,
        sizes=sizes or {},
        official=partial(_official, files),
        layout=f"{layout}, and the images they name ('hf download {hub} --repo-type dataset' has the files)",
    )


def _official(files: Mapping[Split, Sequence[str]], folder: Path) -> dict[Split, Records]:
    found = {
        split: next((folder / name for name in options if (folder / name).is_file()), None)
        for split, options in files.items()
    }
    return {split: partial(_records, file, folder) for split, file in found.items() if file}


def _records(file: Path, folder: Path) -> Iterator[Record]:
    for row in json_rows(file):
        yield {**row, "folder": folder}


def _example(pictures: Sequence[str], answer: str, record: Record, split: Split) -> Example:
    if (turns := record.get("conversations")) is None:
        question, reference = record.get("text"), record.get(answer)
    else:
        question, reference = question_and_answer(turns)
    name = record.get("image")
    images = () if name is None else (_image(record["folder"], pictures, name),)
    tolerance = record.get("tolerance")
    return Example(
        id=f"{split}-{record['row']}",  # the sets' own ids may repeat
        prompt=without_markers(text(question, "question"), len(images)),
        answer=text(str(reference) if isinstance(reference, int | float) else reference, "answer"),
        images=images,
        meta={"tolerance": tolerance} if isinstance(tolerance, int | float) else {},
    )


def _image(folder: Path, pictures: Sequence[str], name: Any) -> FolderImage:
    """An image by its name in the first folder that has it; in the last, where its lack is said."""
    places = [inside(folder / place, name) for place in pictures]
    return next((place for place in places if (place.folder / place.name).is_file()), places[-1])
