"""A table and its three written forms: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import partial
from typing import Any, ClassVar, Literal

from holdfast.analysis.bootstrap import Estimate
from holdfast.analysis.permutation import SIGNIFICANCE, Difference

Kind = Literal["text", "points", "change", "count", "real", "digits", "coefficient", "flop", "joule"]
Value = str | int | float | Estimate | None
MISSING = "–"
_ANY_FLOAT = Context(prec=400)  # digits: the largest has 309 before its point
NO_BREAK = "\u00a0"  # keeps a value and its interval on one line


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        key: of the value in a row, and the name in CSV and JSON.
        label: the heading.
        kind: `points` is a share 0..1 shown as 0..100; `change` the same with its sign; `count` a
            whole number; `real` a number with one decimal; `digits` one of any size, three digits of
            it; `coefficient` one near -1..1, two decimals; `flop` and `joule` with a prefix (TFLOP).
        help: what it means, in a few words.
    """

    key: str
    label: str
    kind: Kind = "text"
    help: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of values under columns; a value that is not there is None or NaN.

    Attributes:
        classes: row number -> CSS class.
        tight: in narrow cells, as it has many columns.
        fold: closed in the page until a reader opens it.
        shown: in page and Markdown; else in `tables/` alone.
    """

    name: str
    title: str
    columns: list[Column]
    rows: list[dict[str, Value]]
    note: str = ""
    classes: dict[int, str] = field(default_factory=dict)
    tight: bool = False
    fold: bool = False
    shown: bool = True
    kind: ClassVar[str] = "table"


def rounded(value: float, places: int = 0, times: int = 1) -> str:
    """`times` the value with so many decimals, a true minus, and no sign on zero.

    What is rounded is the number that CSV and JSON hold, halves away from zero: terminal, page and figures
    show the same digits, and those that a reader of the files would come to.
    """
    exact = times * Decimal(repr(stored(float(value))))
    exact = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP, _ANY_FLOAT)
    return f"{exact:,f}".replace("-", "−" if exact else "")


def signed(value: float, places: int = 1, times: int = 1) -> str:
    """The same with its sign, none on zero."""
    text = rounded(value, places, times)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def number(value: Value, kind: Kind) -> str:
    """The value alone, without its interval."""
    if isinstance(value, Estimate):
        value = value.value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return MISSING
    if isinstance(value, str):
        return value
    return _FORMS[kind](value) if kind in _FORMS else rounded(value, 1)


def digits(value: float, most: int = 3) -> str:
    """So many significant digits; powers of ten where a number would be mostly zeros."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        first = float(f"{value:.{most - 1}e}")  # 9.996 has its first digit in the tens once it is rounded
        return rounded(value, max(most - 1 - math.floor(math.log10(abs(first))), 0))
    return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e+").replace("-", "−")


def _prefixed(value: float, unit: str) -> str:
    """In the largest unit of which there is at least one, once it is rounded: 34.0 TFLOP."""
    power = 0
    while power < 6 and float(rounded(value / 1000**power, 1).replace(",", "")) >= 1000:
        power += 1
    return f"{rounded(value / 1000**power, 1)}{NO_BREAK}{' kMGTPE'[power].strip()}{unit}"


_FORMS: dict[Kind, Callable[[float], str]] = {
    "change": partial(signed, times=100),
    "points": partial(rounded, places=1, times=100),
    "count": rounded,
    "digits": digits,
    "coefficient": partial(rounded, places=2),
    "flop": partial(_prefixed, unit="FLOP"),
    "joule": partial(_prefixed, unit="J"),
}


def interval(value: Value, kind: Kind) -> str:
    """`[low, high]` of an estimate, else nothing."""
    if not isinstance(value, Estimate) or math.isnan(value.value + value.low):
        return ""  # without an end there is too little to tell how sure the value is
    return f"[{_end(value.low, kind)},{NO_BREAK}{_end(value.high, kind)}]"


def _end(value: float, kind: Kind) -> str:
    """An end of an interval; of a change also a small one says on which side of zero it lies (+0.0)."""
    said = number(value, kind)
    if kind == "change" and said == "0.0" and value:
        return f"{'+' if value > 0 else '−'}{said}"
    return said


def p_value(p: float) -> str:
    """`p = 0.012`, or `p < 0.001`; with more places where three would put it on the other side of 0.05."""
    places = 4 if p > SIGNIFICANCE and rounded(p, 3) == "0.050" else 3
    return "p < 0.001" if p < 0.001 else f"p = {rounded(p, places)}"


def tested(value: Value) -> str:
    """`p = 0.012, d = 0.31` of a difference that was tested, else nothing."""
    if not isinstance(value, Difference) or math.isnan(value.p):
        return ""
    effect = "" if math.isnan(value.effect) else f", d = {signed(value.effect, 2)}"
    return f"{p_value(value.p)}{effect}".replace(" ", NO_BREAK).replace(f",{NO_BREAK}", ", ")


def is_shown(value: Value) -> bool:
    """Whether a difference was tested and shown."""
    return isinstance(value, Difference) and value.shown


def text(value: Value, kind: Kind) -> str:
    """A value with its interval, in one line."""
    return NO_BREAK.join(part for part in (number(value, kind), interval(value, kind)) if part)


def used(columns: list[Column], rows: list[dict[str, Value]]) -> list[Column]:
    """The columns in which any row has a value."""
    return [c for c in columns if any(number(row.get(c.key), c.kind) != MISSING for row in rows)]


def to_markdown(table: Table) -> str:
    lines = [
        "| " + " | ".join(_cell(column.label) for column in table.columns) + " |",
        "|" + "|".join("---" if column.kind == "text" else "---:" for column in table.columns) + "|",
    ]
    for row in table.rows:
        cells = (_cell(_markdown(row.get(column.key), column.kind)) for column in table.columns)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _markdown(value: Value, kind: Kind) -> str:
    """The value with its interval and test; bold where it is a difference that was shown."""
    said = f"**{text(value, kind)}**" if is_shown(value) else text(value, kind)
    return f"{said}, {tested(value)}" if tested(value) else said


def to_csv(table: Table) -> str:
    """One line per row.

    An estimate takes three columns: the value, `_low` and `_high`; a tested difference `_p` and
    `_effect` as well.
    """
    keys = [column.key for column in table.columns]
    header = {
        (column.key, part): column.key if part == "value" else behind(column.key, part, keys)
        for column in table.columns
        for part in ("value", "low", "high", "p", "effect")
        if part == "value" or any(part in _parts(row.get(column.key)) for row in table.rows)
    }
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header.values())
    for row in table.rows:
        writer.writerow([_parts(row.get(key)).get(part) for key, part in header])
    return out.getvalue()


def behind(key: str, what: str, keys: Collection[str]) -> str:
    """The name of what belongs to a column: no other column's, as a task may be called `reading_low`."""
    return f"{key}__{what}" if f"{key}_{what}" in keys else f"{key}_{what}"


def to_json(table: Table) -> dict[str, Any]:
    """Values at full precision; what is missing is null.

    An estimate is {value, low, high}; a tested difference has p, effect and shown as well.
    """

    def plain(value: Value) -> Any:
        parts = _parts(value)
        return parts if len(parts) > 1 else parts["value"]

    return {
        "name": table.name,
        "title": table.title,
        "note": table.note,
        "columns": [{"key": c.key, "label": c.label, "kind": c.kind, "help": c.help} for c in table.columns],
        "rows": [{column.key: plain(row.get(column.key)) for column in table.columns} for row in table.rows],
    }


def _parts(value: Value) -> dict[str, Any]:
    """What a cell holds, by name."""
    if not isinstance(value, Estimate):
        return {"value": stored(value)}
    parts = {"value": stored(value.value), "low": stored(value.low), "high": stored(value.high)}
    if isinstance(value, Difference):
        parts |= {"p": stored(value.p), "effect": stored(value.effect), "shown": value.shown}
    return parts


def stored(value: Any) -> Any:
    """A value as CSV and JSON hold it: six decimals, or four digits of what is small; None for NaN."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return round(value, 6) if abs(value) >= 1e-3 else float(f"{value:.4g}")
    return value


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")
