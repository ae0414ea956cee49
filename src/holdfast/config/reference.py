"""Every setting of an experiment's file: its type, its default, and what it means.

The meaning is the comment that stands beside the setting in the source, so that there is one place for it.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from typing import Any

from pydantic import BaseModel

from holdfast.config.cards import Card
from holdfast.config.experiment import Evaluation, Experiment, Ray
from holdfast.generate.settings import Served, ServerSettings
from holdfast.learning.methods import OBJECTIVES, RFT, Method
from holdfast.learning.retention import KINDS as STRATEGIES
from holdfast.learning.retention import Strategy, strategy_class
from holdfast.measures import KINDS as MEASURES
from holdfast.measures import Measure, measure_class
from holdfast.policy.settings import Lora, ModelSettings, Sampling
from holdfast.settings import LARGEST
from holdfast.tasks.columns import HubTask, TableTask
from holdfast.tasks.jsonl import OwnTask


@dataclass(frozen=True)
class Group:
    """Settings that stand together.

    Attributes:
        place: where in the file, as a path of keys.
        model: the class that has them.
    """

    place: str
    model: type[BaseModel]
    about: str = ""


def groups() -> list[Group]:
    """All settings, in the order in which a file is written."""
    return [
        Group("", Experiment, "`extends` and `defaults` are read before: experiments.md."),
        Group("model", ModelSettings),
        Group("model.lora", Lora),
        Group("tasks.NAME: rows in JSONL files", OwnTask),
        Group("tasks.NAME: a table a split", TableTask),
        Group("tasks.NAME: a table of a hub id, a folder or a file", HubTask),
        Group("evaluation", Evaluation),
        Group("methods.NAME, defaults", Method, "Of every objective; `grid` makes several: experiments.md."),
        Group("methods.NAME of RFT", RFT, "That is `grpo` to `reinforce`, below."),
        *(
            Group(f"objective: {name}" + (", target: sampled" if number else ""), one)
            for name, classes in OBJECTIVES.items()
            for number, one in enumerate(classes)
        ),
        Group("methods.NAME.sampling", Sampling),
        Group("sampler (of methods.NAME of RFT, and of evaluation)", Served),
        *(Group(f"retention, kind: {kind}", strategy_class(kind)) for kind in STRATEGIES),
        *(Group(f"measures.{name}", measure_class(name)) for name in MEASURES),
        Group("ray", Ray),
        Group("cards.NAME", Card),
        Group("server (of evaluate and check)", ServerSettings),
    ]


def shown(model: type[BaseModel]) -> list[str]:
    """The settings of a class that its base has not, or has with another default or type."""
    kinds = [
        base for base in (RFT, Method, Strategy, Measure) if issubclass(model, base) and model is not base
    ]
    if not kinds:
        return list(model.model_fields)
    known = kinds[0].model_fields

    def is_new(key: str) -> bool:
        ours, theirs = model.model_fields[key], known.get(key)
        return theirs is None or (ours.default, ours.annotation) != (theirs.default, theirs.annotation)

    return [key for key in model.model_fields if key not in ("objective", "kind") and is_new(key)]


@lru_cache
def comments(model: type[BaseModel]) -> Mapping[str, str]:
    """What the source says of each setting: beside it, and in the lines before."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one.__module__.startswith("holdfast."):
            found |= {key: text for key, text in _comments(one).items() if text or key not in found}
    return {key: re.sub(r"\bNone\b", "null", text) for key, text in found.items()}


def _comments(model: type[BaseModel]) -> dict[str, str]:
    source = inspect.cleandoc("\n" + inspect.getsource(model))
    notes = {
        token.start[0]: (token.string.lstrip("# "), token.line.strip().startswith("#"))
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]  # it is a class
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            before: list[str] = []
            line = node.lineno - 1
            while line in notes and notes[line][1]:
                before.insert(0, notes[line][0])
                line -= 1
            beside = [notes[at][0] for at in range(node.lineno, (node.end_lineno or 0) + 1) if at in notes]
            found[node.target.id] = " ".join([*before, *beside])
    return found


def type_text(schema: Mapping[str, Any]) -> str:
    """A setting's type in a word or two."""
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(dict.fromkeys(map(type_text, schema.get("anyOf", schema.get("oneOf", ())))))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return "settings"
    kind = schema.get("type", "any")
    if kind == "array":
        items = schema.get("items", {})
        return f"list of {type_text(items)}" if items else "list"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"mapping to {type_text(inner)}" if isinstance(inner, dict) and inner else "mapping"
    words = {"integer": "whole number", "string": "text", "boolean": "true/false"}
    return words.get(kind, str(kind)) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    parts = [f"{sign} {schema[key]:,}" for key, sign in signs.items() if schema.get(key, LARGEST) != LARGEST]
    return f" ({', '.join(parts)})" if parts else ""


def page() -> str:
    """All settings as Markdown: docs/settings.md."""
    lines = [
        "# All settings",
        "",
        "<!-- Made by tools/settings_page.py from the settings' source; change them there. -->",
        "",
        "What an experiment's file may hold. [demo.yaml](../configs/embedded/demo.yaml) is a whole one, and",
        "[experiments.md](experiments.md) says what goes together. `holdfast schema` prints a JSON Schema of",
        "the same, with which editors complete and check a file.",
    ]
    for group in groups():
        lines += _section(group)
    return "\n".join(lines) + "\n"


def _section(group: Group) -> Iterator[str]:
    model = group.model
    made = model.model_json_schema()
    said, rows = comments(model), shown(model)
    yield ""
    yield f"## {group.place or 'The file'}"
    if about := _about(group, model):
        yield ""
        yield about
    if not rows:
        return
    yield ""
    yield "| setting | type | default | |"
    yield "|---|---|---|---|"
    for key in rows:
        field = made["properties"][key]
        default = "" if key in made.get("required", ()) else f"`{_default(model, key)}`"
        cells = (f"`{key}`", type_text(field), default, said.get(key, ""))
        yield f"| {' | '.join(cell.replace('|', '∣') for cell in cells)} |"


def _about(group: Group, model: type[BaseModel]) -> str:
    said = model.__doc__ or sys.modules[model.__module__].__doc__ or ""  # not that of its base
    first = re.split(r"\n\s*\n", inspect.cleandoc(said))[0].replace("\n", " ")
    return f"{first} {group.about}".strip()


def _default(model: type[BaseModel], key: str) -> str:
    value = model.model_fields[key].get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
