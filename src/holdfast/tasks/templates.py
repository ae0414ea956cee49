"""Texts with `{column}` in them, filled from a table's rows."""

from __future__ import annotations

import math
from decimal import Decimal
from string import Formatter
from typing import Any

from holdfast.tasks.benchmarks.benchmark import BadRow, Record


def columns_in(template: str) -> list[str]:
    """The columns of a template, which are its only replacements: no attributes, indices or formats.

    Raises:
        ValueError: it holds anything else in braces.
    """
    try:
        parts = [part for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ValueError(
            f"is no template: {error}; braces that are text are doubled: {{{{ and }}}}"
        ) from None
    for _, column, form, conversion in parts:
        if not column or form or conversion:
            raise ValueError("may hold columns as {column} only; braces that are text are doubled: {{ and }}")
    return [str(column) for _, column, _, _ in parts]


def fill(template: str, record: Record) -> str:
    """A template with a row's values; a value that is missing is blank.

    Raises:
        BadRow: a value is no text, number or truth value.
    """
    return "".join(
        literal + ("" if column is None else text_of(record.get(column), column))
        for literal, column, _, _ in Formatter().parse(template)
    )


def text_of(value: Any, column: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):  # empty in a column of numbers
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        raise BadRow(
            f"column '{column}' holds lists, not texts; a list of accepted answers goes by references"
        )
    if isinstance(value, Decimal):  # whose own text of zero may be 0E-8
        return f"{value:f}"
    if not isinstance(value, str | int | float):
        raise BadRow(f"column '{column}' holds {type(value).__name__}, not text; save it as texts")
    return str(value)
