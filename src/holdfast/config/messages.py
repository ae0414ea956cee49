"""Errors of an experiment file, in its own words and with their lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from holdfast.config.experiment import Evaluation, Experiment
from holdfast.errors import meant, shortened, suggestion
from holdfast.learning.methods import every_setting, objectives_with
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.yamlfile import KeyPath, Problem, YamlFile

MOST_ERRORS = 50  # that a message tells
_MISSING = "is missing; it has no default"
_LONG_QUOTE = re.compile(r"'([^'\n]{200})[^'\n]+'")
_NONE = {"tuple_type": "[]", "dict_type": "{}"}  # what says that there are none
_PLAIN = {  # pydantic's errors in the words of the file
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "string_type": "must be text (in quotes)",
    "path_type": "must be text (in quotes)",
    "too_short": "must not be empty",
}


def problems_of(
    error: ValidationError, model: type[BaseModel] = Experiment, where: KeyPath = ()
) -> list[Problem]:
    """Paths and texts of pydantic's errors, without those that only follow from others.

    Args:
        model: what was read, and `where` it stands.
    """
    return [
        _problem(details, model, where, guess=number < MOST_ERRORS)
        for number, details in enumerate(error.errors())
        if not _follows(details)
    ]


def _problem(details: Any, model: type[BaseModel], where: KeyPath, guess: bool) -> Problem:
    """Path and text of one of them; to `guess` what an unknown key was meant to be takes time."""
    # "[key]" and the tags of alternatives, which stand in brackets, are no keys of the file.
    inner = tuple(part for part in details["loc"] if not str(part).startswith("["))
    path = (*where, *inner)
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        key = str(path[-1])
        if where[:1] == ("methods",) and len(inner) == 1 and (others := objectives_with(key)):
            return path, f"is a setting of {', '.join(others)}; leave it out"
        if not guess:
            return path, "unknown key"
        elsewhere = misplaced(key) if model is Experiment or where[:1] == ("methods",) else ""
        return path, f"unknown key{elsewhere or suggestion(key, _keys_at(details['loc'][:-1], model))}"
    if kind == "missing":
        return path, _MISSING
    if kind == "literal_error":
        expected, given = context["expected"], details["input"]
        options = [option.strip("' ") for option in expected.replace(" or ", ", ").split(",")]
        said = "null" if given is None else repr(given)
        return path, f"must be {expected}, not {said}{meant(str(given), options)}"
    if kind == "string_pattern_mismatch":
        return path, f"{shortened(details['input'])!r} may hold only letters, digits, '-' and '_'"
    if kind == "too_long":
        return path, f"must hold at most {context['max_length']:,}, not {context['actual_length']:,}"
    if kind == "value_error":
        return path, str(context["error"])
    message = _PLAIN.get(kind) or details["msg"].replace("Input should be", "must be")
    message = message[0].lower() + message[1:]
    given = details["input"]
    if isinstance(given, str | int | float | bool | None):
        message += f", not {'null' if given is None else shortened(repr(given))}"
    if given is None and kind in _NONE:
        message += f"; {_NONE[kind]} is none"
    return path, message


def misplaced(key: str) -> str:
    """The end of a message about an unknown key: where in an experiment there is one of this name."""
    known = {
        "": Experiment.model_fields,
        "model.": ModelSettings.model_fields,
        "evaluation.": Evaluation.model_fields,
        "defaults.": every_setting([]),
        "defaults.sampling.": Sampling.model_fields,
    }
    places = [f"{place}{key}" for place, keys in known.items() if key in keys]
    return f"; did you mean {' or '.join(places)}?" if places else ""


def _follows(details: Any) -> bool:
    """Whether an error only says that items with errors of their own are missing."""
    return details["type"] == "too_short" and len(details["input"]) > 0


def _keys_at(path: KeyPath, model: type[BaseModel]) -> list[str]:
    """The keys that are allowed at a place in what the file says of a model.

    The place has tags where there are alternatives.
    """
    annotation: Any = model
    for part in path:
        if str(part).startswith("["):
            annotation = _tagged(annotation, str(part))
            continue
        annotation = _unwrap(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = annotation.model_fields[str(part)].annotation
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        else:
            annotation = get_args(annotation)[0]
    annotation = _unwrap(annotation)
    if annotation is Experiment:
        return [*Experiment.model_fields, "defaults"]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    return []


def _tagged(annotation: Any, tag: str) -> Any:
    """The alternative with this tag; the annotation itself where `[key]` stands for a mapping's key."""
    for member in get_args(get_args(annotation)[0]) if get_origin(annotation) is Annotated else ():
        if Tag(tag) in getattr(member, "__metadata__", ()):
            return get_args(member)[0]
    return annotation


def _unwrap(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _place(where: KeyPath, file: YamlFile, families: Mapping[str, str]) -> KeyPath:
    """Where the file says what a method has: on an axis of its grid, in the method, or among the defaults."""
    if where[:1] != ("methods",) or len(where) < 2:
        return where
    name, rest = str(where[1]), where[2:]
    method = ("methods", families.get(name, name))
    axis = ("grid", ".".join(map(str, rest)))
    places = [(*method, *axis), (*method, *rest), ("defaults", *axis), ("defaults", *rest)] if rest else []
    return next((place for place in places if file.says(place)), (*method, *rest))


def message(
    path: Path | str, file: YamlFile, problems: Sequence[Problem], families: Mapping[str, str]
) -> str:
    found: dict[tuple[int, str, str, str], set[str]] = {}  # which methods of grids have the error
    placed = [(where, _place(where, file, families), text) for where, text in problems]
    bad = {place for _, place, text in placed if text != _MISSING}
    for where, place, text in placed:
        if text == _MISSING and place in bad:
            continue  # its axis was left out
        name = ".".join(map(str, place)) or "file"
        names = found.setdefault((file.line(place) or 0, file.where(place), name, text), set())
        if where[:1] == ("methods",) and "grid" not in place[1:-1]:  # an axis shows the value itself
            names |= {str(part) for part in where[1:2] if part in families}
    lines = []
    for (_, at, name, text), names in sorted(found.items(), key=lambda item: item[0]):
        text = _LONG_QUOTE.sub(r"'\1 …'", f"{shortened(name, 200)}: {text}")
        lines.append(f"  {at}{text}{_some_of(names, families)}")
    count = f"{len(lines)} errors" if len(lines) > 1 else "an error"
    if len(lines) > MOST_ERRORS:
        lines[MOST_ERRORS:] = [f"  and {len(lines) - MOST_ERRORS} more"]
    return f"{path} has {count}:\n" + "\n".join(lines)


def _some_of(names: set[str], families: Mapping[str, str]) -> str:
    """The end of a message about some of the methods of a grid."""
    concerned = {families[name] for name in names}
    if not names or len(names) == sum(family in concerned for family in families.values()):
        return ""
    first = next(name for name in families if name in names)
    return f" ({first}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
