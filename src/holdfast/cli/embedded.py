"""`holdfast pretrain-embedded`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.console import Debug, out
from holdfast.errors import InputError


def say(line: str) -> None:
    """A line of progress; a function of the module, as the processes that train must find it."""
    out.print(line, highlight=False)


def pretrain_embedded(
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the new model.")],
    steps: Annotated[
        list[int] | None, typer.Option(min=1, help="Optimiser steps of a cycle; repeat it for each cycle.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share each batch.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the initial weights and the data.")] = 0,
    debug: Debug = False,
) -> None:
    """Make the embedded model again, from scratch, and measure it (its card and figures)."""
    from holdfast.experiment.progress import duration
    from holdfast.pretraining.card import write_card
    from holdfast.pretraining.train import BATCH, CYCLES, pretrain

    if BATCH % processes:
        raise InputError(f"--processes must divide the batch of {BATCH}; use 1, 2, 4 or 8.")
    cycles = steps or CYCLES

    start = time.monotonic()
    pretrain(out_folder, cycles, processes, seed, say)
    took = duration(time.monotonic() - start)
    lengths = " ".join(f"--steps {steps}" for steps in cycles)
    command = f"holdfast pretrain-embedded --out FOLDER {lengths} --processes {processes} --seed {seed}"
    write_card(out_folder, f"{command}\n(took {took} in {processes} processes of one thread)", report=say)
    say(f"The model lies in {out_folder}; its card is README.md there.")
