"""A run on cards that are not here: the ways that fit, how long each takes, what would make it shorter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from holdfast.config.cards import Card
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment.architecture import Architecture, architecture_of
from holdfast.experiment.memory import Estimate
from holdfast.experiment.plan import Job, Plan
from holdfast.experiment.sharing import Way, does_not_fit, estimates, fitting
from holdfast.experiment.timeline import Timeline, simulate
from holdfast.experiment.worktime import Assumed, Times, Work, speed


@dataclass(frozen=True)
class Ahead:
    """The run in one way.

    Attributes:
        memory: of a card.
        parts: seconds of all jobs, by what they go into.
        computing: share of the cards' time; while one card of a team judges, the others wait.
    """

    way: Way
    memory: Estimate
    timeline: Timeline
    parts: Work
    computing: float


@dataclass(frozen=True)
class Asked:
    """What is to be run, on which cards."""

    experiment: Experiment
    plan: Plan
    todo: Mapping[str, Job]
    cards: int
    card: Card
    assumed: Assumed

    def ahead(self) -> list[Ahead]:
        """The ways that fit, the quickest first.

        Raises:
            InputError: there is none, the model is not known, or a rate of the card is not (`speed`).
        """
        if not (found := self._fitting()):
            raise InputError(does_not_fit(self.experiment, self.cards, self.card))
        return found

    def _fitting(self) -> list[Ahead]:
        fit = fitting(estimates(self.experiment, self.cards), self.card)
        found = [self._in(way, made) for way, made in fit.items()]
        return sorted(found, key=lambda one: one.timeline.seconds)

    @cached_property
    def _known(self) -> Architecture:
        known = architecture_of(self.experiment)
        assert known is not None
        return known

    def _in(self, way: Way, made: Estimate) -> Ahead:
        each = speed(self.card, self.experiment.model.dtype)
        times = Times(self.experiment, self._known, each, self.assumed, way)
        parts = {name: times.parts(job) for name, job in self.todo.items()}
        timeline = simulate(
            self.plan, self.todo, lambda job: parts[job.fingerprint].total, self.cards // way.devices
        )
        spent = sum(
            shift.seconds * (way.devices if shift.job.kind == "learn" else 1) for shift in timeline.shifts
        )
        computing = spent / (self.cards * timeline.seconds) if timeline.seconds else 0.0
        return Ahead(way, made, timeline, sum(parts.values(), Work()), computing)

    def shorter(self) -> Iterator[tuple[str, float]]:
        """Single changes, and how long the run then takes in its quickest way."""
        model, assumed = self.experiment.model, self.assumed
        length = assumed.mean(self.experiment.evaluation.max_tokens)
        changes = [
            *((f"--cards {count}", replace(self, cards=count)) for count in (2 * self.cards, 4 * self.cards)),
            (
                f"completions of {length / 2:.0f} tokens",
                replace(self, assumed=replace(assumed, completion=length / 2)),
            ),
            ("half of the examples that are judged", replace(self, assumed=replace(assumed, judged=0.5))),
        ]
        for key, value in (
            ("token_budget", 4 * (model.token_budget or 0)),
            ("activation_checkpointing", False),
        ):
            if getattr(model, key):
                other = self.experiment.changed("model", **{key: value})
                changes.append((f"model.{key}={str(value).lower()}", replace(self, experiment=other)))
        for text, asked in changes:
            if found := asked._fitting():
                yield text, found[0].timeline.seconds
