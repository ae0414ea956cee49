"""`holdfast export`: a checkpoint, the records or the figures of a run, out of the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.asked import Run
from holdfast.cli.console import Debug, counted, out
from holdfast.cli.report import collected, open_run
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.analysis.results import Results

WIDTH = 3.25  # inches of a column
SIZE = 8.0  # points of a figure's text: that of captions in papers whose text has 9 or 10


def export(
    run: Run,
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="A new folder; of records a .jsonl, .csv or .parquet file; of figures any folder.",
        ),
    ],
    method: Annotated[
        str | None, typer.Option("--method", help="Whose; needed where there are several.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Likewise.")] = None,
    stage: Annotated[int | None, typer.Option("--stage", help="After which; normally the last.")] = None,
    records: Annotated[
        bool, typer.Option("--records", help="Every record with its method, seed, stage and task.")
    ] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="The report's figures as PDF, for a paper.")
    ] = False,
    width: Annotated[
        float | None,
        typer.Option(min=2.0, max=8.5, help=f"Inches a figure may be wide; {WIDTH} is that of a column."),
    ] = None,
    font_size: Annotated[
        float | None,
        typer.Option("--font-size", min=4.0, max=14.0, help=f"Points of a figure's text, normally {SIZE}."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Copy a run's checkpoint into a folder of its own, or write its records or its figures.

    The folder loads with from_pretrained, or with PEFT where the run trained adapters. With --records,
    --method, --seed and --stage choose among them (stage 0 is the base). With --figures, every figure of the
    report is drawn anew, at most --width inches wide, with text of --font-size.
    """
    if records and figures:
        raise InputError("Say --records or --figures, not both.")
    chosen: dict[str, str | int | None] = {"method": method, "seed": seed, "stage": stage}
    for name, value in (chosen if figures else {"width": width, "font-size": font_size}).items():
        if value is not None:
            of = "chooses none of the figures, which show all" if figures else "is for --figures"
            raise InputError(f"--{name} {of}; leave it out.")
    experiment, plan, store = open_run(run)

    from holdfast.experiment.export import SUFFIXES, check_there, export_checkpoint, find_chain
    from holdfast.policy.settings import holds_adapters

    if not records and not figures:
        if target.suffix in SUFFIXES:
            raise InputError(f"{target} is no name of a folder; a file of records needs --records.")
        chain = find_chain(plan, method, seed)
        number = export_checkpoint(chain, stage, plan, store, target)
        out.print(f"{chain.method} seed {chain.seed} after stage {number}: {target}")
        if holds_adapters(target):
            merge = f"'holdfast merge {target} --out FOLDER'"
            out.print(f"These are LoRA adapters; {merge} makes an ordinary model.")
        return
    if records:
        check_there(plan, method, seed, stage)
    results = collected(experiment, plan, store)
    if figures:
        _figures(results, target, width or WIDTH, font_size or SIZE)
    else:
        _records(results, target, chosen)


def _records(results: Results, file: Path, chosen: dict[str, str | int | None]) -> None:
    from holdfast.experiment.export import export_records

    frame = results.records()
    for column, value in chosen.items():
        if value is not None and not frame.empty:
            frame = frame[frame[column] == value]
    export_records(frame, file)
    out.print(f"{counted(len(frame), 'record')}: {file}")


def _figures(results: Results, folder: Path, width: float, size: float) -> None:
    from holdfast.report.paper import write_figures

    if not any(run.cells for run in results.runs):
        raise InputError(f"Nothing of {results.name} is there to draw yet; 'holdfast run' makes it.")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; figures go to a folder.")
    for name in write_figures(results, folder, width, size):
        out.print(str(folder / f"{name}.pdf"))
