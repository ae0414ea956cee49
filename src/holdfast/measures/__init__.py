"""Measures: what is asked of policies besides their accuracy, as jobs beside training.

    measures: {drift: {}, probe: {steps: 4}}       # by name, each with its settings
    measures: {rules.py:Mine: {power: 2}}          # or your own: a class made from Measure

A measure is a class with its settings. It says what it looks at when (`request`), and looks (`measure`). It
leaves every policy as it found it, to the bit, and draws from random streams of its own, so that measuring
never changes a training result.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PrivateAttr

from holdfast import plugins
from holdfast.errors import HoldfastError, InputError, suggestion
from holdfast.settings import Settings

if TYPE_CHECKING:
    from holdfast.config.experiment import Experiment
    from holdfast.experiment.jobs import Runner
    from holdfast.experiment.plan import Job
    from holdfast.learning.methods import Method
    from holdfast.tasks.task import Split

KINDS = {  # loaded when they are used
    "drift": "holdfast.measures.drift:Drift",
    "risk": "holdfast.measures.risk:Risk",
    "probe": "holdfast.measures.probe:Probe",
    "reliance": "holdfast.measures.reliance:Reliance",
    "calibration": "holdfast.measures.calibration:Calibration",
}
OWN = "measure"  # the kind of job that a measure of the user's own is
COLUMNS = ("method", "stage", "seconds")  # beside the numbers of a measure of the user's own
# What determines the result of every measure, noted beside the inputs of its Request.
NOTED = {"policy", "settings", "sampling", "batch", "style", "template", "seed", "measure"}


@dataclass(frozen=True)
class Moment:
    """A stage of one method and seed, when a measure may look.

    Attributes:
        base: identity of the base model, as jobs name it.
        stage: its number, from 1; 0 is before the first, for measures whose `first_stage` it is.
        policies: the base, which is None, and the `learn` job of every stage so far, this one last.
        earlier: tasks that were trained on before.
        new: tasks that the stage trains on.
        is_last: no stage follows.
        data: what determines a split of a task, or its first examples:
            (name, split, at most so many; None for all that the experiment takes).
    """

    experiment: Experiment
    method: Method
    base: str | dict[str, Any]
    stage: int
    policies: tuple[str | None, ...]
    earlier: tuple[str, ...]
    new: tuple[str, ...]
    is_last: bool
    data: Callable[..., dict[str, Any]]

    @property
    def split(self) -> Split:
        """The split that policies are judged on."""
        return self.experiment.evaluation.split

    def judging(self, tasks: tuple[str, ...], examples: int | None) -> Request:
        """Have the newest policy answer the first items that it is judged on, sampled as in evaluations."""
        inputs = {
            "tasks": [self.data(task, self.split, examples) for task in tasks],
            "judging": self.experiment.evaluation.sampling().model_dump(mode="json"),
        }
        return Request(self.policies[-1], tasks, inputs)


@dataclass(frozen=True)
class Request:
    """What a measure looks at.

    Attributes:
        policy: `learn` job whose policy it looks at; None for the base.
        tasks: names, which the random stream is named after.
        inputs: what determines the result besides policy, settings, prompts, sampling, batch and seed;
            "tasks" are the examples that `Runner.asked` gives.
        others: `learn` jobs whose weights it loads besides.
    """

    policy: str | None
    tasks: tuple[str, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Needs:
    """What a measure holds at once, besides the policy.

    Attributes:
        policies: how many other policies' weights.
        vectors: how many vectors as long as the trained weights, in float32.
        numbers: how many other numbers in float32, while it looks.
        graph: how many completions of one prompt in a graph of autograd's.
    """

    policies: int = 0
    vectors: int = 0
    numbers: int = 0
    graph: int = 0


class Measure(Settings):
    """What is measured of policies. Settings of a measure are fields of its class.

    Attributes:
        version: raise it when results change for the same policies, items and settings.
        looks_back: it looks at earlier tasks, and so needs a method that has some.
        first_stage: 0: it is asked of the base, too, at a moment without tasks.
        unit_seconds: a first guess of what a unit takes on one core with the embedded model.
    """

    version: ClassVar[int] = 2
    looks_back: ClassVar[bool] = False
    first_stage: ClassVar[int] = 1
    unit_seconds: ClassVar[float] = 0.01

    methods: tuple[str, ...] | None = Field(None, min_length=1)  # which are measured; None: all

    _key: str = PrivateAttr("")  # in the experiment file

    @property
    def name(self) -> str:
        """Its key in the experiment file; of one of the user's own, the name of the class."""
        return self._key.rpartition(":")[2]

    @property
    def reference(self) -> str | None:
        """FILE.py:CLASS of one of the user's own; None of ours."""
        return self._key if plugins.is_reference(self._key) else None

    @property
    def kind(self) -> str:
        """The kind of its jobs."""
        return self.name if self.reference is None else OWN

    def determining(self) -> dict[str, Any]:
        """The settings that determine a result, where `request` does not say it."""
        return self.model_dump(mode="json", exclude={"methods"})

    def problems(self, experiment: Experiment) -> Iterator[str]:
        """Why it cannot be used in an experiment, a text for each reason."""
        if self.looks_back and not (
            len(experiment.sequence) > 1
            and any(
                not method.joint and experiment.measured(self, name)
                for name, method in experiment.methods.items()
            )
        ):
            yield (
                "looks at earlier tasks, but no method that it is about has any; it needs one that is not "
                "joint, and two tasks in the sequence"
            )

    def request(self, moment: Moment) -> Request | None:
        """What it looks at after a stage, if anything. By default: its policy, on all tasks so far."""
        tasks = (*moment.earlier, *moment.new)
        asked = [moment.data(task, moment.split) for task in tasks]
        return Request(moment.policies[-1], tasks, {"tasks": asked})

    def measure(self, job: Job, runner: Runner) -> dict[str, Any]:
        """Look: `runner.policy_of(job)` is the policy, `runner.asked(job)` the items, by task.

        Returns:
            Of the user's own: numbers by name, None for what there is not.
        """
        raise NotImplementedError

    def asked(self, moment: Moment) -> Request | None:
        """What `request` returns.

        Raises:
            HoldfastError: one of the user's own raised an error, or returned something else.
        """
        with plugins.blamed(self.reference, about=f"stage {moment.stage}"):
            found = self.request(moment)
        if found is None:
            return None
        if not isinstance(found, Request):
            raise HoldfastError(
                f"{self._key}: `request` returned {plugins.shown(found)}; it must be a Request, or None."
            )
        if strange := [one for one in (found.policy, *found.others) if one not in moment.policies]:
            raise HoldfastError(
                f"{self._key}: `request` names {plugins.shown(strange[0])}, which is none of the moment's "
                "policies."
            )
        if isinstance(found.tasks, str) or not all(isinstance(name, str) for name in found.tasks):
            raise HoldfastError(f"{self._key}: the tasks of its Request must be a list of names.")
        given = found.inputs.get("tasks", ())
        if not isinstance(given, list | tuple) or not all(map(_is_data, given)):
            raise HoldfastError(
                f"{self._key}: 'tasks' among the inputs of its Request must be a list of what "
                "`moment.data(TASK, SPLIT)` gives."
            )
        if noted := sorted(NOTED & found.inputs.keys()):
            raise HoldfastError(
                f"{self._key}: the inputs of its Request hold '{noted[0]}', which is noted of every measure; "
                "give it another name."
            )
        try:
            json.dumps(dict(found.inputs), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise HoldfastError(
                f"{self._key}: the inputs of its Request must be plain values, as JSON has them ({error})."
            ) from None
        return found

    def result(self, job: Job, runner: Runner) -> dict[str, Any]:
        """What `measure` returns.

        Raises:
            HoldfastError: one of the user's own raised an error, or returned something else than numbers.
        """
        with plugins.blamed(self.reference, about=job.label):
            found = self.measure(job, runner)
        return found if self.reference is None else _numbers(self.reference, found)

    def units(self, inputs: Mapping[str, Any], examples: int) -> float:
        """Amount of work of a job, which its time is estimated by.

        Args:
            inputs: of the job.
            examples: that they name.
        """
        return float(examples)

    def needs(self, experiment: Experiment, vocabulary: int) -> Needs:
        """The memory that it takes, with a vocabulary of so many tokens."""
        return Needs()


def _is_data(given: Any) -> bool:
    return isinstance(given, Mapping) and {"name", "split", "count"} <= given.keys()


def measure_class(key: Any) -> type[Measure]:
    """The class that a key of `measures` names.

    Raises:
        InputError: there is none.
    """
    if plugins.is_reference(key):
        own = plugins.load_class(str(key), Measure)
        if own.measure is Measure.measure:
            raise InputError("has no `measure`, which says what it finds; add it to the class")
        return own
    if key not in KINDS:
        raise InputError(f"is neither a measure nor FILE.py:CLASS{suggestion(str(key), KINDS)}")
    return plugins.load_own(KINDS[key])


def make_measure(key: str, settings: Any) -> Measure:
    """The measure of that key with its settings.

    Raises:
        InputError: there is none.
        ValidationError: a setting is wrong.
    """
    made = measure_class(key).model_validate(settings)
    made._key = key
    return made


def _numbers(reference: str, found: Any) -> dict[str, Any]:
    """What a measure of the user's own returned, as plain numbers.

    Raises:
        HoldfastError: it is something else.
    """
    if not isinstance(found, Mapping) or not found:
        raise HoldfastError(
            f"{reference} returned {plugins.shown(found)}; `measure` must return numbers by name, such as "
            "{'norm': 0.5}."
        )
    plain: dict[str, Any] = {}
    for name, value in found.items():
        number = plugins.plain_number(value)
        if not isinstance(name, str) or name in COLUMNS:
            called = plugins.shown(name)
            raise HoldfastError(f"{reference} returned a number called {called}; give it another name.")
        if number is not None and not (isinstance(number, int | float) and abs(number) <= sys.float_info.max):
            raise HoldfastError(
                f"{reference} returned {plugins.shown(number)} as {name}; it must be a finite number, or "
                "None for none."
            )
        plain[name] = number
    return plain
