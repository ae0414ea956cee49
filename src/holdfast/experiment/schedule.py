"""What is left to do of a run, what a failure takes with it, and which weights may go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from holdfast.config.experiment import Experiment
from holdfast.experiment import estimate
from holdfast.experiment.identity import digest
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.queue import Queue
from holdfast.experiment.store import Damaged, Store

RETRY_SECONDS = 0.5  # before asking again for a job that another process has
MOST_DAMAGE = 3  # times a result may be found damaged before the disk is not trusted any more

OnDamage = Callable[[Job, Damaged], None]


def pending(plan: Plan, store: Store, on_damage: OnDamage) -> dict[str, Job]:
    """The jobs that must run: those without a result, and those whose weights another one needs."""
    found = _Pending(plan, store, on_damage)
    for job in plan.jobs.values():
        found.require(job, weights=False)
    return {name: job for name, job in plan.jobs.items() if name in found.todo}  # parents first


@dataclass
class _Pending:
    plan: Plan
    store: Store
    on_damage: OnDamage
    todo: set[str] = field(default_factory=set)
    _present: dict[str, bool] = field(default_factory=dict)  # of results that were looked for

    def require(self, job: Job, weights: bool) -> None:
        """A job whose result, or its weights, is asked for: it must run unless that is there."""
        name = job.fingerprint
        if name in self.todo:
            return
        if name not in self._present:
            self._present[name] = self._there(job, weights=False)
        if self._present[name] and (not weights or self._there(job, weights=True)):
            return
        self.todo.add(name)
        for parent in job.parents:
            self.require(self.plan.jobs[parent], weights=parent in job.loads)

    def _there(self, job: Job, weights: bool) -> bool:
        try:
            return self.store.has(job, weights)
        except Damaged as damage:
            self.on_damage(job, damage)
            return False


class Schedule(Queue):
    """The state of a run; knows nothing of processes."""

    def __init__(self, experiment: Experiment, plan: Plan, store: Store, on_damage: OnDamage) -> None:
        super().__init__(plan, partial(estimate.seconds, rates=estimate.measured(store, plan)))
        self.experiment = experiment
        self.store = store
        self.on_damage = on_damage
        self.last_stages = plan.last_stages()
        # Another run of this name, which reports elsewhere, may keep weights that this one does not.
        self._keeper = f"{experiment.name}-{digest(str(experiment.output.absolute()))[:8]}"
        self._damage: Counter[str] = Counter()
        store.prepare()
        store.use(plan.jobs.values())
        self._find_todo()
        for job in plan.jobs.values():
            self._forget_work(job)
            if job.kind == "learn":
                self._prune(job)

    def _find_todo(self) -> None:
        leased: set[str] = set()
        while True:  # another process may remove weights until they are leased, so look again then
            todo = pending(self.plan, self.store, self._found_damaged)
            needed = {name for job in todo.values() for name in job.loads}
            if needed <= leased:
                break
            for name in needed:
                self.store.lease_weights(self.plan.jobs[name])
            leased |= needed
        self.want(todo)
        for name, job in todo.items():
            if self._damage[name] >= MOST_DAMAGE and name not in self.failed:
                self.fail(job, "Its result is damaged, again and again; check the disk.")

    def needs_weights(self, job: Job) -> bool:
        """A job that is still to do loads the weights of this one."""
        return any(
            name in self.todo and job.fingerprint in self.plan.jobs[name].loads
            for name in self.children[job.fingerprint]
        )

    # Taking back

    def done(self, job: Job) -> None:
        super().done(job)
        if job.kind == "learn":
            self._prune(job)
        for name in job.loads:
            self._prune(self.plan.jobs[name])

    def fail(self, job: Job, message: str) -> None:
        """Give a job up, with everything that depends on it."""
        self.running.discard(job.fingerprint)
        self.failed[job.fingerprint] = message
        self._skip()

    def _skip(self) -> None:
        """Give up what depends on failed jobs."""
        lost = (self.failed.keys() | self.skipped) & self.todo.keys()
        for name, job in self.todo.items():  # parents first
            if not lost.isdisjoint(job.parents):
                self.skipped.add(name)
                lost.add(name)

    def busy(self, job: Job) -> None:
        """Another process has the job: ask again a little later."""
        self.running.discard(job.fingerprint)
        self._wait[job.fingerprint] = time.monotonic() + RETRY_SECONDS

    def damaged(self, job: Job, damage: Damaged) -> None:
        """A job could not use the result of another one: that one has to be done again."""
        self.running.discard(job.fingerprint)
        parent = self.plan.jobs[damage.fingerprint]
        self._damage[parent.fingerprint] += 1
        if self._damage[parent.fingerprint] >= MOST_DAMAGE:
            self.fail(job, f"{damage}, again and again; check the disk")
            return
        self._set_aside(parent, damage)
        self._find_todo()
        self._skip()  # damage can bring back jobs below one that failed before

    def _found_damaged(self, job: Job, damage: Damaged) -> None:
        self._damage[job.fingerprint] += 1
        self._set_aside(job, damage)

    def _set_aside(self, job: Job, damage: Damaged) -> None:
        if self.store.set_aside(job) is not None:
            self.on_damage(job, damage)

    def _forget_work(self, job: Job) -> None:
        """Remove what a job kept whose process was killed once its result was stored.

        Without its weights a result may be under way again, in another run.
        """
        if job.fingerprint in self.todo or not self.store.work(job).exists():
            return
        with self.store.lock(job) as mine:
            if mine and (job.kind != "learn" or self.store.has_weights(job)) and self.store.has_whole(job):
                self.store.clear_work(job)

    # Weights

    def _prune(self, learn: Job) -> None:
        """Remove the weights of a result that nothing waits for and the experiment does not keep."""
        if learn.fingerprint in self.todo:
            return
        keep = self.experiment.keep_weights
        kept = keep == "all" or (keep == "last" and learn.fingerprint in self.last_stages)
        self.store.keep_weights(learn, self._keeper, kept)
        if not kept and not self.needs_weights(learn):
            self.store.prune_weights(learn)
