"""`holdfast store`: results on disk."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.table import Table as Grid

from holdfast.cli.console import Debug, Json, counted, out, show_json, warn
from holdfast.cli.report import open_run
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.experiment.store import Store

OTHERS = {  # what lies there besides results
    "work": "of jobs that are under way or were stopped, which go on from it",
    "damaged": "set aside; 'holdfast store prune --damaged' removes it",
    "trash": "on its way out",
}
store_app = typer.Typer(help="Results on disk: what there is, and making room.", invoke_without_command=True)

PLACE = "runs/store"
StorePlace = Annotated[
    str | None, typer.Option("--store", help=f"The store's folder, or its URL; normally {PLACE}.")
]
Cache = Annotated[
    Path | None,
    typer.Option(help="This machine's folder before a store with a URL: cleared of what goes there."),
]


@store_app.callback()
def store(
    context: typer.Context,
    place: StorePlace = None,
    cache: Cache = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="Only what this run counts on, in its store.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show what lies in the store."""
    from holdfast.experiment.plan import KINDS

    if context.invoked_subcommand is not None and (run is not None or json):
        raise InputError(
            "prune takes neither --run nor --json; --unreferenced CONFIG keeps what a run counts on."
        )
    if context.invoked_subcommand is not None:
        context.obj = place, cache
        return
    place = place or PLACE
    store = _opened(context, place, cache)
    names: set[str] | None = None
    if run is not None:
        experiment, plan, store = open_run(run)
        place = str(experiment.store)
        names = {job.short_name for job in plan.jobs.values()}
    store.check_there()
    entries = [entry for entry in store.entries() if names is None or entry.name in names]
    others = {name: sum(store.held(name).values()) for name in OTHERS} if run is None else {}
    half = sum(store.half_written().values()) if run is None else 0
    if json:
        show_json({"store": place, "results": [vars(entry) for entry in entries], "bytes": others})
        return
    grid = Grid("Result", "Kind", "Made for", box=None, pad_edge=False)
    for number in ("Size", "Weights", "Seconds"):
        grid.add_column(number, justify="right")
    for entry in entries:
        weights = decimal(entry.weights) if entry.weights else ""
        size_, seconds = decimal(entry.bytes), f"{entry.seconds:.1f}"
        grid.add_row(entry.name, entry.kind, entry.label, size_, weights, seconds)
    out.print(grid if entries else f"No results in {place}.", soft_wrap=False)
    for kind in KINDS:
        if not (mine := [entry for entry in entries if entry.kind == kind]):
            continue
        whole = decimal(sum(entry.bytes for entry in mine))
        weights = decimal(sum(entry.weights for entry in mine))
        of_which = f", of which weights {weights}" if kind == "learn" else ""
        out.print(f"{kind}: {counted(len(mine), 'result')}, {whole}{of_which}")
    for name, left in others.items():
        if left:
            out.print(f"{name}: {decimal(left)} ({OTHERS[name]})")
    if half:
        out.print(f"half written: {decimal(half)} (just now, or by runs that were killed; as damaged)")


def _opened(context: typer.Context, place: str, cache: Path | None) -> Store:
    from holdfast.experiment.mirror import open_place
    from holdfast.files import is_url, user_path

    folder = cache or Path(context.with_resource(TemporaryDirectory()))
    return open_place(place if is_url(place) else user_path(place), folder)


@store_app.command("prune")
def prune_store(
    context: typer.Context,
    place: StorePlace = None,
    cache: Cache = None,
    weights: Annotated[bool, typer.Option("--weights", help="Weights of trained policies.")] = False,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Results found damaged or left half written.")
    ] = False,
    unreferenced: Annotated[
        list[Path] | None,
        typer.Option(metavar="CONFIG", help="Results that none of these experiments uses (repeat it)."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else only say what would go.")] = False,
    debug: Debug = False,
) -> None:
    """Make room: remove weights, damaged results, or what no experiment uses."""
    from holdfast.experiment.prune import candidates, remove
    from holdfast.experiment.store import WEIGHTS

    if not (weights or damaged or unreferenced):
        raise InputError("Say what to remove: --weights, --damaged, or --unreferenced CONFIG.")
    named, before = context.obj  # as options of `store`, which may stand before `prune`, too
    store = _opened(context, place or named or PLACE, cache or before)
    found = candidates(store, weights=weights, damaged=damaged, configs=unreferenced)
    for candidate in found:
        out.print(f"{decimal(candidate.bytes):>10}  {store.place}/{candidate.name}  {candidate.reason}")
    total = sum(candidate.bytes for candidate in found)
    lost = [one for one in found if one.runs and not one.name.endswith(f"/{WEIGHTS}")]
    if runs := sorted({run for one in lost for run in one.runs}):
        warn(
            f"Among these: {counted(len(lost), 'result')} of {', '.join(runs)}, to be computed again where "
            "one goes on; --unreferenced, once more for each, keeps them."
        )
    if not yes:
        out.print(f"Would free {decimal(total)}; add --yes to do it.")
        return
    left = remove(store, found)
    total -= sum(candidate.bytes for candidate in left)
    used = f"; {len(left)} of {len(found)} in use just now and left alone" if left else ""
    out.print(f"Freed {decimal(total)}{used}.")
