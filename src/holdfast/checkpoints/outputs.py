"""A comparison for those who read it elsewhere: a card for a pull request, JUnit's XML for a pipeline.

Names of checkpoints and tasks come from outside. In the card they stand in code spans or in a block of code,
where neither Markdown nor HTML, nor the name of a person to be told, means anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from holdfast import files
from holdfast.checkpoints.comparison import Compared, Comparison, facts, to_table
from holdfast.report.table import NO_BREAK, number, p_value, signed, text, to_markdown

WIDTH = 48  # of the picture, in characters
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RULING = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SIGNS = {"forgotten": "❌", "kept": "✅", "unclear": "❔"}


def code(text: str) -> str:
    """A text of any content as a code span in a line or a cell of a table."""
    return f"`{plain(text).replace('|', '¦')}`"


def plain(text: str) -> str:
    """A text in one line that ends no code."""
    return _RULING.sub(" ", text).replace("`", "ˋ").strip() or " "


def write(
    comparison: Comparison, names: tuple[str, str], folder: Path, remarks: Sequence[str] = ()
) -> dict[str, Any]:
    """Write comparison.md and .json, flips.jsonl, card.md and junit.xml; what the second says."""
    table, said = to_table(comparison), facts(comparison, names) | {"remarks": list(remarks)}
    head = f"# What changed\n\nBefore: {code(names[0])}\\\nAfter: {code(names[1])}\n"
    files.write_text(folder / "comparison.md", f"{head}\n{to_markdown(table)}\n{table.note}\n")
    files.write_json(folder / "comparison.json", said)
    files.write_jsonl(folder / "flips.jsonl", comparison.flips)
    files.write_text(folder / "card.md", to_card(comparison, names, remarks))
    files.write_text(folder / "junit.xml", to_junit(comparison, names))
    return said


def to_card(comparison: Comparison, names: tuple[str, str], remarks: Sequence[str]) -> str:
    """The comparison in Markdown, with a picture of its intervals in characters."""
    old, new = names
    lines = [
        f"### Holdfast: {summary(comparison)}",
        "",
        f"Before: {code(old)} · after: {code(new)} · keep: {code(old if comparison.fails else new)}",
        "",
        "| | Task | Items | Before | After | Change | Lost | Gained | p |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *(_row(row, comparison.level) for row in comparison.rows),
        "",
        "```text",
        *picture(comparison),
        "```",
        "",
        f"● change in points with its {100 * comparison.level:g} % interval; ┊ the fall that is allowed "
        f"({100 * comparison.max_drop:g}); │ no change.",
        *(f"\n{code(remark)}" for remark in remarks),
    ]
    return "\n".join(lines) + "\n"


def summary(comparison: Comparison) -> str:
    """What was found, with the tasks' names."""
    if forgotten := comparison.named("forgotten"):
        return f"forgotten: {', '.join(map(code, forgotten))}"
    if unclear := comparison.named("unclear"):
        return f"nothing was shown to be forgotten; unclear: {', '.join(map(code, unclear))}"
    return "everything was kept"


def _row(row: Compared, level: float) -> str:
    change = row.change
    cells = (
        f"{_SIGNS[row.verdict]} {row.verdict}",
        code(row.name),
        f"{change.items:,}",
        number(change.before, "points"),
        number(change.after, "points"),
        text(change.interval(level), "change").replace(NO_BREAK, " "),
        f"{change.lost:,}",
        f"{change.gained:,}",
        p_value(row.p).removeprefix("p = ").removeprefix("p "),
    )
    return f"| {' | '.join(cells)} |"


def picture(comparison: Comparison) -> list[str]:
    """Every row's change and its interval on one axis, as lines of text."""
    found = [(plain(row.name)[:24], row.change.interval(comparison.level)) for row in comparison.rows]
    least = min(-2 * comparison.max_drop, *(interval.low for _, interval in found), -0.01)
    most = max(*(interval.high for _, interval in found), 0.01)
    wide = max(len(name) for name, _ in found)

    def place(value: float) -> int:
        return round((value - least) / (most - least) * (WIDTH - 1))

    lines = []
    for name, interval in found:
        cells = [" "] * WIDTH
        cells[place(-comparison.max_drop)] = "┊"
        cells[place(0.0)] = "│"
        for column in range(place(interval.low), place(interval.high) + 1):
            cells[column] = "─"
        cells[place(interval.value)] = "●"
        lines.append(f"{name:<{wide}}  {''.join(cells)}  {signed(interval.value, times=100)}")
    return lines


def to_junit(comparison: Comparison, names: tuple[str, str]) -> str:
    """A test case a row: forgotten is a failure, unclear skipped (under `strict` a failure, too)."""
    suite = ElementTree.Element("testsuite", name="holdfast check", tests=str(len(comparison.rows)))
    counts = {"failures": 0, "skipped": 0, "errors": 0}
    for row in comparison.rows:
        case = ElementTree.SubElement(suite, "testcase", classname="holdfast.check", name=_xml(row.name))
        interval = row.change.interval(comparison.level)
        said = (
            f"{row.verdict}: {number(row.change.before, 'points')} before, "
            f"{number(row.change.after, 'points')} after ({signed(interval.value, times=100)} points), "
            f"{row.change.lost:,} lost and {row.change.gained:,} gained of {row.change.items:,}, "
            f"{p_value(row.p)}"
        )
        if row.verdict in comparison.failing:
            counts["failures"] += 1
            failure = ElementTree.SubElement(case, "failure", message=said, type=row.verdict)
            failure.text = _xml(f"before: {names[0]}\nafter: {names[1]}")
        elif row.verdict == "unclear":
            counts["skipped"] += 1
            ElementTree.SubElement(case, "skipped", message=said)
        else:
            ElementTree.SubElement(case, "system-out").text = said
    for name, count in counts.items():
        suite.set(name, str(count))
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)
