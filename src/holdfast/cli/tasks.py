"""`holdfast tasks`: what there is to train and judge on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as Grid

from holdfast.cli.console import Debug, Json, counted, out, show_json
from holdfast.errors import InputError

tasks_app = typer.Typer(help="Tasks that ship with Holdfast.", invoke_without_command=True)


@tasks_app.callback()
def tasks(context: typer.Context, json: Json = False, debug: Debug = False) -> None:
    """List the tasks that ship with Holdfast."""
    if context.invoked_subcommand is not None:
        return
    from holdfast.tasks.catalog import get_task, names

    found = [get_task(name) for name in names()]
    if json:
        show_json(
            [
                {
                    "task": task.name,
                    "sizes": dict(task.sizes),  # null: as many as one likes
                    "chance": task.chance,
                    "scorer": task.scorer,
                    "description": task.description,
                }
                for task in found
            ]
        )
        return
    grid = Grid("Task", "Train", "Validation", "Test", "Chance", "Scorer", "", box=None, pad_edge=False)
    for task in found:
        sizes = [_size(task.sizes, split) for split in ("train", "validation", "test")]
        chance = "–" if task.chance is None else f"{task.chance:.0%}"
        grid.add_row(task.name, *sizes, chance, task.scorer, task.description)
    out.print(grid, soft_wrap=False)


@tasks_app.command("show")
def show_task(
    name: Annotated[str, typer.Argument(help="The task.")],
    sheet: Annotated[Path | None, typer.Option("--out", help="The PNG file.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    count: Annotated[int, typer.Option(min=1, max=1000, help="Examples on the sheet.")] = 12,
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="CONFIG", help="An experiment, or a run's folder, whose task it is."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Draw examples of a task on one sheet; of one of your own with --like."""
    from holdfast.cli.report import load_run
    from holdfast.tasks.catalog import get_task, taken
    from holdfast.tasks.sheet import write_sheet

    try:
        task = load_run(like).task(name) if like else get_task(name)
    except InputError as error:
        if like is not None or taken(name):
            raise
        raise InputError(f"{error} One of an experiment's own is shown with --like CONFIG.") from None
    path = sheet or Path(f"{name}.png")
    write_sheet(task, path, split, count)  # type: ignore[arg-type]  # an unknown split is reported there
    out.print(f"{task.description}\n{counted(count, f'{split} example')}: {path}")


def _size(sizes: Any, split: str) -> str:
    if split not in sizes:
        return "–"
    return "∞" if sizes[split] is None else f"{sizes[split]:,}"
