"""Reading an experiment file: overrides, defaults and grids first, then every error at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from holdfast.config.checks import check
from holdfast.config.experiment import Experiment
from holdfast.config.grid import as_validated, expand
from holdfast.config.messages import follows, message, problem
from holdfast.errors import InputError, suggestion
from holdfast.learning.settings import Method
from holdfast.mechanism.settings import Measures
from holdfast.tasks.prompts import HINTS
from holdfast.yamlfile import KeyPath, YamlFile, parse_value, read_yaml


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
        problems += [problem(details) for details in error.errors() if not follows(details)]
    if experiment is not None:
        variants = as_validated(experiment.variants, experiment.methods)
        experiment = experiment.model_copy(update={"variants": variants})
        problems += check(experiment)
    if problems or experiment is None:
        raise InputError(message(path, file, problems, families))
    return experiment


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
    data["methods"], made = expand(methods, lambda where, text: problems.append((where, text)))
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
        data["tasks"] = {name: _with_paths(task, folder) for name, task in tasks.items()}
    for key in ("output", "store"):
        value = data.get(key, Experiment.model_fields[key].default)
        if isinstance(value, str | Path):
            data[key] = str(Path(value).expanduser().absolute())


def _with_paths(task: Any, folder: Path) -> Any:
    """A task's settings with the paths of its files made absolute; what a hub id may be stays as it is."""
    if not isinstance(task, dict):
        return task
    keys = ("hub",) if "hub" in task else ("train", "validation", "test")
    named = {key: Path(task[key]).expanduser() for key in keys if isinstance(task.get(key), str)}
    paths = {key: (folder / path).resolve() for key, path in named.items()}
    return task | {key: str(path) for key, path in paths.items() if key != "hub" or path.exists()}
