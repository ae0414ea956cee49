"""`holdfast plan`: the jobs of an experiment, before any work."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Grid

from holdfast.cli.ahead import CardName, Cards, Completion, Pixels, show_ahead
from holdfast.cli.asked import ConfigFile, Overrides, Workers, announce, count_workers
from holdfast.cli.console import Debug, Json, err, only_json, out, show_json, tell_left_out, warn
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.plan import Job, Plan

MANY = 4  # tasks that are learned together: their number says it
EachJob = Annotated[bool, typer.Option("--jobs", help="A line for each job, not for each stage.")]


def plan(
    config: ConfigFile,
    overrides: Overrides = None,
    workers: Workers = "1",
    cards: Cards = None,
    card: CardName = None,
    completion: Completion = None,
    pixels: Pixels = None,
    each: EachJob = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the stages of an experiment and their jobs: which are done, and how long the others will take.

    With --cards, how a run on so many cards would go, of a kind (--card) that need not be here.
    """
    only_json(json)
    from holdfast.config.load import load_experiment
    from holdfast.tasks.prepared import published_sizes

    ahead = cards is not None or card is not None
    with published_sizes(ahead) as unprepared:
        experiment = load_experiment(config, overrides or [], announce)

        from holdfast.policy.modelfacts import FACTS
        from holdfast.policy.ready import check_ready

        check_ready(experiment.model.path, experiment.model, experiment.store_folder / FACTS)

        from holdfast.config.remarks import remarks
        from holdfast.experiment import estimate
        from holdfast.experiment.fitting import check_rows
        from holdfast.experiment.mirror import open_store
        from holdfast.experiment.plan import make_plan
        from holdfast.experiment.precision import rounded_away
        from holdfast.experiment.progress import duration
        from holdfast.experiment.schedule import pending
        from holdfast.experiment.worktime import Assumed

        for sentence in remarks(experiment):
            warn(sentence)
        if unprepared:
            said = ", ".join(sorted(unprepared))
            warn(f"Not prepared, so counted with their published sizes: {said}.")
        else:
            check_rows(experiment)
        jobs, store = make_plan(experiment), open_store(experiment)
        tell_left_out(jobs.left_out)
        todo = pending(jobs, store, lambda job, damage: err.print(f"Damaged: {job.label} ({damage})"))
        rates = estimate.measured(store, jobs)
        if ahead:
            assumed = Assumed(completion, pixels)
            show_ahead(experiment, jobs, todo, rates, cards or 1, card, assumed, json)
            return
    timed = bool(rates) or experiment.model.path == "embedded"
    listed = [_facts(job, job.fingerprint in todo, rates if timed else None) for job in jobs.jobs.values()]
    out.print(_each(listed) if each else _stages(jobs, listed), soft_wrap=False)
    total = sum(estimate.seconds(job, rates) for job in todo.values())
    source = "from earlier results" if rates else "a first guess for the embedded model"
    time_left = f"about {duration(total)} in one process ({source})"
    if not timed:
        time_left = "how long that takes can be told once a few are done"
    if not todo:
        time_left = "everything is done already"
    out.print(
        f"{len(jobs.jobs)} jobs ({jobs.asked} if methods shared none), {len(todo)} to do; {time_left}.",
    )
    if shown := _resolvable(experiment):
        out.print(_told_apart(shown))
    if completion is not None or pixels is not None:
        warn("--completion and --pixels are for --cards and --card; nothing else asks for them.")
    for sentence in rounded_away(experiment):
        warn(sentence)
    _tell_devices(workers, experiment)
    memory_bytes = _tell_memory(experiment)
    if json:
        told = {"seconds": total if timed else None, "memory_bytes": memory_bytes}
        show_json({"jobs": listed, "to_do": len(todo), **told, "resolves": shown})


def _facts(job: Job, left: bool, rates: dict[str, float] | None) -> dict[str, Any]:
    """A job as `--json` has it.

    Args:
        rates: as `estimate.measured`; None where nothing tells how long jobs take.
    """
    from holdfast.experiment import estimate

    seconds = estimate.seconds(job, rates) if left and rates is not None else None
    facts = {"job": job.label, "kind": job.kind, "tasks": job.tasks, "fingerprint": job.fingerprint}
    return {**facts, "done": not left, "seconds": seconds}


def _each(listed: list[dict[str, Any]]) -> Grid:
    grid = Grid("Job", "Tasks", "State", "Estimate", box=None, pad_edge=False)
    for one in listed:
        grid.add_row(one["job"], ", ".join(one["tasks"]), "done" if one["done"] else "to do", _time([one]))
    return grid


def _stages(plan: Plan, listed: list[dict[str, Any]]) -> Grid:
    """Jobs of one policy in a line: what is learned, and what is then asked of it; what is shared, once."""
    grid = Grid("Stage", "Jobs", "State", "Estimate", box=None, pad_edge=False)
    left = {one["fingerprint"]: one for one in listed}
    for chain in plan.chains:
        for stage, entries in groupby(chain.jobs(), key=itemgetter(0)):
            jobs = [left.pop(name) for _, name in entries if name in left]
            if not jobs:
                continue
            where = f"{chain.method} seed {chain.seed} stage {stage}" if stage else "base"
            if learned := [task for one in jobs if one["kind"] == "learn" for task in one["tasks"]]:
                where += f" ({', '.join(learned) if len(learned) < MANY else f'{len(learned)} tasks'})"
            kinds = Counter(one["kind"] for one in jobs).items()
            told = ", ".join(f"{count} {kind}" if count > 1 else kind for kind, count in kinds)
            done = sum(one["done"] for one in jobs)
            state = "done" if done == len(jobs) else f"{done} of {len(jobs)} done" if done else "to do"
            grid.add_row(where, told, state, _time(jobs))
    return grid


def _resolvable(experiment: Experiment) -> dict[str, float] | None:
    """The differences of two methods that the test items can show; None where their number is not known.

    Said before a run, so that nobody waits days for what can show nothing.
    """
    from holdfast.analysis.metrics import items_together, resolvable_difference

    counts = [experiment.judging(experiment.task(name)) for name in experiment.sequence]
    if not all(counts):
        return None
    behind = {"task": min(counts)} | ({"avg_acc": items_together(counts)} if len(counts) > 1 else {})
    return {name: resolvable_difference(items, paired=True) for name, items in behind.items()}


def _told_apart(differences: dict[str, float]) -> str:
    from holdfast.report.table import rounded

    task, *together = (rounded(difference, 1, times=100) for difference in differences.values())
    mean = "".join(f", or by {points} in AvgAcc" for points in together)
    return (
        f"The test items usually tell two methods apart that differ by {task} points on a task{mean} "
        "(80 % power, seeds aside)."
    )


def _time(jobs: list[dict[str, Any]]) -> str:
    """How long those take that are to do, where that is known."""
    from holdfast.experiment.progress import duration

    known = [one["seconds"] for one in jobs if one["seconds"] is not None]
    return duration(sum(known)) if known else ""


def _tell_devices(workers: str, experiment: Experiment) -> None:
    """Where a run on this machine would compute; a plan may be made on another one."""
    from holdfast.experiment.devices import places, spread

    try:
        where = places(experiment.model.device)
    except InputError as error:
        warn(str(error))
        return
    count = count_workers(workers, experiment, where)
    on = spread(count * experiment.devices, where)
    out.print(f"{count} {'worker' if count == 1 else 'workers'} on {on}.")


def _tell_memory(experiment: Experiment) -> int | None:
    """What a worker's tensors need, and where adapters are; gives the bytes, where they can be told."""
    from holdfast.experiment import memory, sharing
    from holdfast.experiment.architecture import architecture_of

    if (known := architecture_of(experiment)) and (adapters := known.adapters()):
        out.print(f"{adapters}.")
    if (made := sharing.of_run(experiment)) is None:
        out.print(
            f"What memory {experiment.model.path} needs can be told once it is on this disk "
            f"(hf download {experiment.model.path}).",
        )
        return None
    of_team = f"Tensors on each of a worker's {experiment.devices} devices"
    whose = of_team if experiment.devices > 1 else "A worker's tensors"
    out.print(f"{whose} need up to about {memory.gigabytes(made.total)}: {made.text()}.")
    return made.total
