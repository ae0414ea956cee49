"""What a job takes on a card that is not here, from what it asks of the card.

Seconds are a sum, as if nothing ran beside anything else. `benchmarks/plan_times.py` fits the seconds of
one operation, byte and so on for a CPU, and says how far off the times are.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field, replace

from holdfast.config.cards import Card
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment import memory
from holdfast.experiment.architecture import Architecture
from holdfast.experiment.estimate import GUESS, UNKNOWN_COUNT
from holdfast.experiment.plan import Job
from holdfast.experiment.sharing import ALONE, Way
from holdfast.learning.methods import Method
from holdfast.policy.settings import ModelSettings
from holdfast.tasks.prompts import Style
from holdfast.tasks.task import Task

# As benchmarks/results/2026-11-28-roofline.md has them: 27 kernels a layer of 2.5 µs each beside their work,
# and a processor's time for a picture of 868 × 868. Then the bytes that an update moves for a trained number.
LAYER, PATCH = 27 * 2.5e-6, 0.017 / (868 / 14) ** 2
UPDATE, UPDATE_BFLOAT16 = 7 * 4, 90
COPIES = 0.85  # of the bandwidth: what plain copies reach
FILTER_BATCH = 32  # prompts
LONGEST = 3  # the longest completion of a batch, in mean lengths, where it is not known


@dataclass(frozen=True)
class Work:
    """Amounts of work, seconds of each amount, or their products.

    Attributes:
        operations: of matrix products (`policy/operations.py`).
        bytes: of the card's memory: weights and keys at each step of decoding, the optimiser's numbers.
        layers: run one after the other.
        patches: of pictures, made ready on the host.
        sent: bytes between cards.
    """

    operations: float = 0.0
    bytes: float = 0.0
    layers: float = 0.0
    patches: float = 0.0
    sent: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, other: Work | float) -> Work:
        times = astuple(other) if isinstance(other, Work) else (other,) * 5
        return Work(*map(math.prod, zip(astuple(self), times, strict=True)))

    @property
    def total(self) -> float:
        return float(sum(astuple(self)))


def speed(card: Card, dtype: str) -> Work:
    """Seconds of one operation, one byte and so on.

    Raises:
        InputError: the card's rate in float32 is needed, and not known.
    """
    flops = card.flops32 if dtype == "float32" else card.flops
    if flops is None:
        raise InputError("model.dtype is float32: give the card's float32 rate, too (flops32=TFLOP/s).")
    operation = 1 / (flops * 1e12 * card.efficiency)
    return Work(operation, 1 / (card.bandwidth * 1e9 * COPIES), LAYER, PATCH, 1 / (card.link * 1e9))


@dataclass(frozen=True)
class Lengths:
    """Of a prompt and what is written to it.

    Attributes:
        prompt: tokens.
        completion, longest, most: tokens on average, of the longest of a batch, and that there may be.
        patches: of the prompt's picture.
    """

    prompt: float
    completion: float
    longest: float
    most: float
    patches: float


@dataclass(frozen=True)
class Worker:
    """What asks: a model on a card, which may be one of a team."""

    known: Architecture
    model: ModelSettings
    way: Way = ALONE

    def sampling(self, prompts: float, group: int, lengths: Lengths, rows: int) -> Work:
        """Writing `group` completions to each prompt, to at most `rows` prompts at a time."""
        text, operations, size = self.known.text, self.known.operations, memory.BYTES[self.model.dtype]
        written = prompts * group * lengths.completion
        parts = self._parts(prompts, lengths.prompt + group * lengths.most, rows)
        # A step reads the keys of its prompts once, and each completion's own so far.
        keys = lengths.longest * prompts * lengths.prompt + written * lengths.completion / 2
        return Work(
            operations.passing(prompts * lengths.prompt + written, prompts * lengths.patches),
            (parts * lengths.longest * operations.text + keys * 2 * text.layers * text.key) * size,
            parts * (lengths.longest * text.layers + self._depth),
            prompts * lengths.patches,
        )

    def learning(self, method: Method, lengths: Lengths) -> Work:
        """One iteration of a stage, its samples included."""
        prompts, group = method.batch / self.way.devices, method.completions
        operations, made = self.known.operations, Work()
        if method.sampled is not None:
            made = self.sampling(prompts, method.sampled[0], lengths, math.ceil(prompts))
        made = replace(made, patches=method.batch * lengths.patches)  # each of a team makes all ready
        step = prompts / method.updates
        each = lengths.prompt + group * lengths.completion
        parts = method.updates * self._parts(step, each, method.micro_batch or math.ceil(step))
        tokens = prompts * each, prompts * lengths.patches
        # Log-probabilities of the policy before several updates, and of a reference.
        others = float(method.has_ratios) + (method.looks_at is not None)
        others += sum(strategy.passes(method) for strategy in method.retention)
        full = self.way.shard == "full"
        again = float(self.model.activation_checkpointing or full)
        update = UPDATE_BFLOAT16 if self.model.trains_bfloat16 else UPDATE
        sent = 4.0 * method.updates * self.known.trained  # gradients in float32; and weights
        if full:  # gathered for each pass, and to sample
            sent += memory.BYTES[self.model.dtype] * (2 * parts + others + 1) * self.known.parameters
        else:  # taken over after a step
            sent += memory.BYTES[self.model.dtype] * method.updates * self.known.trained
        return made + Work(
            operations.learning(*tokens) + (again + others) * operations.passing(*tokens),
            method.updates * update * self.known.trained,
            parts * (3 + again + others) * self._depth,
            sent=(1 - 1 / self.way.devices) * sent,
        )

    @property
    def _depth(self) -> int:
        return self.known.text.layers + (self.known.vision.tower.layers if self.known.vision else 0)

    def _parts(self, prompts: float, each: float, rows: int) -> int:
        """How many parts of at most `rows` prompts, of `each` so many tokens, there are."""
        if self.model.token_budget is not None:
            rows = max(1, min(rows, int(self.model.token_budget // each)))
        return math.ceil(prompts / rows)


@dataclass(frozen=True)
class Assumed:
    """What is not known before a run.

    Attributes:
        completion: tokens of what is written, on average; None: a quarter of the most there may be.
        pixels: of a picture; None: as large as they may be.
        judged: share of the examples that are judged.
    """

    completion: float | None = None
    pixels: int | None = None
    judged: float = 1.0

    def mean(self, most: float) -> float:
        """Tokens of what is written, where there may be at most so many."""
        return self.completion or most / 4


@dataclass(frozen=True)
class Times:
    """Seconds of an experiment's jobs, by what they go into.

    Args:
        each: seconds of one operation, one byte and so on.
    """

    experiment: Experiment
    known: Architecture
    each: Work
    assumed: Assumed = Assumed()
    way: Way = ALONE
    _tasks: dict[str, Task] = field(default_factory=dict, init=False)  # finding one looks at files

    def parts(self, job: Job) -> Work:
        """Seconds of one job, by what they go into."""
        worker, evaluation = Worker(self.known, self.experiment.model, self.way), self.experiment.evaluation
        if job.kind == "learn":
            assert job.method is not None
            lengths = self._lengths(job.style, job.method.sampled[1] if job.method.sampled else None)
            return worker.learning(job.method, lengths) * job.inputs["iterations"] * self.each
        worker = replace(worker, way=ALONE)  # all else one card does alone
        count = float(sum(self._count(task) for task in job.inputs.get("tasks", ())))
        if job.kind == "filter":
            lengths = self._lengths(job.style, job.inputs["sampling"]["max_tokens"])
            rows = job.inputs["micro_batch"] or FILTER_BATCH
            return worker.sampling(count, job.inputs["samples"], lengths, rows) * self.each
        if job.measure is None:
            count *= self.assumed.judged
        else:  # counted in answers, as the first guesses for the embedded model have it
            units = job.measure.units(job.inputs, round(count)) or 1
            count = units * job.measure.unit_seconds / GUESS["evaluate"]
        lengths = self._lengths(job.style, evaluation.max_tokens)
        return worker.sampling(count, 1, lengths, evaluation.batch) * self.each

    def _count(self, task: dict) -> int:
        """Examples; where all are taken, as many as the data has."""
        if task["count"]:
            return task["count"]
        if (name := task["name"]) not in self._tasks:
            self._tasks[name] = self.experiment.task(name)
        return self._tasks[name].sizes[task["split"]] or UNKNOWN_COUNT

    def _lengths(self, style: Style, most: int | None) -> Lengths:
        """Of prompts, and of what is written in at most `most` tokens; None: reference answers."""
        pixels = self.assumed.pixels or memory.largest_image(self.experiment.model)
        patches, image = memory.image_size(self.known, pixels)
        mean: float = memory.TARGET_TOKENS
        if most is None:
            return Lengths(image + memory.TEXT_TOKENS, mean, mean, mean, patches)
        if style == "cot":
            mean = self.assumed.mean(most)
        longest = min(most, LONGEST * mean)
        return Lengths(image + memory.TEXT_TOKENS, min(mean, most), longest, most, patches)
