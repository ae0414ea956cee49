"""The experiment file: its keys, how it is read, and all of its errors shown at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator

from holdfast.errors import HoldfastError, InputError
from holdfast.grid import Variant, as_validated, expand
from holdfast.learning.settings import Method
from holdfast.mechanism.settings import Drift, Measures, Probe, Risk
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.settings import Settings
from holdfast.tasks.catalog import get_task
from holdfast.tasks.jsonl import OwnTask
from holdfast.tasks.prompts import HINTS, TEMPLATES, Style
from holdfast.tasks.task import Split, Task
from holdfast.weights import count_parameters
from holdfast.yamlfile import KeyPath, YamlFile, parse_value, read_yaml

# Columns that stand beside the tasks in the report's tables (report/tables.py).
TABLE_KEYS = {"method", "style", "seed", "seeds", "stage", "when", "trained_on"}
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
# A method made by a grid carries its values in its name.
MethodName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*( [a-z_.]+=[A-Za-z0-9_.+-]+)*$")
]


class Evaluation(Settings):
    """How every policy is examined: free generation, the same for all methods and the base."""

    split: Literal["test", "validation"] = "test"  # validation: to choose settings by
    temperature: float = Field(0.0, ge=0)  # 0 is greedy
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int = Field(1024, ge=1)
    batch: int = Field(64, ge=1)  # examples that are generated together
    other_style: bool = False  # judge every method under the prompt style it was not trained in, too
    future_tasks: bool = True  # judge tasks that are still to come, too (no measure needs them)

    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens)


class Experiment(Settings):
    """One experiment: base model × sequence of tasks × methods × seeds."""

    name: Name
    model: ModelSettings = ModelSettings()
    prompts: dict[Style, str]  # a template per style, or the name of a set in tasks.prompts.TEMPLATES
    hint: str  # a question with its answer shown, for show_answer; by default that of the prompt set
    tasks: dict[Name, OwnTask] = Field(default_factory=dict)  # your own data
    sequence: tuple[str, ...] = Field(min_length=1)  # what is trained on, in this order
    orders: dict[Name, tuple[str, ...]] = Field(default_factory=dict)  # others that methods may name
    general: tuple[str, ...] = ()  # benchmarks that nothing is trained on
    general_every_stage: bool = True  # else for the base and after the last stage only
    scoring: Literal["official", "study"] = "official"  # of published tasks: their own rules, or the study's
    train_examples: int | None = Field(None, ge=1)  # per task; None: all there are
    test_examples: int | None = Field(None, ge=1)  # of the split that judges
    evaluation: Evaluation = Evaluation()
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    methods: dict[MethodName, Method] = Field(min_length=1)
    variants: dict[MethodName, Variant] = Field(default_factory=dict)  # methods that a grid made
    reference: MethodName | None = None  # whom the report compares with; None: the first SFT method
    measures: Measures = Measures()  # what is measured besides accuracy
    max_jobs: int = Field(3000, ge=1)  # more are started only when told to (--yes)
    output: Path  # the run's folder: resolved config and report
    store: Path = Path("runs/store")  # results of jobs, shared by all experiments that name it
    threads: int = Field(1, ge=1)  # of one job; part of what determines a result, to the last bit
    checkpoint_every: int = Field(10, ge=1)  # iterations
    keep_weights: Literal["all", "last", "none"] = "last"  # whose weights stay when all is done

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
            try:
                rendered = template.format(prompt="\0")
            except (KeyError, IndexError, ValueError):
                rendered = ""
            if "\0" not in rendered:
                raise ValueError(
                    f"the {style} template must hold {{prompt}} where the question goes; "
                    "other braces are doubled: {{ and }}"
                )
        return value

    @field_validator("sequence", "general", "seeds")
    @classmethod
    def _no_repeats(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        repeated = {item for item in value if value.count(item) > 1}
        if repeated:
            raise ValueError(f"{', '.join(map(str, sorted(repeated)))} stands there more than once")
        return value

    @field_validator("hint")
    @classmethod
    def _usable_hint(cls, value: str) -> str:
        try:
            rendered = value.format(prompt="\0", answer="\1")
        except (KeyError, IndexError, ValueError):
            rendered = ""
        if "\0" not in rendered or "\1" not in rendered:
            raise ValueError("must hold {prompt} and {answer}; other braces are doubled: {{ and }}")
        return value

    def order_of(self, method: Method) -> tuple[str, ...]:
        """The tasks in the order a method trains on them."""
        if method.order is None:
            return self.sequence
        return tuple(task for task in self.orders[method.order] if task in self.sequence)

    def measured(self, measure: Drift | Risk | Probe | None, name: str) -> bool:
        """Whether something is measured of the method of this name."""
        if measure is None:
            return False
        family = self.variants[name].of if name in self.variants else name
        return measure.methods is None or name in measure.methods or family in measure.methods

    def task(self, name: str) -> Task:
        """The task of that name: one of the experiment's own, or one that ships."""
        return get_task(name, self.tasks, self.scoring)

    def resolved(self) -> dict[str, Any]:
        """All settings as plain data; saved with a run, and readable as an experiment file."""
        return self.model_dump(mode="json")


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file; nothing is run.

    Paths of the model and of your own data are relative to the file's folder, `output` and
    `store` to the current folder.

    Args:
        overrides: `key.sub=value` settings that replace the file's; values are YAML.

    Raises:
        InputError: with every error that was found, each with its place.
    """
    file = read_yaml(path)
    if not isinstance(file.value, dict):
        raise InputError(f"{path} holds no settings; it must be a YAML mapping, such as 'name: my-study'.")
    data = {str(key): value for key, value in file.value.items()}
    for override in overrides:
        _override(data, override)
        _forget_lines(file, override)

    problems = list(_set_twice(data, file, set(map(_override_path, overrides))))
    problems += [
        (place, f"measures nothing like this; write `{key}: {{}}`, or null to leave it out")
        for key in Measures.model_fields
        if (place := ("measures", key)) in file.blank and place in file.lines
    ]
    _merge_defaults(data, problems)
    families = _expand_grids(data, problems)
    if isinstance(data.get("name"), str):
        data.setdefault("output", str(Path("runs") / data["name"]))
    elif "output" not in data:
        data["output"] = "runs/unnamed"  # the missing name is reported
    prompts = data.setdefault("prompts", "standard")
    data.setdefault("hint", HINTS[prompts if isinstance(prompts, str) and prompts in HINTS else "standard"])
    _resolve_paths(data, path.parent)
    experiment = None
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        problems += [_problem(details) for details in error.errors() if not _follows(details)]
    if experiment is not None:
        variants = as_validated(experiment.variants, experiment.methods)
        experiment = experiment.model_copy(update={"variants": variants})
        problems += _check(experiment)
    if problems or experiment is None:
        raise InputError(_message(path, file, problems, families))
    return experiment


def suggestion(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown `word`: what was probably meant, or all there is."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; there is {', '.join(known)}"


# Reading


def _override(data: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise InputError(f"'{override}' is not an override; write key=value or key.sub=value.")
    *parents, last = _override_path(override)
    methods = data.get("methods")
    if parents[:1] == ["methods"] and isinstance(methods, dict) and methods and {*parents[1:2]} - {*methods}:
        known = ", ".join(map(str, methods))
        raise InputError(f"'{override}' cannot be set: there is no method '{parents[1]}', only {known}.")
    place = data
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise InputError(f"'{override}' cannot be set: {parent} has no keys of its own.")
    place[last] = parse_value(text)


def _override_path(override: str) -> tuple[str, ...]:
    return tuple(override.partition("=")[0].strip().split("."))


def _forget_lines(file: YamlFile, override: str) -> None:
    """What the command line sets has no line in the file."""
    path = _override_path(override)
    for known in [known for known in file.lines if known[: len(path)] == path]:
        del file.lines[known]


def _set_twice(
    data: dict[str, Any], file: YamlFile, set_here: set[tuple[str, ...]]
) -> Iterator[tuple[KeyPath, str]]:
    """Settings of a method that its grid, or that of the defaults, would replace without a word. An axis
    from the command line may replace what the file says, and any axis what a YAML merge brings in.

    Args:
        set_here: the paths that the command line sets.
    """
    methods, defaults = data.get("methods"), data.get("defaults")
    common = defaults.get("grid") if isinstance(defaults, dict) else None
    for name, method in methods.items() if isinstance(methods, dict) else ():
        own_grid = method.get("grid", {}) if isinstance(method, dict) else {}
        if not isinstance(own_grid, dict):
            continue  # null: not even the grid of the defaults
        for place, grid in {("defaults",): common, ("methods", str(name)): own_grid}.items():
            for key in grid if isinstance(grid, dict) else ():
                own: KeyPath = ("methods", str(name), *str(key).split("."))
                axis: KeyPath = (*place, "grid", str(key))
                if own in set_here or (own in file.lines and axis in file.lines):
                    yield axis, f"is set in the method '{name}', too; take one of them out"


def _merge_defaults(data: dict[str, Any], problems: list[tuple[KeyPath, str]]) -> None:
    """Put `defaults` under every method and take the key away."""
    defaults = data.pop("defaults", None) or {}
    if not isinstance(defaults, dict):
        problems.append((("defaults",), "must be a mapping of method settings"))
        return
    for key in [key for key in defaults if key not in (*Method.model_fields, "grid")]:
        problems.append((("defaults", str(key)), f"unknown key{suggestion(str(key), Method.model_fields)}"))
        del defaults[key]
    methods = data.get("methods")
    if isinstance(methods, dict):
        data["methods"] = {
            name: _merge(defaults, {} if method is None else method) for name, method in methods.items()
        }


def _expand_grids(data: dict[str, Any], problems: list[tuple[KeyPath, str]]) -> dict[str, str]:
    """Put the methods that a grid stands for in its place; the result says whose grid made which."""
    if not isinstance(methods := data.get("methods"), dict):
        return {}
    data["methods"], made = expand(methods, lambda where, text: problems.append((where, text)), suggestion)
    said = data.get("variants") or {}
    if made and isinstance(said, dict):  # else it is reported with the other types
        data["variants"] = {**said, **made}
    return {name: variant["of"] for name, variant in made.items()}


def _merge(under: Mapping[str, Any], over: Any) -> Any:
    if not isinstance(over, dict):
        return over
    merged = {**under, **over}
    for key in under:
        if isinstance(under[key], dict) and isinstance(over.get(key), dict):
            merged[key] = _merge(under[key], over[key])
    return merged


def _resolve_paths(data: dict[str, Any], folder: Path) -> None:
    """Make paths of data absolute, starting from the experiment file's folder."""
    model = data.get("model")
    if isinstance(model, dict) and isinstance(path := model.get("path"), str):
        found = folder / Path(path).expanduser()
        if found.is_dir() and path != "embedded":
            data["model"] = {**model, "path": str(found.resolve())}
    tasks = data.get("tasks")
    if isinstance(tasks, dict):
        data["tasks"] = {
            name: {
                key: str((folder / Path(value).expanduser()).resolve())
                if key in ("train", "validation", "test") and isinstance(value, str)
                else value
                for key, value in task.items()
            }
            if isinstance(task, dict)
            else task
            for name, task in tasks.items()
        }
    for key in ("output", "store"):
        value = data.get(key, Experiment.model_fields[key].default)
        if isinstance(value, str | Path):
            data[key] = str(Path(value).expanduser().absolute())


# Checking


def _check(experiment: Experiment) -> list[tuple[KeyPath, str]]:
    """Whatever the types cannot say."""
    problems: list[tuple[KeyPath, str]] = []
    for name in sorted(TABLE_KEYS & set(experiment.tasks)):
        problems.append((("tasks", name), "is the name of a column in the report's tables; choose another"))
    styles = {method.style for method in experiment.methods.values()}
    if experiment.evaluation.other_style:
        styles = {"cot", "direct"}
    for style in sorted(styles - set(experiment.prompts)):
        problems.append((("prompts",), f"has no template for the style {style}, which is used"))

    for name, order in experiment.orders.items():
        problems += [(("orders", name), text) for text in _check_order(order, experiment)]
    problems += _check_grids(experiment)
    problems += _check_reference(experiment)
    problems += _check_measures(experiment)
    for name in sorted(set(experiment.sequence) & set(experiment.general)):
        problems.append((("general",), f"{name} is trained on, so it cannot be a general benchmark"))
    tasks: dict[str, Task] = {}
    for key in ("sequence", "general"):
        for index, name in enumerate(getattr(experiment, key)):
            try:
                tasks[name] = task = experiment.task(name)
                _check_split(
                    task, experiment.evaluation.split, experiment.test_examples, own=name in experiment.tasks
                )
                if key == "sequence":
                    _check_split(task, "train", experiment.train_examples, own=name in experiment.tasks)
            except HoldfastError as error:
                problems.append(((key, index), str(error)))

    for name, method in experiment.methods.items():
        where = ("methods", name)
        problems += [((*where, "iterations", *key), text) for key, text in _check_counts(method, experiment)]
        if method.order is not None and method.order not in experiment.orders:
            known = f"there is no order '{method.order}'{suggestion(method.order, experiment.orders)}"
            problems.append(((*where, "order"), known if experiment.orders else "needs a key `orders`"))
        if method.joint and method.order is not None:
            problems.append(
                ((*where, "order"), "a joint method trains on all tasks at once; leave order out")
            )
        if method.joint and method.filter != "none":
            problems.append(((*where, "filter"), "a joint method trains on everything; leave filter out"))
        problems += [((*where, key), text) for key, text in _check_unused(method, experiment)]
        if method.objective == "sft" and method.target == "reasoned":
            problems += [
                ((*where, "target"), f"task {task} has no rationales; use target: answer")
                for task in experiment.sequence
                if task in tasks and not _has_rationale(tasks[task])
            ]
        if experiment.train_examples is not None:
            available = experiment.train_examples * (len(experiment.sequence) if method.joint else 1)
            if method.batch > available:
                message = f"is {method.batch}, but there are only {available} training examples"
                problems.append(((*where, "batch"), f"{message}; raise train_examples or lower it"))
    problems += _check_model(experiment.model)
    return problems


def _check_order(order: Sequence[str], experiment: Experiment) -> Iterator[str]:
    """An order may hold more tasks: a sequence can be shortened on the command line."""
    if missing := [task for task in experiment.sequence if task not in order]:
        yield f"must hold every task of the sequence once; it lacks {', '.join(missing)}"
    if repeated := [task for task in dict.fromkeys(order) if order.count(task) > 1]:
        yield f"must hold every task of the sequence once; it repeats {', '.join(repeated)}"
    known = _known_tasks(experiment)
    for task in [task for task in dict.fromkeys(order) if task not in known]:
        yield f"{task} is not in the sequence and is no task{suggestion(task, known)}"


def _check_grids(experiment: Experiment) -> Iterator[tuple[KeyPath, str]]:
    """Two ways to write one value make two names, but one method."""
    known: dict[str, str] = {}
    for name, variant in experiment.variants.items():
        same = known.setdefault(repr((variant.of, variant.axes)), name)
        if same != name and name in experiment.methods:
            yield ("methods", variant.of, "grid"), f"makes '{same}' and '{name}', which are the same"


def _check_reference(experiment: Experiment) -> Iterator[tuple[KeyPath, str]]:
    name, methods = experiment.reference, experiment.methods
    if name is None:
        return
    if name not in methods:
        yield ("reference",), f"there is no method '{name}'{suggestion(name, methods)}"
    elif methods[name].joint:
        yield ("reference",), f"{name} learns all tasks at once and has none to forget; name another method"


def _check_measures(experiment: Experiment) -> Iterator[tuple[KeyPath, str]]:
    known = {*experiment.methods, *(variant.of for variant in experiment.variants.values())}
    for key in type(experiment.measures).model_fields:
        measure = getattr(experiment.measures, key)
        unknown = [name for name in (measure.methods or ()) if name not in known] if measure else []
        for name in unknown:
            yield ("measures", key, "methods"), f"there is no method '{name}'{suggestion(name, known)}"
        if measure and not unknown and key != "drift" and not _looks_back(experiment, measure):
            yield (
                ("measures", key),
                "looks at earlier tasks, but no method that it is about has any; it needs one that is not "
                "joint, and two tasks in the sequence",
            )
    split = experiment.evaluation.split
    for name in experiment.sequence if experiment.measures.probe is not None else ():
        own = experiment.tasks.get(name)
        if own is not None and own.train is not None and own.train == getattr(own, split):
            text = f"would test {name} on what it trains on: its train and {split} are one file"
            yield ("measures", "probe"), text
    if experiment.measures.risk is not None and experiment.model.lora is not None:
        yield (
            ("measures", "risk"),
            "needs full fine-tuning: gradients of adapters that are still at zero say little; leave it out "
            "or leave model.lora out",
        )


def _looks_back(experiment: Experiment, measure: Drift | Risk | Probe) -> bool:
    """Whether a method that is measured trains on one task after another."""
    return len(experiment.sequence) > 1 and any(
        not method.joint and experiment.measured(measure, name) for name, method in experiment.methods.items()
    )


def _check_split(task: Task, split: Split, count: int | None, own: bool) -> None:
    size = task.sizes.get(split, 0)
    if own or size == 0 or (size is None and count is None):
        task.examples(split, count)  # every own row is checked before any work; the others say what is wrong
    elif size is not None and count is not None and count > size:
        raise InputError(
            f"task {task.name} has {size} {split} examples, fewer than {split}_examples: {count}"
        )


def _check_counts(method: Method, experiment: Experiment) -> Iterator[tuple[KeyPath, str]]:
    """Iterations that are set by task must be set for every task that is trained on. Others may be
    named too: a sequence can be shortened on the command line."""
    if isinstance(method.iterations, int):
        return
    if missing := [task for task in experiment.sequence if task not in method.iterations]:
        yield (), f"says nothing about {', '.join(missing)}; give every task of the sequence its number"
    for task in method.iterations:
        if task not in (known := _known_tasks(experiment)):
            yield (task,), f"is no task{suggestion(task, known)}"


def _check_unused(method: Method, experiment: Experiment) -> Iterator[tuple[str, str]]:
    """Settings that would change nothing. One that only some methods use may stand for all."""
    if method.filter_shortens and all(other.filter == "none" for other in experiment.methods.values()):
        yield "filter_shortens", "needs a filter, and no method has one"
    if method.resample_every is None or any(_check_counts(method, experiment)):
        return
    stages = [experiment.sequence] if method.joint else [(task,) for task in experiment.sequence]
    longest = max(map(method.iterations_on, stages))
    if method.resample_every > longest:
        text = f"is {method.resample_every}, but no stage has more than {longest} iterations; lower it"
        yield "resample_every", text


def _known_tasks(experiment: Experiment) -> list[str]:
    """Names that may stand in this experiment, prepared or not."""
    from holdfast.tasks.embedded import TASKS
    from holdfast.tasks.hub import BENCHMARKS

    return list(dict.fromkeys([*experiment.sequence, *TASKS, *BENCHMARKS, *experiment.tasks]))


def _has_rationale(task: Task) -> bool:
    try:
        return all(example.rationale for example in task.examples("train", 1))
    except HoldfastError:  # reported with the task
        return True


def _check_model(model: ModelSettings) -> list[tuple[KeyPath, str]]:
    where = ("model", "path")
    if model.path == "embedded":
        return []
    folder = Path(model.path)
    if not folder.is_dir():
        looks_like_path = model.path.startswith((".", "/", "~")) or model.path.count("/") != 1
        if looks_like_path:
            known = "it is neither 'embedded' nor a folder nor a hub id (owner/name)"
            return [(where, f"there is no model '{model.path}': {known}")]
        return []
    if not (folder / "config.json").is_file():
        return [(where, f"the folder {folder} holds no config.json, so it is not a Hugging Face model")]
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return [(where, f"the folder {folder} has no weights (*.safetensors); copy or download them there")]
    problems: list[tuple[KeyPath, str]] = []
    for path in weights:
        try:
            count_parameters(path)
        except InputError as error:
            problems.append((where, str(error)))
    return problems


# Messages


_PLAIN = {  # pydantic's errors in the words of the file
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "string_type": "must be text (in quotes)",
    "too_short": "must not be empty",
}


def _problem(details: Any) -> tuple[KeyPath, str]:
    """Path and text of one pydantic error."""
    path = tuple(part for part in details["loc"] if part != "[key]")
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return path, f"unknown key{suggestion(str(path[-1]), _keys_at(path[:-1]))}"
    if kind == "missing":
        return path, "is missing; it has no default"
    if kind == "literal_error":
        message = f"must be {context['expected']}"
        message += _did_you_mean(details["input"], context["expected"])
        return path, message
    if kind == "string_pattern_mismatch":
        return path, f"'{details['input']}' may hold only letters, digits, '-' and '_'"
    if kind == "value_error":
        return path, str(context["error"])
    message = _PLAIN.get(kind) or details["msg"].replace("Input should be", "must be")
    message = message[0].lower() + message[1:]
    given = details["input"]
    if isinstance(given, str | int | float | bool | None):
        message += f", not {given!r}"
    return path, message


def _follows(details: Any) -> bool:
    """Whether an error only says that items with errors of their own are missing."""
    return details["type"] == "too_short" and len(details["input"]) > 0


def _did_you_mean(given: Any, expected: str) -> str:
    options = [option.strip("' ") for option in expected.replace(" or ", ", ").split(",")]
    close = difflib.get_close_matches(str(given), options, n=1, cutoff=0.6)
    return f", not {given!r}" + (f"; did you mean '{close[0]}'?" if close else "")


def _keys_at(path: KeyPath) -> list[str]:
    """The keys that are allowed at a place in the file."""
    annotation: Any = Experiment
    for part in path:
        annotation = _unwrap(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = annotation.model_fields[str(part)].annotation
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        else:
            annotation = get_args(annotation)[0]
    annotation = _unwrap(annotation)
    if annotation is Experiment:
        return [*Experiment.model_fields, "defaults"]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    return []


def _unwrap(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _place(where: KeyPath, file: YamlFile, families: Mapping[str, str]) -> KeyPath:
    """Where the file says what a method has: on an axis of its grid, in the method, or among the defaults."""
    if where[:1] != ("methods",) or len(where) < 2:
        return where
    name, rest = str(where[1]), where[2:]
    method = ("methods", families.get(name, name))
    axis = ("grid", ".".join(map(str, rest)))
    places = [(*method, *axis), (*method, *rest), ("defaults", *axis), ("defaults", *rest)] if rest else []
    return next((place for place in places if place in file.lines), (*method, *rest))


def _message(
    path: Path, file: YamlFile, problems: Sequence[tuple[KeyPath, str]], families: Mapping[str, str]
) -> str:
    found: dict[tuple[int, str, str], set[str]] = {}  # which methods of grids have the error
    for where, text in problems:
        place = _place(where, file, families)
        names = found.setdefault((file.line(place) or 0, ".".join(map(str, place)) or "file", text), set())
        if where[:1] == ("methods",) and "grid" not in place[1:-1]:  # an axis shows the value itself
            names |= {str(part) for part in where[1:2] if part in families}
    lines = []
    for (line, name, text), names in sorted(found.items(), key=lambda item: item[0]):
        text += _some_of(names, families)
        lines.append(f"  line {line}, {name}: {text}" if line else f"  {name}: {text}")
    count = f"{len(lines)} errors" if len(lines) > 1 else "an error"
    return f"{path} has {count}:\n" + "\n".join(lines)


def _some_of(names: set[str], families: Mapping[str, str]) -> str:
    """The end of a message about some of the methods of a grid."""
    concerned = {families[name] for name in names}
    if not names or len(names) == sum(family in concerned for family in families.values()):
        return ""
    first = next(name for name in families if name in names)
    return f" ({first}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
