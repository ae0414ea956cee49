"""Which tasks there are, and how to get one by its name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from holdfast import plugins
from holdfast.errors import InputError, reason, suggestion
from holdfast.tasks.benchmarks import BENCHMARKS
from holdfast.tasks.columns import HubTask, TableTask
from holdfast.tasks.copied import load_hub_task, load_table_task
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.example import Example, ImageSource
from holdfast.tasks.jsonl import OwnTask, load_task
from holdfast.tasks.prepared import load_benchmark, prepared_names
from holdfast.tasks.prompts import STYLES, Style
from holdfast.tasks.scorers import FORMULAS, get_scorer, latex
from holdfast.tasks.task import SPLITS, Split, Task


def names() -> list[str]:
    """Names of the tasks at hand: the embedded suite in its order, and prepared benchmarks."""
    return [*TASKS, *prepared_names()]


def taken(name: str) -> str | None:
    """Whose name it is, so that no task of one's own can have it; None where it is free."""
    return "an embedded one" if name in TASKS else "a benchmark" if name in BENCHMARKS else None


def get_task(
    name: str,
    own: Mapping[str, OwnTask | HubTask | TableTask | str] | None = None,
    scoring: Literal["official", "study"] = "official",
    styles: Sequence[Style] = STYLES,
) -> Task:
    """The task of this name, from one's own data, the embedded suite or a prepared benchmark.

    Args:
        scoring: the rule for benchmarks: each one's own, or the study's for all of them. Embedded
            and own tasks have one rule.
        styles: the prompt styles in which one's own rows must be able to be right.

    Raises:
        InputError: there is no such task (with a suggestion), or two, or its data cannot be read or
            is not prepared yet (with the command that does it).
    """
    if own and name in own:
        if whose := taken(name):
            raise InputError(f"Your own task '{name}' has the name of {whose}; give it another name.")
        settings = own[name]
        if isinstance(settings, str):
            return _usable(_of_code(name, settings))
        if isinstance(settings, HubTask):
            return _usable(load_hub_task(name, settings))
        if isinstance(settings, TableTask):
            return _usable(load_table_task(name, settings))
        return _usable(load_task(name, settings, styles))
    if name in TASKS:
        return TASKS[name]
    if name in BENCHMARKS:
        task = load_benchmark(name)
        return _usable(task.scored_by("study") if scoring == "study" else task)
    meant = suggestion(name, [*TASKS, *BENCHMARKS, *(own or {})])
    if "did you mean" not in meant:  # some sixty names tell nobody anything
        meant = (
            "; 'holdfast tasks' and 'holdfast data' list those that ship, and your own stand under 'tasks'."
        )
    raise InputError(f"There is no task '{name}'{meant}")


def _of_code(name: str, reference: str) -> Task:
    """The task that code of the user's is, or makes; known by its file besides what it says of its data.

    Raises:
        InputError: it is none, or the code cannot be used.
    """
    found = plugins.load(reference)
    if not isinstance(found, Task):
        found = plugins.call(reference, about=f"the task {name}")
    if not isinstance(found, Task):
        raise InputError(f"{reference} must be a holdfast.Task, or a function that returns one.")
    if not isinstance(found.sizes, Mapping) or not all(map(_is_size, found.sizes.items())):
        raise InputError(
            f"{reference}: `sizes` is {plugins.shown(found.sizes)}; it must give each of train, validation, "
            "test that there is a number of examples, or None without an end."
        )
    if not isinstance(found.scorer, str):
        scorer = plugins.shown(found.scorer)
        raise InputError(
            f"{reference}: `scorer` is {scorer}; it must be a rule's name, or 'FILE.py:NAME' for code."
        )
    get_scorer(found.scorer)
    chance = plugins.plain_number(found.chance)
    if chance is not None and not (isinstance(chance, int | float) and 0 <= chance <= 1):
        raise InputError(
            f"{reference}: `chance` is {plugins.shown(chance)}; it must be a share from 0 to 1, or None."
        )
    load = partial(_examples_of_code, reference, found)
    source = f"{found.source} {plugins.identify(reference)}".strip()
    return replace(found, name=name, load=load, chance=chance, source=source)


def _is_size(item: tuple[Any, Any]) -> bool:
    split, size = item
    return split in SPLITS and (size is None or (type(size) is int and size >= 0))


def _examples_of_code(reference: str, task: Task, split: Split, count: int | None) -> list[Example]:
    """What code of the user's gives as the first examples of a split.

    Raises:
        HoldfastError: it raised an error.
        InputError: it gave something else, or not as many.
    """
    with plugins.blamed(reference, about=f"its {split} examples"):
        found: Any = task.load(split, count)
    wanted = task.sizes[split] if count is None else count
    if wrong := _wrong_with(found, wanted):
        raise InputError(f"{reference}: `load` gave for its {split} examples {wrong}.")
    return list(found)


def _wrong_with(found: Any, wanted: int | None) -> str | None:
    """What is wrong with what code of the user's gives as so many examples, and what it must be."""
    if not isinstance(found, list) or not all(isinstance(one, Example) for one in found):
        return f"{plugins.shown(found)}; it must give a list of Examples"
    if len(found) != wanted:
        return f"{len(found)} where {wanted} were asked for"
    for one in found:
        if not all(isinstance(text, str) for text in (one.id, one.prompt, one.answer)):
            return f"{plugins.shown(one)}; id, prompt and answer must be text"
    for one in found:
        if not _shows_pictures(one):
            images = plugins.shown(one.images)
            return f"{one.named} with images {images}; they must be a tuple of PIL images, Paths or bytes"
    if len(ids := Counter(one.id for one in found)) < len(found):
        return f"several of the id '{ids.most_common(1)[0][0]}'; each needs its own"
    for one in found:
        if fault := _fault(one):
            return f"{plugins.shown(one.id)} with {fault}"
    return None


def _shows_pictures(example: Example) -> bool:
    images: Any = example.images
    return isinstance(images, tuple | list) and all(isinstance(one, ImageSource) for one in images)


def _fault(example: Example) -> str | None:
    """What records could not hold of an example, or scorers would take for something else."""
    for name in ("choices", "aliases", "references"):
        listed: Any = getattr(example, name)
        if not isinstance(listed, tuple | list) or not all(isinstance(one, str) for one in listed):
            return f"{name} {plugins.shown(listed)}; they must be a tuple of texts"
    if not isinstance(rationale := example.rationale, str):  # from outside, whatever its type says
        return f"the rationale {plugins.shown(rationale)}; it must be text"
    if not isinstance(example.meta, Mapping):
        return f"meta {plugins.shown(example.meta)}; it must be a dictionary"
    for key, value in example.meta.items():
        try:
            json.dumps({key: value}, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            why = reason(error)
            return f"meta {plugins.shown(key)}, which JSON cannot hold ({why}); use text, numbers, lists"
    try:
        texts = (example.id, example.prompt, example.answer, example.rationale)
        "".join((*texts, *example.choices, *example.aliases, *example.references)).encode()
    except UnicodeEncodeError:
        return "half of a character (a lone surrogate) in a text; write the whole character"
    return None


def _usable(task: Task) -> Task:
    if task.scorer in FORMULAS:
        latex.require()
    return task
