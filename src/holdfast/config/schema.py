"""JSON Schema of an experiment's file, for editors and other tools."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from holdfast.config.experiment import Experiment
from holdfast.config.reference import comments, groups
from holdfast.learning.methods import OBJECTIVES
from holdfast.learning.retention import KINDS as STRATEGIES
from holdfast.learning.retention import strategy_class
from holdfast.measures import KINDS as MEASURES
from holdfast.measures import measure_class

_CODE = r"\.py:\w+$"  # what is the user's own


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of an experiment file, as far as one key alone tells.

    Of a file that extends another, or is extended, any key may be missing, or null.
    """
    made = Experiment.model_json_schema(ref_template="#/$defs/{model}")
    defs = made["$defs"]
    for name in ("Method", "Strategy", "Measure"):
        del defs[name]
    properties = made["properties"] | {
        "extends": {"type": "string", "description": "an experiment file that this one changes"},
        "methods": {"type": "object", "additionalProperties": {"$ref": "#/$defs/method"}},
        "defaults": {"$ref": "#/$defs/method"},
        "measures": _measures(defs),
    }
    properties["prompts"] = {"anyOf": [{"type": "string"}, properties["prompts"]]}
    defs["method"] = _method(defs)
    for group in groups():
        if (inner := defs.get(group.model.__name__)) is not None:
            _describe(inner, group.model)
    _describe({"properties": properties}, Experiment)
    result = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Holdfast experiment",
        "type": "object",
        "properties": {key: _or_null(value) for key, value in properties.items()},
        "additionalProperties": False,
        "$defs": {key: _partial(value) for key, value in defs.items()},
    }
    return _tidied(result)


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    for key, text in comments(model).items():
        if text and key in schema["properties"]:
            schema["properties"][key] = {**schema["properties"][key], "description": text}


def _method(defs: dict[str, Any]) -> dict[str, Any]:
    """A method's settings: those of any objective, or those of code of the user's."""
    properties: dict[str, list[dict[str, Any]]] = {}
    for classes in OBJECTIVES.values():
        for model in classes:
            made = model.model_json_schema(ref_template="#/$defs/{model}")
            defs |= {key: value for key, value in made.pop("$defs", {}).items() if key != "Strategy"}
            _describe(made, model)
            for key, value in made["properties"].items():
                forms = properties.setdefault(key, [])
                plain = {name: part for name, part in value.items() if name != "default"}
                if plain not in forms:
                    forms.append(plain)
    known = {key: forms[0] if len(forms) == 1 else {"anyOf": forms} for key, forms in properties.items()}
    strategy = {"anyOf": [{"$ref": f"#/$defs/retention.{kind}"} for kind in STRATEGIES] + [_code("kind")]}
    for kind in STRATEGIES:
        defs[f"retention.{kind}"] = inner = strategy_class(kind).model_json_schema()
        _describe(inner, strategy_class(kind))
        inner["properties"]["kind"] = {"const": kind}
    known["retention"] = {"anyOf": [strategy, {"type": "array", "items": strategy}]}
    known["grid"] = {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}}
    ours = {key: _or_null(value) for key, value in known.items()}
    ours["objective"] = {"enum": [*OBJECTIVES]}
    return {
        "anyOf": [{"type": "object", "properties": ours, "additionalProperties": False}, _code("objective")]
    }


def _measures(defs: dict[str, Any]) -> dict[str, Any]:
    """Our measures by name, and those of code of the user's."""
    for name in MEASURES:
        model = measure_class(name)
        defs[f"measures.{name}"] = inner = model.model_json_schema()
        _describe(inner, model)
    refs = {name: _or_null({"$ref": f"#/$defs/measures.{name}"}) for name in MEASURES}
    return {
        "type": "object",
        "properties": refs,
        "patternProperties": {_CODE: {}},
        "additionalProperties": False,
    }


def _code(key: str) -> dict[str, Any]:
    return {"type": "object", "properties": {key: {"type": "string", "pattern": _CODE}}, "required": [key]}


def _or_null(value: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [value, {"type": "null"}]}


def _partial(value: dict[str, Any]) -> dict[str, Any]:
    """The same without what must be there: a file that is put over another may say little."""
    if "properties" not in value:
        return value
    kept = {key: part for key, part in value.items() if key not in ("required", "description")}
    return kept | {"required": [key for key in value.get("required", ()) if key == "kind"]}


def _tidied(value: Any) -> Any:
    """The same without pydantic's titles, which only spell the keys; and with null for entries under names of
    the user's own, as it takes away what another file has."""
    if isinstance(value, list):
        return [_tidied(part) for part in value]
    if not isinstance(value, dict):
        return value
    made = {key: _tidied(part) for key, part in value.items()}
    if isinstance(made.get("title"), str) and "$schema" not in made:  # not a setting of that name
        del made["title"]
    if isinstance(entry := made.get("additionalProperties"), dict):
        made["additionalProperties"] = _or_null(entry)
    return made
