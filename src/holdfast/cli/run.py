"""`holdfast run`: an experiment, from its file to its page."""

from __future__ import annotations

import atexit
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast import __version__, files, libraries
from holdfast.cli.asked import ConfigFile, Overrides, Workers, announce, begin, count_workers, stoppable
from holdfast.cli.console import Debug, Json, counted, err, only_json, out, show_json, tell_left_out, warn
from holdfast.cli.report import FINISHED, MOST, Pictures, most_pictures, paths, show_report, write_report
from holdfast.errors import HoldfastError, InputError

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.plan import Plan
    from holdfast.experiment.run import Outcome
    from holdfast.experiment.store import Store

NOTHING_TO_RETAIN = 3  # exit code of a run that its pilot stopped
Devices = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Devices that learn each stage together, sharing the shards of its batches."
    ),
]


def run(
    config: ConfigFile,
    overrides: Overrides = None,
    workers: Workers = "1",
    devices: Devices = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="none|optimizer|full", help="What each of them keeps a part of only."),
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
    pictures: Pictures = MOST,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run an experiment, or go on with it; write its report."""
    from holdfast.config.load import load_experiment
    from holdfast.experiment.devices import ranks

    only_json(json)
    start = time.monotonic()
    most = most_pictures(pictures)
    experiment = load_experiment(config, [*(overrides or []), *_shared(devices, shard, workers)], announce)
    if ranks() > 1 and _follows(experiment):
        return
    begin(debug)
    libraries.settle(experiment.threads)

    from holdfast.experiment import preparation
    from holdfast.experiment.devices import places
    from holdfast.experiment.forked import prepare_copies
    from holdfast.experiment.pilot import stopped_by
    from holdfast.experiment.progress import Progress, duration
    from holdfast.experiment.run import run as execute
    from holdfast.experiment.runindex import write_index
    from holdfast.experiment.tracking import Tracking
    from holdfast.policy.device import device_name

    def import_for_workers() -> None:
        if workers != "1":
            prepare_copies(device_name(experiment.model.device))

    store = preparation.ready_store(experiment, beside=import_for_workers)
    where = places(experiment.model.device)
    count = count_workers(workers, experiment, where)
    plan = preparation.look(experiment, count, where, warn)
    tell_left_out(plan.left_out)
    _ask_if_large(len(plan.jobs), experiment.max_jobs, yes)
    with out.status("Looking for what is done, and for the model"):
        preparation.begin(experiment, plan, store, replace)
    # Of several machines that share a run, the one that writes the report tells trackers.
    with closing(Tracking(experiment, plan, store, experiment.track if report else ())) as tracking:

        def work(experiment: Experiment, plan: Plan) -> Outcome:
            with stoppable("Stopped. What is done stays; the same command goes on from here."):
                return execute(experiment, plan, store, count, Progress(out), debug, tracking.hear)

        if pilot and (reason := stopped_by(experiment, store, work)):
            err.print(f"{reason} --no-pilot goes on regardless.")
            raise typer.Exit(NOTHING_TO_RETAIN)
        outcome = work(experiment, plan)
        while report and not _reported(experiment, plan, store, outcome, most):
            outcome = work(experiment, plan)  # what was found damaged, again
        write_index(experiment, plan, store)
        if report:
            tracking.report(experiment.page)
    if report:
        show_report(experiment.page)
    else:
        out.print(f"'holdfast report {experiment.output}' writes the report.")
    if json:
        counts = {"jobs": len(plan.jobs), "done": outcome.done, "skipped": outcome.skipped}
        show_json(paths(experiment) | counts | {"failed": outcome.failed})
    _check_failures(outcome, len(plan.jobs))
    out.print(f"Took {duration(time.monotonic() - start)}.")


def _check_failures(outcome: Outcome, jobs: int) -> None:
    """See that no job failed.

    Raises:
        HoldfastError: some did; names the causes, each once.
    """
    from holdfast.experiment.failures import causes

    if not outcome.failed:
        return
    them = "it" if len(outcome.failed) == 1 else "them"
    skipped = f"; {outcome.skipped} more could not start because of {them}" if outcome.skipped else ""
    said = f"{len(outcome.failed)} of {counted(jobs, 'job')} failed{skipped}."
    stays = "Everything else is done and stays."
    raise HoldfastError("\n  ".join([f"{said} {stays}", *causes(outcome.failed)]))


def _reported(experiment: Experiment, plan: Plan, store: Store, outcome: Outcome, pictures: int) -> bool:
    """Write the report, unless the one that is there is this one; False where results were damaged."""
    from holdfast.experiment.runindex import INDIFFERENT

    state = experiment.output / FINISHED
    told = {key: value for key, value in experiment.resolved().items() if key not in INDIFFERENT}
    made_of = {"results": plan.digest(), "settings": told, "pictures": pictures, "version": __version__}
    worked = outcome.done or outcome.failed
    if not worked:
        if experiment.page.exists() and files.read_if_there(state) == made_of:
            out.print("Everything is done already.")
            return True
        out.print("All jobs are done; the report is written.")
    whole = write_report(experiment, plan, store, pictures)
    if whole and not outcome.failed:
        files.write_json(state, made_of)
    return whole


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
    libraries.settle(experiment.threads)

    from holdfast.experiment.jobs import Runner
    from holdfast.experiment.mirror import open_store
    from holdfast.experiment.plan import make_plan
    from holdfast.policy.rendezvous import team_of_environment

    team = team_of_environment()
    if team.leads:
        atexit.register(team.call, None)  # however it ends, the others go home
        return False
    Runner(experiment, make_plan(experiment), open_store(experiment), team=team).follow()
    return True


def _ask_if_large(jobs: int, most: int, yes: bool) -> None:
    """More jobs than `max_jobs`, as grids soon have, are a question; an error where nobody can answer."""
    if jobs <= most or yes:
        return
    text = f"This experiment has {jobs:,} jobs, more than max_jobs: {most:,}."
    if not sys.stdin.isatty():
        raise InputError(f"{text} If that is meant, add --yes or raise max_jobs.")
    if not typer.confirm(f"{text} Start them?"):
        raise typer.Exit(1)
