"""Steps of a case by each arm, and what became of an arm that made none."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, field
from statistics import median
from typing import Any

import torch

from holdfast.experiment.architecture import of_config
from holdfast.experiment.memory import assumed, of_method
from holdfast.learning.methods import make_method
from holdfast.policy.settings import Lora, ModelSettings
from steps.arm import Arm, Failed, Rival
from steps.arm_holdfast import method_settings
from steps.floor import Floor, Rates, floor, measure_rates
from steps.workload import Case, make_config, make_processor

OURS = "steps.arm_holdfast"
NOT_STARTED, UNDER_WAY = "not started", "interrupted"


@dataclass
class Run:
    """What one arm did.

    Attributes:
        steps: what it told of each measured step.
        parts: seconds of a step taken apart, where the arm can do that.
        failure, details: why it made no (more) steps, until it has made them all; empty then.
    """

    rival: Rival
    steps: list[dict[str, Any]] = field(default_factory=list)
    parameters: int | None = None
    parts: dict[str, float] = field(default_factory=dict)
    failure: str = NOT_STARTED
    details: str = ""

    @property
    def whole(self) -> bool:
        return not self.failure

    def seconds(self, part: str = "seconds") -> float:
        """Median of the measured steps."""
        return median(entry[part] for entry in self.steps)

    @property
    def peak(self) -> int:
        """Bytes above the idle model."""
        return max(entry["peak"] for entry in self.steps)


@dataclass
class Result:
    """All arms on one case.

    Attributes:
        estimate: of the peak above the idle model, as `holdfast plan` makes it.
        rates, floor: None where they could not be measured, and with adapters.
    """

    case: Case
    runs: list[Run]
    estimate: int | None = None
    rates: Rates | None = None
    floor: Floor | None = None


@dataclass(frozen=True)
class Course:
    """How a case is run.

    Attributes:
        limit: seconds for each step, and for building the model.
        together: arms alternate, a step of one after a step of another, so that whatever else the machine
            does meets all alike. Else one follows the other, and has the whole memory.
        parts: Holdfast takes one more step apart.
        profile: file for a profile of another.
    """

    rounds: int
    warmup: int
    limit: float
    together: bool
    parts: bool = True
    profile: str = ""


def race(result: Result, course: Course) -> None:
    """Let every arm make its steps, as far as it can; fills `result` while it goes."""
    case = result.case
    result.estimate = estimated(case)
    before = _rates(case)
    able = [run for run in result.runs if run.failure == NOT_STARTED]
    for group in [able] if course.together else [[run] for run in able]:
        _run(case, group, course)
    after = _rates(case)
    if before and after and case.lora is None and case.kind == "qwen2_5_vl":  # that of training all weights
        best = [max(pair) for pair in zip(astuple(before), astuple(after), strict=True)]
        result.rates = Rates(*best)
        result.floor = floor(case, result.rates)


def _run(case: Case, runs: Sequence[Run], course: Course) -> None:
    total = course.warmup + course.rounds
    with ExitStack() as stack:
        arms = {}
        for run in runs:
            arm = Arm(run.rival, case, total + 2, course.limit)
            stack.callback(arm.kill)
            arms[run.rival.name] = arm
            run.failure = UNDER_WAY
        for run in runs:
            with _noted(run):
                run.parameters = arms[run.rival.name].ready()["parameters"]
        for number in range(total):
            for run in runs if number % 2 == 0 else reversed(runs):
                if run.failure != UNDER_WAY:
                    continue
                with _noted(run):
                    entry = arms[run.rival.name].step()
                    same_work(case, entry)
                    if number >= course.warmup:
                        run.steps.append(entry)
        for run in runs:
            if run.failure == UNDER_WAY:
                with _noted(run):
                    _closer(arms[run.rival.name], run, course)
                    run.failure = ""


def _closer(arm: Arm, run: Run, course: Course) -> None:
    """A closer look at Holdfast's arms, after the steps that are compared."""
    if run.rival.module == OURS and course.parts:
        run.parts = arm.step("parts")["parts"]
    if run.rival.module == OURS and course.profile and run.rival.name == "Holdfast":
        arm.step(f"profile {course.profile}")
    arm.close()


@contextmanager
def _noted(run: Run) -> Iterator[None]:
    """What ends an arm is written down, and the others go on."""
    try:
        yield
    except Failed as failed:
        run.failure, run.details = str(failed), failed.details
        print(f"  {run.rival.name}: {failed}", file=sys.stderr, flush=True)


def same_work(case: Case, entry: dict[str, Any]) -> None:
    """See that a step was what it should be.

    Raises:
        Failed: it was another one.
    """
    wanted = (case.prompts * case.prompt_tokens, case.completion_tokens)
    found = (entry["prompt_tokens"], entry["completion_tokens"])
    if found != wanted:
        raise Failed(f"did other work: {found} prompt and completion tokens instead of {wanted}")
    if entry.get("way", "packed") != "packed":
        raise Failed(f"did other work: the {entry['way']} pass")


def estimated(case: Case) -> int | None:
    """Bytes above the idle model that Holdfast expects at most."""
    config = make_config(case, make_processor(case).tokenizer)
    lora = None if case.lora is None else Lora(rank=case.lora, alpha=2 * case.lora)
    wanted: dict[str, Any] = {"dtype": case.dtype, "activation_checkpointing": case.checkpointing}
    settings = ModelSettings(**wanted, lora=lora)
    known = of_config(config, settings)
    if known is None:
        return None
    made = of_method(known, settings, make_method(**method_settings(case)), assumed(known, case.side**2))
    return made.total - made.parts["weights"]


def _rates(case: Case) -> Rates | None:
    try:
        return measure_rates(case)
    except RuntimeError as error:  # out of memory, for one
        print(f"  no floor: {error}", file=sys.stderr, flush=True)
        return None
    finally:
        if case.device.startswith("cuda"):
            torch.cuda.empty_cache()  # the arms need the memory
