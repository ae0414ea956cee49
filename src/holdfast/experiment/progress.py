"""What a person sees while an experiment runs: live bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from holdfast.experiment.plan import Job

LINE_SECONDS = 5.0  # between two plain lines about jobs that go well
_SHOWN = ("reward", "accuracy", "loss")


@dataclass
class _Running:
    start: float
    share: float = 0.0
    bar: TaskID | None = None


class Progress:
    """The overall state and one line for each running job.

    The overall share weighs jobs by the seconds they are expected to take; the remaining time
    follows from what they took so far.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._costs: dict[str, float] = {}
        self._running: dict[str, _Running] = {}
        self._finished: set[str] = set()
        self._bars: Bars | None = None
        self._overall: TaskID | None = None
        self._start = self._last_line = 0.0

    @contextmanager
    def running(self, costs: Mapping[str, float], how: str, already: int) -> Iterator[None]:
        """Show progress while the block runs.

        Args:
            costs: expected seconds of each job that is to be done, by fingerprint.
            how: in which processes.
            already: jobs whose results were there before.
        """
        self._costs, self._finished = dict(costs), set()  # of an earlier run, such as a pilot, nothing counts
        self._start = time.monotonic()
        found = f", {already} already done" if already else ""
        count = "1 job" if len(costs) == 1 else f"{len(costs)} jobs"
        self.message(f"{count} to do {how}{found}")
        if not self.console.is_terminal:
            yield
            return
        with Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", justify="right"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}", style="dim"),
            console=self.console,
            transient=True,
        ) as self._bars:
            whole = sum(self._costs.values())
            self._overall = self._bars.add_task("all jobs", total=whole, count="", numbers="")
            yield
        self._bars = None

    def expect(self, costs: Mapping[str, float]) -> None:
        """Count on jobs that are still to be done: also what was done, and was found damaged since."""
        self._costs |= costs
        self._finished -= costs.keys()

    def start(self, job: Job) -> None:
        running = self._running[job.fingerprint] = _Running(time.monotonic())
        if self._bars is not None:
            running.bar = self._bars.add_task(job.label, total=None, count="", numbers="")

    def step(self, job: Job, step: int, steps: int, numbers: Mapping[str, float]) -> None:
        running = self._running[job.fingerprint]
        running.share = step / max(1, steps)
        if self._bars is None:
            self._line(job, f"step {step}/{steps}  {_numbers(numbers)}")
        else:
            assert running.bar is not None
            count, shown = f"{step}/{steps}", _numbers(numbers)
            self._bars.update(running.bar, completed=step, total=steps, count=count, numbers=shown)
            self._show_overall()

    def end(self, job: Job, good: bool, seconds: float) -> None:
        running = self._running.pop(job.fingerprint)
        if good:
            self._finished.add(job.fingerprint)
        if self._bars is None:
            if good:
                self._line(job, f"done in {seconds:.1f} s")
            return
        assert running.bar is not None
        self._bars.remove_task(running.bar)
        self._show_overall()

    def message(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _line(self, job: Job, text: str) -> None:
        now = time.monotonic()
        if now - self._last_line >= LINE_SECONDS:
            self._last_line = now
            count = f"[{len(self._finished)}/{len(self._costs)}]"
            self.message(f"{count} {job.label}: {text.rstrip()}  {self._remaining()}")

    def _remaining(self) -> str:
        share = self._share()
        if share < 0.02:
            return ""
        seconds = (time.monotonic() - self._start) * (1 - share) / share
        return f"({share:.0%}, about {duration(seconds)} left)"

    def _share(self) -> float:
        whole = sum(self._costs.values())
        finished = sum(self._costs.get(name, 0.0) for name in self._finished)
        under_way = sum(self._costs.get(name, 0.0) * job.share for name, job in self._running.items())
        return min(1.0, (finished + under_way) / whole) if whole else 1.0

    def _show_overall(self) -> None:
        assert self._bars is not None
        assert self._overall is not None
        count = f"{len(self._finished)}/{len(self._costs)}"
        whole = sum(self._costs.values())
        self._bars.update(self._overall, completed=self._share() * whole, total=whole, count=count)


def duration(seconds: float) -> str:
    """A time for people: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _numbers(numbers: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {numbers[name]:.3g}" for name in _SHOWN if numbers.get(name) is not None)
