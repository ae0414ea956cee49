"""Settings of the command line (`key.sub=value`): put into those of a file; which change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast.config.extend import mapping
from holdfast.errors import InputError
from holdfast.learning.methods import objectives_with
from holdfast.yamlfile import KeyPath, Problem, YamlFile, parse_value

NAMED = ("cards", "measures", "methods", "orders", "prompts", "tasks", "variants")  # their keys are names


def apply_override(data: dict[str, Any], override: str) -> YamlFile:
    """Put a `key.sub=value` into the settings; what its value says."""
    _, equals, text = override.partition("=")
    if not equals or not all(override_path(override)):
        raise InputError(f"'{override}' is not an override; write key=value or key.sub=value.")
    *parents, last = override_path(override)
    if (*parents, last) == ("extends",):
        raise InputError(f"'{override}' cannot be set: a file says itself what it extends.")
    methods = mapping(data.get("methods"))
    if parents[:1] == ["methods"] and methods and {*parents[1:2]} - {*methods}:
        known = ", ".join(map(str, methods))
        raise InputError(f"'{override}' cannot be set: there is no method '{parents[1]}', only {known}.")
    place = data
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise InputError(f"'{override}' cannot be set: {parent} has no keys of its own.")
    said = parse_value(text, ".".join(override_path(override)))
    if said.value is None and parents and not parents[1:] and parents[0] in NAMED and last in place:
        del place[last]  # as in a file that extends another
    else:
        place[last] = said.value
    return said


def override_path(override: str) -> tuple[str, ...]:
    return tuple(override.partition("=")[0].strip().split("."))


def set_twice(data: dict[str, Any], file: YamlFile, set_here: set[tuple[str, ...]]) -> Iterator[Problem]:
    """Settings of a method that its grid, or that of the defaults, would replace without a word. An axis
    from the command line may replace what the file says, and any axis what a YAML merge brings in.

    Args:
        set_here: the paths that the command line sets.
    """
    common = mapping(mapping(data.get("defaults")).get("grid"))
    for name, method in mapping(data.get("methods")).items():
        own_grid = mapping(method).get("grid", {})
        if not isinstance(own_grid, dict):
            continue  # null: not even the grid of the defaults
        for place, grid in {("defaults",): common, ("methods", str(name)): own_grid}.items():
            for key in grid:
                own: KeyPath = ("methods", str(name), *str(key).split("."))
                axis: KeyPath = (*place, "grid", str(key))
                if own in set_here or (own in file.lines and axis in file.lines):
                    other = file.others.get(own)
                    where = f" ({other.name} line {file.lines[own]})" if other else ""
                    yield axis, f"is set in the method '{name}', too{where}; take one of them out"


def without_effect(data: dict[str, Any], set_here: set[tuple[str, ...]]) -> Iterator[Problem]:
    """Defaults from the command line that every method sets itself: nothing would change, without a word."""
    if not (methods := mapping(data.get("methods"))):
        return
    for place in sorted(set_here):
        keys = place[1:]
        if place[:1] == ("defaults",) and keys and all(_says(said or {}, keys) for said in methods.values()):
            instead = ".".join(("methods", str(next(iter(methods))), *keys))
            yield place, f"changes nothing, as every method sets it itself; say {instead}"


def without_method(methods: Any, set_here: set[tuple[str, ...]]) -> Iterator[Problem]:
    """Likewise those of a setting that no method has."""
    for place in sorted(set_here):
        having = objectives_with(place[1]) if place[:1] == ("defaults",) and place[1:] else []
        if having and not any(place[1] in type(method).model_fields for method in mapping(methods).values()):
            yield place, f"changes nothing, as no method has it: it is a setting of {', '.join(having)}"


def _says(method: Any, keys: tuple[str, ...]) -> bool:
    """Whether a method sets this, as a value or as an axis of its grid."""
    if ".".join(keys) in mapping(mapping(method).get("grid")):
        return True
    for key in keys:
        if not isinstance(method, dict):
            return True  # no mapping to merge with
        if key not in method:
            return False
        method = method[key]
    return not isinstance(method, dict)
