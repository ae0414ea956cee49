"""The experiment: every key that its file may hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    SerializeAsAny,
    StringConstraints,
    Tag,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from holdfast import plugins
from holdfast.config.cards import Card
from holdfast.config.grid import Variant
from holdfast.errors import InputError, check_no_password, none_of, suggestion
from holdfast.files import is_url
from holdfast.generate.settings import Served
from holdfast.learning.methods import Method, Shard
from holdfast.measures import Measure
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.settings import Settings, whole_or_each
from holdfast.tasks.catalog import get_task
from holdfast.tasks.columns import HubTask, TableTask, is_table
from holdfast.tasks.jsonl import OwnTask
from holdfast.tasks.prompts import TEMPLATES, Style
from holdfast.tasks.task import Split, Task

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)]
# A method made by a grid carries its values in its name.
MethodName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*( [a-z_.]+=[A-Za-z0-9_.+-]+)*$", max_length=300),
]

EXECUTORS = ("local", "ray")  # what does jobs; their classes: experiment/executor.py
MOST_EXAMPLES = 10_000_000  # that a task without an end may be asked for
Count = Annotated[int, Field(ge=1, le=MOST_EXAMPLES)]
Most = Count | dict[str, Count] | None  # of one's own mapping, tasks that it does not name give all they have


def _kind_of_task(value: Any) -> str:
    if isinstance(value, str):
        return "[code]"
    if isinstance(value, dict):
        if "hub" in value:
            return "[hub]"
        return "[table]" if is_table(value) else "[files]"
    if isinstance(value, HubTask):
        return "[hub]"
    return "[table]" if isinstance(value, TableTask) else "[files]"


def _is_code(value: str) -> str:
    if not plugins.is_reference(value):
        raise ValueError(f"must be a mapping (train, test, ...) or code as FILE.py:NAME, not '{value}'")
    return value


def _holds(template: str, *names: str) -> bool:
    """Whether a template holds these names in braces, and nothing else there: no attribute, no width."""
    try:
        places = [place[1:] for place in Formatter().parse(template) if place[1] is not None]
    except ValueError:
        return False
    return set(places) == {(name, "", None) for name in names}


# Rows in files of one's own, tables whose columns are named, or code. The tags stand in places of errors.
AnyTask = Annotated[
    Annotated[OwnTask, Tag("[files]")]
    | Annotated[HubTask, Tag("[hub]")]
    | Annotated[TableTask, Tag("[table]")]
    | Annotated[str, AfterValidator(_is_code), Tag("[code]")],
    Discriminator(_kind_of_task),
]


class Evaluation(Settings):
    """How every policy is examined: free generation, the same for all methods and the base."""

    split: Literal["test", "validation"] = "test"  # validation: to choose settings by
    temperature: float = Field(0.0, ge=0)  # 0 is greedy
    top_p: float = Field(1.0, gt=0, le=1)  # of sampling, where temperature is not 0
    max_tokens: int = Field(1024, ge=1)  # longest answer
    batch: int = Field(64, ge=1)  # examples that are generated together
    sampler: Served | None = None  # another engine that answers; None: the policy itself
    other_style: bool = False  # judge every method under the prompt style it was not trained in, too
    future_tasks: bool = True  # judge tasks that are still to come, too (for FWT and TLG)

    def sampling(self) -> Sampling:
        top_p = self.top_p if self.temperature else 1.0  # what is greedy is the same work with any
        return Sampling(temperature=self.temperature, top_p=top_p, max_tokens=self.max_tokens)

    def measuring(self) -> Sampling:
        """How measures sample: from the policy's own distribution, as long as answers may be."""
        return Sampling(max_tokens=self.max_tokens)


class Ray(Settings):
    """What `executor: ray` asks of a cluster; changes no result."""

    address: str | None = None  # of its head, HOST:PORT; None: RAY_ADDRESS, or one that is started here
    cpus: float | None = Field(None, gt=0)  # of a worker; None: one a thread
    gpus: float | None = Field(None, ge=0)  # of a worker; None: one where the cluster has some
    retries: int = Field(3, ge=0, le=100)  # of a job whose worker died


class Experiment(Settings):
    """One experiment: base model × sequence of tasks × methods × seeds."""

    name: Name  # of the run: its results go to runs/NAME
    model: ModelSettings = ModelSettings()  # what is trained
    prompts: dict[Style, str]  # a template per style, or the name of a set in tasks.prompts.TEMPLATES
    hint: str  # a question with its answer shown, for show_answer; by default that of the prompt set
    tasks: dict[Name, AnyTask] = Field(default_factory=dict)  # your own data
    sequence: tuple[str, ...] = Field(min_length=1)  # what is trained on, in this order
    orders: dict[Name, tuple[str, ...]] = Field(default_factory=dict)  # others that methods may name
    general: tuple[str, ...] = ()  # benchmarks that nothing is trained on
    general_every_stage: bool = True  # else for the base and after the last stage only
    scoring: Literal["official", "study"] = "official"  # of published tasks: their own rules, or the study's
    train_examples: Most = None  # of each task at most, or a number for each; None: all there are
    test_examples: Most = None  # of the split that judges, likewise
    bad_rows: Literal["stop", "skip"] = "stop"  # those that the model cannot take, in any method or style
    evaluation: Evaluation = Evaluation()  # how policies are judged
    seeds: tuple[int, ...] = Field((0,), min_length=1, max_length=1000)  # each method runs once with each
    methods: dict[MethodName, SerializeAsAny[Method]] = Field(min_length=1)  # by names of your own
    variants: dict[MethodName, Variant] = Field(default_factory=dict)  # methods that a grid made
    reference: MethodName | None = None  # whom the report compares with; None: the first SFT method
    measures: dict[str, SerializeAsAny[Measure]] = Field(default_factory=dict)  # besides accuracy
    pilot: bool = False  # two stages of the reference first: stop if nothing is learned, or nothing forgotten
    max_jobs: int = Field(3000, ge=1)  # more are started only when told to (--yes)
    output: Path  # the run's folder: resolved config and report
    # Results of jobs, shared by all experiments that name it: a folder, or a URL (s3://bucket/runs).
    store: Path | str = Path("runs/store")
    cache: Path | None = None  # this machine's folder before a store with a URL; None: `cache` in `output`
    threads: int = Field(1, ge=1, le=1024)  # of one job; part of what determines a result, to the last bit
    checkpoint_every: int = Field(10, ge=1)  # iterations
    keep_weights: Literal["all", "last", "none"] = "last"  # whose weights stay when all is done
    # Devices that learn a stage together; a method's `shards` is a multiple of them. No bit depends on it.
    devices: int = Field(1, ge=1, le=1024)
    shard: Shard = "none"  # what of a stage's training state each device keeps a part of only
    cards: dict[Name, Card] = Field(default_factory=dict)  # your own, that `holdfast plan --card` may name
    executor: str = "local"  # where jobs are done: local, ray, or a class of your own (FILE.py:CLASS)
    ray: Ray = Ray()  # of executor: ray
    track: tuple[str, ...] = ()  # tensorboard, wandb, trackio, mlflow, FILE.py:CLASS; changes no result

    @field_validator("prompts", mode="before")
    @classmethod
    def _named_prompts(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in TEMPLATES:
            raise ValueError(f"there is no prompt set '{value}'{suggestion(value, TEMPLATES)}")
        return TEMPLATES[value]

    @field_validator("prompts")
    @classmethod
    def _usable_prompts(cls, value: dict[Style, str]) -> dict[Style, str]:
        for style, template in value.items():
            if not _holds(template, "prompt"):
                raise ValueError(
                    f"the {style} template must hold {{prompt}} where the question goes; "
                    "other braces are doubled: {{ and }}"
                )
        return value

    @field_validator("store", mode="before")
    @classmethod
    def _place(cls, value: Any) -> Path | str:
        if not isinstance(value, str | Path):
            raise ValueError("must be a folder, or a URL as in s3://bucket/runs")
        if not (isinstance(value, str) and is_url(value)):
            return Path(value)
        if value.endswith("://"):
            raise ValueError("names no bucket or folder after ://")
        try:
            check_no_password(value)
        except InputError as error:
            raise ValueError(f"t{str(error)[1:].rstrip('.')}") from None
        return value

    @field_validator("executor")
    @classmethod
    def _known_executor(cls, value: str) -> str:
        if value in EXECUTORS or plugins.is_reference(value):
            return value
        raise ValueError(none_of(value, EXECUTORS, own="FILE.py:CLASS"))

    @field_validator("train_examples", "test_examples", mode="wrap")
    @classmethod
    def _counts(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        return whole_or_each(value, validate, f"from 1 to {MOST_EXAMPLES:,}")

    @field_validator("sequence", "general", "seeds", "track")
    @classmethod
    def _no_repeats(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        repeated = {item for item, count in Counter(value).items() if count > 1}
        if repeated:
            raise ValueError(f"{', '.join(map(str, sorted(repeated)))} stands there more than once")
        return value

    @field_validator("hint")
    @classmethod
    def _usable_hint(cls, value: str) -> str:
        if not _holds(value, "prompt", "answer"):
            raise ValueError("must hold {prompt} and {answer}; other braces are doubled: {{ and }}")
        return value

    @property
    def styles(self) -> tuple[Style, ...]:
        """The prompt styles in use."""
        if self.evaluation.other_style:
            return "cot", "direct"
        return tuple(sorted({method.style for method in self.methods.values()}))

    @property
    def page(self) -> Path:
        """The page of the run's report, whether it is there or not."""
        return self.output / "report" / "index.html"

    @property
    def store_folder(self) -> Path:
        """The folder of the store on this machine: where it lies, or what is before its URL."""
        return self.store if isinstance(self.store, Path) else self.cache or self.output / "cache"

    def order_of(self, method: Method) -> tuple[str, ...]:
        """The tasks in the order a method trains on them."""
        if method.order is None:
            return self.sequence
        return tuple(task for task in self.orders[method.order] if task in self.sequence)

    def longest_stage(self, method: Method) -> int:
        """Iterations of a method's longest stage."""
        stages = [self.sequence] if method.joint else [(task,) for task in self.sequence]
        return max(map(method.iterations_on, stages))

    def splits(self, task: str) -> list[Split]:
        """The splits of a task that are read: the one that judges, and what is trained on."""
        return [self.evaluation.split, "train"] if task in self.sequence else [self.evaluation.split]

    def measured(self, measure: Measure, name: str) -> bool:
        """Whether something is measured of the method of this name."""
        family = self.variants[name].of if name in self.variants else name
        return measure.methods is None or name in measure.methods or family in measure.methods

    def count(self, task: Task, split: Split) -> int | None:
        """How many examples of a split are taken: as many as are asked for, or None for all there are."""
        asked = self.asked(task.name, split)
        size = task.sizes.get(split)
        return None if size is not None and asked is not None and asked > size else asked

    def judging(self, task: Task) -> int:
        """How many examples of a task judge; 0 where that is not known."""
        split = self.evaluation.split
        return self.count(task, split) or task.sizes.get(split) or 0

    def asked(self, task: str, split: Split) -> int | None:
        """The most examples of a split that the settings ask for; None for all."""
        most = self.train_examples if split == "train" else self.test_examples
        return most.get(task) if isinstance(most, dict) else most

    def task(self, name: str) -> Task:
        """The task of that name: one of the experiment's own, or one that ships."""
        return get_task(name, self.tasks, self.scoring, self.styles)

    def changed(self, part: str, **settings: Any) -> Self:
        """The same with other settings in `model`, `evaluation` or the like; they are not checked."""
        return self.model_copy(update={part: getattr(self, part).model_copy(update=settings)})

    def resolved(self) -> dict[str, Any]:
        """All settings as plain data; saved with a run, and readable as an experiment file."""
        return self.model_dump(mode="json")
