"""How many workers a machine has memory for, and a run that cannot fit."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment import advice, devices, memory, sharing
from holdfast.experiment.devices import Place
from holdfast.experiment.identity import model_folder

_SMALL = 200_000_000  # bytes of weights; training takes some ten times as much


def auto_workers(experiment: Experiment, where: Sequence[Place]) -> tuple[int, str | None]:
    """Of `--workers auto`: one for each card that it takes, or for its cores as far as memory suffices.

    Returns:
        The number, and a sentence where memory makes it fewer than there are cores.
    """
    each = experiment.devices
    if where[0].on_gpu:
        return max(1, len(where) // each), None
    workers = max(1, devices.cores() // (experiment.threads * each))
    if _is_small(experiment, workers * each) or (made := sharing.of_run(experiment)) is None:
        return workers, None
    needed, room = memory.needed(made, where[0].device, each), devices.rooms(where)[0]
    fitting = max(1, room.available // needed)
    if fitting >= workers:
        return workers, None
    needs = f"each needs up to about {memory.gigabytes(needed)}"
    return fitting, f"Workers: {fitting} of {workers}; {needs}, and there are {memory.gigabytes(room.total)}."


def check_memory(experiment: Experiment, workers: int, where: Sequence[Place]) -> str | None:
    """Refuse what cannot fit, before anything is loaded.

    Args:
        where: what the workers share out among them, each of them `devices` at a time.

    Returns:
        A warning where the largest images or longest completions may not fit; None if all is well, or
        the model is not known on this machine.

    Raises:
        InputError: weights, gradients and optimiser alone need more memory than a device has.
    """
    processes = workers * experiment.devices
    where = where[:processes]
    share = devices.most_at_one_place(processes, len(where))
    if _is_small(experiment, share) or (made := sharing.of_run(experiment)) is None:
        return None
    rooms = devices.rooms(where)
    room = advice.least(rooms)
    if memory.needed(made, room.place.device, share) <= room.available:
        return None
    message = advice.does_not_fit(made, experiment, share, rooms, sharing.of_run)
    if share * made.state > room.available:
        raise InputError(f"This cannot run: {message}")
    return f"This may not fit, if images and completions are as large as they may be: {message}"


def _is_small(experiment: Experiment, workers: int) -> bool:
    """Spares small models the wait for transformers."""
    folder = model_folder(experiment.model)
    return (
        folder is not None
        and workers * sum(path.stat().st_size for path in folder.glob("*.safetensors")) < _SMALL
    )
