"""Experiments from Python: load, run, read results."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.errors import HoldfastError, InputError

if TYPE_CHECKING:
    from holdfast.analysis.results import Results
    from holdfast.config.experiment import Experiment

log = logging.getLogger(__name__)


def load_experiment(
    source: str | os.PathLike[str] | Mapping[str, Any], overrides: Sequence[str] = ()
) -> Experiment:
    """An experiment from its file, from the folder of a run, or from the same keys as a mapping.

    Args:
        source: paths in a mapping are relative to the current folder.
        overrides: `key.sub=value` settings in place of the file's.

    Raises:
        InputError: with every error that was found.
    """
    import tempfile

    from holdfast.config.load import load_experiment as load

    if not isinstance(source, str | os.PathLike | Mapping):
        raise InputError(f"{source!r:.100} is no experiment; give its file, a run's folder, or a mapping.")
    given = (
        None if isinstance(overrides, str | Mapping) or not isinstance(overrides, Iterable) else [*overrides]
    )
    if given is None or not all(isinstance(one, str) for one in given):
        raise InputError(
            f"overrides is {overrides!r:.100}; it must be a list of texts, such as ['defaults.iterations=4']."
        )
    if not isinstance(source, Mapping):
        return load(Path(source), given)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "experiment.yaml"
        file.write_text(_as_yaml(source), encoding="utf-8")
        try:
            return load(file, given)
        except InputError as error:  # which names the file, that nobody knows
            raise InputError(str(error).replace(str(file), "The mapping")) from None


def _as_yaml(settings: Mapping[str, Any]) -> str:
    """The text of an experiment file.

    Raises:
        InputError: a mapping holds what none can.
    """
    import yaml

    from holdfast.config.paths import settled

    try:
        return yaml.safe_dump(settled(_plain(settings)), sort_keys=False, allow_unicode=True)
    except RecursionError:
        raise InputError("The mapping is nested too deeply, or holds itself.") from None
    except yaml.YAMLError as error:
        raise InputError(f"The mapping holds what no experiment file can: {error.args[-1]!r:.200}.") from None


def _plain(value: Any) -> Any:
    """The same as YAML has it: paths are text, arrays and ranges lists, numbers of numpy Python's.

    Raises:
        YAMLError: it has no such thing.
    """
    import yaml

    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(inner) for inner in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, bytes | bytearray | set | frozenset):  # which YAML writes, but not as lists or text
        raise yaml.YAMLError(value)
    return value.tolist() if hasattr(value, "tolist") else value


def _experiment(source: Experiment | str | os.PathLike[str] | Mapping[str, Any]) -> Experiment:
    from holdfast.config.experiment import Experiment

    return source if isinstance(source, Experiment) else load_experiment(source)


def run(
    experiment: Experiment | str | os.PathLike[str] | Mapping[str, Any],
    workers: int = 1,
    progress: bool = False,
) -> Results:
    """Run an experiment, or go on with it; what is done already is not done again.

    Its folder (`experiment.output`) is that of a run, for `holdfast report` and other commands. Trackers are
    told curves and cells; `holdfast run` writes the report and tells them of it. What is no error and should
    be known, such as rows that are trained on and judged, is logged as warnings.

    Args:
        experiment: or what `load_experiment` takes.
        progress: show bars in the terminal.

    Raises:
        InputError: the model, the device, the store or the output cannot be used, memory does not suffice,
            the model cannot take a row, or the run's folder holds a report of other settings.
        HoldfastError: jobs failed, or the experiment's pilot found nothing to retain; what is done stays.
        KeyboardInterrupt: it was stopped; the same call goes on from there.
    """
    from contextlib import closing

    from rich.console import Console

    from holdfast.experiment import preparation
    from holdfast.experiment.collect import collect
    from holdfast.experiment.devices import places
    from holdfast.experiment.pilot import stopped_by
    from holdfast.experiment.plan import Plan
    from holdfast.experiment.progress import Progress
    from holdfast.experiment.run import Outcome
    from holdfast.experiment.run import run as execute
    from holdfast.experiment.runindex import write_index
    from holdfast.experiment.tracking import Tracking

    if type(workers) is not int or workers < 1:
        raise InputError(f"workers is {workers!r:.100}; it must be a whole number of at least 1.")
    experiment = _experiment(experiment)
    store = preparation.ready_store(experiment)
    plan = preparation.look(experiment, workers, places(experiment.model.device), log.warning)
    for one in plan.left_out:
        log.warning("%s: %s", one.text, " ".join(one.first))
    preparation.begin(experiment, plan, store)
    bars = Progress(Console(quiet=not progress))
    with closing(Tracking(experiment, plan, store, experiment.track)) as tracking:

        def work(experiment: Experiment, plan: Plan) -> Outcome:
            return execute(experiment, plan, store, workers, bars, on_event=tracking.hear)

        if reason := stopped_by(experiment, store, work):
            raise HoldfastError(f"{reason} With pilot=false it goes on regardless.")
        outcome = work(experiment, plan)
    write_index(experiment, plan, store)
    if outcome.failed:
        label, message = next(iter(outcome.failed.items()))
        others = f" (and {len(outcome.failed) - 1} more)" if len(outcome.failed) > 1 else ""
        said = message.rstrip(". ")  # not all end as sentences do
        raise HoldfastError(f"{label}{others} failed: {said}. Everything else is done and stays.")
    return collect(experiment, plan, store)


def load_results(source: Experiment | str | os.PathLike[str] | Mapping[str, Any]) -> Results:
    """What the store holds of an experiment, finished or not; damaged results are left out.

    Args:
        source: the experiment, or what `load_experiment` takes.
    """
    from holdfast.experiment.collect import collect
    from holdfast.experiment.mirror import open_store
    from holdfast.experiment.plan import make_plan

    experiment = _experiment(source)
    return collect(experiment, make_plan(experiment), open_store(experiment))
