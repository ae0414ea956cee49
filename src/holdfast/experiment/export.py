"""Taking results out of the store: a checkpoint as a folder of its own, all records as one file."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import files
from holdfast.errors import HoldfastError, InputError, suggestion
from holdfast.experiment.jobs import RETENTION
from holdfast.experiment.plan import Chain, Job, Plan
from holdfast.experiment.store import WEIGHTS, Store

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".jsonl", ".csv", ".parquet")


def export_checkpoint(chain: Chain, stage: int | None, plan: Plan, store: Store, folder: Path) -> int:
    """Copy the policy after a stage (None: the last one); the stage it is.

    Raises:
        InputError: there is no such stage, or something is in the folder's place.
        HoldfastError: it is not trained yet, its weights were not kept, or they are damaged.
    """
    stages = len(chain.learn)
    stage = stages if stage is None else stage
    if not 1 <= stage <= stages:
        raise InputError(f"{chain.method} has the stages 1 to {stages}, not {stage}.")
    if folder.exists():
        raise InputError(f"{folder} is there already; choose another folder.")
    job = plan.jobs[chain.learn[stage - 1]]
    if not store.has(job):
        raise HoldfastError(f"{job.label} is not done; 'holdfast run' does it.")
    with suppress(OSError):  # of a store that is only to be read, which nobody prunes
        store.lease_weights(job)
    try:
        if not store.has(job, weights=True):
            raise HoldfastError(
                f"The weights of {job.label} were not kept, and what is done is not learned again. "
                + _again(job, store)
            )
        source = store.verify(job, WEIGHTS) / WEIGHTS
        with files.whole_folder(folder, new=True) as unfinished:
            copy_folder(source, unfinished, without=RETENTION)
    finally:
        store.end_leases()
    return stage


def _again(job: Job, store: Store) -> str:
    """How to have weights that are gone."""
    if store.place == str(store.root):
        return f"Remove {store.folder(job)} and run with keep_weights=all: this stage alone is learned anew."
    return "Run with keep_weights=all and another store: there all is learned anew."


def copy_folder(source: Path, target: Path, without: str) -> None:
    """Copy what lies in a folder into another, but for what has that name.

    Raises:
        OSError: of the first file that cannot be read or written.
    """
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if without not in name.parts:
            (target / name).mkdir() if path.is_dir() else shutil.copy2(path, target / name)


def find_chain(plan: Plan, method: str | None, seed: int | None) -> Chain:
    """The only chain of that method and seed; either may be left out where there is but one.

    Raises:
        InputError: there is none, or several.
    """
    methods, seeds = check_there(plan, method, seed)
    found = [c for c in plan.chains if method in (None, c.method) and seed in (None, c.seed)]
    if len(found) > 1:
        numbers = ", ".join(map(str, seeds))
        raise InputError(f"Say which checkpoint: --method ({', '.join(methods)}) and --seed ({numbers}).")
    return found[0]


def check_there(
    plan: Plan, method: str | None, seed: int | None, stage: int | None = None
) -> tuple[list[str], list[int]]:
    """The methods and seeds of a run, of which these are some.

    Args:
        stage: 0 is the base.

    Raises:
        InputError: the run has no such method, seed or stage.
    """
    methods = list(dict.fromkeys(chain.method for chain in plan.chains))
    seeds = list(dict.fromkeys(chain.seed for chain in plan.chains))
    if method is not None and method not in methods:
        if family := [one for one in methods if one.startswith(f"{method} ")]:  # made by a grid
            raise InputError(f"Of {method} there are several; say which: {', '.join(map(repr, family))}.")
        raise InputError(f"There is no method '{method}' in this run{suggestion(method, methods)}")
    if seed is not None and seed not in seeds:
        raise InputError(f"There is no seed {seed} in this run; there is {', '.join(map(str, seeds))}.")
    stages = max(len(chain.learn) for chain in plan.chains if method in (None, chain.method))
    if stage is not None and not 0 <= stage <= stages:
        raise InputError(f"There is no stage {stage} in this run; there are 0, the base, to {stages}.")
    return methods, seeds


def export_records(records: pd.DataFrame, path: Path) -> None:
    """Write records as JSONL, CSV or Parquet, as the path's suffix says.

    `meta` is JSON text in the latter two.

    Raises:
        InputError: the suffix is another, or there are no records.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} must end in {', '.join(SUFFIXES)}.")
    if records.empty:
        raise InputError("There are no records of that yet; 'holdfast run' makes them.")
    if path.suffix == ".jsonl":
        files.write_jsonl(path, records.to_dict("records"))
        return
    flat = records.assign(meta=[json.dumps(meta, ensure_ascii=False) for meta in records["meta"]])
    if path.suffix == ".csv":
        files.write_text(path, flat.to_csv(index=False))
    else:
        content = io.BytesIO()
        flat.to_parquet(content, index=False)
        files.write_bytes(path, content.getvalue())
