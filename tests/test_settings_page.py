"""The page of all settings and the JSON Schema: complete, up to date, true of every shipped experiment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from cli_helpers import Call
from holdfast.config.grid import Variant
from holdfast.config.reference import comments, groups, page, shown
from holdfast.config.schema import schema
from holdfast.learning.retention import Strategy
from holdfast.measures import Measure

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*/*.yaml"))
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "default", "format", "type", "properties", "required",
    "additionalProperties", "patternProperties", "propertyNames", "items", "prefixItems", "minItems",
    "maxItems", "minProperties", "anyOf", "oneOf", "enum", "const", "pattern", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "maxLength",
}  # fmt: skip


def fits(value: Any, rule: Any, root: dict[str, Any]) -> bool:
    """Whether a value follows a JSON Schema, of the keywords that ours has."""
    if isinstance(rule, bool):
        return rule
    assert not rule.keys() - KNOWN, rule.keys() - KNOWN
    if "$ref" in rule:
        name = rule["$ref"].removeprefix("#/$defs/")
        if not fits(value, root["$defs"][name], root):
            return False
    if "type" in rule:
        kind = TYPES[rule["type"]]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            return False
    for keyword in ("anyOf", "oneOf"):
        if keyword in rule and not any(fits(value, one, root) for one in rule[keyword]):
            return False
    if ("enum" in rule and value not in rule["enum"]) or ("const" in rule and value != rule["const"]):
        return False
    if isinstance(value, str) and "pattern" in rule and not re.search(rule["pattern"], value):
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < rule.get("minimum", value) or value > rule.get("maximum", value):
            return False
        if "exclusiveMinimum" in rule and value <= rule["exclusiveMinimum"]:
            return False
        if "exclusiveMaximum" in rule and value >= rule["exclusiveMaximum"]:
            return False
    if isinstance(value, list):
        items = [*rule.get("prefixItems", ()), *[rule.get("items", True)] * len(value)]
        return all(fits(one, part, root) for one, part in zip(value, items, strict=False))
    if isinstance(value, dict):
        return not set(rule.get("required", ())) - value.keys() and all(
            fits(inner, part, root) for key, inner in value.items() for part in _rules(str(key), rule)
        )
    return True


def _rules(key: str, rule: dict[str, Any]) -> list[Any]:
    if key in rule.get("properties", {}):
        return [rule["properties"][key]]
    if found := [one for form, one in rule.get("patternProperties", {}).items() if re.search(form, key)]:
        return found
    return [rule.get("additionalProperties", True)]


@pytest.fixture(scope="module")
def rules() -> dict[str, Any]:
    return schema()


@pytest.mark.slow
def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page(), (
        "run python tools/settings_page.py"
    )


def test_settings_within_settings_are_on_the_page_too() -> None:
    models = {group.model for group in groups()}
    within = {
        one for model in models for field in model.model_fields.values() for one in classes(field.annotation)
    }
    assert within - models == {Strategy, Measure, Variant}  # whose kinds are there; what a grid writes itself


def classes(annotation: Any) -> Iterator[type[BaseModel]]:
    """Classes of settings in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from classes(part)


def test_every_setting_says_what_it_means() -> None:
    silent = [
        (group.place, key)
        for group in groups()
        if not issubclass(group.model, Strategy)  # retention.md has them
        for key in shown(group.model)
        if not comments(group.model).get(key)
    ]
    assert silent == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_shipped_experiment_follows_the_schema(path: Path, rules: dict[str, Any]) -> None:
    assert fits(yaml.safe_load(path.read_text()), rules, rules)


@pytest.mark.parametrize(
    "change",
    [
        {"sede": [0]},
        {"seeds": 0},
        {"methods": {"sft": {"objective": "sfd"}}},
        {"methods": {"sft": {"objective": "sft", "learning_rat": 1e-4}}},
        {"methods": {"sft": {"objective": "sft", "retention": {"kind": "ewd"}}}},
        {"methods": {"sft": {"objective": "sft", "retention": {"kind": "ewc", "strenght": 1}}}},
        {"defaults": {"warmup": 1.0}},
        {"model": {"dtype": "float8"}},
        {"measures": {"drfit": {}}},
        {"measures": {"drift": {"prompt": 1}}},
        {"tasks": {"mine": {"train": "a.jsonl", "scorre": "exact"}}},
        {"evaluation": {"top_p": 0}},
    ],
)
def test_slips_do_not_follow_it(change: dict[str, Any], rules: dict[str, Any]) -> None:
    whole = {"name": "a", "sequence": ["reading"], "methods": {"sft": {"objective": "sft"}}}
    assert fits(whole, rules, rules)
    assert not fits(whole | change, rules, rules)


def test_what_is_the_users_own_follows_it(rules: dict[str, Any]) -> None:
    whole = {
        "name": "a",
        "sequence": ["mine"],
        "tasks": {
            "mine": "tasks.py:SUMS",
            "rows": {"train": "a.jsonl", "test": "b.jsonl", "shuffle": 1, "scorer": "rules.py:near"},
            "table": {"hub": "owner/name", "train": "train", "prompt": "{q}", "answer": "{a}"},
        },
        "methods": {
            "mine": {"objective": "ways.py:Centred", "strength": 2, "grid": {"learning_rate": [1e-5, 1e-6]}},
            "ewc": {
                "objective": "sft",
                "retention": [{"kind": "ewc", "strength": 1}, {"kind": "a.py:My"}],
            },
        },
        "measures": {"rules.py:Sharpness": {"power": 2}, "drift": None},
        "test_examples": {"mine": 20},
    }
    assert fits(whole, rules, rules)


def test_the_schema_is_printed_as_json(call: Call, rules: dict[str, Any]) -> None:
    said = call("schema")
    assert said.code == 0 and json.loads(said.out) == rules
