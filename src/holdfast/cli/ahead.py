"""`holdfast plan --cards`: a run on cards that need not be here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from statistics import mode
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table as Grid

from holdfast.cli.console import out, show_json
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.ahead import Ahead, Asked
    from holdfast.experiment.plan import Job, Plan
    from holdfast.experiment.sharing import Way
    from holdfast.experiment.timeline import Timeline
    from holdfast.experiment.worktime import Assumed

Cards = Annotated[int | None, typer.Option(metavar="N", min=1, max=4096, help="Plan for so many cards.")]
CardName = Annotated[
    str | None,
    typer.Option(
        "--card", metavar="NAME", help="Their kind, such as h100-80gb, or memory=80,flops=989,bandwidth=3350."
    ),
]
Completion = Annotated[
    float | None, typer.Option(metavar="TOKENS", min=1, help="Mean length of what is written, for --card.")
]
Pixels = Annotated[int | None, typer.Option(metavar="N", min=1, help="Of a picture, for --card.")]

_MOST_SHOWN = 16  # workers
_INTO = {
    "operations": "arithmetic",
    "bytes": "the card's memory",
    "layers": "starting kernels",
    "patches": "pictures",
    "sent": "other cards",
}


def show_ahead(
    experiment: Experiment,
    plan: Plan,
    todo: Mapping[str, Job],
    rates: Mapping[str, float],
    cards: int,
    name: str | None,
    assumed: Assumed,
    as_json: bool,
) -> None:
    """Print how the run would go; without a card's name with the times of earlier results.

    Raises:
        InputError: there is no such card, or the model fits in no way.
    """
    from holdfast.config.cards import find_card
    from holdfast.experiment import estimate
    from holdfast.experiment.ahead import Asked
    from holdfast.experiment.timeline import simulate

    if name is None:
        if not rates and experiment.model.path != "embedded":
            raise InputError("No earlier results here tell how long jobs take: say which --card it is to be.")
        timeline = simulate(plan, todo, partial(estimate.seconds, rates=dict(rates)), cards)
        facts: dict[str, Any] = {}
    else:
        asked = Asked(experiment, plan, todo, cards, find_card(name, experiment.cards), assumed)
        ways, shorter = asked.ahead(), dict(asked.shorter())
        timeline = ways[0].timeline
        facts = {
            "card": {"name": name, **asked.card.model_dump()},
            "ways": [_facts(one) for one in ways],
            "seconds_by_part": asdict(ways[0].parts),
            "seconds_with_one_change": shorter,
        }
    if as_json:
        facts |= {"cards": cards, "seconds": timeline.seconds, "seconds_of_longest_chain": timeline.chain}
        facts["busy"] = [timeline.busy(worker) for worker in range(timeline.workers)]
        facts["jobs"] = [
            {"job": one.job.label, "worker": one.worker, "start": one.start, "end": one.end}
            for one in timeline.shifts
        ]
        show_json(facts)
    elif not todo:
        out.print("Everything is done already.")
    elif name is None:
        source = "earlier results here" if rates else "a first guess for the embedded model"
        out.print(f"{cards} workers with the times of {source}: about {_time(timeline.seconds)}.")
        _show_workers(timeline, "worker")
    else:
        _show(asked, name, ways, shorter)


def _facts(ahead: Ahead) -> dict[str, Any]:
    made = {"bytes": ahead.memory.total, "bytes_by_part": asdict(ahead.memory)}
    return {**asdict(ahead.way), **made, "seconds": ahead.timeline.seconds}


def _show(asked: Asked, name: str, ways: list[Ahead], shorter: Mapping[str, float]) -> None:
    from holdfast.experiment.memory import gigabytes
    from holdfast.experiment.sharing import estimates

    grid = Grid("How", "Memory", "Wall time", "Options of holdfast run", box=None, pad_edge=False)
    grid.columns[0].no_wrap = True  # in a narrow terminal options break, between them
    times = {one.way: _time(one.timeline.seconds) for one in ways}
    made = estimates(asked.experiment, asked.cards)
    for way in [*times, *(way for way in made if way not in times)]:
        options = " ".join(_options(asked.experiment, way))
        grid.add_row(way.text(), gigabytes(made[way].total), times.get(way, "does not fit"), options)
    out.print(f"{len(asked.todo)} jobs to do on {asked.cards} × {name}, {asked.card.memory:g} GB each.")
    out.print(grid)
    best, timeline = ways[0], ways[0].timeline
    out.print(f"\nThe quickest, {best.way.text()}: {best.memory.text()}.")
    _show_workers(timeline, "card" if best.way.devices == 1 else "team")
    chained = timeline.chain >= 0.9 * timeline.seconds
    limit = "jobs that wait for each other" if chained else "the number of cards"
    shares = sorted(asdict(best.parts).items(), key=lambda item: -item[1])
    said = ", ".join(f"{_INTO[part]} {seconds / best.parts.total:.0%}" for part, seconds in shares if seconds)
    out.print(
        f"Limit: {limit} (the longest chain takes {_time(timeline.chain)}). Cards compute for "
        f"{best.computing:.0%} of the time, which goes into {said}.\n{_assumed(asked)}"
    )
    helps = {text: seconds for text, seconds in shorter.items() if seconds < 0.99 * timeline.seconds}
    if helps:
        out.print("With one change:")
    for text, seconds in helps.items():
        halves = ", which halves it" if seconds <= timeline.seconds / 2 else ""
        out.print(f"  {text}: {_time(seconds)}{halves}")


def _options(experiment: Experiment, way: Way) -> Iterator[str]:
    """What `holdfast run` is to be told. A method with `shards` of its own does not follow the defaults."""
    if way.devices == 1:
        return
    yield f"--devices {way.devices} --shard {way.shard}"
    too_few = {name: one.shards for name, one in experiment.methods.items() if one.not_shared(way.devices)}
    usual = mode(one.shards for one in experiment.methods.values())
    if usual in too_few.values():
        yield f"defaults.shards={way.devices}"
    yield from (f"methods.{name}.shards={way.devices}" for name, own in too_few.items() if own != usual)


def _assumed(asked: Asked) -> str:
    from holdfast.experiment.memory import largest_image

    model, card = asked.experiment.model, asked.card
    tokens = asked.assumed.mean(asked.experiment.evaluation.max_tokens)
    rate = card.flops32 if model.dtype == "float32" else card.flops
    return (
        f"Assumed: {tokens:.0f} tokens of a completion with reasoning (--completion), "
        f"{asked.assumed.pixels or largest_image(model):,} pixels of a picture (--pixels), "
        f"{card.efficiency:.0%} of {rate:g} TFLOP/s."
    )


def _show_workers(timeline: Timeline, what: str) -> None:
    """A line each: L learns, f filters, e evaluates or measures, · waits."""
    for worker in range(min(timeline.workers, _MOST_SHOWN)):
        out.print(f"  {what} {worker + 1:>2} {timeline.bar(worker)} {timeline.busy(worker):.0%} busy")
    if timeline.workers > _MOST_SHOWN:
        out.print(f"  and {timeline.workers - _MOST_SHOWN} more (--json has all)")


def _time(seconds: float) -> str:
    from holdfast.experiment.progress import duration

    return f"{seconds / 86400:.1f} days" if seconds > 2 * 86400 else duration(seconds)
