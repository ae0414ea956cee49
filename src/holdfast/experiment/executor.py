"""Where jobs are done: what an executor is, and what one of its workers does with a job."""

from __future__ import annotations

import logging
import pickle
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from holdfast import plugins
from holdfast.config.experiment import Experiment
from holdfast.errors import HoldfastError, InputError, of_disk
from holdfast.experiment.jobs import Busy, Runner
from holdfast.experiment.mirror import open_store
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.remote import Unreachable
from holdfast.experiment.store import Damaged, Store

if TYPE_CHECKING:
    from holdfast.policy.team import Team

CLASSES = {  # loaded when they are used
    "local": "holdfast.experiment.local:local",
    "ray": "holdfast.experiment.cluster:Cluster",
}
PACKAGES = {"ray": "ray"}  # that an executor needs besides
STEP_SECONDS = 0.2  # at most one message per job in this time


@dataclass(frozen=True)
class Event:
    """What a worker says about its job.

    Attributes:
        kind: step or warning while it goes on; done, busy, damaged, failed, disk (the store cannot be
            written: stop), or away (its place cannot be reached: stop) at its end.
        held: the policy the worker has in memory now.
        details: of a failure, for `--debug`.
    """

    kind: str
    seconds: float = 0.0
    message: str = ""
    details: str = ""
    damaged: str = ""
    held: str | None = None
    step: int = 0
    steps: int = 0
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        """Whether the job is over."""
        return self.kind not in ("step", "warning")


class _Telling(logging.Handler):
    """Tells how a job goes: its warnings, of which the run says each once, and now and then a step."""

    def __init__(self, tell: Callable[[Event], object]) -> None:
        super().__init__(logging.WARNING)
        self.tell = tell
        self._last = 0.0  # step, by the clock

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(Event("warning", message=record.getMessage()))

    def step(self, step: int, steps: int, numbers: dict[str, float]) -> None:
        now = time.monotonic()
        if now - self._last >= STEP_SECONDS:
            self._last = now
            self.tell(Event("step", step=step, steps=steps, numbers=numbers))


class Executor(ABC):
    """Where jobs are done: some workers, which share the store and are handed one job each.

    A worker does a job with `attempt`, on a `Runner` that it keeps.

    Args:
        workers: how many there may be.
    """

    def __init__(self, experiment: Experiment, plan: Plan, store: Store, workers: int) -> None:
        self.experiment = experiment
        self.plan = plan
        self.store = store
        self.workers = workers

    @property
    def where(self) -> str:
        """Where jobs are done, in words."""
        return f"by {type(self).__name__}"

    @abstractmethod
    def idle(self) -> Iterable[Any]:
        """Workers that can take a job now.

        Each has an attribute `held`, as `Runner` has: the policy in its memory, whose jobs it had better get.
        """

    @abstractmethod
    def give(self, worker: Any, job: Job, weights: bool) -> None:
        """Have a worker begin a job.

        Args:
            worker: one of `idle`.
            weights: as `Runner.run`.
        """

    @abstractmethod
    def listen(self, tell: Callable[[Job, Event], None]) -> None:
        """Pass on what workers say, for half a second or until one has said something.

        Called while at least one job was given and is not over. A job is over with the first event that
        `is_last`; a worker that dies has `failed`.
        """

    def stop(self) -> None:  # noqa: B027 - not all have something to end
        """End the workers, whatever they are at."""


Packed = tuple[tuple[str, ...], bytes]  # files of the user's code, experiment and plan


def pack(experiment: Experiment, plan: Plan) -> Packed:
    """What another process needs to do jobs."""
    return tuple(plan.code), pickle.dumps((experiment, plan))


def unpack(code: tuple[str, ...], pickled: bytes, team: Team | None = None) -> Runner:
    """What does jobs in this process.

    Raises:
        HoldfastError: a file of the user's code is not what it was, or the store cannot be used from here.
    """
    plugins.load_files(code)  # classes of it can be unpickled then
    experiment, plan = pickle.loads(pickled)
    return Runner(experiment, plan, open_store(experiment), team=team)


def executor_class(name: str) -> Callable[[Experiment, Plan, Store, int], Executor]:
    """What makes the executor of that name.

    Raises:
        InputError: there is none.
    """
    if plugins.is_reference(name):
        return plugins.load_class(name, Executor)
    if (package := PACKAGES.get(name)) and find_spec(package) is None:
        raise InputError(f"executor: {name} needs a package that is not installed: pip install {package}.")
    return plugins.load_own(CLASSES[name])


def attempt(runner: Runner, job: Job, weights: bool, tell: Callable[[Event], object]) -> Event:
    """Do a job; whatever happens becomes an event."""
    logger, telling = logging.getLogger("holdfast"), _Telling(tell)
    logger.addHandler(telling)
    try:
        event = Event("done", seconds=runner.run(job, weights, telling.step))
    except Busy as busy:
        event = Event("busy", message=str(busy))
    except Damaged as damage:
        event = Event("damaged", message=str(damage), damaged=damage.fingerprint)
    except BrokenPipeError:
        raise
    except Unreachable as error:
        event = Event("away", message=str(error))
    except HoldfastError as error:
        event = _failure(error, str(error))
    except MemoryError:
        event = Event("failed", message="out of memory; use fewer workers or a smaller micro_batch")
    except OSError as error:
        text = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        event = _failure(error, plugins.fault(error) or text)
    except (Exception, SystemExit) as error:  # a bug, wherever it is, must not take the other jobs with it
        event = _failure(error, plugins.fault(error) or f"{type(error).__name__}: {error}")
    finally:
        logger.removeHandler(telling)
    return replace(event, held=runner.held)


def _failure(error: BaseException, text: str) -> Event:
    """The end of a job by an error that is being handled."""
    kind = "disk" if of_disk(error) else "failed"
    return Event(kind, message=text, details=traceback.format_exc())
