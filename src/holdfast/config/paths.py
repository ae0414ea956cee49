"""Paths that settings hold, made absolute: from the folder of the file that says them, or the current one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast import plugins
from holdfast.config.experiment import Experiment
from holdfast.config.extend import Misplaced, mapping, path_of
from holdfast.files import is_url, real
from holdfast.learning.retention import KINDS as STRATEGIES
from holdfast.learning.retention import strategy_class
from holdfast.tasks.task import SPLITS


def absolute_folders(data: dict[str, Any]) -> dict[str, Any]:
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
        return settle(data, Path())
    except Misplaced:  # which is told where they are read
        return data


def settle(data: dict[str, Any], folder: Path) -> dict[str, Any]:
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
