"""Reading an experiment file: overrides, defaults and grids first, then every error at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from holdfast import plugins
from holdfast.config.checks import check, check_split
from holdfast.config.exam import ASKING, Exam
from holdfast.config.experiment import Experiment
from holdfast.config.extend import Misplaced, come_home, follow_name, mapping, merge, path_of, read_extended
from holdfast.config.grid import as_validated, expand
from holdfast.config.messages import message, misplaced, problems_of
from holdfast.errors import InputError, suggestion
from holdfast.files import is_url, real
from holdfast.learning.methods import Method, every_setting, method_class, objectives_with
from holdfast.learning.retention import KINDS as STRATEGIES
from holdfast.learning.retention import strategy_class
from holdfast.measures import make_measure, measure_class
from holdfast.tasks.catalog import taken
from holdfast.tasks.prompts import HINTS
from holdfast.tasks.task import SPLITS
from holdfast.yamlfile import KeyPath, Problem, YamlFile, parse_value

NAMED = ("cards", "measures", "methods", "orders", "prompts", "tasks", "variants")  # their keys are names


def load_experiment(
    path: Path, overrides: Sequence[str] = (), announce: Callable[[str], object] = lambda reference: None
) -> Experiment:
    """Read and check an experiment file; nothing is run but the user's own code, to find what it defines.

    Paths of the model and of your own data are relative to the file's folder, `output`, `store` and
    `cache` to the current folder.

    Args:
        path: the file, or a run's folder.
        overrides: `key.sub=value` settings that replace the file's; values are YAML.
        announce: is told of each piece of the user's code (`FILE.py:NAME`) before any of it is run.

    Raises:
        InputError: with every error that was found, each with its place.
    """
    folder = path if path.is_dir() else None
    if folder is not None:
        path = folder / "config.yaml"
        if not path.exists():
            raise InputError(
                f"{folder} holds no config.yaml, so it is not a run's folder; 'holdfast run' makes one."
            )
    file = read_extended(path, _settle)
    data: dict[str, Any] = file.value
    called, set_here = data.get("name"), set(map(_override_path, overrides))
    if path.parent == folder and come_home(data, folder):
        called = folder.absolute().name
    for override in overrides:
        file.replace(_override_path(override), _override(data, override))
    if ("name",) in set_here and ("output",) not in set_here:
        follow_name(data, called)

    problems = [
        *_set_twice(data, file, set_here),
        *_without_effect(data, set_here),
        *_blank_measures(file),
    ]
    data = plugins.absolute(data, path.parent)  # also of the command line
    for reference in dict.fromkeys(plugins.references(data)):
        announce(reference)
    own = _merge_defaults(data, problems)
    families = _expand_grids(data, problems)
    if isinstance(data.get("name"), str):
        data.setdefault("output", str(Path("runs") / data["name"]))
    elif "output" not in data:
        data["output"] = "runs/unnamed"  # the missing name is reported
    prompts = data.setdefault("prompts", "standard")
    data.setdefault("hint", HINTS[prompts if isinstance(prompts, str) and prompts in HINTS else "standard"])
    try:
        data = _absolute_folders(_settle(data, path.parent))  # what the command line says, too
    except Misplaced as error:
        raise InputError(message(path, file, [*problems, (error.place, error.problem)], families)) from None
    whole = _methods(data, own, families, problems)
    problems += _without_method(data.get("methods"), set_here) if whole else ()
    _measures(data, problems)
    experiment = None
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        problems += [found for found in problems_of(error) if whole or found[0] != ("methods",)]
    if experiment is not None and whole:
        variants = as_validated(experiment.variants, experiment.methods)
        experiment = experiment.model_copy(update={"variants": variants})
        problems += check(experiment)
    if problems or experiment is None:
        raise InputError(message(path, file, problems, families))
    return experiment


def load_exam(
    overrides: Sequence[str] = (),
    like: Path | None = None,
    tasks: Sequence[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> Exam:
    """What checkpoints are asked: settings of the command line over those of an experiment, or the defaults.

    Args:
        overrides: `key.sub=value`; paths are relative to the current folder.
        like: an experiment file, or a run's folder; checkpoints are asked as it asks its policies.
        tasks: their names; one's own from the command line that are not among them come after them. None
            at all: those of `like`.
        defaults: settings of a suite; the others go before.

    Raises:
        InputError: with every error of the settings, or the first of the tasks.
    """
    data: dict[str, Any] = deepcopy(dict(defaults or {}))  # into which the command line goes
    if like is not None:
        experiment = load_experiment(like)
        data |= experiment.model_dump(mode="json", include={*ASKING, "seeds"}, exclude_unset=True)
        data.get("evaluation", {}).pop("sampler", None)  # a checkpoint answers itself
        data["style"] = next(iter(experiment.methods.values())).style
        tasks = tasks or experiment.sequence + experiment.general
    known, others = [*ASKING, "style", "server"], {*tasks, *data.get("tasks", ())}
    problems: list[Problem] = []
    for override in overrides:
        key = _override_path(override)[0]
        if key in known or "=" not in override:
            _override(data, override)
        else:
            problems.append(((key,), f"unknown key{suggestion(key, known)}"))
    data["general"] = [*tasks, *(name for name in mapping(data.get("tasks")) if name not in others)]
    data.setdefault("prompts", "standard")
    data = _absolute_folders(_settle(data, Path()))
    exam = None
    try:
        exam = Exam.model_validate(data)
    except ValidationError as error:
        found = problems_of(error, Exam)
        problems += [(("--tasks",) if place[0] == "general" else place, text) for place, text in found]
    if exam is not None and exam.style not in exam.prompts:
        problems.append((("prompts",), f"has no template for the style {exam.style}"))
    if problems or exam is None:
        raise InputError(message("The command line", YamlFile(None), problems, {}))
    for name in exam.general:
        try:
            task, split = exam.task(name), exam.evaluation.split
        except InputError as error:
            if like is not None or name in exam.tasks or taken(name):
                raise
            raise InputError(f"{error} One of an experiment's own is asked with --like CONFIG.") from None
        check_split(task, split, exam.count(task, split), own=name in exam.tasks)
    return exam


def _override(data: dict[str, Any], override: str) -> YamlFile:
    """Put a `key.sub=value` into the settings; what its value says."""
    _, equals, text = override.partition("=")
    if not equals or not all(_override_path(override)):
        raise InputError(f"'{override}' is not an override; write key=value or key.sub=value.")
    *parents, last = _override_path(override)
    if (*parents, last) == ("extends",):
        raise InputError(f"'{override}' cannot be set: a file says itself what it extends.")
    methods = mapping(data.get("methods"))
    if parents[:1] == ["methods"] and methods and {*parents[1:2]} - {*methods}:
        known = ", ".join(map(str, methods))
        raise InputError(f"'{override}' cannot be set: there is no method '{parents[1]}', only {known}.")
    place = data
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise InputError(f"'{override}' cannot be set: {parent} has no keys of its own.")
    said = parse_value(text, ".".join(_override_path(override)))
    if said.value is None and parents and not parents[1:] and parents[0] in NAMED and last in place:
        del place[last]  # as in a file that extends another
    else:
        place[last] = said.value
    return said


def _override_path(override: str) -> tuple[str, ...]:
    return tuple(override.partition("=")[0].strip().split("."))


def _set_twice(data: dict[str, Any], file: YamlFile, set_here: set[tuple[str, ...]]) -> Iterator[Problem]:
    """Settings of a method that its grid, or that of the defaults, would replace without a word. An axis
    from the command line may replace what the file says, and any axis what a YAML merge brings in.

    Args:
        set_here: the paths that the command line sets.
    """
    common = mapping(mapping(data.get("defaults")).get("grid"))
    for name, method in mapping(data.get("methods")).items():
        own_grid = mapping(method).get("grid", {})
        if not isinstance(own_grid, dict):
            continue  # null: not even the grid of the defaults
        for place, grid in {("defaults",): common, ("methods", str(name)): own_grid}.items():
            for key in grid:
                own: KeyPath = ("methods", str(name), *str(key).split("."))
                axis: KeyPath = (*place, "grid", str(key))
                if own in set_here or (own in file.lines and axis in file.lines):
                    other = file.others.get(own)
                    where = f" ({other.name} line {file.lines[own]})" if other else ""
                    yield axis, f"is set in the method '{name}', too{where}; take one of them out"


def _without_effect(data: dict[str, Any], set_here: set[tuple[str, ...]]) -> Iterator[Problem]:
    """Defaults from the command line that every method sets itself: nothing would change, without a word."""
    if not (methods := mapping(data.get("methods"))):
        return
    for place in sorted(set_here):
        keys = place[1:]
        if place[:1] == ("defaults",) and keys and all(_says(said or {}, keys) for said in methods.values()):
            instead = ".".join(("methods", str(next(iter(methods))), *keys))
            yield place, f"changes nothing, as every method sets it itself; say {instead}"


def _without_method(methods: Any, set_here: set[tuple[str, ...]]) -> Iterator[Problem]:
    """Likewise those of a setting that no method has."""
    for place in sorted(set_here):
        having = objectives_with(place[1]) if place[:1] == ("defaults",) and place[1:] else []
        if having and not any(place[1] in type(method).model_fields for method in mapping(methods).values()):
            yield place, f"changes nothing, as no method has it: it is a setting of {', '.join(having)}"


def _says(method: Any, keys: tuple[str, ...]) -> bool:
    """Whether a method sets this, as a value or as an axis of its grid."""
    if ".".join(keys) in mapping(mapping(method).get("grid")):
        return True
    for key in keys:
        if not isinstance(method, dict):
            return True  # no mapping to merge with
        if key not in method:
            return False
        method = method[key]
    return not isinstance(method, dict)


def _blank_measures(file: YamlFile) -> Iterator[Problem]:
    """Measures without a word of how, which would be null: none."""
    for place in file.blank:
        if place[:1] == ("measures",) and len(place) == 2 and file.says(place):
            yield place, f"measures nothing like this; write `{place[1]}: {{}}`, or null to leave it out"


def _merge_defaults(data: dict[str, Any], problems: list[Problem]) -> dict[str, set[str]]:
    """Put `defaults` under every method and take the key away; the keys that each method says itself."""
    defaults = data.pop("defaults", None)
    defaults = {} if defaults is None else defaults
    methods = data.get("methods")
    if not isinstance(defaults, dict):
        problems.append((("defaults",), "must be a mapping of method settings"))
        defaults = {}
    known = every_setting([defaults, *mapping(methods).values()])
    for key in [key for key in defaults if key not in (*known, "grid")]:
        hint = misplaced(str(key)) or suggestion(str(key), known)
        problems.append((("defaults", str(key)), f"unknown key{hint}"))
        del defaults[key]
    if not isinstance(methods, dict):
        return {}
    data["methods"] = {
        name: merge(defaults, method or {}, null_removes=False) if isinstance(method, dict | None) else method
        for name, method in methods.items()
    }
    own = {}
    for name, method in methods.items():
        said = mapping(method)
        own[str(name)] = {*map(str, said), *(str(axis).split(".")[0] for axis in mapping(said.get("grid")))}
    return own


def _methods(
    data: dict[str, Any],
    own: Mapping[str, set[str]],
    families: Mapping[str, str],
    problems: list[Problem],
) -> bool:
    """Make each method of the class that it chooses; whether all could be made.

    A setting that only some ways of learning have may stand in the defaults for all.
    """
    methods, made = data.get("methods"), dict[str, Method]()
    if not isinstance(methods, dict):
        return True  # which is reported with the other types
    for name, settings in methods.items():
        where: KeyPath = ("methods", str(name))
        if not isinstance(settings, dict):
            problems.append((where, "must be a mapping (key: value)"))
            continue
        try:
            chosen = method_class(settings)
        except InputError as error:
            missing = "objective" not in settings
            text = f"is missing; it {error}".partition(", not None")[0] if missing else str(error)
            problems.append(((*where, "objective"), text))
            continue
        said = own.get(families.get(str(name), str(name)), set())
        kept = {key: value for key, value in settings.items() if key in chosen.model_fields or key in said}
        try:
            made[name] = chosen.model_validate(kept)
        except ValidationError as error:
            problems += problems_of(error, chosen, where)
    data["methods"] = made
    return len(made) == len(methods)


def _measures(data: dict[str, Any], problems: list[Problem]) -> None:
    """Make each measure of the class that its key names; null stands for none."""
    said = data.get("measures", {})
    if not isinstance(said, dict):
        return  # which is reported with the other types
    made = {}
    for key, settings in said.items():
        where: KeyPath = ("measures", str(key))
        try:
            if settings is not None:
                made[key] = make_measure(key, settings)
        except InputError as error:
            problems.append((where, str(error)))
        except ValidationError as error:
            problems += problems_of(error, measure_class(key), where)
    data["measures"] = made


def _expand_grids(data: dict[str, Any], problems: list[Problem]) -> dict[str, str]:
    """Put the methods that a grid stands for in its place; the result says whose grid made which."""
    if not isinstance(methods := data.get("methods"), dict):
        return {}
    data["methods"], made = expand(methods, lambda where, text: problems.append((where, text)))
    said = data.get("variants") or {}
    if made and isinstance(said, dict):  # else it is reported with the other types
        data["variants"] = {**said, **made}
    return {name: variant["of"] for name, variant in made.items()}


def _absolute_folders(data: dict[str, Any]) -> dict[str, Any]:
    """The same with the folders that are written absolute, from the current one."""
    keys = ("output", "store", "cache")
    folders = {key: data.get(key, Experiment.model_fields[key].default) for key in keys}
    return data | {
        key: str(path_of(str(value), (key,)).absolute())
        for key, value in folders.items()
        if isinstance(value, str | Path) and not (key == "store" and is_url(str(value)))
    }


def settled(data: dict[str, Any]) -> dict[str, Any]:
    """Settings that no file says, as one in the current folder would mean them."""
    if isinstance(extended := data.get("extends"), str):
        data = data | {"extends": str(Path(extended).absolute())}
    try:
        return _settle(data, Path())
    except Misplaced:  # which is told where they are read
        return data


def _settle(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same with paths of data and of code absolute, from the folder of the file that says them."""
    data = plugins.absolute(data, folder)
    model = mapping(data.get("model"))
    if isinstance(path := model.get("path"), str):
        found = folder / path_of(path, ("model", "path"))
        if found.is_dir() and path != "embedded":
            data["model"] = {**model, "path": str(real(found))}
    tasks = data.get("tasks")
    if isinstance(tasks, dict):
        data["tasks"] = {name: _with_paths(str(name), task, folder) for name, task in tasks.items()}
    methods = data.get("methods")
    if isinstance(methods, dict):
        data["methods"] = {
            name: _with_files(method, ("methods", str(name)), folder) for name, method in methods.items()
        }
    if "defaults" in data:
        data["defaults"] = _with_files(data["defaults"], ("defaults",), folder)
    return data


def _with_files(method: Any, place: tuple[str, ...], folder: Path) -> Any:
    """A method's settings with the paths of files that its strategies read made absolute."""
    if not isinstance(method, dict) or "retention" not in method:
        return method

    def settled(strategy: Any) -> Any:
        kind = mapping(strategy).get("kind")
        if not isinstance(kind, str) or kind not in STRATEGIES:
            return strategy
        files = [name for name in strategy_class(kind).files if isinstance(strategy.get(name), str)]
        paths = {name: path_of(strategy[name], (*place, "retention", name)) for name in files}
        return strategy | {name: str(real(folder / path)) for name, path in paths.items()}

    given = method["retention"]
    return method | {"retention": [*map(settled, given)] if isinstance(given, list) else settled(given)}


def _with_paths(name: str, task: Any, folder: Path) -> Any:
    """A task's settings with the paths of its files made absolute; what a hub id may be stays as it is."""
    if not isinstance(task, dict) or task.get("hub") == "":  # which would be the folder itself
        return task
    keys = ("hub",) if "hub" in task else SPLITS
    named = {key: path_of(task[key], ("tasks", name, key)) for key in keys if isinstance(task.get(key), str)}
    paths = {key: real(folder / path) for key, path in named.items()}
    return task | {key: str(path) for key, path in paths.items() if key != "hub" or path.exists()}
