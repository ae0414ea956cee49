"""What data of one's own look like: which columns mean what, which scorer fits the answers, and why."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from holdfast.errors import InputError
from holdfast.start.rows import answered_beside, first, has_own_names, meanings, rows_of
from holdfast.tasks.columns import READERS, HubTask
from holdfast.tasks.copied import first_rows
from holdfast.tasks.example import Example
from holdfast.tasks.fieldnames import COMMON_NAMES, choice_columns
from holdfast.tasks.jsonl import OwnTask, load_task
from holdfast.tasks.prompts import STYLES, Style
from holdfast.tasks.rows import misread
from holdfast.tasks.scorers import get_scorer
from holdfast.tasks.tables import ROWS_AT_ONCE
from holdfast.tasks.task import Split

PLAIN = (  # scorers, and answers that are nothing else than what these look for
    ("yes_no", "is yes or no", re.compile(r"\s*(?:yes|no)\.*\s*", re.IGNORECASE)),
    ("number", "is a number", re.compile(r"\s*[-+−]?[\d.,]+\s*")),
)
LONG = 8  # words of an answer that is seldom repeated to the letter


@dataclass(frozen=True)
class Data:
    """Own data as a task of an experiment.

    Attributes:
        settings: of the task, without its scorer.
        examples: by split; of tables, which are copied by the first plan, none.
        why: what was concluded, for comments.
        never_right: rows whose own answer the scorer finds wrong, each a sentence.
        unused: columns of a table that no setting names.
    """

    settings: Mapping[str, Any]
    scorer: str
    why: str
    examples: Mapping[Split, Sequence[Example]]
    never_right: Sequence[str]
    unused: Sequence[str] = ()


def look_at_rows(files: Mapping[Split, Path]) -> Data:
    """Read JSONL files, or JSON arrays, whole.

    Raises:
        InputError: a row cannot be read; names file, line and field.
    """
    settings: dict[str, Any] = {split: str(path) for split, path in files.items()}

    def read(scorer: str) -> dict[Split, list[Example]]:
        task = load_task("data", OwnTask.model_validate({**settings, "scorer": scorer}), styles=())
        if empty := [path for split, path in files.items() if not task.sizes[split]]:
            raise InputError(f"{empty[0]} has no rows.")
        return {split: task.examples(split) for split in files}

    examples = read("exact")
    scorer, why = scorer_for([one for rows in examples.values() for one in rows])
    if scorer == "options":  # whose answers are letters
        try:
            examples = read(scorer)
        except InputError as error:
            scorer, why = "exact", f"not every answer is one of its row's choices: {error}"
    wrong = [
        f"{one.named}: {problem}"
        for rows in examples.values()
        for one in rows
        if (problem := next(filter(None, (misread(one, scorer, style) for style in STYLES)), None))
    ]
    if scorer == "options":
        settings |= _chance([one.choices for rows in examples.values() for one in rows])
    return Data(settings, scorer, why, examples, wrong)


def look_at_table(source: str, files: Mapping[Split, Path]) -> Data:
    """Find out what a table's columns are, by their names.

    Args:
        source: a hub id or a folder; "" where `files` are the tables.

    Raises:
        InputError: it cannot be read, or none of its columns is a question with an answer.
    """
    place = source or str(next(iter(files.values())))
    found = first_rows(place)
    rows = next(iter(found.values()))
    columns = list(rows[0]) if rows else []
    meant = meanings(rows, Path(place) if Path(place).is_dir() else Path(place).parent)
    named: dict[str, Any]
    if "messages" in meant:
        named = {key: meant[key] for key in ("messages", "images") if key in meant}
        if answered_beside(rows[0], meant):
            named["answer"] = f"{{{meant['answer']}}}"
    elif "prompt" in meant and ("answer" in meant or "references" in meant):
        named = {"prompt": f"{{{meant['prompt']}}}"}
        named |= _answer(meant, rows) if "answer" in meant else {}
        named |= {key: meant[key] for key in ("images", "choices", "references") if key in meant}
        if "choices" not in meant and (choices := choice_columns(columns)):
            named["choices"] = choices
    else:
        raise InputError(_no_task(place, columns, meant))
    settings: dict[str, Any] = {split: str(path) for split, path in files.items()}
    if source:
        settings = {"hub": source, **_splits(source, found)}
    scorer, why = "exact", "answers within turns; change it if they are numbers, options or long texts"
    alone = [row[named["references"]] for row in rows] if "references" in named else []
    if "choices" not in named and alone and all(len(answers or ()) == 1 for answers in alone):
        scorer, why = scorer_for([Example("", "", str(answer)) for (answer,) in alone])
    elif "choices" in named or "references" in named:
        scorer, key = ("options", "choices") if "choices" in named else ("vqa", "references")
        several = isinstance(named[key], list)
        why = f"there are columns {', '.join(named[key])}" if several else f"there is a column '{named[key]}'"
    elif "messages" not in named or "answer" in named:
        scorer, why = scorer_for([Example("", "", str(row[meant["answer"]])) for row in rows])
        why += f" (in the first {len(rows)} rows)" if len(rows) == ROWS_AT_ONCE else ""
    if "choices" in named:
        settings |= _chance([_shown(named["choices"], row) for row in rows])
    used = {column for names in HubTask(hub="", train="", **named).columns().values() for column in names}
    return Data(settings | named, scorer, why, {}, [], [name for name in columns if name not in used])


def _shown(columns: str | list[str], row: Mapping[str, Any]) -> Sequence[Any]:
    """A row's choices: a column's list, or those of several columns that are filled."""
    if isinstance(columns, str):
        return row[columns] if isinstance(row[columns], list) else ()
    return [row[column] for column in columns if row[column] not in (None, "")]


def _chance(choices: Sequence[Sequence[Any]]) -> dict[str, float]:
    """The setting of what guessing gets: the mean of one in so many choices."""
    shares = [1 / len(one) for one in choices if len(one)]
    return {"chance": round(sum(shares) / len(shares), 4)} if shares else {}


def _no_task(place: str, columns: Sequence[str], meant: Mapping[str, str]) -> str:
    """What is missing of a table without a question or an answer that is called as such, and what to do."""
    if "prompt" in meant:
        lacking, how = "answer", '"{COLUMN}"'
        there = f"'{meant['prompt']}' is the question, but no column is called as an answer"
    else:
        lacking, how = "prompt", '"{COLUMN}" or one question for all rows'
        there = "no column is called as a question"
    return (
        f"{place}: {there} ({', '.join(COMMON_NAMES[lacking])}). Its columns: {', '.join(columns)}. Rename "
        f'one, or write the task by hand, with {lacking}: {how} ("Any other table" in docs/tasks.md).'
    )


def _splits(source: str, there: Collection[str]) -> dict[str, str]:
    """Which of a table's splits to train on, and which to judge by.

    Raises:
        InputError: one is not there.
    """
    known = {"train": ("train",), "test": ("test", "validation", "val", "dev")}
    found = {ours: name for ours, names in known.items() if (name := first(names, there))}
    if len(found) < len(known):
        problem = f"{source} has no split to {'judge by' if 'train' in found else 'train on'}, only "
        raise InputError(
            f"{problem}{', '.join(there)}. Give one of its files with --data, of which a fifth is held "
            "out, or two with --data and --test."
        )
    return found


def _answer(meant: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The setting of the answers: an index where each is a place among its row's choices, one the first."""
    column = meant["answer"]
    answers = [row[column] for row in rows]
    choices = [row.get(meant.get("choices", "")) for row in rows]
    places = all(
        (type(answer) is int or (isinstance(answer, str) and answer.isdecimal()))  # no truth value
        and isinstance(texts, list)
        and 0 <= int(answer) < len(texts)
        and str(answer) not in texts
        for answer, texts in zip(answers, choices, strict=True)
    )
    from_0 = places and 0 in map(int, answers)
    return {"answer_index": column} if from_0 else {"answer": f"{{{column}}}"}


def is_table(path: Path) -> bool:
    """Whether a file's columns have to be named: it is no JSONL, or its rows have names of their own."""
    if path.suffix not in (".json", ".jsonl"):
        return path.suffix in READERS
    try:
        return has_own_names(next(iter(rows_of(path)), None), path.parent)
    except (OSError, ValueError, InputError):
        return False  # what is wrong is said, with its line, when the rows are read


def scorer_for(examples: Sequence[Example]) -> tuple[str, str]:
    """The scorer that fits all answers, and the reason."""
    if all(one.choices for one in examples):
        return "options", "every row has choices; a letter, an option's text or a statement of either counts"
    if all(one.references for one in examples):
        return "vqa", "every row has several accepted answers"
    if examples and all(re.fullmatch("[A-J]", one.answer.strip()) for one in examples):
        return "options", "every answer is an option's letter; a letter or a statement of one counts"
    for scorer, what, form in PLAIN:
        if all(get_scorer(scorer)(one.answer, one) == 1 and form.fullmatch(one.answer) for one in examples):
            return scorer, f"every answer {what}"
    words = median(len(one.answer.split()) for one in examples)
    if words > LONG:
        return "exact", (
            f"answers have {words:.0f} words, which are seldom repeated to the letter: a rule of your own "
            "(FILE.py:NAME) judges them better"
        )
    return "exact", "answers are short texts; case, spaces and a full stop at the end do not count"


def style_for(data: Data) -> tuple[Style, str]:
    """The prompt style, and the reason."""
    if data.scorer == "exact" and data.examples:
        words = median(len(one.answer.split()) for rows in data.examples.values() for one in rows)
        if words > LONG:
            return "direct", "the answer is itself a text; there is no short one to put in a box"
    return "cot", "reasoning before a short answer in a box: what RFT samples then differs"
