"""`extends: FILE`: an experiment file that says only what differs from another one.

Mappings are merged key by key; anything else replaces what the other file says, and null takes it away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.errors import InputError
from holdfast.files import is_url, real, user_path
from holdfast.yamlfile import KeyPath, YamlFile, read_yaml

KEY = "extends"


class Misplaced(InputError):
    """A path that cannot be one, and the key that says it."""

    def __init__(self, place: KeyPath, problem: str) -> None:
        super().__init__(f"{'.'.join(map(str, place))}: {problem}")
        self.place, self.problem = place, problem.rstrip(".")


def path_of(text: str, place: KeyPath) -> Path:
    """As `user_path`, of what a key says.

    Raises:
        Misplaced: it is no path.
    """
    try:
        return user_path(text)
    except InputError as error:
        raise Misplaced(place, str(error)) from None


def read_extended(
    path: Path, settle: Callable[[dict[str, Any], Path], dict[str, Any]], above: tuple[Path, ...] = ()
) -> YamlFile:
    """Read an experiment file over those that it extends.

    Args:
        settle: makes what a file says independent of the folder it lies in.
        above: the files that extend this one.

    Raises:
        InputError: a file is missing or no mapping, or extends itself.
    """
    file = read_yaml(path)
    if not isinstance(file.value, dict):
        raise InputError(f"{path} holds no settings; it must be a YAML mapping, such as 'name: my-study'.")
    own = {str(key): value for key, value in file.value.items()}
    said = own.pop(KEY, None)
    with _named(path, file):
        file.value = settle(own, path.parent)
    if said is None:
        return file
    where = f"{path} line {file.line((KEY,))}, {KEY}"
    if not isinstance(said, str):
        raise InputError(f"{where}: must be the path of one experiment file, not {said!r}.")
    with _named(path, file):
        base_path = real(path.parent / path_of(said, (KEY,)))
    above = (*above, real(path))
    if base_path in above:
        circle = " → ".join(one.name for one in (*above[above.index(base_path) :], base_path))
        raise InputError(f"{where}: the files extend one another in a circle: {circle}.")
    if not base_path.is_file():
        raise InputError(f"{where}: there is no file {base_path}.")
    base = read_extended(base_path, settle, above)
    _make_room_for_axes(base, file)
    merged = merge(base.value, file.value)
    if "output" not in file.value:
        follow_name(merged, base.value.get("name"))
    return YamlFile(
        merged,
        base.lines | file.lines,
        {place for place in base.blank if place not in file.lines} | file.blank,
        {place: base_path for place in base.lines if place not in file.lines}
        | {place: other for place, other in base.others.items() if place not in file.lines},
    )


def _make_room_for_axes(under: YamlFile, over: YamlFile) -> None:
    """Take out of a file's methods what the one on top of it makes an axis of their grids, so that a value
    can become an axis. Null beside the axis says the same."""
    for name, method in mapping(over.value.get("methods")).items():
        for axis in mapping(mapping(method).get("grid")):
            place: KeyPath = ("methods", str(name), *str(axis).split("."))
            if place in under.lines and _at(over.value, place) is None:
                under.take_out(place)
                over.take_out(place)


def _at(value: Any, place: KeyPath) -> Any:
    """What stands there; None where nothing does."""
    for key in place:
        value = mapping(value).get(key)
    return value


def mapping(value: Any) -> dict[Any, Any]:
    """A mapping of the file, or an empty one in the place of what else stands there, which is reported."""
    return value if isinstance(value, dict) else {}


def follow_name(data: dict[str, Any], before: object) -> None:
    """Let an `output` that is called after the run, as in a run's own config.yaml, be called after its new
    name: the other run's report is not to be replaced.

    Args:
        before: the name that the settings had.
    """
    name, output = data.get("name"), data.get("output")
    if isinstance(name, str) and name and isinstance(output, str) and Path(output).name == before:
        data["output"] = str(Path(output).parent / name)


def come_home(data: dict[str, Any], folder: Path) -> bool:
    """Let the settings in a run's folder speak of where it lies now, as folders are renamed and copied, and
    moved together with the store.

    Returns:
        Whether it was called after the run.
    """
    name, output, store = data.get("name"), data.get("output"), data.get("store")
    if not isinstance(output, str):
        return False
    home = folder.absolute()
    data["output"] = str(home)
    if isinstance(store, str) and not is_url(store) and not _has_results(Path(store)):
        moved = Path(os.path.normpath(home / os.path.relpath(store, output)))
        if _has_results(moved):
            data["store"] = str(moved)
    return Path(output).name == name


def _has_results(store: Path) -> bool:
    """Whether something was judged there; `holdfast plan` makes a store without."""
    return (store / "evaluate").is_dir()


@contextmanager
def _named(path: Path, file: YamlFile) -> Iterator[None]:
    try:
        yield
    except Misplaced as error:
        raise InputError(f"{path} {file.where(error.place)}{error}") from None


def merge(under: Mapping[str, Any], over: Mapping[str, Any], *, null_removes: bool = True) -> dict[str, Any]:
    """`over` on top of `under`, mappings key by key.

    Args:
        null_removes: null in `over` takes away what `under` has; else it is a value.
    """
    merged = dict(under)
    for key, value in over.items():
        if value is None and null_removes and key in under:
            del merged[key]
        elif isinstance(value, dict) and isinstance(under.get(key), dict):
            merged[key] = merge(under[key], value, null_removes=null_removes)
        else:
            merged[key] = value
    return merged
