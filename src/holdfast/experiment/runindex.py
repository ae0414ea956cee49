"""`index.jsonl` in a run's folder: which result in the store is which stage, cell or measure of the run.

It tells what an earlier run of the same name was, too: a report is not replaced by one of other settings
without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from holdfast import files
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment.plan import Plan
from holdfast.experiment.store import Store

INDEX = "index.jsonl"
CONFIG = "config.yaml"
RUNS = Path("runs")  # where runs' folders lie, unless told otherwise
# Settings that say where and how work is done; they change no result, nor what a report says of any.
INDIFFERENT = {
    "output", "store", "cache", "pilot", "max_jobs", "checkpoint_every", "keep_weights",
    "executor", "ray", "devices", "shard", "cards", "track",
}  # fmt: skip
_MOST = 8  # differences that are named


def index(plan: Plan, store: Store) -> list[dict[str, Any]]:
    """A row for each job of each method and seed; work that is shared has several."""
    rows, whole = [], {name: store.has_whole(job) for name, job in plan.jobs.items()}
    for chain in plan.chains:
        for stage, name in chain.jobs():
            job, done = plan.jobs[name], whole[name]
            rows.append(
                {
                    "kind": job.kind,
                    "method": chain.method,
                    "seed": chain.seed,
                    "stage": stage,
                    "tasks": list(job.tasks),
                    "style": job.style,
                    **({"measure": job.measure.name} if job.measure else {}),
                    "fingerprint": job.fingerprint,
                    "folder": str(store.folder(job)),
                    "done": done,
                    **({"weights": done and store.has_weights(job)} if job.kind == "learn" else {}),
                    **({"made": store.made(job)} if done else {}),
                }
            )
    return rows


def write_index(experiment: Experiment, plan: Plan, store: Store) -> None:
    files.write_jsonl(experiment.output / INDEX, index(plan, store))


def write_config(experiment: Experiment) -> None:
    """Write the resolved settings into the run's folder, which makes it one."""
    text = yaml.safe_dump(experiment.resolved(), sort_keys=False, allow_unicode=True)
    files.write_text(experiment.output / CONFIG, f"# All settings of this run.\n{text}")


def indices_beside(store: Path) -> list[Path]:
    """The indices of the runs beside a store's folder, and in `runs`; each once."""
    found = (index for root in (store.parent, RUNS) for index in root.glob(f"*/{INDEX}"))
    return list({index.resolve(): index for index in found}.values())


def check_earlier(experiment: Experiment, plan: Plan) -> None:
    """See that the report in the run's folder would not lose results that were made with other settings.

    Raises:
        InputError: it would; what differs is named.
    """
    folder = experiment.output
    if not experiment.page.exists():
        return
    try:
        done = {row["fingerprint"] for row in files.read_jsonl(folder / INDEX) if row["done"]}
        before = yaml.safe_load(files.read_text(folder / CONFIG))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return  # of an earlier version, or no longer readable
    lost = len(done - plan.jobs.keys())
    if not lost:
        return
    differing = list(_differences(before, experiment.resolved()))
    more = f"\n  and {len(differing) - _MOST} more" if len(differing) > _MOST else ""
    what = "\n".join(f"  {line}" for line in differing[:_MOST]) + more
    raise InputError(
        f"{folder} holds a report of other settings: {lost} of its {len(done)} results are no part of this "
        "run. Give this one a name of its own (name=NEW), or replace the report with 'run --replace'. "
        "Different:\n" + (what or "  what it was made with: the model, the device, data or code")
    )


def _differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """What two trees of settings do not share, a line each."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys((*before, *now)):
            if where or key not in {*INDIFFERENT, "variants"}:  # a grid's variants differ as its methods do
                inner = f"{where}.{key}" if where else str(key)
                yield from _differences(before.get(key), now.get(key), inner)
    elif _are_mappings(before) and _are_mappings(now) and len(before) == len(now):  # such as strategies
        for index, both in enumerate(zip(before, now, strict=True)):
            yield from _differences(*both, f"{where}.{index}")
    elif before != now:
        yield f"{where}: {_short(before)}, now {_short(now)}"


def _are_mappings(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, Mapping) for one in value)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{…}"
    return "none" if value is None else str(value)
