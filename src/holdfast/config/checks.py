"""What an experiment must be beyond the types of its keys; nothing is run to find out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from holdfast import files
from holdfast.config.experiment import Experiment
from holdfast.config.models import check_model
from holdfast.errors import HoldfastError, InputError, suggestion
from holdfast.learning.methods import RFT, Method, SampledSFT
from holdfast.learning.methods.sft import LOSS_SETTINGS, Likely
from holdfast.measures import KINDS
from holdfast.policy.settings import model_path
from holdfast.tasks.benchmarks import BENCHMARKS
from holdfast.tasks.copied import TableError
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.task import Split, Task
from holdfast.tracking import check_tracker, own_name
from holdfast.yamlfile import Problem

PACKED = ("awq", "bitsandbytes", "gptq", "torchao")  # what others pack may be unpacked when it is loaded
# Columns that stand beside the tasks in the report's tables (report/rows.py, report/sections).
TABLE_KEYS = {"method", "style", "seed", "seeds", "stage", "when", "trained_on"}


def check(experiment: Experiment) -> Iterator[Problem]:
    """All that is wrong with an experiment whose keys have the right types."""
    for name in sorted(TABLE_KEYS & set(experiment.tasks)):
        yield ("tasks", name), "is the name of a column in the report's tables; choose another"
    for style in sorted(set(experiment.styles) - set(experiment.prompts)):
        yield ("prompts",), f"has no template for the style {style}, which is used"
    for name, order in experiment.orders.items():
        for text in _check_order(order, experiment):
            yield ("orders", name), text
    yield from _check_grids(experiment)
    yield from _check_most(experiment)
    yield from _check_reference(experiment)
    yield from _check_measures(experiment)
    for name in sorted(set(experiment.sequence) & set(experiment.general)):
        yield ("general",), f"{name} is trained on, so it cannot be a general benchmark"
    tasks: dict[str, Task] = {}
    for key in ("sequence", "general"):
        for index, name in enumerate(getattr(experiment, key)):
            try:
                tasks[name] = task = experiment.task(name)
                for split in experiment.splits(name):
                    check_split(task, split, experiment.count(task, split), own=name in experiment.tasks)
            except TableError as error:
                for setting, text in error.problems:
                    yield ("tasks", name, setting), text
            except HoldfastError as error:
                yield (key, index), str(error)
    for name, method in experiment.methods.items():
        for place, text in _check_method(method, experiment, tasks):
            yield ("methods", name, *place), text
    if experiment.model.dtype == "float16" and experiment.model.lora is None:
        text = "float16 cannot hold what training whole weights needs: squares of gradients vanish in it"
        yield ("model", "dtype"), f"{text}; use bfloat16 or float32, or model.lora"
    if experiment.model.revision is not None and model_path(experiment.model.path).is_dir():
        yield ("model", "revision"), "is of a hub id, and model.path names a folder; leave it out"
    yield from check_model(experiment.model) or _check_trained(experiment)
    yield from _check_trackers(experiment.track)


def _check_method(method: Method, experiment: Experiment, tasks: Mapping[str, Task]) -> Iterator[Problem]:
    """What is wrong with one method, by its keys.

    Args:
        tasks: those that could be found.
    """
    if text := method.not_shared(experiment.devices):
        yield ("shards",), text
    if experiment.devices > 1 and isinstance(method, RFT) and method.sampler is not None:
        text = f"a server follows one device, not {experiment.devices}; take --devices 1, or leave it out"
        yield ("sampler",), text
    if experiment.devices > 1 and (text := method.not_sharded(experiment.shard)):
        yield ("retention" if method.retention else "objective",), text
    for key, text in _check_counts(method, experiment):
        yield ("iterations", *key), text
    if method.order is not None and method.order not in experiment.orders:
        known = f"there is no order '{method.order}'{suggestion(method.order, experiment.orders)}"
        yield ("order",), known if experiment.orders else "needs a key `orders`"
    if method.joint and method.order is not None:
        yield ("order",), "a joint method trains on all tasks at once; leave order out"
    if method.joint and method.filters:
        yield ("filter",), "a joint method trains on everything; leave filter out"
    yield from _check_unused(method, experiment)
    imitated = [("target", getattr(method, "target", None))]
    imitated += [("retention", strategy.imitates(method)) for strategy in method.retention]
    if place := next((place for place, target in imitated if target == "reasoned"), None):
        for task in experiment.sequence:
            if task in tasks and not _has_rationale(tasks[task]):
                yield (place,), f"task {task} has no rationales; use target: answer"
    yield from _check_batch(method, experiment)


def _check_order(order: Sequence[str], experiment: Experiment) -> Iterator[str]:
    """An order may hold more tasks: a sequence can be shortened on the command line."""
    if missing := [task for task in experiment.sequence if task not in order]:
        yield f"must hold every task of the sequence once; it lacks {', '.join(missing)}"
    if repeated := [task for task in dict.fromkeys(order) if order.count(task) > 1]:
        yield f"must hold every task of the sequence once; it repeats {', '.join(repeated)}"
    known = _known_tasks(experiment)
    for task in [task for task in dict.fromkeys(order) if task not in known]:
        yield f"{task} is not in the sequence and is no task{suggestion(task, known)}"


def _check_grids(experiment: Experiment) -> Iterator[Problem]:
    """Two ways to write one value make two names, but one method."""
    known: dict[str, str] = {}
    for name, variant in experiment.variants.items():
        same = known.setdefault(repr((variant.of, variant.axes)), name)
        if same != name and name in experiment.methods:
            yield ("methods", variant.of, "grid"), f"makes '{same}' and '{name}', which are the same"


def _check_reference(experiment: Experiment) -> Iterator[Problem]:
    name, methods = experiment.reference, experiment.methods
    if name is None:
        return
    if of_grid := [one for one, variant in experiment.variants.items() if variant.of == name]:
        yield ("reference",), f"{name} is a grid; name one of its methods: {', '.join(of_grid)}"
    elif name not in methods:
        yield ("reference",), f"there is no method '{name}'{suggestion(name, methods)}"
    elif methods[name].joint:
        yield ("reference",), f"{name} learns all tasks at once and has none to forget; name another method"


def _check_measures(experiment: Experiment) -> Iterator[Problem]:
    known = {*experiment.methods, *(variant.of for variant in experiment.variants.values())}
    named: set[str] = set()
    for key, measure in experiment.measures.items():
        if measure.name in named or (measure.reference and measure.name in KINDS):
            yield ("measures", key), f"there is another measure called {measure.name}; rename the class"
        named.add(measure.name)
        unknown = [name for name in measure.methods or () if name not in known]
        for name in unknown:
            yield ("measures", key, "methods"), f"there is no method '{name}'{suggestion(name, known)}"
        found = () if unknown else measure.problems(experiment) or ()  # one of the user's own may give None
        for text in [found] if isinstance(found, str) else found:
            yield ("measures", key), text


def _check_trackers(names: Sequence[str]) -> Iterator[Problem]:
    folders = [own_name(name) for name in names]
    for index, (name, folder) in enumerate(zip(names, folders, strict=True)):
        if folder in folders[:index]:
            text = f"{name} and another are both called {folder}, as their folder is"
            yield ("track", index), f"{text}; give one class another name"
        try:
            check_tracker(name)
        except InputError as error:
            yield ("track", index), str(error).rstrip(".")


def check_split(task: Task, split: Split, count: int | None, own: bool) -> None:
    """See that a task has so many examples, and that rows of one's own can be used.

    Raises:
        InputError: it has not, or they cannot.
    """
    size = task.sizes.get(split, 0)
    if own or size == 0 or (size is None and count is None):
        task.examples(split, count)  # every own row is checked before any work; the others say what is wrong


def _check_batch(method: Method, experiment: Experiment) -> Iterator[Problem]:
    """A batch should hold no example twice, of as many as are asked for."""
    asked = {name: experiment.asked(name, "train") for name in experiment.sequence}
    counts = [count for count in asked.values() if count is not None]
    if not counts or (method.joint and len(counts) < len(asked)):
        return
    there = sum(counts) if method.joint else min(counts)
    if method.batch > there:
        text = f"is {method.batch}, but there are only {there} training examples"
        yield ("batch",), f"{text}; raise train_examples or lower it"


def _check_most(experiment: Experiment) -> Iterator[Problem]:
    """Numbers of examples are for tasks that there are; a sequence can be shortened on the command line."""
    known = _known_tasks(experiment)
    for key in ("train_examples", "test_examples"):
        most = getattr(experiment, key)
        for task in most if isinstance(most, dict) else ():
            if task not in known:
                yield (key, task), f"is no task{suggestion(task, known)}"


def _check_counts(method: Method, experiment: Experiment) -> Iterator[Problem]:
    """Iterations that are set by task must be set for every task that is trained on. Others may be
    named too: a sequence can be shortened on the command line."""
    if isinstance(method.iterations, int):
        return
    if missing := [task for task in experiment.sequence if task not in method.iterations]:
        yield (), f"says nothing about {', '.join(missing)}; give every task of the sequence its number"
    for task in method.iterations:
        if task not in (known := _known_tasks(experiment)):
            yield (task,), f"is no task{suggestion(task, known)}"


def _check_unused(method: Method, experiment: Experiment) -> Iterator[Problem]:
    """Settings that would change nothing. One that only some methods use may stand for all."""
    if method.optimizer_state != "float32" and not experiment.model.trains_bfloat16:
        model = experiment.model
        trained = "adapters are float32" if model.lora else f"model.dtype is {model.dtype}"
        yield ("optimizer_state",), f"is about training weights in bfloat16, but {trained}; leave it out"
    if method.optimizer == "muon" and experiment.model.trains_bfloat16:
        text = "muon would lose its steps in bfloat16 weights; use model.dtype: float32 or model.lora"
        yield ("optimizer",), text
    for strategy in method.retention:
        if unreadable := strategy.unreadable():
            yield ("retention",), f"{strategy.kind}: {unreadable}"
        if strategy.adapters is not None and strategy.adapters != (experiment.model.lora is not None):
            what = "LoRA; set model.lora" if strategy.adapters else "whole weights; leave model.lora out"
            yield ("retention",), f"{strategy.kind} is for {what}"
        least, lora = strategy.least_rank(len(experiment.sequence)), experiment.model.lora
        if lora is not None and lora.rank < least:
            text = f"{strategy.kind} needs model.lora.rank {least} for {len(experiment.sequence)} stages"
            yield ("retention",), f"{text}, not {lora.rank}"
    others = experiment.methods.values()
    losses = {other.loss for other in others if isinstance(other, Likely)}
    for name, loss in LOSS_SETTINGS.items() if isinstance(method, Likely) else ():
        if loss not in losses and getattr(method, name) != type(method).model_fields[name].default:
            yield (name,), f"is about loss: {loss}, and no method has it"
    ramp = getattr(method, "rho_ramp", 1)
    if ramp != 1 and not any(getattr(other, "rho_start", None) for other in others):
        yield ("rho_ramp",), "is about rho_start, and no method has it"
    shortens = isinstance(method, RFT) and method.filter_shortens
    if shortens and not any(other.filters for other in experiment.methods.values()):
        yield ("filter_shortens",), "needs a filter, and no method has one"
    if not isinstance(method, SampledSFT) or any(_check_counts(method, experiment)):
        return
    longest = experiment.longest_stage(method)
    if method.resample_every and method.resample_every > longest:
        text = f"is {method.resample_every}, but no stage has more than {longest} iterations; lower it"
        yield ("resample_every",), text


def _known_tasks(experiment: Experiment) -> list[str]:
    """Names that may stand in this experiment, prepared or not."""
    return list(dict.fromkeys([*experiment.sequence, *TASKS, *BENCHMARKS, *experiment.tasks]))


def _has_rationale(task: Task) -> bool:
    try:
        return all(example.rationale for example in task.examples("train", 1))
    except HoldfastError:  # reported with the task
        return True


def _check_trained(experiment: Experiment) -> list[Problem]:
    """Whether a sound model folder's weights can be trained."""
    path = Path(experiment.model.path) / "config.json"
    if not experiment.methods or experiment.model.lora is not None or not path.is_file():
        return []
    said = files.read_if_there(path)
    quantised = said.get("quantization_config") if isinstance(said, dict) else None
    by = quantised.get("quant_method") if isinstance(quantised, dict) else None
    if by not in PACKED:
        return []
    text = f"the model is quantised (by {by}), so its weights cannot be trained"
    advice = "set model.lora to train adapters on it, or name the model that it was made of"
    return [(("model", "path"), f"{text}; {advice}")]
