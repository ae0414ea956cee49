"""Tasks over tables of one's own (`columns.py`): their rows, copied once into the data folder.

The copy is like a prepared set, and rows are read from there: afterwards nothing is fetched. It is made again
where local files or the settings change.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from holdfast import files
from holdfast.errors import InputError, meant, shortened, suggestion
from holdfast.hub import reach
from holdfast.tasks.benchmarks.benchmark import NUMBER, BadRow, Benchmark, Record, Records
from holdfast.tasks.benchmarks.fields import answer_list, choice_list, letter_at
from holdfast.tasks.chat import as_row
from holdfast.tasks.columns import READERS, Columns, HubTask, TableTask
from holdfast.tasks.example import Example
from holdfast.tasks.fieldnames import unseen_choices
from holdfast.tasks.jsontable import BadField
from holdfast.tasks.picturecolumns import pictured, pictures_in
from holdfast.tasks.prepare import prepare, remarks
from holdfast.tasks.prepared import (
    FOLDER_VARIABLE,
    data_folder,
    load_prepared,
    picture_changed,
    read_manifest,
)
from holdfast.tasks.rows import OF_LETTERS, Row
from holdfast.tasks.scorers import OPTION_SCORERS
from holdfast.tasks.scorers.vqa import majority
from holdfast.tasks.source import Source, state_of
from holdfast.tasks.tables import (
    ROWS_AT_ONCE,
    as_written,
    check_card,
    column_names,
    json_as_written,
    library,
    plain_rows,
    problem_of_table,
    row_count,
    said_if_damaged,
)
from holdfast.tasks.task import Split, Task
from holdfast.tasks.templates import fill, text_of

log = logging.getLogger(__name__)

VERSION = 9  # raise when the same table gives other examples or scores

Problem = tuple[str, str]  # a setting, and what is wrong with it


class TableError(InputError):
    """What a task's settings name and its table has not.

    Attributes:
        problems: the setting and what is wrong with it.
    """

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(f"Task {name}, {key}: {text}" for key, text in problems))
        self.problems = problems


def load_hub_task(name: str, settings: HubTask) -> Task:
    """A Task over a table. Its rows are copied when they are asked for first, and when local files change.

    Raises:
        InputError: the table cannot be read, or has not what the settings name (`TableError`).
    """
    path = Path(settings.hub)
    local = bool(settings.hub) and path.exists()
    if not local and (_named_like_a_file(settings.hub) or not files.is_hub_id(settings.hub)):
        problem = f"there is no file or folder '{settings.hub}', and it is no hub id (owner/name)"
        raise TableError(name, [("hub", problem)])
    _check_apart(name, "hub", path)
    there = (list(path.rglob("*")) if path.is_dir() else [path]) if local else []
    root = (path if path.is_dir() else path.parent).resolve() if local else None
    return _copied(name, settings, settings.hub, root, there, partial(_splits_of_hub, name, settings, local))


def load_table_task(name: str, settings: TableTask) -> Task:
    """A Task over one table for each split, copied likewise. Rows name pictures from the first file's folder.

    Raises:
        InputError: a file cannot be read, or has not what the settings name (`TableError`).
    """
    tables: dict[Split, Path] = settings.splits()
    missing = [(split, f"there is no file {file}") for split, file in tables.items() if not file.is_file()]
    if missing:
        raise TableError(name, missing)
    first = next(iter(tables.values()))
    splits = partial(_splits_of_files, name, settings, first.parent)
    return _copied(name, settings, str(first), first.parent.resolve(), list(tables.values()), splits)


def _copied(
    name: str,
    settings: Columns,
    origin: str,
    root: Path | None,
    local: Sequence[Path],
    splits: Callable[[], dict[Split, Records]],
) -> Task:
    """The Task over the copy of a table, which is made where there is none yet.

    Args:
        root: the folder of the pictures that rows name; None for a table of the hub.
        local: the files whose changes make another copy.
    """
    state = state_of(local) if local else ""
    determining = settings.model_dump(mode="json", exclude={"chance", "description"}) | {"state": state}
    if settings.messages is None:  # which came later: earlier copies stay valid
        del determining["messages"]
    digest = hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()
    folder = data_folder() / "own" / f"{name}-{digest[:12]}"
    benchmark = Benchmark(
        name=name,
        version=VERSION,
        description=settings.description,
        licence="",
        hub=(origin,),
        example=partial(_example, settings, root),
        scorer=settings.scorer,
        chance=settings.chance,
        options=settings.scorer in OPTION_SCORERS,
    )
    try:
        if not picture_changed(folder):
            return load_prepared(benchmark, folder)
    except InputError:  # not there yet, or damaged: then it stays until the new one is whole
        if read_manifest(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
    manifest = prepare(benchmark, Source(origin, splits(), state, watched=root is not None), folder)
    for remark in remarks(benchmark, manifest):
        log.warning("Task %s, %s.", name, remark)
    return load_prepared(benchmark, folder)


def _splits_of_files(name: str, settings: TableTask, folder: Path) -> dict[Split, Records]:
    """The rows of each split's file, after a look at what it has."""
    found: dict[Split, Records] = {}
    for split, file in settings.splits().items():
        reader = _reader(name, split, file)
        table = _load(name, split, str(file), True, **reader, streaming=True)["train"]
        if problems := _problems(settings, split, str(file), folder, table):
            raise TableError(name, problems)
        found[split] = partial(_records, str(file), table)
    return found


def _splits_of_hub(name: str, settings: HubTask, local: bool) -> dict[Split, Records]:
    """The rows of each split, after a look at what the table has."""
    path = Path(settings.hub)
    if path.is_file():
        source: dict[str, Any] = _reader(name, "hub", path)
    else:
        source = {"path": settings.hub, "name": settings.config, "revision": settings.revision}
    found, wanted = _load(name, "hub", settings.hub, local, **source, streaming=True), settings.splits()
    problems: list[Problem] = [
        (split, f"{settings.hub} has no split '{theirs}'{suggestion(theirs, found)}")
        for split, theirs in wanted.items()
        if theirs not in found
    ]
    if problems:
        raise TableError(name, problems)
    folder = path if path.is_dir() else path.parent
    for theirs in wanted.values():
        if problems := _problems(settings, "hub", settings.hub, folder, found[theirs], theirs):
            raise TableError(name, problems)
    if not local:  # a download that broke off goes on
        types = as_written(settings.hub, next(iter(found.values())))
        found = {
            theirs: _load(name, "hub", settings.hub, local, **source, **types, split=theirs)
            for theirs in wanted.values()
        }
    return {split: partial(_records, settings.hub, found[theirs]) for split, theirs in wanted.items()}


def _reader(task: str, key: str, file: Path) -> dict[str, str]:
    """What `load_dataset` needs to read a file."""
    if file.suffix not in READERS:
        raise TableError(task, [(key, f"{file} is none of {', '.join(READERS)}")])
    with said_if_damaged(file):
        # A file without rows, which `datasets` cannot read.
        empty = not (row_count(file) if file.suffix == ".parquet" else file.stat().st_size)
        if problem := "has no rows" if empty else problem_of_table(file):
            raise TableError(task, [(key, f"{file} {problem}")])
    return {"path": READERS[file.suffix], "data_files": str(file)}


def _problems(
    settings: Columns, key: str, place: str, folder: Path, table: Any, split: str = "columns"
) -> list[Problem]:
    """What settings and a table do not agree on: columns that it lacks, or pictures that they do not mention.

    Args:
        key: the setting that names the table.
        folder: where rows name pictures from.
        split: what to call the table in messages.
    """
    names = column_names(place, table)
    if not names:
        return [(key, f"{place} has no rows")]
    texts = {key: getattr(settings, key) for key in ("prompt", "answer", "rationale")}
    if named := {key: text for key, text in texts.items() if text in names}:
        return [(key, f"is '{text}' in every row; the column is {{{text}}}") for key, text in named.items()]
    missing = [
        (key, f"there is no column '{column}'{meant(column, names)} ({split}: {', '.join(names)})")
        for key, columns in settings.columns().items()
        for column in columns
        if column not in names
    ]
    return missing or _unmentioned_pictures(settings, place, folder, table)


def _unmentioned_pictures(settings: Columns, place: str, folder: Path, table: Any) -> list[Problem]:
    """Columns of pictures that the settings do not mention; of what may be choices, a warning is given."""
    names = column_names(place, table)
    used = [column for columns in settings.columns().values() for column in columns]
    if not settings.messages and (unseen := unseen_choices(names, used)):
        log.warning("%s: the model does not see %s; say choices, if they are.", place, ", ".join(unseen))
    if "images" in settings.model_fields_set or settings.messages:
        return []
    shown = pictured(list(islice(_records(place, table), ROWS_AT_ONCE)), folder)
    hint = "or images: [] if the model is not to see them"
    return [
        ("images", f"column '{name}' of {place} holds pictures; say images: {name}, {hint}")
        for name in shown
        if name not in used
    ]


def first_rows(source: str) -> dict[str, list[Record]]:
    """The splits of a hub id, a folder or a file, and the first rows of each.

    Raises:
        InputError: it cannot be read.
    """
    path = Path(source)
    if not path.exists() and _named_like_a_file(source):
        raise InputError(f"There is no file or folder {source}.")
    _check_apart("data", "source", path)
    place = str(path.resolve()) if path.exists() else source  # `datasets` wants a name, which "." is not
    reader = _reader("data", "source", path) if path.is_file() else {"path": place}
    found = _load("data", "source", source, path.exists(), **reader, streaming=True)
    with said_if_damaged(source):
        return {split: list(islice(_records(source, table), ROWS_AT_ONCE)) for split, table in found.items()}


def _check_apart(task: str, key: str, path: Path) -> None:
    """See that copies of tables do not go into the folder: the next time they would be taken for its own."""
    if path.is_dir() and data_folder().resolve().is_relative_to(path.resolve()):
        text = f"{path} holds the folder {data_folder()}, where copies of tables go; "
        text += f"move its tables into a folder of their own, or set {FOLDER_VARIABLE} to one elsewhere"
        raise TableError(task, [(key, text)])


def _load(task: str, key: str, hub: str, local: bool, /, **arguments: Any) -> Any:
    try:
        streaming = arguments.get("streaming", False)
        if streaming and not local:  # the first that is asked of it
            reach("dataset", hub, arguments.get("revision"))
        if local:
            files.check_regular([Path(hub), *Path(hub).rglob("*")])  # a pipe would be waited for
            check_card(Path(hub))
        found = (local and json_as_written(arguments)) or library().load_dataset(**arguments)
        if streaming and (types := as_written(hub, next(iter(found.values())))):
            found = library().load_dataset(**arguments, **types)
        return found
    except Exception as error:  # readers and clients raise almost anything
        said = str(error).strip().splitlines()
        text = f"{hub} cannot be loaded ({shortened(said[0], 300) if said else type(error).__name__})"
        if not local:
            command = f"hf download {hub} --repo-type dataset --local-dir FOLDER"
            text += f"; on a machine with access, run '{command}', copy the folder here, and say hub: FOLDER"
        raise TableError(task, [(key, text)]) from None


def _named_like_a_file(source: str) -> bool:
    return source.startswith((".", "/", "~")) or Path(source).suffix in READERS


def _records(hub: str, table: Any) -> Iterator[Record]:
    labels = {
        column: feature.names
        for column, feature in (table.features or {}).items()
        if type(feature).__name__ == "ClassLabel"
    }
    with said_if_damaged(hub):
        for record in plain_rows(table):
            for column, names in labels.items():
                if isinstance(label := record[column], int):
                    record[column] = names[label] if label >= 0 else None
            yield record


class _ColumnRow(Row):
    def fail(self, field: str | None, problem: str) -> NoReturn:
        raise BadRow(f"{field} {problem}" if field else problem)


def _example(settings: Columns, root: Path | None, record: Record, split: Split) -> Example:
    """A row of the table as an Example."""
    columns = (settings.images,) if isinstance(settings.images, str) else settings.images
    images: list[Any] = [one for column in columns for one in pictures_in(record.get(column), column, root)]
    id = record.get(settings.id) if settings.id else None
    values: dict[str, Any] = {"rationale": fill(settings.rationale, record), "id": None if id == "" else id}
    if settings.messages is None:
        values["prompt"] = fill(settings.prompt or "", record)
    else:
        chat = _chat(settings, record.get(settings.messages), images)
        values |= {key: chat[key] for key in ("prompt", "answer")}
        images = [image for one in chat["images"] for image in pictures_in(one, settings.messages, root)]
    if settings.choices:
        values["choices"] = _choices(settings, record)
    if settings.references:
        said = answer_list(record.get(settings.references))
        values["references"] = [one for one in said if one or settings.scorer == "vqa"]
    if (answer := _answer(settings, record, values)) is not None:
        values["answer"] = answer
    return _ColumnRow(values, settings.scorer, f"{split}-{record[NUMBER]}").example(tuple(images))


def _chat(settings: Columns, turns: Any, images: Sequence[Any]) -> dict[str, Any]:
    """The prompt, answer and images of a row's turns; where columns give the answer, no turn need do so."""
    try:
        answer = "" if settings.answer or settings.answer_index or settings.references else None
        return as_row({"messages": turns, "images": images, "answer": answer})
    except BadField as error:
        raise BadRow(str(error)) from None


def _answer(settings: Columns, record: Record, values: Mapping[str, Any]) -> str | None:
    """The reference as columns give it: a text, a choice's place, or the most frequent answer."""
    if settings.answer is not None:
        return fill(settings.answer, record)
    if settings.answer_index is not None:
        choices: list[str] = values["choices"]
        letter = letter_at(record.get(settings.answer_index), choices)
        return letter if settings.scorer in OF_LETTERS else choices[ord(letter) - ord("A")]
    return majority(values["references"]) if settings.references else None


def _choices(settings: Columns, record: Record) -> list[str]:
    if isinstance(column := settings.choices, str):
        needed = settings.scorer in OF_LETTERS and settings.scorer != "mmmu"
        return list(choice_list(record.get(column), column, needed))
    choices = [text_of(record.get(one), one) for one in column]
    while choices and choices[-1] in ("", "nan"):  # a question may have fewer than there are columns
        choices.pop()
    return choices
