"""A method with a `grid` stands for several: one for each combination of values on its axes.

    grpo:
      objective: grpo
      grid: {kl_coef: [0.01, 0.04], kl_reference: [stage_start, base]}

makes `grpo kl_coef=0.01 kl_reference=stage_start` and three more. A key with a dot reaches into a
setting's own keys (`sampling.temperature`).
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from holdfast.errors import suggestion
from holdfast.learning.methods import Method, every_setting
from holdfast.settings import Settings, value_text
from holdfast.yamlfile import KeyPath

Axes = dict[str, Any]
Report = Callable[[KeyPath, str], None]
MOST_METHODS = 10_000  # that the grids of one experiment may make; a guard against a slip, far above any use


class Variant(Settings):
    """Where a method of a grid comes from."""

    of: str  # the method with the grid: its family
    axes: Axes  # its value on each axis


def expand(methods: dict[str, Any], report: Report) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The methods with every grid multiplied out, and which of them come from where.

    Args:
        report: is told the place and text of what is wrong; that grid is left out then.
    """
    expanded: dict[str, Any] = {}
    variants: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    for family, method in methods.items():
        where: KeyPath = ("methods", family)
        if isinstance(method, dict) and "grid" in method:
            where = (*where, "grid")
        for name, settings, axes in _stands_for(family, method, len(variants), report):
            origin = f"methods.{family}" + (f".grid {json.dumps(axes, default=str)}" if axes else "")
            if name in origins:
                report(where, f"{origins[name]} and {origin} would both be called '{name}'; change one")
                continue
            expanded[name], origins[name] = settings, origin
            if axes:
                variants[name] = {"of": family, "axes": axes}
    return expanded, variants


def as_validated(variants: Mapping[str, Variant], methods: Mapping[str, Method]) -> dict[str, Variant]:
    """The variants with the values that their methods have: a number where YAML takes 1e-5 for text."""
    validated = dict(variants)
    for name in variants.keys() & methods.keys():
        axes = {key: _get(methods[name], key, value) for key, value in variants[name].axes.items()}
        validated[name] = Variant(of=variants[name].of, axes=axes)
    return validated


def _stands_for(family: str, method: Any, made: int, report: Report) -> Iterator[tuple[str, Any, Axes]]:
    """Name, settings and values on the axes of every method that one of the file stands for.

    Args:
        made: how many methods other grids have made.
    """
    if not isinstance(method, dict) or "grid" not in method:
        yield family, method, {}
        return
    common = {key: value for key, value in method.items() if key != "grid"}
    grid, where = method["grid"], ("methods", family, "grid")
    named = isinstance(family, str)  # else it is reported with the names
    if grid in (None, {}) or not named or not _is_usable(grid, method, where, report):
        yield family, common, {}
        return
    count = made + math.prod(map(len, grid.values()))
    if count > MOST_METHODS:
        report(where, f"makes {count:,} methods; an experiment may have {MOST_METHODS:,} at most")
    for values in islice(product(*grid.values()), 1 if count > MOST_METHODS else None):
        axes = dict(zip(grid, values, strict=True))
        settings = copy.deepcopy(common)
        for key, value in axes.items():
            _set(settings, key.split("."), value)
        name = " ".join([family, *(f"{key}={value_text(value)}" for key, value in axes.items())])
        yield name, settings, axes


def _is_usable(grid: Any, method: Mapping[str, Any], where: KeyPath, report: Report) -> bool:
    if not isinstance(grid, dict):
        report(where, "must be a mapping, such as {learning_rate: [1.0e-5, 1.0e-6]}")
        return False
    known = every_setting([method])
    problems = {str(key): text for key, values in grid.items() if (text := _problem(str(key), values, known))}
    for key, text in problems.items():
        report((*where, key), text)
    return not problems


def _problem(key: str, values: Any, known: Sequence[str]) -> str | None:
    """What is wrong with an axis."""
    head = key.split(".")[0]
    if head not in known:
        hint = "; seeds are an axis of every experiment (seeds: [0, 1, 2])" if "seed" in head else ""
        return f"is no method setting{hint or suggestion(head, known)}"
    if not isinstance(values, list) or not values:
        return f"must be a list of values, not {'null' if values is None else repr(values)}"
    if any(values.count(value) > 1 for value in values):
        return "holds a value more than once"
    if any(isinstance(value, list) for value in values):
        return "takes plain values; write one method for each list"
    if mappings := [value for value in values if isinstance(value, dict)]:
        name = f"{key}.{next(iter(mappings[0]), 'key')}"
        return f"takes plain values; name an inner key with a dot ({name}: [...])"
    return None


def _get(method: Method, key: str, otherwise: Any) -> Any:
    value: Any = method
    for part in key.split("."):
        inner = value if isinstance(value, dict) else dict(value) if isinstance(value, Settings) else {}
        if part not in inner:
            return otherwise
        value = inner[part]
    return value


def _set(settings: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = settings.get(key)
        settings[key] = inner if isinstance(inner, dict) else {}
        settings = settings[key]
    settings[path[-1]] = value
