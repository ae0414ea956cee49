"""YAML that remembers its line numbers, so that a message can say where a value stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from holdfast.errors import InputError

KeyPath = tuple[str | int, ...]


@dataclass
class YamlFile:
    """A parsed file.

    Attributes:
        value: what it says.
        lines: line number (from 1) of every key and list item, by its path from the top.
        blank: where nothing is written; an explicit null is something.
        others: the file that a key stands in, where that is another one.
    """

    value: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    blank: set[KeyPath] = field(default_factory=set)
    others: dict[KeyPath, Path] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """The line where `path` stands, or else the closest thing that encloses it."""
        known = self._known(path)
        return None if known is None else self.lines[known]

    def where(self, path: KeyPath) -> str:
        """The same for a message, with the name of another file: `line 3, `, or nothing."""
        known = self._known(path)
        if known is None:
            return ""
        other = self.others.get(known)
        return f"{other.name + ' ' if other else ''}line {self.lines[known]}, "

    def _known(self, path: KeyPath) -> KeyPath | None:
        return next((path[:size] for size in range(len(path), 0, -1) if path[:size] in self.lines), None)


def read_yaml(path: Path) -> YamlFile:
    """Parse a YAML file (plain data only).

    Raises:
        InputError: the file is missing, is not YAML, or says the same key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"The file {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file {path} cannot be read: {error}.") from None
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return YamlFile(None)
        file = YamlFile(None)
        repeated = []
        for key_path, line, value in _keys(node, (), ()):
            if key_path in file.lines:
                name = ".".join(map(str, key_path))
                repeated.append(f"line {line}: {name} stands already in line {file.lines[key_path]}")
            file.lines.setdefault(key_path, line)
            if isinstance(value, yaml.ScalarNode) and not value.value and value.style is None:
                file.blank.add(key_path)
        if repeated:
            raise InputError(f"{path} says a key twice; keep one of them.\n  " + "\n  ".join(repeated))
        file.value = loader.construct_document(node)
        return file
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise InputError(f"{path}{where}: this is not valid YAML: {problem}.") from None
    finally:
        loader.dispose()


def parse_value(text: str) -> Any:
    """One YAML value, as it stands on the command line.

    Raises:
        InputError: it is not YAML.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"'{text}' is not a YAML value: {getattr(error, 'problem', error)}.") from None


def _keys(
    node: yaml.Node, path: KeyPath, parents: tuple[yaml.Node, ...]
) -> Iterator[tuple[KeyPath, int, yaml.Node]]:
    if node in parents:  # an alias to something that contains it
        raise yaml.constructor.ConstructorError(None, None, "a value contains itself", node.start_mark)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            here = (*path, str(key.value))
            yield here, key.start_mark.line + 1, value
            yield from _keys(value, here, (*parents, node))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*path, index)
            yield here, value.start_mark.line + 1, value
            yield from _keys(value, here, (*parents, node))
