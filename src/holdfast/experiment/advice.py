"""What to change where memory does not suffice: settings that need less, and how much less each needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from holdfast.config.experiment import Experiment
from holdfast.experiment.devices import Room, most_at_one_place
from holdfast.experiment.memory import Estimate, gigabytes, largest_image, needed
from holdfast.learning.methods import RFT
from holdfast.policy.settings import Lora


def does_not_fit(
    made: Estimate,
    experiment: Experiment,
    most: int,
    rooms: Sequence[Room],
    estimate: Callable[[Experiment], Estimate | None],
) -> str:
    """What is needed, what there is, and what could be changed, with its effect.

    Args:
        most: workers at one place, or processes of workers that have several devices.
        estimate: what `made` is by.
        rooms: of the places that the workers share.
    """
    room = least(rooms)
    device, lines = room.place.device, []
    workers = max(1, len(rooms) // experiment.devices)
    if (fewer := most_at_one_place(workers * experiment.devices, len(rooms))) < most:
        lines.append(f"  --workers {workers}: {gigabytes(needed(made, device, fewer))}")
    for change, other in changes(experiment):
        after = estimate(other)
        if after is not None and after.total < 0.97 * made.total:
            total = needed(after, device, most)
            lines.append(f"  {change}: {gigabytes(total)}{' (fits)' if total <= room.available else ''}")
    advice = (
        "With one change it would be" if lines else "No single change takes much off; take another model."
    )
    who = "A worker needs" if most == 1 else f"{most} workers{' a card' if len(rooms) > 1 else ''} need"
    said = (
        f"{who} about {gigabytes(needed(made, device, most))} on {device}, {_has(rooms)}: {made.text()}"
        f"{' each' if most > 1 else ''}. {advice}"
    )
    return "\n".join([said, *lines])


def least(rooms: Sequence[Room]) -> Room:
    """The place with the least room, which all workers must fit."""
    return min(rooms, key=lambda room: room.available)


def _has(rooms: Sequence[Room]) -> str:
    room = least(rooms)
    size = gigabytes(room.total)
    if room.taken:
        size += f", {gigabytes(room.taken)} of it taken by other programs"
    if len(rooms) == 1:
        return f"which has {size}"
    alike = all(abs(other.available - room.available) < 0.01 * room.total for other in rooms)
    return f"of which {'each' if alike else f'card {room.place.card}'} has {size}"


def changes(experiment: Experiment) -> Iterator[tuple[str, Experiment]]:
    """Settings that need less memory, and the experiment with each."""
    model, methods = experiment.model, experiment.methods
    with_model = partial(experiment.changed, "model")

    if experiment.devices > 1 and not any(one.not_sharded("full") for one in methods.values()):
        yield "--shard full", experiment.model_copy(update={"shard": "full"})
    finer = {
        name: method.model_copy(update={"shards": 2 ** ((method.batch // method.updates).bit_length() - 1)})
        for name, method in methods.items()
    }
    yield (
        "methods.NAME.shards, as many as a step's examples",
        experiment.model_copy(update={"methods": finer}),
    )
    if not model.activation_checkpointing:
        yield "model.activation_checkpointing=true", with_model(activation_checkpointing=True)
    for tokens in (32768, 16384, 8192):
        if model.token_budget is None or tokens < model.token_budget:
            yield f"model.token_budget={tokens}", with_model(token_budget=tokens)
            break
    if model.dtype == "float32":
        yield "model.dtype=bfloat16", with_model(dtype="bfloat16")
    if largest_image(model) > 501760:
        yield "model.max_pixels=501760", with_model(max_pixels=501760)
    if any(isinstance(method, RFT) and method.looks_at == "base" for method in methods.values()):
        changed = {
            name: one.model_copy(update={"kl_reference": "stage_start"}) if isinstance(one, RFT) else one
            for name, one in methods.items()
        }
        yield "kl_reference: stage_start", experiment.model_copy(update={"methods": changed})
    if not model.freeze and model.lora is None:
        yield "model.freeze=[vision]", with_model(freeze=("vision",))
    for key in experiment.measures:
        without = {other: one for other, one in experiment.measures.items() if other != key}
        yield f"measures.{key}=null", experiment.model_copy(update={"measures": without})
    adapted = with_model(lora=Lora())
    if model.lora is None and not any(any(one.problems(adapted)) for one in experiment.measures.values()):
        yield "model.lora={rank: 16}", adapted
