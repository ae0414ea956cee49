"""Cards that learn a stage together: what each of them holds, and which ways fit.

A team of n cards shares the prompts of a batch. Bytes of a card, where weights take W, gradients G and the
optimiser's state S:

    none        W + G + S               every card holds all
    optimizer   W + G + S / n           the state is shared (ZeRO-1, arXiv 1910.02054)
    full        W + (G + S) / n         all is; weights are gathered for sampling, else by layers (ZeRO-3)

Under `full` references are shared, too, and a layer keeps its inputs alone for the backward pass. A card that
has r shards holds log2 r sums of them besides, and, where a shard is computed in several parts, G until it is
complete. Evaluations, filters and measures have one card.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from holdfast.config.cards import CARDS, Card
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment import advice, memory
from holdfast.experiment.architecture import Architecture, architecture_of
from holdfast.experiment.memory import Estimate, gigabytes
from holdfast.learning.methods import Shard

SHARDS: tuple[Shard, ...] = get_args(Shard)


@dataclass(frozen=True)
class Way:
    """How stages are learned: by teams of so many cards, which share (`shard`) what is above."""

    devices: int = 1
    shard: Shard = "none"

    def text(self) -> str:
        return "a card a stage" if self.devices == 1 else f"{self.devices} cards a stage, shard {self.shard}"


ALONE = Way()


def ways(experiment: Experiment, cards: int) -> Iterator[Way]:
    """Ways to use so many cards: teams of equal size, a power of two as the shards of a batch are."""
    yield ALONE
    methods, devices = experiment.methods.values(), 2
    shards = [shard for shard in SHARDS if not any(method.not_sharded(shard) for method in methods)]
    while cards % devices == 0 and all(devices <= method.batch // method.updates for method in methods):
        yield from (Way(devices, shard) for shard in shards)
        devices *= 2


def estimate(experiment: Experiment, known: Architecture, way: Way) -> Estimate:
    """Bytes of one card in the method or measure that needs most, at its largest moment."""
    model, rows, stages = experiment.model, memory.largest_rows(known, experiment), []
    if in_parts := way.shard == "full" and way.devices > 1:
        model = model.model_copy(update={"activation_checkpointing": True})
    for method in experiment.methods.values():
        own = method.model_copy(update={"batch": -(-method.batch // way.devices)})
        made, step = memory.of_method(known, model, own, rows), method.batch // method.updates
        parts = dict(made.parts)
        if way.devices > 1:  # each has all images; gradients of several shards are added up in float32
            parts["images"] = memory.of_method(known, model, method, rows).parts["images"]
            parts["gradients"] = 4 * known.trained
        parts = shared(parts, way)
        if in_parts:
            shards = max(method.shards, way.devices)
            parts["gradients"] *= (shards // way.devices).bit_length()
            if memory.prompts_together(known, model, method, rows) < -(-step // shards):
                parts["gradients"] += 4 * known.trained
        stages.append(replace(made, parts=parts))
    return max([*stages, *memory.of_measures(known, experiment, rows)], key=lambda made: made.total)


def of_run(experiment: Experiment) -> Estimate | None:
    """Bytes of one device of `holdfast run`; None for a model whose shape is not known on this machine."""
    known = architecture_of(experiment)
    return None if known is None else estimate(experiment, known, Way(experiment.devices, experiment.shard))


def shared(parts: Mapping[str, int], way: Way) -> dict[str, int]:
    """A card's part of what stays, by the table above."""
    names = {"none": [], "optimizer": ["optimiser"], "full": ["optimiser", "gradients", "reference"]}
    return {name: size // way.devices if name in names[way.shard] else size for name, size in parts.items()}


def estimates(experiment: Experiment, cards: int) -> dict[Way, Estimate]:
    """Bytes of a card in every way.

    Raises:
        InputError: the model's shape is not known on this machine.
    """
    known = architecture_of(experiment)
    if known is None:
        path = experiment.model.path
        raise InputError(
            f"What {path} needs can be told once its config.json and preprocessor_config.json are on this "
            f"disk (hf download {path} config.json preprocessor_config.json)."
        )
    return {way: estimate(experiment, known, way) for way in ways(experiment, cards)}


def fitting(made: dict[Way, Estimate], card: Card) -> dict[Way, Estimate]:
    """Those that fit a card."""
    return {way: one for way, one in made.items() if memory.needed(one, "cuda", 1) <= card.memory * 1e9}


def does_not_fit(experiment: Experiment, cards: int, card: Card) -> str:
    """What is missing in the way that takes least, and single changes after which some way fits."""
    made = estimates(experiment, cards)
    least = min(made, key=lambda way: made[way].total)
    needs = memory.needed(made[least], "cuda", 1)
    if lines := list(_would_fit(experiment, cards, card)):
        tip = "It would fit with\n" + "\n".join(lines)
    else:
        after = {
            text: min(memory.needed(one, "cuda", 1) for one in estimates(other, cards).values())
            for text, other in advice.changes(experiment)
        }
        best = min(after, key=lambda text: after[text])
        tip = (
            f"No single change is enough. {best} takes most off ({gigabytes(after[best])} left): begin there."
        )
    return (
        f"This fits nowhere. With {least.text()}, which takes least, a card needs about {gigabytes(needs)} "
        f"({made[least].text()}) and has {card.memory:g} GB; {gigabytes(needs - card.memory * 1e9)} are "
        f"missing. {tip}"
    )


def _would_fit(experiment: Experiment, cards: int, card: Card) -> Iterator[str]:
    larger = [(name, one) for name, one in CARDS.items() if one.memory > card.memory]
    changes = [
        *((f"--cards {times * cards}", experiment, times * cards, card) for times in (2, 4, 8)),
        *((f"--card {name}", experiment, cards, one) for name, one in larger),
        *((text, other, cards, card) for text, other in advice.changes(experiment)),
    ]
    named = set()
    for text, other, count, kind in changes:
        fit = fitting(estimates(other, count), kind)
        if fit and (option := text.split()[0]) not in named:  # one number of cards, one kind of card
            named.add(option)
            way = min(fit, key=lambda one: (one.devices, fit[one].total))
            yield f"  {text}: {gigabytes(memory.needed(fit[way], 'cuda', 1))} a card, {way.text()}"
