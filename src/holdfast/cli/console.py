"""Where the commands write, and what several of them show.

What they print is plain text, whatever is in a folder's name or a server's message: square brackets are no
markup, `rules.py:Key:` no picture, and characters that could rule a terminal stand there as escapes.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType
from rich.segment import Segment
from rich.table import Table as Grid
from rich.text import Text

if TYPE_CHECKING:
    from holdfast.tasks.leftout import LeftOut

# Control characters but tab and line feed, halves of characters, and what turns the direction of writing.
_RULING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


class PlainConsole(Console):
    """Prints text as it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_escaped(segment.text))

    def on_broken_pipe(self) -> None:
        """Nobody reads on (`holdfast run … | head`): the work goes on without a word."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def _escaped(text: str) -> str:
    return _RULING.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


# Where output is not a terminal nobody tells its width; tables should not break there.
_TOLD = "COLUMNS" in os.environ or (sys.stdout is not None and sys.stdout.isatty())
out = PlainConsole(width=None if _TOLD else 160)
err = PlainConsole(stderr=True)


Debug = Annotated[bool, typer.Option("--debug", help="Show where in the code an error came from.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON alone; what is for people goes to stderr.")]


_stdout: list[TextIO] = []  # as it was, while `show_json` alone writes to it


def only_json(wanted: bool) -> None:
    """Whether `show_json` alone writes to stdout from here on, and not code of the user's that prints."""
    out.stderr = wanted
    if wanted and not _stdout:
        _stdout.append(sys.stdout)
        sys.stdout = sys.stderr
    elif not wanted and _stdout:
        sys.stdout = _stdout.pop()


def show_json(value: Any) -> None:
    file = _stdout[0] if _stdout else sys.stdout
    print(json.dumps(value, indent=1, ensure_ascii=not _takes_all(file)), file=file)


def _takes_all(file: TextIO | None) -> bool:
    return (getattr(file, "encoding", None) or "utf-8").lower().startswith("utf")


def escape_what_cannot_be_said() -> None:
    """Characters that the terminal's encoding lacks are printed as escapes, and are no error."""
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, io.TextIOWrapper) and not _takes_all(file):
            file.reconfigure(errors="backslashreplace")


def warn(text: str) -> None:
    """What is no error and should be known."""
    err.print(text, style="yellow")


def counted(number: int, thing: str) -> str:
    """`1 job`, `1,204 jobs`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def tell_left_out(left_out: Iterable[LeftOut]) -> None:
    """Which rows a run goes without."""
    for one in left_out:
        warn("\n  ".join([f"{one.text}:", *one.first]))


def show_table(table: Mapping[str, Any]) -> None:
    """Print a table in its JSON form; where the terminal is too narrow, with intervals below their values."""
    columns = _columns(table, " ")
    if sum(map(_widest, columns)) + _between(columns) > out.width:
        columns = _columns(table, "\n")
    grid = Grid(title=table["title"], caption=table["note"], box=None, pad_edge=False)
    for column, (label, *_), width in zip(table["columns"], columns, _widths(columns), strict=True):
        # Folded: where a terminal is narrow, two settings of a grid would be cut to the same name.
        side: JustifyMethod = "left" if column["kind"] == "text" else "right"
        grid.add_column(label, justify=side, overflow="fold", width=width)
    for cells in list(zip(*columns, strict=True))[1:]:
        grid.add_row(*cells)
    out.print()
    out.print(grid, soft_wrap=False)
    out.print()


def _columns(table: Mapping[str, Any], before_interval: str) -> list[list[Text]]:
    """The texts of each column, its label first."""
    from holdfast.analysis.bootstrap import Estimate
    from holdfast.report.table import interval, number

    columns = []
    for column in table["columns"]:
        cells, kind = [Text(column["label"])], column["kind"]
        for row in table["rows"]:
            value = row[column["key"]]
            if isinstance(value, dict):
                parts = {key: math.nan if part is None else part for key, part in value.items()}
                value = Estimate(**parts)
            around = f"{before_interval}{interval(value, kind)}".rstrip()
            cells.append(Text.assemble(number(value, kind), (around, "dim")))
        columns.append(cells)
    return columns


def _widths(columns: Sequence[Sequence[Text]]) -> list[int | None]:
    """Widths in which no word is broken; the first columns, of names, have what is left over. None for each
    where the terminal is narrower than that."""
    least = [
        max(cell_len(word) for cell in cells for word in cell.plain.split() or [""]) for cells in columns
    ]
    spare = out.width - sum(least) - _between(columns)
    if spare < 0:
        return [None] * len(columns)
    widths: list[int | None] = []
    for cells, width in zip(columns, least, strict=True):
        more = min(_widest(cells) - width, spare)
        widths.append(width + more)
        spare -= more
    return widths


def _widest(cells: Sequence[Text]) -> int:
    """The characters that a column takes where nothing bounds it."""
    return max(cell_len(line) for cell in cells for line in cell.plain.split("\n"))


def _between(columns: Sequence[object]) -> int:
    return 2 * (len(columns) - 1)  # two spaces
