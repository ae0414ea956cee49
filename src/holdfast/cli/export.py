"""`holdfast export`: a checkpoint or the records of a run, out of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.console import Debug, out
from holdfast.cli.report import load_run


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its experiment file.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="A new folder; of records a .jsonl, .csv or .parquet file.")
    ],
    method: Annotated[
        str | None, typer.Option("--method", help="Whose; needed where there are several.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Likewise.")] = None,
    stage: Annotated[int | None, typer.Option("--stage", help="After which; normally the last.")] = None,
    records: Annotated[
        bool, typer.Option("--records", help="Every record with its method, seed, stage and task.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Copy a run's checkpoint into a folder of its own, or write its records into one file.

    The folder loads with from_pretrained, or with PEFT where the run trained adapters. With --records,
    --method, --seed and --stage choose among them (stage 0 is the base).
    """
    experiment = load_run(run)

    from holdfast.experiment.collect import collect
    from holdfast.experiment.export import export_checkpoint, export_records, find_chain
    from holdfast.experiment.mirror import open_store
    from holdfast.experiment.plan import make_plan

    plan, store = make_plan(experiment), open_store(experiment)
    if not records:
        chain = find_chain(plan, method, seed)
        number = export_checkpoint(chain, stage, plan, store, target)
        out.print(f"{chain.method} seed {chain.seed} after stage {number}: {target}")
        return
    frame = collect(experiment, plan, store, lambda job, damage: None).records()
    for column, value in {"method": method, "seed": seed, "stage": stage}.items():
        if value is not None and not frame.empty:
            frame = frame[frame[column] == value]
    export_records(frame, target)
    out.print(f"{len(frame):,} records: {target}")
