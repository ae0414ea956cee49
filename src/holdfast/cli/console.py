"""Where the commands write, and what several of them show."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

# Where output is not a terminal nobody tells its width; tables should not break there.
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)
err = Console(stderr=True)

Debug = Annotated[bool, typer.Option("--debug", help="Show where in the code an error came from.")]


def show_table(table: Mapping[str, Any]) -> None:
    """Print a table in its JSON form."""
    from holdfast.analysis.bootstrap import Estimate
    from holdfast.report.table import interval, number

    grid = Grid(title=table["title"], caption=table["note"], box=None, pad_edge=False)
    for column in table["columns"]:
        grid.add_column(column["label"], justify="left" if column["kind"] == "text" else "right")
    for row in table["rows"]:
        cells = []
        for column in table["columns"]:
            value, kind = row[column["key"]], column["kind"]
            if isinstance(value, dict):
                parts = {key: math.nan if part is None else part for key, part in value.items()}
                value = Estimate(**parts)
            cells.append(Text.assemble(number(value, kind), (f" {interval(value, kind)}".rstrip(), "dim")))
        grid.add_row(*cells)
    out.print()
    out.print(grid)
    out.print()
