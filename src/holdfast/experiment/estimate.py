"""What jobs will take: time, from how long similar ones in the store took; and memory."""

from __future__ import annotations

import os
from collections import defaultdict
from itertools import islice
from statistics import median

from holdfast import files
from holdfast.config import Experiment
from holdfast.errors import InputError
from holdfast.experiment.identity import model_folder
from holdfast.experiment.plan import Job
from holdfast.experiment.store import KINDS, Store
from holdfast.weights import count_parameters

# Seconds per unit on one core with the embedded model: a first guess, good enough to order jobs.
_GUESS = {"sft": 0.0035, "rft": 0.002, "filter": 0.001, "evaluate": 0.002}
_LOOK_AT = 200  # results per kind
_UNKNOWN_COUNT = 1000  # examples, where a task takes all it has

Rates = dict[str, float]


def measured(store: Store) -> Rates:
    """Seconds per unit and kind of work, the median over results in the store; only what is known."""
    seen: dict[str, list[float]] = defaultdict(list)
    for kind in KINDS:
        for folder in islice((store.root / kind).glob("[!.]*"), _LOOK_AT):
            try:
                inputs = files.read_json(folder / "job.json")["inputs"]
                seconds = files.read_json(folder / "result.json")["seconds"]
                seen[_rate_name(inputs)].append(seconds / _units(inputs))
            except (OSError, ValueError, KeyError, TypeError):
                continue
    return {name: median(rates) for name, rates in seen.items()}


def seconds(job: Job, rates: Rates) -> float:
    """Expected time of a job; a kind that is not in `rates` counts with the first guess."""
    name = _rate_name(job.inputs)
    return _units(job.inputs) * rates.get(name, _GUESS[name])


def _rate_name(inputs: dict) -> str:
    if inputs["kind"] != "learn":
        return str(inputs["kind"])
    return "sft" if inputs["method"]["objective"] == "sft" else "rft"


def _units(inputs: dict) -> float:
    """Amount of work: completions sampled, or targets learned from."""
    examples = sum(task["count"] or _UNKNOWN_COUNT for task in inputs["tasks"])
    if inputs["kind"] == "learn":
        method = inputs["method"]
        return float(inputs["iterations"] * method["batch"] * method.get("group_size", 1))
    if inputs["kind"] == "filter":
        return float(examples * inputs["samples"])
    return float(examples)


def memory(experiment: Experiment) -> int | None:
    """Bytes a worker needs at least: weights, gradients and the optimiser's two moments.

    Activations come on top. None for a model that is not on this disk yet.
    """
    folder = model_folder(experiment.model)
    if folder is None:
        return None
    parameters = sum(count_parameters(path) for path in folder.glob("*.safetensors"))
    copies = 4
    if any(method.kl_coef for method in experiment.methods.values()):
        copies += 1  # the reference
    return copies * parameters * {"float32": 4, "bfloat16": 2, "float16": 2}[experiment.model.dtype]


def check_memory(experiment: Experiment, workers: int) -> None:
    """Refuse what cannot fit.

    Raises:
        InputError: the workers need more memory than this machine has.
    """
    needed = memory(experiment)
    if experiment.model.device != "cpu" or needed is None:
        return
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if workers * needed > available:
        raise InputError(
            f"{workers} worker(s) need at least {workers * needed / 1e9:.1f} GB for weights, gradients and "
            f"optimiser, but this machine has {available / 1e9:.1f} GB. Use fewer workers, a smaller model "
            "or dtype: bfloat16."
        )
