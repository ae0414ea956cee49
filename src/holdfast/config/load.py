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
from holdfast.config.extend import Misplaced, come_home, follow_name, mapping, merge, read_extended
from holdfast.config.grid import as_validated, expand
from holdfast.config.messages import message, misplaced, problems_of
from holdfast.config.overrides import apply_override, override_path, set_twice, without_effect, without_method
from holdfast.config.paths import absolute_folders, settle
from holdfast.errors import InputError, suggestion
from holdfast.learning.methods import Method, every_setting, method_class
from holdfast.measures import make_measure, measure_class
from holdfast.tasks.catalog import taken
from holdfast.tasks.prompts import HINTS
from holdfast.yamlfile import KeyPath, Problem, YamlFile


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
    path = path if folder is None else _file_of_run(folder)
    set_here = set(map(override_path, overrides))
    file = _read(path, overrides, folder)
    data: dict[str, Any] = file.value
    problems = [
        *set_twice(data, file, set_here),
        *without_effect(data, set_here),
        *_blank_measures(file),
    ]
    data = plugins.absolute(data, path.parent)  # also of the command line
    for reference in dict.fromkeys(plugins.references(data)):
        announce(reference)
    own = _merge_defaults(data, problems)
    families = _expand_grids(data, problems)
    _fill_in(data)
    try:
        data = absolute_folders(settle(data, path.parent))  # what the command line says, too
    except Misplaced as error:
        raise InputError(message(path, file, [*problems, (error.place, error.problem)], families)) from None
    whole = _methods(data, own, families, problems)
    problems += without_method(data.get("methods"), set_here) if whole else ()
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


def _file_of_run(folder: Path) -> Path:
    """The settings that a run left in its folder.

    Raises:
        InputError: there are none.
    """
    path = folder / "config.yaml"
    if not path.exists():
        raise InputError(
            f"{folder} holds no config.yaml, so it is not a run's folder; 'holdfast run' makes one."
        )
    return path


def _read(path: Path, overrides: Sequence[str], folder: Path | None) -> YamlFile:
    """What a file says with those that it extends, and the command line over both.

    Args:
        folder: of the run that left the file; None for a file of the user's.
    """
    file = read_extended(path, settle)
    data: dict[str, Any] = file.value
    called, set_here = data.get("name"), set(map(override_path, overrides))
    if path.parent == folder and come_home(data, folder):
        called = folder.absolute().name
    for override in overrides:
        file.replace(override_path(override), apply_override(data, override))
    if ("name",) in set_here and ("output",) not in set_here:
        follow_name(data, called)
    return file


def _fill_in(data: dict[str, Any]) -> None:
    """Defaults that depend on other settings: the folder after the name, the hint of the prompt set."""
    if isinstance(data.get("name"), str):
        data.setdefault("output", str(Path("runs") / data["name"]))
    elif "output" not in data:
        data["output"] = "runs/unnamed"  # the missing name is reported
    prompts = data.setdefault("prompts", "standard")
    data.setdefault("hint", HINTS[prompts if isinstance(prompts, str) and prompts in HINTS else "standard"])


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
        key = override_path(override)[0]
        if key in known or "=" not in override:
            apply_override(data, override)
        else:
            problems.append(((key,), f"unknown key{suggestion(key, known)}"))
    data["general"] = [*tasks, *(name for name in mapping(data.get("tasks")) if name not in others)]
    data.setdefault("prompts", "standard")
    data = absolute_folders(settle(data, Path()))
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
