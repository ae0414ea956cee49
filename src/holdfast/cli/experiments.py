"""`holdfast run`, `plan` and `report`: an experiment, from its file to its page."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Grid

from holdfast import __version__
from holdfast.cli.console import Debug, err, out, show_table, tell_left_out
from holdfast.errors import HoldfastError, InputError, shortened

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.devices import Place
    from holdfast.experiment.plan import Job, Plan
    from holdfast.experiment.store import Damaged, Store

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment, a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings in place of the file's.")
]
Workers = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Processes that work at the same time, one a GPU in turn; auto: as many as GPUs, or cores.",
    ),
]


def run(
    config: ConfigFile,
    overrides: Overrides = None,
    workers: Workers = "1",
    yes: Annotated[bool, typer.Option("--yes", help="Start however many jobs there are.")] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report", help="Write the report: one of several machines that share a run should."
        ),
    ] = True,
    debug: Debug = False,
) -> None:
    """Run an experiment, or go on with it; write its report."""
    from holdfast import files
    from holdfast.config.load import load_experiment
    from holdfast.experiment import store as stores

    start = time.monotonic()
    experiment = load_experiment(config, overrides or [], _announce)
    stores.check_writable(experiment.output, "output")
    stores.check_writable(experiment.store, "store")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning" if debug else "error")
    # One thread per job, also in libraries that read this only when they are loaded.
    os.environ["OMP_NUM_THREADS"] = str(experiment.threads)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as cleanly as on Ctrl-C

    from holdfast.policy.known import KNOWN
    from holdfast.policy.ready import check_ready

    check_ready(experiment.model.path, experiment.model, experiment.store / KNOWN)

    from holdfast.experiment.devices import places
    from holdfast.experiment.estimate import check_memory
    from holdfast.experiment.executor import run as execute
    from holdfast.experiment.fitting import check_rows
    from holdfast.experiment.plan import make_plan
    from holdfast.experiment.precision import rounded_away
    from holdfast.experiment.progress import Progress, duration

    where = places(experiment.model.device)
    count = _count(workers, experiment, where)
    for warning in filter(None, (check_memory(experiment, count, where), *rounded_away(experiment))):
        err.print(warning, style="yellow")
    _remark(experiment)
    check_rows(experiment)
    plan, store = make_plan(experiment), stores.Store(experiment.store)
    tell_left_out(plan.left_out)
    _ask_if_large(len(plan.jobs), experiment.max_jobs, yes)
    _save_config(experiment)
    index = experiment.output / "report" / "index.html"
    state = experiment.output / "finished.json"
    digest = {"results": plan.digest(), "name": experiment.name, "version": __version__}
    while True:
        try:
            outcome = execute(experiment, plan, store, count, Progress(out), debug)
        except KeyboardInterrupt:
            err.print("Stopped. What is done stays; the same command goes on from here.")
            raise typer.Exit(130) from None
        if not report:
            break
        if not (outcome.done or outcome.failed) and index.exists() and _read(state) == digest:
            out.print("Everything is done already.")
            break
        state.unlink(missing_ok=True)
        if _report(experiment, plan, store):
            if not outcome.failed:
                files.write_json(state, digest)
            break
    if report:
        _headline(experiment.output)
        out.print(f"Report: {index}")
    else:
        out.print(f"'holdfast report {config}' writes the report.")
    if outcome.failed:
        skipped = f"; {outcome.skipped} more could not start because of it" if outcome.skipped else ""
        raise HoldfastError(
            f"{len(outcome.failed)} of {len(plan.jobs)} jobs failed{skipped}. "
            f"Everything else is done and stays.\n{_causes(outcome.failed)}"
        )
    out.print(f"Took {duration(time.monotonic() - start)}.")


def _remark(experiment: Experiment) -> None:
    from holdfast.config.remarks import remarks

    for remark in remarks(experiment):
        err.print(remark, style="yellow")


def _announce(reference: str) -> None:
    err.print(f"Your code is run: {reference}")


def _ask_if_large(jobs: int, most: int, yes: bool) -> None:
    """More jobs than `max_jobs`, as grids soon have, are a question; an error where nobody can answer."""
    if jobs <= most or yes:
        return
    text = f"This experiment has {jobs:,} jobs, more than max_jobs: {most:,}."
    if not sys.stdin.isatty():
        raise InputError(f"{text} If that is meant, add --yes or raise max_jobs.")
    if not typer.confirm(f"{text} Start them?"):
        raise typer.Exit(1)


def _count(workers: str, experiment: Experiment, where: Sequence[Place]) -> int:
    """The number that `--workers` means."""
    from holdfast.experiment.estimate import auto_workers

    if workers != "auto":
        if not re.fullmatch("[1-9][0-9]{,3}", workers):
            raise InputError(
                f"--workers {shortened(workers)}: give a number of 1 or more, or auto. There may be 9999."
            )
        return int(workers)
    count, why = auto_workers(experiment, where)
    if why:
        out.print(why)
    return count


def plan(
    config: ConfigFile, overrides: Overrides = None, workers: Workers = "1", debug: Debug = False
) -> None:
    """Show the jobs of an experiment: which are done, and how long the others will take."""
    from holdfast.config.load import load_experiment

    experiment = load_experiment(config, overrides or [], _announce)

    from holdfast.policy.known import KNOWN
    from holdfast.policy.ready import check_ready

    check_ready(experiment.model.path, experiment.model, experiment.store / KNOWN)

    from holdfast.experiment import estimate
    from holdfast.experiment.fitting import check_rows
    from holdfast.experiment.plan import make_plan
    from holdfast.experiment.precision import rounded_away
    from holdfast.experiment.progress import duration
    from holdfast.experiment.schedule import pending
    from holdfast.experiment.store import Store

    _remark(experiment)
    check_rows(experiment)
    jobs, store = make_plan(experiment), Store(experiment.store)
    tell_left_out(jobs.left_out)
    todo = pending(jobs, store, lambda job, damage: err.print(f"Damaged: {job.label} ({damage})"))
    rates = estimate.measured(store, jobs)
    guess = not rates and experiment.model.path == "embedded"
    grid = Grid("Job", "Tasks", "State", "Estimate", box=None, pad_edge=False)
    for job in jobs.jobs.values():
        left = job.fingerprint in todo
        seconds = duration(estimate.seconds(job, rates)) if left and (rates or guess) else ""
        grid.add_row(job.label, ", ".join(job.tasks), "to do" if left else "done", seconds)
    out.print(grid, soft_wrap=False)
    total = sum(estimate.seconds(job, rates) for job in todo.values())
    time_left = f"about {duration(total)} in one process (from earlier results)"
    if guess:
        time_left = f"about {duration(total)} in one process (a first guess for the embedded model)"
    elif not rates:
        time_left = "how long that takes can be told once a few are done"
    out.print(
        f"{len(jobs.jobs)} jobs ({jobs.asked - len(jobs.jobs)} more are shared), "
        f"{len(todo)} to do; {time_left}.",
    )
    for warning in rounded_away(experiment):
        err.print(warning, style="yellow")
    _tell_devices(workers, experiment)
    from holdfast.experiment import memory
    from holdfast.experiment.architecture import architecture

    if (known := architecture(experiment.model, experiment.store / KNOWN)) and (adapters := known.adapters()):
        out.print(f"{adapters}.")
    if made := memory.estimate(experiment):
        out.print(
            f"A worker needs up to about {memory.gigabytes(made.total)}: {made.text()}.",
        )
    else:
        out.print(
            f"What memory {experiment.model.path} needs can be told once it is on this disk "
            f"(hf download {experiment.model.path}).",
        )


def _tell_devices(workers: str, experiment: Experiment) -> None:
    """Where a run on this machine would compute; a plan may be made on another one."""
    from holdfast.experiment.devices import places, spread

    try:
        where = places(experiment.model.device)
    except InputError as error:
        err.print(str(error), style="yellow")
        return
    count = _count(workers, experiment, where)
    out.print(f"{count} {'worker' if count == 1 else 'workers'} on {spread(count, where)}.")


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its experiment file.")],
    debug: Debug = False,
) -> None:
    """Write the report of a run again, finished or not."""
    from holdfast.config.load import load_experiment

    config = run / "config.yaml" if run.is_dir() else run
    if run.is_dir() and not config.exists():
        raise InputError(
            f"{run} holds no config.yaml, so it is not a run's folder; 'holdfast run' makes one."
        )
    experiment = load_experiment(config)
    if run.is_dir():  # a copy's settings name the original's folder
        experiment = experiment.model_copy(update={"output": run.absolute()})

    from holdfast.experiment.plan import make_plan
    from holdfast.experiment.store import Store

    if not _report(experiment, make_plan(experiment), Store(experiment.store)):
        out.print("Some results are missing from this report; 'holdfast run' makes them again.")
    _headline(experiment.output)
    index = experiment.output / "report" / "index.html"
    out.print(f"Report: {index}")


def _causes(failed: Mapping[str, str]) -> str:
    """Messages with the jobs that met them; jobs that failed alike stand together."""
    labels: dict[str, list[str]] = {}
    for label, message in failed.items():
        labels.setdefault(message, []).append(label)
    return "\n".join(
        f"  {jobs[0]}{f' and {len(jobs) - 1} more' if len(jobs) > 1 else ''}: {message}"
        for message, jobs in labels.items()
    )


def _report(experiment: Experiment, plan: Plan, store: Store) -> bool:
    """Write the report; False when results were found damaged (and set aside) on the way."""
    from holdfast.experiment.collect import collect
    from holdfast.report.page import build

    damaged = []

    def on_damage(job: Job, damage: Damaged) -> None:
        damaged.append(job)
        store.set_aside(job)
        err.print(f"Damaged result: {job.label} ({damage})")

    try:
        with out.status("Writing the report"):
            build(collect(experiment, plan, store, on_damage), experiment.output / "report")
    except KeyboardInterrupt:
        err.print("Stopped while the report was written. Results stay; the same command writes it again.")
        raise typer.Exit(130) from None
    return not damaged


def _headline(folder: Path) -> None:
    """Print the report's first table."""
    table: dict[str, Any] | None = _read(folder / "report" / "tables" / "headline.json")
    if table is not None:
        show_table(table)


def _save_config(experiment: Experiment) -> None:
    import yaml

    from holdfast import files

    text = yaml.safe_dump(experiment.resolved(), sort_keys=False, allow_unicode=True)
    files.write_text(experiment.output / "config.yaml", f"# All settings of this run.\n{text}")


def _read(path: Path) -> Any:
    from holdfast import files

    try:
        return files.read_json(path)
    except (OSError, ValueError):
        return None
