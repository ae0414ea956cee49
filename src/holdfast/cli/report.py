"""`holdfast report`: the page of a run, and where what it left is found."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast import files
from holdfast.cli.asked import Run, stoppable
from holdfast.cli.console import Debug, Json, counted, err, only_json, out, show_json, show_table, warn
from holdfast.errors import InputError, shortened

if TYPE_CHECKING:
    from holdfast.analysis.results import Results
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.plan import Job, Plan
    from holdfast.experiment.store import Damaged, Store

    Opened = tuple[Experiment, Plan, Store]

FINISHED = "finished.json"  # in a run's folder: what its report was made of, where `run` made it whole
MOST = "6000"  # as `thumbnails.MOST_PICTURES`, whose imports are heavy
MOST_FINDINGS = 8  # in the terminal
Pictures = Annotated[
    str,
    typer.Option(
        metavar="N|none",
        help="How many pictures the report holds at most; none where they must not be passed on.",
    ),
]


def report(
    run: Run,
    other: Annotated[
        Path | None, typer.Argument(metavar="OTHER", help="A second run, for a gallery of both.")
    ] = None,
    pictures: Pictures = MOST,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the report of a run again, finished or not; with two, also their items side by side."""
    only_json(json)
    most = most_pictures(pictures)
    second = None if other is None else open_run(other)
    first = open_run(run)
    experiment, plan, store = first

    from holdfast.experiment.runindex import check_earlier, write_index

    check_earlier(experiment, plan)
    write_report(experiment, plan, store, most)
    write_index(experiment, plan, store)
    whole = _tell_missing(plan, store) == 0
    show_report(experiment.page)
    both = None
    if second is not None:
        both = str(_side_by_side(first, second, most))
        out.print(f"Side by side: {both}")
    if json:
        show_json(paths(experiment) | {"whole": whole, "side_by_side": both})


def paths(experiment: Experiment) -> dict[str, str | None]:
    """Where a script finds what a run left; None for what is not there."""
    page = experiment.page
    paths = {"report": page, "tables": page.parent / "tables", "index": experiment.output / "index.jsonl"}
    return {name: str(path) if path.exists() else None for name, path in paths.items()}


def load_run(run: Path) -> Experiment:
    """The experiment of a run's folder, or of its file.

    Raises:
        InputError: the folder is none of a run, or its settings cannot be used.
    """
    from holdfast.config.load import load_experiment

    if not run.exists() and run.suffix not in (".yaml", ".yml"):
        raise InputError(
            f"There is no run in {run}. A run has its folder some seconds after 'holdfast run' has begun; "
            "its experiment file may be named, too."
        )
    if zipfile.is_zipfile(run):
        raise InputError(
            f"{run} is a zip file. Here a run's folder or its experiment file is named; 'holdfast verify' "
            "takes what 'holdfast bundle' wrote."
        )
    return load_experiment(run)


def open_run(run: Path) -> Opened:
    """The experiment, as of `load_run`, its jobs, and where their results lie."""
    experiment = load_run(run)

    from holdfast.experiment.mirror import open_store
    from holdfast.experiment.plan import make_plan

    return experiment, make_plan(experiment), open_store(experiment)


def collected(experiment: Experiment, plan: Plan, store: Store) -> Results:
    """What the store holds of a run; what of it is damaged or not there is said."""
    from holdfast.experiment.collect import collect

    damaged: dict[str, str] = {}

    def on_damage(job: Job, damage: Damaged) -> None:
        damaged[job.label] = str(damage)

    results = collect(experiment, plan, store, on_damage)
    for label, damage in damaged.items():
        err.print(f"Damaged result, left out: {label} ({damage})")
    _tell_missing(plan, store)
    return results


def _tell_missing(plan: Plan, store: Store) -> int:
    """Say how many results of a run are not there, and give it back."""
    missing = sum(not store.has_whole(job) for job in plan.jobs.values())
    if missing:
        moved = " If they lie elsewhere, 'holdfast run CONFIG store=FOLDER' goes on with them."
        err.print(
            f"{missing} of {len(plan.jobs)} results are not in {store.place}; 'holdfast run' makes them."
            + (moved if missing == len(plan.jobs) else "")
        )
    return missing


def _side_by_side(first: Opened, other: Opened, pictures: int) -> Path:
    """Write the gallery of two runs into the report of the first."""
    from holdfast.experiment.collect import collect, judged
    from holdfast.report.gallery.page import gallery
    from holdfast.report.gallery.thumbnails import Album, Shelf

    (experiment, plan, _), (second, _, _) = first, other
    results = [collect(*first), collected(*other)]
    if second.name == experiment.name:
        results[1] = replace(results[1], name=f"{second.name} ({second.output.name})")
    path = experiment.page.parent / f"gallery-with-{second.output.name}.html"
    shelf = Shelf(partial(judged, experiment, plan))
    with out.status("Writing the gallery of both"):
        files.write_bytes(path, gallery(results, shelf, Album(pictures)))
    return path


def most_pictures(text: str) -> int:
    """The number that `--pictures` means."""
    if text == "none":
        return 0
    if not re.fullmatch("[0-9]{1,6}", text):
        raise InputError(f"--pictures {shortened(text)}: give a number, or none.")
    return int(text)


def write_report(experiment: Experiment, plan: Plan, store: Store, pictures: int) -> bool:
    """Write the report; False when results were found damaged (and set aside) on the way.

    One without any result does not replace an earlier one.
    """
    from holdfast.experiment.collect import collect, judged
    from holdfast.report.page import build

    (experiment.output / FINISHED).unlink(missing_ok=True)
    damaged = []

    def on_damage(job: Job, damage: Damaged) -> None:
        damaged.append(job)
        store.set_aside(job)
        err.print(f"Damaged result: {job.label} ({damage})")

    stopped = "Stopped while the report was written. Results stay; the same command writes it again."
    with stoppable(stopped), out.status("Writing the report"):
        results = collect(experiment, plan, store, on_damage)
        if any(run.cells for run in results.runs) or not experiment.page.exists():
            build(
                results, experiment.page.parent, examples=partial(judged, experiment, plan), pictures=pictures
            )
        else:
            warn("There is no result to report; the earlier report stays.")
    return not damaged


def show_report(page: Path) -> None:
    """Print a report's first table, what it says of it, and where it lies."""
    folder = page.parent
    if (table := files.read_if_there(folder / "tables" / "headline.json")) is not None:
        show_table(table)
    found = files.read_if_there(folder / "findings.json") or []
    for finding in found[:MOST_FINDINGS]:
        out.print(f"{finding['topic']}: {finding['text']}", soft_wrap=False)
    if len(found) > MOST_FINDINGS:
        out.print(f"The report says {counted(len(found) - MOST_FINDINGS, 'thing')} more.")
    if found:
        out.print()
    out.print(f"Report: {page}")
