"""`holdfast data`: which benchmarks there are, and preparing them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli.console import Debug, err, out
from holdfast.errors import InputError

data_app = typer.Typer(
    help="Published data sets and benchmarks: what is prepared, and preparing.", invoke_without_command=True
)


@data_app.callback()
def data(context: typer.Context, debug: Debug = False) -> None:
    """List the benchmarks that can be prepared, and those that are."""
    if context.invoked_subcommand is not None:
        return
    from rich.table import Table as Grid

    from holdfast.tasks.benchmarks import BENCHMARKS
    from holdfast.tasks.catalog import get_task
    from holdfast.tasks.prepared import data_folder, prepared_names
    from holdfast.tasks.task import Split

    ready = prepared_names()
    grid = Grid(box=None, pad_edge=False)
    splits: list[Split] = ["train", "validation", "test"]
    for heading in ("Task", *map(str.capitalize, splits), "", "Scorer"):
        # A narrow terminal breaks descriptions.
        grid.add_column(heading, no_wrap=True, justify="right" if heading.lower() in splits else "left")
    grid.add_column("")
    for name, benchmark in BENCHMARKS.items():
        sizes = get_task(name).sizes if name in ready else benchmark.sizes
        shown = [str(sizes.get(split) or "–") for split in splits]
        old = (data_folder() / name / "manifest.json").is_file()
        state = "prepared" if name in ready else "prepare again" if old else ""
        grid.add_row(name, *shown, state, benchmark.scorer, benchmark.description)
    out.print(grid, soft_wrap=False)
    out.print(f"Prepared sets lie in {data_folder().resolve()}.")


@data_app.command("prepare")
def prepare_task(
    name: Annotated[str, typer.Argument(metavar="TASK", help="One of those that 'holdfast data' lists.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="A folder with the release's files, in place of the hub.")
    ] = None,
    repository: Annotated[
        str | None, typer.Option("--hub", help="A hub id in place of the known ones.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="A commit or branch on the hub.")] = None,
    subset: Annotated[
        list[str] | None,
        typer.Option("--subset", metavar="SPLIT=COUNT", help="Take so many rows of a split (repeat it)."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of subsets and of the order of examples.")] = 0,
    folder: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the set; normally $HOLDFAST_DATA/TASK or data/TASK."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Prepare a data set once: check it, and store it as training and evaluation read it."""
    from holdfast.tasks.benchmarks import BENCHMARKS
    from holdfast.tasks.prepare import prepare, remarks
    from holdfast.tasks.prepared import data_folder
    from holdfast.tasks.source import from_folder, from_hub

    if name not in BENCHMARKS:
        raise InputError(f"There is no data set '{name}' to prepare; there is {', '.join(BENCHMARKS)}.")
    if source is not None and (repository or revision):
        raise InputError("Give either --from, or --hub and --revision.")
    benchmark = BENCHMARKS[name]
    counts = _counts(subset or [])
    found = from_folder(benchmark, source) if source else from_hub(benchmark, repository, revision)
    target = folder or data_folder() / name
    with err.status("Reading") as status:

        def on_progress(split: str, rows: int) -> None:
            status.update(f"{split}: {rows:,} rows read")

        manifest = prepare(benchmark, found, target, subset=counts, seed=seed, on_progress=on_progress)
    for line in remarks(benchmark, manifest):
        out.print(f"  {line}")
    sizes = ", ".join(f"{entry['rows']:,} {split}" for split, entry in manifest["splits"].items())
    out.print(f"{name}: {sizes} examples in {target}. Licence: {benchmark.licence}.")


def _counts(subset: list[str]) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for item in subset:
        split, _, count = item.partition("=")
        if split not in ("train", "validation", "test") or not re.fullmatch("[1-9][0-9]{,8}", count):
            raise InputError(f"--subset {item} must be SPLIT=COUNT, such as train=80000.")
        counts[split] = int(count)
    return counts
