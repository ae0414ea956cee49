"""A method with a `grid` stands for several: one for each combination of values on its axes.

    grpo:
      objective: grpo
      grid: {kl_coef: [0.01, 0.04], kl_reference: [stage_start, base]}

makes `grpo kl_coef=0.01 kl_reference=stage_start` and three more. A key with a dot reaches into a
setting's own keys (`sampling.temperature`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import product
from typing import Any

from holdfast.learning.settings import Method
from holdfast.settings import Settings
from holdfast.yamlfile import KeyPath

Axes = dict[str, Any]
Report = Callable[[KeyPath, str], None]


class Variant(Settings):
    """Where a method of a grid comes from."""

    of: str  # the method with the grid: its family
    axes: Axes  # its value on each axis


def expand(
    methods: dict[str, Any], report: Report, suggestion: Callable[[str, Any], str]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The methods with every grid multiplied out, and which of them come from where.

    Args:
        report: is told the place and text of what is wrong; that grid is left out then.
    """
    expanded: dict[str, Any] = {}
    variants: dict[str, dict[str, Any]] = {}
    for family, method in methods.items():
        if not isinstance(method, dict) or "grid" not in method:
            expanded[family] = method
            continue
        common = {key: value for key, value in method.items() if key != "grid"}
        grid = method["grid"] or {}
        if not _is_usable(grid, ("methods", family, "grid"), report, suggestion):
            expanded[family] = common
            continue
        for values in product(*grid.values()):
            axes = dict(zip(grid, values, strict=True))
            name = " ".join([family, *(f"{key}={_text(value)}" for key, value in axes.items())])
            variant = copy.deepcopy(common)
            for key, value in axes.items():
                _set(variant, key.split("."), value)
            expanded[name] = variant
            variants[name] = {"of": family, "axes": axes}
    return expanded, variants


def _is_usable(grid: Any, where: KeyPath, report: Report, suggestion: Callable[[str, Any], str]) -> bool:
    if not isinstance(grid, dict):
        report(where, "must be a mapping, such as {learning_rate: [1.0e-5, 1.0e-6]}")
        return False
    usable = True
    for key, values in grid.items():
        head = str(key).split(".")[0]
        if head not in Method.model_fields:
            hint = "; seeds are an axis of every experiment (seeds: [0, 1, 2])" if "seed" in head else ""
            report((*where, str(key)), f"is no method setting{hint or suggestion(head, Method.model_fields)}")
            usable = False
        elif not isinstance(values, list) or not values:
            report((*where, str(key)), f"must be a list of values, not {values!r}")
            usable = False
        elif any(values.count(value) > 1 for value in values):
            report((*where, str(key)), "holds a value more than once")
            usable = False
        elif any(isinstance(value, dict | list) for value in values):
            report((*where, str(key)), "takes plain values; name an inner key with a dot (sampling.top_p)")
            usable = False
    return usable


def _set(settings: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = settings.get(key)
        settings[key] = inner if isinstance(inner, dict) else {}
        settings = settings[key]
    settings[path[-1]] = value


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
