"""`holdfast run`, `plan` and `report`: an experiment, from its file to its page."""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Grid

from holdfast import __version__
from holdfast.cli.ahead import CardName, Cards, Completion, Pixels, show_ahead
from holdfast.cli.console import Debug, Json, err, only_json, out, show_json, show_table, tell_left_out
from holdfast.errors import HoldfastError, InputError, shortened

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.devices import Place
    from holdfast.experiment.executor import Outcome
    from holdfast.experiment.plan import Job, Plan
    from holdfast.experiment.store import Damaged, Store

NOTHING_TO_RETAIN = 3  # exit code of a run that its pilot stopped
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
Devices = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Devices that learn each stage together, sharing the shards of its batches."
    ),
]
Pictures = Annotated[
    str,
    typer.Option(
        metavar="N|none",
        help="How many pictures the report holds at most; none where they must not be passed on.",
    ),
]


def run(
    config: ConfigFile,
    overrides: Overrides = None,
    workers: Workers = "1",
    devices: Devices = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="none|optimizer", help="What each of them keeps a part of only."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Start however many jobs there are.")] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report/--no-report", help="Write the report: one of several machines that share a run should."
        ),
    ] = True,
    pilot: Annotated[
        bool, typer.Option("--pilot/--no-pilot", help="Heed the experiment's `pilot`, or go on regardless.")
    ] = True,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also a report of other settings in the run's folder.")
    ] = False,
    pictures: Pictures = "2000",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run an experiment, or go on with it; write its report."""
    from holdfast import files
    from holdfast.config.load import load_experiment
    from holdfast.experiment.devices import ranks
    from holdfast.experiment.mirror import open_store
    from holdfast.experiment.store import check_writable

    only_json(json)
    start = time.monotonic()
    most = _most_pictures(pictures)
    experiment = load_experiment(config, [*(overrides or []), *_shared(devices, shard, workers)], _announce)
    if ranks() > 1 and _follows(experiment):
        return
    check_writable(experiment.output, "output")
    store = open_store(experiment)
    store.prepare()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning" if debug else "error")
    # One thread per job, also in libraries that read this only when they are loaded.
    os.environ["OMP_NUM_THREADS"] = str(experiment.threads)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as cleanly as on Ctrl-C

    from holdfast.policy.known import KNOWN
    from holdfast.policy.ready import check_ready

    check_ready(experiment.model.path, experiment.model, experiment.store_folder / KNOWN)

    from holdfast.experiment.devices import places
    from holdfast.experiment.estimate import check_memory
    from holdfast.experiment.executor import run as execute
    from holdfast.experiment.fitting import check_rows
    from holdfast.experiment.plan import make_plan
    from holdfast.experiment.precision import rounded_away
    from holdfast.experiment.progress import Progress, duration
    from holdfast.experiment.runindex import check_earlier, write_index
    from holdfast.experiment.tracking import Tracking

    where = places(experiment.model.device)
    count = _count(workers, experiment, where)
    needed = check_memory(experiment, count * experiment.devices, where)
    for warning in filter(None, (needed, *rounded_away(experiment))):
        err.print(warning, style="yellow")
    _remark(experiment)
    check_rows(experiment)
    plan = make_plan(experiment)
    tell_left_out(plan.left_out)
    _ask_if_large(len(plan.jobs), experiment.max_jobs, yes)
    if not replace:
        check_earlier(experiment, plan)
    _save_config(experiment)
    write_index(experiment, plan, store)
    index = experiment.output / "report" / "index.html"
    state = experiment.output / "finished.json"
    digest = {"results": plan.digest(), "name": experiment.name, "version": __version__}
    # Of several machines that share a run, the one that writes the report tells trackers.
    with closing(Tracking(experiment, plan, store, experiment.track if report else ())) as tracking:

        def work(experiment: Experiment, plan: Plan) -> Outcome:
            try:
                return execute(experiment, plan, store, count, Progress(out), debug, tracking.hear)
            except KeyboardInterrupt:
                err.print("Stopped. What is done stays; the same command goes on from here.")
                raise typer.Exit(130) from None

        if experiment.pilot and pilot:
            _pass_pilot(experiment, work)
        while True:
            outcome = work(experiment, plan)
            if not report:
                break
            if not (outcome.done or outcome.failed) and index.exists() and _read(state) == digest:
                out.print("Everything is done already.")
                break
            state.unlink(missing_ok=True)
            if _report(experiment, plan, store, most):
                if not outcome.failed:
                    files.write_json(state, digest)
                break
        write_index(experiment, plan, store)
        if report:
            tracking.report(index.parent)
    if report:
        _headline(experiment.output)
        out.print(f"Report: {index}")
    else:
        out.print(f"'holdfast report {config}' writes the report.")
    if json:
        counts = {"jobs": len(plan.jobs), "done": outcome.done, "skipped": outcome.skipped}
        show_json(_paths(experiment) | counts | {"failed": outcome.failed})
    if outcome.failed:
        skipped = f"; {outcome.skipped} more could not start because of it" if outcome.skipped else ""
        raise HoldfastError(
            f"{len(outcome.failed)} of {len(plan.jobs)} jobs failed{skipped}. "
            f"Everything else is done and stays.\n{_causes(outcome.failed)}"
        )
    out.print(f"Took {duration(time.monotonic() - start)}.")


def _pass_pilot(experiment: Experiment, work: Callable[[Experiment, Plan], Outcome]) -> None:
    """Go on only where there is something to retain; else exit with NOTHING_TO_RETAIN.

    Jobs that fail here fail in the whole experiment, too, and are told there.
    """
    from holdfast.api import load_results
    from holdfast.experiment.pilot import failing, pilot_of
    from holdfast.experiment.plan import make_plan

    first = pilot_of(experiment)
    if work(first, make_plan(first)).failed:
        return
    if reason := failing(load_results(first)):
        err.print(
            f"Stopped at the pilot bar: {reason}. There is nothing to retain; make stages longer or the rate "
            "higher, or take other tasks. --no-pilot goes on regardless."
        )
        raise typer.Exit(NOTHING_TO_RETAIN)


def _shared(devices: int | None, shard: str | None, workers: str) -> list[str]:
    """The settings `devices` and `shard`, as they were asked for or as this process was started.

    Raises:
        InputError: these are not the same.
    """
    from holdfast.experiment.devices import ranks

    if (size := ranks()) > 1:
        if devices not in (None, size):
            raise InputError(f"--devices {devices}, but {size} ranks were started; leave it out.")
        if workers != "1":
            raise InputError("--workers: ranks that were started together are one worker; leave it out.")
        devices = size
    asked = {"devices": devices, "shard": shard}
    return [f"{key}={value}" for key, value in asked.items() if value is not None]


def _follows(experiment: Experiment) -> bool:
    """Whether this process is a rank that does not lead; if so, it has learned with it, and all is done."""
    os.environ["OMP_NUM_THREADS"] = str(experiment.threads)

    from holdfast.experiment.jobs import Runner
    from holdfast.experiment.mirror import open_store
    from holdfast.experiment.plan import make_plan
    from holdfast.policy.team import team_of_environment

    team = team_of_environment()
    if team.leads:
        atexit.register(team.call, None)  # however it ends, the others go home
        return False
    Runner(experiment, make_plan(experiment), open_store(experiment), team=team).follow()
    return True


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
    config: ConfigFile,
    overrides: Overrides = None,
    workers: Workers = "1",
    cards: Cards = None,
    card: CardName = None,
    completion: Completion = None,
    pixels: Pixels = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the jobs of an experiment: which are done, and how long the others will take.

    With --cards, how a run on so many cards would go, of a kind (--card) that need not be here.
    """
    only_json(json)
    from holdfast.config.load import load_experiment

    experiment = load_experiment(config, overrides or [], _announce)

    from holdfast.policy.known import KNOWN
    from holdfast.policy.ready import check_ready

    check_ready(experiment.model.path, experiment.model, experiment.store_folder / KNOWN)

    from holdfast.experiment import estimate
    from holdfast.experiment.fitting import check_rows
    from holdfast.experiment.mirror import open_store
    from holdfast.experiment.plan import make_plan
    from holdfast.experiment.precision import rounded_away
    from holdfast.experiment.progress import duration
    from holdfast.experiment.schedule import pending
    from holdfast.experiment.worktime import Assumed

    _remark(experiment)
    check_rows(experiment)
    jobs, store = make_plan(experiment), open_store(experiment)
    tell_left_out(jobs.left_out)
    todo = pending(jobs, store, lambda job, damage: err.print(f"Damaged: {job.label} ({damage})"))
    rates = estimate.measured(store, jobs)
    if cards is not None or card is not None:
        show_ahead(experiment, jobs, todo, rates, cards or 1, card, Assumed(completion, pixels), json)
        return
    guess = not rates and experiment.model.path == "embedded"
    grid = Grid("Job", "Tasks", "State", "Estimate", box=None, pad_edge=False)
    listed: list[dict[str, Any]] = []
    for job in jobs.jobs.values():
        left = job.fingerprint in todo
        seconds = estimate.seconds(job, rates) if left and (rates or guess) else None
        shown = "" if seconds is None else duration(seconds)
        grid.add_row(job.label, ", ".join(job.tasks), "to do" if left else "done", shown)
        facts = {"kind": job.kind, "tasks": job.tasks, "fingerprint": job.fingerprint}
        listed.append({"job": job.label, **facts, "done": not left, "seconds": seconds})
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

    known = architecture(experiment.model, experiment.store_folder / KNOWN)
    if known and (adapters := known.adapters()):
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
    if json:
        time_told = total if rates or guess else None
        memory_told = made.total if made else None
        show_json({"jobs": listed, "to_do": len(todo), "seconds": time_told, "memory_bytes": memory_told})


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
    other: Annotated[
        Path | None, typer.Argument(metavar="[OTHER]", help="A second run, for a gallery of both.")
    ] = None,
    pictures: Pictures = "2000",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the report of a run again, finished or not; with two, also their items side by side."""
    only_json(json)
    most = _most_pictures(pictures)
    experiment = load_run(run)

    from holdfast.experiment.mirror import open_store
    from holdfast.experiment.plan import make_plan
    from holdfast.experiment.runindex import check_earlier, write_index

    plan, store = make_plan(experiment), open_store(experiment)
    if not run.is_dir():  # whose file may have changed since
        check_earlier(experiment, plan)
    whole = _report(experiment, plan, store, most)
    write_index(experiment, plan, store)
    if not whole:
        out.print("Some results are missing from this report; 'holdfast run' makes them again.")
    _headline(experiment.output)
    index = experiment.output / "report" / "index.html"
    out.print(f"Report: {index}")
    both = None
    if other is not None:
        both = str(_side_by_side(experiment, load_run(other), most))
        out.print(f"Side by side: {both}")
    if json:
        show_json(_paths(experiment) | {"whole": whole, "side_by_side": both})


def _paths(experiment: Experiment) -> dict[str, str | None]:
    """Where a script finds what a run left; None for what is not there."""
    report, index = experiment.output / "report", experiment.output / "index.jsonl"
    paths = {"report": report / "index.html", "tables": report / "tables", "index": index}
    return {name: str(path) if path.exists() else None for name, path in paths.items()}


def load_run(run: Path) -> Experiment:
    """The experiment of a run's folder, or of its file.

    Raises:
        InputError: the folder is none of a run, or its settings cannot be used.
    """
    from holdfast.config.load import load_experiment

    if not run.is_dir():
        return load_experiment(run)
    config = run / "config.yaml"
    if not config.exists():
        raise InputError(
            f"{run} holds no config.yaml, so it is not a run's folder; 'holdfast run' makes one."
        )
    # A copy's settings name the original's folder.
    return load_experiment(config).model_copy(update={"output": run.absolute()})


def _side_by_side(first: Experiment, second: Experiment, pictures: int) -> Path:
    """Write the gallery of two runs into the report of the first."""
    from holdfast.api import load_results
    from holdfast.experiment.collect import judged
    from holdfast.experiment.plan import make_plan
    from holdfast.report.gallery.page import write_gallery
    from holdfast.report.gallery.thumbnails import Album, Shelf

    results = [load_results(first), load_results(second)]
    if second.name == first.name:
        results[1] = replace(results[1], name=f"{second.name} ({second.output.name})")
    path = first.output / "report" / f"gallery-with-{second.output.name}.html"
    shelf = Shelf(partial(judged, first, make_plan(first)))
    with out.status("Writing the gallery of both"):
        write_gallery(path, results, shelf, Album(pictures))
    return path


def _causes(failed: Mapping[str, str]) -> str:
    """Messages with the jobs that met them; jobs that failed alike stand together."""
    labels: dict[str, list[str]] = {}
    for label, message in failed.items():
        labels.setdefault(message, []).append(label)
    return "\n".join(
        f"  {jobs[0]}{f' and {len(jobs) - 1} more' if len(jobs) > 1 else ''}: {message}"
        for message, jobs in labels.items()
    )


def _most_pictures(text: str) -> int:
    """The number that `--pictures` means."""
    if text == "none":
        return 0
    if not re.fullmatch("[0-9]{1,6}", text):
        raise InputError(f"--pictures {shortened(text)}: give a number, or none.")
    return int(text)


def _report(experiment: Experiment, plan: Plan, store: Store, pictures: int) -> bool:
    """Write the report; False when results were found damaged (and set aside) on the way.

    One without any result does not replace an earlier one.
    """
    from holdfast.experiment.collect import collect, judged
    from holdfast.report.page import build

    damaged = []

    def on_damage(job: Job, damage: Damaged) -> None:
        damaged.append(job)
        store.set_aside(job)
        err.print(f"Damaged result: {job.label} ({damage})")

    try:
        with out.status("Writing the report"):
            results, folder = collect(experiment, plan, store, on_damage), experiment.output / "report"
            if any(run.cells for run in results.runs) or not (folder / "index.html").exists():
                examples = partial(judged, experiment, plan)
                build(results, folder, examples=examples, pictures=pictures)
            else:
                err.print("There is no result to report; the earlier report stays.", style="yellow")
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
