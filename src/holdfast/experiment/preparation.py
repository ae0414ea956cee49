"""What comes before the first job of a run, in this order, from the command line and from Python alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from holdfast.config.experiment import Experiment
from holdfast.config.remarks import remarks
from holdfast.experiment.devices import Place
from holdfast.experiment.fitting import check_rows
from holdfast.experiment.locks import check_writable
from holdfast.experiment.mirror import open_store
from holdfast.experiment.plan import Plan, make_plan
from holdfast.experiment.precision import rounded_away
from holdfast.experiment.runindex import check_earlier, write_config, write_index
from holdfast.experiment.store import Store
from holdfast.experiment.workers import check_memory
from holdfast.policy.modelfacts import FACTS
from holdfast.policy.ready import check_reachable, check_ready


def ready_store(experiment: Experiment, beside: Callable[[], object] = lambda: None) -> Store:
    """The store of a run that can write there, and whose model can be loaded as far as that shows.

    Args:
        beside: as `check_ready` takes it.

    Raises:
        InputError: the output or the store cannot be written, or `check_ready` says why not.
    """
    check_writable(experiment.output, "output")
    store = open_store(experiment)
    store.prepare()
    check_ready(experiment.model.path, experiment.model, experiment.store_folder / FACTS, beside)
    return store


def look(experiment: Experiment, workers: int, where: Sequence[Place], warn: Callable[[str], object]) -> Plan:
    """See that the work can be done, and what it is.

    Args:
        where: what the workers share out among them.
        warn: hears, in sentences, what is no error and should be known.

    Raises:
        InputError: memory does not suffice, or the model cannot take a row.
    """
    needed = check_memory(experiment, workers, where)
    for warning in filter(None, (needed, *rounded_away(experiment), *remarks(experiment))):
        warn(warning)
    check_rows(experiment)
    return make_plan(experiment)


def begin(experiment: Experiment, plan: Plan, store: Store, replace: bool = False) -> None:
    """Make the run's folder one, with its settings and what of its results is there.

    Args:
        replace: also where it holds a report of other settings.

    Raises:
        InputError: it does, or the model is not here and cannot be fetched.
    """
    if not replace:
        check_earlier(experiment, plan)
    if not all(map(store.has_whole, plan.jobs.values())):
        check_reachable(experiment.model)
    write_config(experiment)
    write_index(experiment, plan, store)
