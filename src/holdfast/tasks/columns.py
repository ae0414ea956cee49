"""A set without programming: any table that `datasets` reads, and which column is what.

    tasks:
      mine: {hub: owner/name, train: train, test: validation, prompt: "{question}", answer: "{answer}",
             images: image, scorer: vqa}

`hub` may also be a folder or a file (parquet, JSON, CSV). Or each split is a file of its own:

      mine: {train: train.parquet, test: test.parquet, prompt: "{question}", answer: "{label}", images: image}

How such a table is read: `copied.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import field_validator, model_validator

from holdfast.settings import columns_named
from holdfast.tasks.jsonl import OwnData
from holdfast.tasks.task import SPLITS
from holdfast.tasks.templates import columns_in

READERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".csv": "csv", ".arrow": "arrow"}


class Columns(OwnData):
    """What a table's columns are.

    `prompt`, `answer` and `rationale` are texts with `{column}` in them; the others name columns.
    """

    prompt: str | None = None  # the question, a text with {column} in it
    messages: str | None = None  # in place of prompt and answer: a column of turns (`chat.py`)
    answer: str | None = None  # the reference, likewise
    answer_index: str | None = None  # a column with the right choice's place, from 0
    images: str | tuple[str, ...] = ()  # columns of pictures, of lists of them, or of names of files
    choices: str | tuple[str, ...] = ()  # a column of lists, or a column per choice
    references: str | None = None  # a list of accepted answers; without `answer`, the most frequent is it
    rationale: str = ""  # a short true reasoning, likewise a text with {column}
    id: str | None = None  # a column; None: the split and the row's number

    @field_validator("prompt", "answer", "rationale")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        if value is not None:
            columns_in(value)
        return value

    _named = field_validator("images", "choices", mode="before")(columns_named)

    @model_validator(mode="after")
    def _whole(self) -> Columns:
        if not self.splits():
            raise ValueError("needs at least one of train, validation, test: a split's name in the table")
        if (self.prompt is None) == (self.messages is None):
            raise ValueError(
                "needs either prompt, a text with {column} in it, or messages, a column of turns"
            )
        if self.answer is not None and self.answer_index is not None:
            raise ValueError("answer and answer_index say the same; keep one of them")
        if {self.answer, self.answer_index, self.references} == {None} and not self.messages:
            raise ValueError("needs an answer: answer, answer_index or references")
        if self.answer_index is not None and not self.choices:
            raise ValueError("answer_index needs choices")
        return self

    def columns(self) -> dict[str, list[str]]:
        """The columns that each setting names."""
        named = {key: columns_in(getattr(self, key) or "") for key in ("prompt", "answer", "rationale")}
        for key in ("messages", "answer_index", "images", "choices", "references", "id"):
            value = getattr(self, key) or ()
            named[key] = [value] if isinstance(value, str) else list(value)
        return named


class HubTask(Columns):
    """A table, the splits to take from it, and what its columns are."""

    hub: str  # an id (owner/name), a folder, or a file
    config: str | None = None  # of the data set, where it has several
    revision: str | None = None  # a commit or branch on the hub
    train: str | None = None  # the split's name there
    validation: str | None = None  # likewise
    test: str | None = None  # likewise


class TableTask(Columns):
    """A file for each split (parquet, Arrow, CSV, JSON), and what its columns are."""

    train: Path | None = None  # to learn from; relative to the experiment's file, like the others
    validation: Path | None = None  # to choose settings by
    test: Path | None = None  # to judge by

    @model_validator(mode="after")
    def _known_kinds(self) -> TableTask:
        kinds = {file.suffix for file in self.splits().values()}
        if unknown := sorted(kinds - set(READERS)):
            raise ValueError(f"a table is none of {', '.join(READERS)}, but '{unknown[0]}'")
        return self


def is_table(settings: Mapping[str, Any]) -> bool:
    """Whether the settings of a task are about files whose columns are named, or that are no JSONL."""
    named = settings.keys() & (Columns.model_fields.keys() - OwnData.model_fields.keys())
    files = [str(settings[split]) for split in SPLITS if settings.get(split)]
    return bool(named) or any(Path(file).suffix in (".parquet", ".arrow", ".csv") for file in files)
