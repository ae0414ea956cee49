"""How long jobs will take, from how long similar ones in the store took."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from statistics import median
from typing import Any

from holdfast import files
from holdfast.errors import HoldfastError
from holdfast.experiment.plan import KINDS, Job, Plan
from holdfast.experiment.store import Store
from holdfast.learning.methods import make_method
from holdfast.measures import Measure

# Seconds per unit on one core with the embedded model: a first guess, good enough to order jobs.
GUESS = {
    "sft": 0.0035,
    "rft": 0.002,
    "filter": 0.001,
    "evaluate": 0.002,
}
_LOOK_AT = 200  # results per kind
UNKNOWN_COUNT = 1000  # examples, where a task takes all it has

Rates = dict[str, float]


def measured(store: Store, plan: Plan) -> Rates:
    """Seconds per unit and kind of work, the median over results in the store of the plan's model; only
    what is known."""
    seen: dict[str, list[float]] = defaultdict(list)
    models: dict[str, Any] = {}  # what a policy began as, by its fingerprint

    def model(policy: Any) -> Any:
        if isinstance(policy, dict):
            return policy.get("files") or policy["hub"]  # with any settings
        if policy not in models:
            models[policy] = model(store.inputs("learn", policy)["policy"])
        return models[policy]

    bases = (job.inputs["policy"] for job in plan.jobs.values() if job.policy is None)
    own = model(next(bases, {"hub": None}))
    measures = {_rate_name(job.inputs): job.measure for job in plan.jobs.values()}
    for kind in KINDS:
        for folder in islice((store.root / kind).glob("[!.]*"), _LOOK_AT):
            try:
                inputs = store.inputs(kind, folder.name)
                seconds = files.read_json(folder / "result.json")["seconds"]
                name = _rate_name(inputs)
                if (name in GUESS or name in measures) and model(inputs["policy"]) == own:
                    seen[name].append(seconds / _units(inputs, measures.get(name)))
            except (OSError, ValueError, KeyError, TypeError):
                continue
    return {name: median(rates) for name, rates in seen.items()}


def seconds(job: Job, rates: Rates) -> float:
    """Expected time of a job; a kind that is not in `rates` counts with the first guess."""
    name = _rate_name(job.inputs)
    guess = GUESS[name] if job.measure is None else job.measure.unit_seconds
    return _units(job.inputs, job.measure) * rates.get(name, guess)


def _rate_name(inputs: dict) -> str:
    if inputs["kind"] != "learn":
        return str(inputs.get("measure", inputs["kind"]))
    return "sft" if inputs["method"]["objective"] == "sft" else "rft"


def _units(inputs: dict, measure: Measure | None) -> float:
    """Amount of work: completions sampled, or targets learned from."""
    examples = sum(task["count"] or UNKNOWN_COUNT for task in inputs.get("tasks", ()))
    if measure is not None:
        return measure.units(inputs, examples) or 1.0
    if inputs["kind"] == "learn":
        method = inputs["method"]
        units = inputs["iterations"] * method["batch"] * method.get("group_size", 1)
        return float(units) * work(method)
    if inputs["kind"] == "filter":
        return float(examples * inputs["samples"])
    return float(examples)


def work(settings: dict) -> float:
    """Operations of a method with its strategies over those without; 1 where its code is no longer there.

    Counted in forward passes over an iteration's groups, as `policy/operations.py` has them: sampling takes
    one, training three.
    """
    if not settings.get("retention"):
        return 1.0
    try:
        method = make_method(**settings)
    except (HoldfastError, ValueError):
        return 1.0
    own = 3 + (method.sampled is not None)
    return 1 + sum(strategy.passes(method) for strategy in method.retention) / own
