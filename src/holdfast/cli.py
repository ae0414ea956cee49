"""The command line. Heavy modules are imported by the commands that need them."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from holdfast import __version__
from holdfast.checkpointcli import check, evaluate, help_text
from holdfast.datacli import data_app
from holdfast.errors import HoldfastError, InputError

if TYPE_CHECKING:
    from holdfast.config import Experiment
    from holdfast.experiment.plan import Job, Plan
    from holdfast.experiment.store import Damaged, Store

# Where output is not a terminal nobody tells its width; tables should not break there.
out = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)
err = Console(stderr=True)

app = typer.Typer(
    help="Post-train a vision-language model on a sequence of tasks, and see what it forgets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
tasks_app = typer.Typer(help="Tasks that ship with Holdfast.", invoke_without_command=True)
store_app = typer.Typer(help="Results on disk: what there is, and making room.", invoke_without_command=True)
app.add_typer(tasks_app, name="tasks")
app.add_typer(data_app, name="data")
app.add_typer(store_app, name="store")

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The experiment, a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings in place of the file's.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show where in the code an error came from.")]
StoreFolder = Annotated[Path, typer.Option("--store", help="The store's folder.")]


def main() -> None:
    """Run the command line; errors become one message and an exit code (2: input, 1: while running)."""
    debug = "--debug" in sys.argv
    try:
        app()
    except InputError as error:
        _fail(str(error), 2, debug)
    except HoldfastError as error:
        _fail(str(error), 1, debug)
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        _fail(f"{error.strerror or error}{place}. Check that the disk has room and can be written.", 1, debug)
    except Exception as error:
        advice = "This is a mistake in Holdfast; --debug shows where. Results that were done are safe."
        _fail(f"{type(error).__name__}: {error}. {advice}", 1, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    err.print(f"Error: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work at the same time.")] = 1,
    debug: Debug = False,
) -> None:
    """Run an experiment, or go on with it; write its report."""
    from holdfast import files
    from holdfast.config import load_experiment
    from holdfast.experiment import store as stores

    start = time.monotonic()
    experiment = load_experiment(config, overrides or [])
    stores.check_writable(experiment.output, "output")
    stores.check_writable(experiment.store, "store")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning" if debug else "error")
    # One thread per job, also in libraries that read this only when they are loaded.
    os.environ["OMP_NUM_THREADS"] = str(experiment.threads)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as cleanly as on Ctrl-C

    from holdfast.experiment.estimate import check_memory
    from holdfast.experiment.executor import run as execute
    from holdfast.experiment.plan import make_plan
    from holdfast.experiment.progress import Progress, duration

    if warning := check_memory(experiment, workers):
        err.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)
    plan, store = make_plan(experiment), stores.Store(experiment.store)
    _save_config(experiment)
    index = experiment.output / "report" / "index.html"
    state = experiment.output / "finished.json"
    digest = {"results": plan.digest(), "name": experiment.name, "version": __version__}
    while True:
        try:
            outcome = execute(experiment, plan, store, workers, Progress(out), debug)
        except KeyboardInterrupt:
            err.print("Stopped. What is done stays; the same command goes on from here.")
            raise typer.Exit(130) from None
        if not (outcome.done or outcome.failed) and index.exists() and _read(state) == digest:
            out.print("Everything is done already.")
            break
        state.unlink(missing_ok=True)
        if _report(experiment, plan, store):
            if not outcome.failed:
                files.write_json(state, digest)
            break
    _headline(experiment.output)
    out.print(f"Report: {index}", soft_wrap=True, highlight=False)
    if outcome.failed:
        skipped = f"; {outcome.skipped} more could not start because of it" if outcome.skipped else ""
        raise HoldfastError(
            f"{len(outcome.failed)} of {len(plan.jobs)} jobs failed{skipped}. "
            f"Everything else is done and stays.\n{_causes(outcome.failed)}"
        )
    out.print(f"Took {duration(time.monotonic() - start)}.", highlight=False)


@app.command()
def plan(config: ConfigFile, overrides: Overrides = None, debug: Debug = False) -> None:
    """Show the jobs of an experiment: which are done, and how long the others will take."""
    from holdfast.config import load_experiment

    experiment = load_experiment(config, overrides or [])

    from holdfast.experiment import estimate
    from holdfast.experiment.plan import make_plan
    from holdfast.experiment.progress import duration
    from holdfast.experiment.schedule import pending
    from holdfast.experiment.store import Store

    jobs, store = make_plan(experiment), Store(experiment.store)
    todo = pending(jobs, store, lambda job, damage: err.print(f"Damaged: {job.label} ({damage})"))
    rates = estimate.measured(store, jobs)
    guess = not rates and experiment.model.path == "embedded"
    grid = Grid("Job", "Tasks", "State", "Estimate", box=None, pad_edge=False)
    for job in jobs.jobs.values():
        left = job.fingerprint in todo
        seconds = duration(estimate.seconds(job, rates)) if left and (rates or guess) else ""
        grid.add_row(job.label, ", ".join(job.tasks), "to do" if left else "done", seconds)
    out.print(grid)
    total = sum(estimate.seconds(job, rates) for job in todo.values())
    time_left = f"about {duration(total)} in one process (from earlier results)"
    if guess:
        time_left = f"about {duration(total)} in one process (a first guess for the embedded model)"
    elif not rates:
        time_left = "how long that takes can be told once a few are done"
    out.print(
        f"{len(jobs.jobs)} jobs ({jobs.asked - len(jobs.jobs)} more are shared), "
        f"{len(todo)} to do; {time_left}.",
        highlight=False,
    )
    from holdfast.experiment import memory

    if made := memory.estimate(experiment):
        out.print(
            f"A worker needs up to about {memory.gigabytes(made.total)}: {made.text()}.",
            highlight=False,
            soft_wrap=True,
        )
    else:
        out.print(
            f"What memory {experiment.model.path} needs can be told once it is on this disk "
            f"(hf download {experiment.model.path}).",
            highlight=False,
            soft_wrap=True,
        )


@app.command()
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its experiment file.")],
    debug: Debug = False,
) -> None:
    """Write the report of a run again, finished or not."""
    from holdfast.config import load_experiment

    config = run / "config.yaml" if run.is_dir() else run
    if run.is_dir() and not config.exists():
        raise InputError(
            f"{run} holds no config.yaml, so it is not a run's folder; 'holdfast run' makes one."
        )
    experiment = load_experiment(config)

    from holdfast.experiment.plan import make_plan
    from holdfast.experiment.store import Store

    if not _report(experiment, make_plan(experiment), Store(experiment.store)):
        out.print("Some results are missing from this report; 'holdfast run' makes them again.")
    _headline(experiment.output)
    index = experiment.output / "report" / "index.html"
    out.print(f"Report: {index}", soft_wrap=True, highlight=False)


app.command(help=help_text(evaluate))(evaluate)
app.command(help=help_text(check))(check)


@tasks_app.callback()
def tasks(context: typer.Context, debug: Debug = False) -> None:
    """List the tasks that ship with Holdfast."""
    if context.invoked_subcommand is not None:
        return
    from holdfast.tasks.catalog import get_task, names

    grid = Grid("Task", "Train", "Validation", "Test", "Chance", "Scorer", "", box=None, pad_edge=False)
    for name in names():
        task = get_task(name)
        sizes = [_size(task.sizes, split) for split in ("train", "validation", "test")]
        chance = "–" if task.chance is None else f"{task.chance:.0%}"
        grid.add_row(name, *sizes, chance, task.scorer, task.description)
    out.print(grid)


@tasks_app.command("show")
def show_task(
    name: Annotated[str, typer.Argument(help="The task.")],
    sheet: Annotated[Path | None, typer.Option("--out", help="The PNG file.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    count: Annotated[int, typer.Option(min=1, help="Examples on the sheet.")] = 12,
    debug: Debug = False,
) -> None:
    """Draw examples of a task on one sheet."""
    from holdfast.tasks.catalog import get_task
    from holdfast.tasks.sheet import write_sheet

    task = get_task(name)
    path = sheet or Path(f"{name}.png")
    write_sheet(task, path, split, count)  # type: ignore[arg-type]  # an unknown split is reported there
    out.print(f"{task.description}\n{count} {split} examples: {path}", highlight=False, soft_wrap=True)


@store_app.callback()
def store(context: typer.Context, folder: StoreFolder = Path("runs/store"), debug: Debug = False) -> None:
    """Show what lies in the store."""
    context.obj = folder
    if context.invoked_subcommand is not None:
        return
    from holdfast.experiment.store import KINDS, Store, size

    if not folder.is_dir():
        raise InputError(f"There is no store in {folder}; say where it is with --store FOLDER.")
    grid = Grid("Result", "Kind", "Made for", "Size", "Weights", "Seconds", box=None, pad_edge=False)
    entries = list(Store(folder).entries())
    for entry in entries:
        weights = _bytes(entry.weights) if entry.weights else ""
        size_, seconds = _bytes(entry.bytes), f"{entry.seconds:.1f}"
        grid.add_row(entry.name, entry.kind, entry.label, size_, weights, seconds)
    out.print(grid)
    for kind in KINDS:
        mine = [entry for entry in entries if entry.kind == kind]
        whole = _bytes(sum(entry.bytes for entry in mine))
        weights = _bytes(sum(entry.weights for entry in mine))
        of_which = f", of which weights {weights}" if kind == "learn" else ""
        out.print(f"{kind}: {len(mine)} results, {whole}{of_which}", highlight=False)
    for name in ("work", "damaged", "trash"):
        if left := size(folder / name):
            out.print(f"{name}: {_bytes(left)}", highlight=False)


@store_app.command("prune")
def prune_store(
    context: typer.Context,
    weights: Annotated[bool, typer.Option("--weights", help="Weights of trained policies.")] = False,
    damaged: Annotated[bool, typer.Option("--damaged", help="Results that were found damaged.")] = False,
    unreferenced: Annotated[
        list[Path] | None,
        typer.Option(metavar="CONFIG", help="Results that none of these experiments uses (repeat it)."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else only say what would go.")] = False,
    debug: Debug = False,
) -> None:
    """Make room: remove weights, damaged results, or what no experiment uses."""
    from holdfast.experiment.prune import candidates, remove

    if not (weights or damaged or unreferenced):
        raise InputError("Say what to remove: --weights, --damaged, or --unreferenced CONFIG.")
    folder: Path = context.obj
    found = candidates(folder, weights=weights, damaged=damaged, configs=unreferenced)
    for candidate in found:
        line = f"{_bytes(candidate.bytes):>10}  {candidate.path}  {candidate.reason}"
        out.print(line, highlight=False, soft_wrap=True)
    total = _bytes(sum(candidate.bytes for candidate in found))
    if yes:
        remove(folder, found)
        out.print(f"Freed {total}.", highlight=False)
    else:
        out.print(f"Would free {total}; add --yes to do it.", highlight=False)


@app.command("pretrain-embedded")
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

    def say(line: str) -> None:
        out.print(line, highlight=False)

    start = time.monotonic()
    pretrain(out_folder, cycles, processes, seed, say)
    took = duration(time.monotonic() - start)
    lengths = " ".join(f"--steps {steps}" for steps in cycles)
    command = f"holdfast pretrain-embedded --out FOLDER {lengths} --processes {processes} --seed {seed}"
    write_card(out_folder, f"{command}\n(took {took} in {processes} processes of one thread)", report=say)
    say(f"The model lies in {out_folder}; its card is README.md there.")


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__, highlight=False)


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
        err.print(f"Damaged result: {job.label} ({damage})", soft_wrap=True, highlight=False)

    with out.status("Writing the report"):
        build(collect(experiment, plan, store, on_damage), experiment.output / "report")
    return not damaged


def _headline(folder: Path) -> None:
    """Print the report's first table."""
    table: dict[str, Any] | None = _read(folder / "report" / "tables" / "headline.json")
    if table is not None:
        show_table(table)


def show_table(table: Mapping[str, Any]) -> None:
    """Print a table in its JSON form."""
    from holdfast.forgetting.bootstrap import Estimate
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


def _size(sizes: Any, split: str) -> str:
    if split not in sizes:
        return "–"
    return "∞" if sizes[split] is None else f"{sizes[split]:,}"


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


if __name__ == "__main__":
    main()
