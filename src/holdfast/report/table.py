"""A table and its three written forms: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.forgetting.bootstrap import Estimate
from holdfast.forgetting.permutation import Difference

Kind = Literal["text", "points", "change", "count", "real", "digits", "coefficient", "flop", "joule"]
Value = str | int | float | Estimate | None
MISSING = "–"
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
    """Rows of values under columns; a value that is not there is None or NaN."""

    name: str
    title: str
    columns: list[Column]
    rows: list[dict[str, Value]]
    note: str = ""
    classes: dict[int, str] = field(default_factory=dict)  # row number -> CSS class


def signed(value: float, decimals: int = 1) -> str:
    """A number with its sign, a true minus, and no sign on zero."""
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0:
        return text
    return f"{'+' if value > 0 else '−'}{text}"


def number(value: Value, kind: Kind) -> str:
    """The value alone, without its interval."""
    if isinstance(value, Estimate):
        value = value.value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, str):
        return value
    if kind == "change":
        return signed(100 * value)
    if kind == "points":
        return f"{100 * value:.1f}"
    if kind == "count":
        return f"{round(value):,}"
    if kind == "digits":
        return _digits(value)
    if kind == "coefficient":
        return f"{value:.2f}".replace("-", "" if abs(value) < 0.005 else "−")
    if kind == "flop":
        return _prefixed(value, "FLOP")
    if kind == "joule":
        return _prefixed(value, "J")
    return f"{value:,.1f}"


def _digits(value: float) -> str:
    """Three significant digits; powers of ten where a number would be mostly zeros."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        decimals = max(2 - math.floor(math.log10(abs(value))), 0)
        text = f"{value:,.{decimals}f}"
    else:
        text = f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e+")
    return text.replace("-", "−")


def _prefixed(value: float, unit: str) -> str:
    """In the largest unit of which there is at least one: 34.0 TFLOP."""
    power = min(max(math.floor(math.log10(value) / 3), 0), 6) if value > 0 else 0
    return f"{value / 1000**power:,.1f}{NO_BREAK}{' kMGTPE'[power].strip()}{unit}"


def interval(value: Value, kind: Kind) -> str:
    """`[low, high]` of an estimate, else nothing."""
    if not isinstance(value, Estimate) or math.isnan(value.value):
        return ""
    if math.isnan(value.low):
        return ""  # too little to tell how sure it is
    return f"[{number(value.low, kind)},{NO_BREAK}{number(value.high, kind)}]"


def p_value(p: float) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


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
    header: list[str] = []
    for column in table.columns:
        values = [row.get(column.key) for row in table.rows]
        header.append(column.key)
        if any(isinstance(value, Estimate) for value in values):
            header += [f"{column.key}_low", f"{column.key}_high"]
        if any(isinstance(value, Difference) for value in values):
            header += [f"{column.key}_p", f"{column.key}_effect"]
    out = io.StringIO()
    writer = csv.DictWriter(out, header, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        flat: dict[str, Any] = {}
        for column in table.columns:
            value = row.get(column.key)
            if isinstance(value, Estimate):
                flat |= {
                    column.key: _plain(value.value),
                    f"{column.key}_low": _plain(value.low),
                    f"{column.key}_high": _plain(value.high),
                }
                if isinstance(value, Difference):
                    flat |= {
                        f"{column.key}_p": _plain(value.p),
                        f"{column.key}_effect": _plain(value.effect),
                    }
            else:
                flat[column.key] = _plain(value)
        writer.writerow(flat)
    return out.getvalue()


def to_json(table: Table) -> dict[str, Any]:
    """Values at full precision; what is missing is null.

    An estimate is {value, low, high}; a tested difference has p, effect and shown as well.
    """

    def plain(value: Value) -> Any:
        if isinstance(value, Estimate):
            found = {"value": _plain(value.value), "low": _plain(value.low), "high": _plain(value.high)}
            if isinstance(value, Difference):
                found |= {"p": _plain(value.p), "effect": _plain(value.effect), "shown": value.shown}
            return found
        return _plain(value)

    return {
        "name": table.name,
        "title": table.title,
        "note": table.note,
        "columns": [{"key": c.key, "label": c.label, "kind": c.kind, "help": c.help} for c in table.columns],
        "rows": [{column.key: plain(row.get(column.key)) for column in table.columns} for row in table.rows],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return round(value, 6) if abs(value) >= 1e-3 else float(f"{value:.4g}")
    return value


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")
