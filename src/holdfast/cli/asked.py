"""What several commands are asked alike, and how they are stopped."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.console import err, out
from holdfast.errors import InputError, shortened

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.devices import Place

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The experiment, a YAML file; or a run's folder.")
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its experiment file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings in place of the file's.")
]
Workers = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Processes that work at the same time, one a GPU in turn; auto: as many as GPUs, or cores.",
    ),
]


def begin(debug: bool) -> None:
    """Before work: transformers is to say little, and SIGTERM to stop it as cleanly as Ctrl-C does."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning" if debug else "error")
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def stoppable(said: str) -> Iterator[None]:
    """Ctrl-C in the block ends the command with a sentence and exit code 130."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(said)
        raise typer.Exit(130) from None


def announce(reference: str) -> None:
    err.print(f"Your code is run: {reference}")


def count_workers(workers: str, experiment: Experiment, where: Sequence[Place]) -> int:
    """The number that `--workers` means."""
    from holdfast.experiment.workers import auto_workers

    if workers != "auto":
        if not re.fullmatch("[1-9][0-9]{,3}", workers):
            raise InputError(f"--workers {shortened(workers)}: give a number from 1 to 9999, or auto.")
        return int(workers)
    count, why = auto_workers(experiment, where)
    if why:
        out.print(why)
    return count
