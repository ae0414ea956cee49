"""YAML that remembers its line numbers, so that a message can say where a value stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from holdfast.errors import InputError, reading, shortened
from holdfast.files import read_text

KeyPath = tuple[str | int, ...]
Problem = tuple[KeyPath, str]  # a place in a file, and what is wrong there
LARGEST = 1 << 24  # characters of a file; the largest grid that may be makes about half of them
MOST_VALUES = 1_000_000  # that a file stands for
DEEPEST = 100  # values within values


@dataclass
class YamlFile:
    """A parsed file.

    Attributes:
        value: what it says.
        lines: line number (from 1) of every key and list item, by its path from the top.
        blank: where nothing is written; an explicit null is something.
        others: the file that a key stands in, where that is another one.
        replaced: what the command line says in their place; it stands in no line.
    """

    value: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    blank: set[KeyPath] = field(default_factory=set)
    others: dict[KeyPath, Path] = field(default_factory=dict)
    replaced: set[KeyPath] = field(default_factory=set)

    def replace(self, path: KeyPath, said: YamlFile) -> None:
        """The command line says this: what it sets has no line in the file."""
        self._forget(path)
        self.replaced |= {(*path, *keys) for keys in ((), *said.lines)}
        self.blank |= {(*path, *keys) for keys in said.blank}

    def take_out(self, path: KeyPath) -> None:
        """Let the file say nothing there; what stands elsewhere by an alias is left as it is."""
        self.value = _without(self.value, path)
        self._forget(path)

    def _forget(self, path: KeyPath) -> None:
        for known in [known for known in self.lines if known[: len(path)] == path]:
            del self.lines[known]
        self.blank = {known for known in self.blank if known[: len(path)] != path}

    def says(self, path: KeyPath) -> bool:
        """Whether a key stands in the file, or it or a part of it on the command line in its place."""
        return path in self.lines or any(one[: len(path)] == path for one in self.replaced)

    def line(self, path: KeyPath) -> int | None:
        """The line where `path` stands, or else the closest thing that encloses it."""
        known = self._known(path)
        return None if known is None else self.lines[known]

    def where(self, path: KeyPath) -> str:
        """The same for a message, or that the command line says it; with the name of another file."""
        over = path not in self.lines and self.says(path)
        if over or self._is_replaced(path):
            return "in an override, "
        known = self._known(path)
        if known is None:
            return ""
        other = self.others.get(known)
        return f"{other.name + ' ' if other else ''}line {self.lines[known]}, "

    def _is_replaced(self, path: KeyPath) -> bool:
        return any(path[:size] in self.replaced for size in range(1, len(path) + 1))

    def _known(self, path: KeyPath) -> KeyPath | None:
        if self._is_replaced(path):
            return None
        return next((path[:size] for size in range(len(path), 0, -1) if path[:size] in self.lines), None)


def _without(value: Any, path: KeyPath) -> Any:
    if not isinstance(value, dict) or path[0] not in value:
        return value
    if len(path) == 1:
        return {key: inner for key, inner in value.items() if key != path[0]}
    return value | {path[0]: _without(value[path[0]], path[1:])}


def read_yaml(path: Path) -> YamlFile:
    """Parse a YAML file (plain data only).

    Raises:
        InputError: the file is missing, is not YAML, says the same key twice, or is far too large.
    """
    with reading(f"The file {path}"):
        if not path.exists():
            raise InputError(f"The file {path} does not exist.")
        if not path.is_file():  # reading a pipe or a device may never end
            raise InputError(f"{path} is not a file.")
        text = read_text(path)
    if len(text) > LARGEST:
        raise InputError(f"The file {path} has more than {LARGEST:,} characters; it cannot be an experiment.")
    return _parsed(text, str(path))


def parse_value(text: str, name: str = "") -> YamlFile:
    """A YAML value, as it stands on the command line.

    Args:
        name: of what it is the value, for messages.

    Raises:
        InputError: it is not YAML.
    """
    return _parsed(text, f"{name}{name and ': '}'{shortened(text)}'")


def _parsed(text: str, name: str) -> YamlFile:
    """What a text says; errors have their place in `name`."""
    file = YamlFile(None)
    repeated = []
    with _loader(text, name) as loader:
        if (node := loader.get_single_node()) is None:
            file.blank.add(())
            return file
        _check_size(node, {}, 0)
        for key_path, line, value in _keys(node, ()):
            if key_path in file.lines:
                key = ".".join(map(str, key_path))
                repeated.append(f"line {line}: {key} stands already in line {file.lines[key_path]}")
            file.lines.setdefault(key_path, line)
            if isinstance(value, yaml.ScalarNode) and not value.value and value.style is None:
                file.blank.add(key_path)
        if repeated:
            raise InputError(f"{name} says a key twice; keep one of them.\n  " + "\n  ".join(repeated))
        file.value = loader.construct_document(node)
    return file


_TAG = "tag:yaml.org,2002:"
_KINDS = {"int": "whole number", "float": "number", "bool": "truth value"}
_NO_TEXT = {f"{_TAG}{kind}" for kind in ("null", "bool", "int", "float")}
# Sets have no order, and none of the others is a plain value.
_NO_SETTINGS = {f"{_TAG}{kind}" for kind in ("set", "omap", "pairs", "binary", "timestamp", "value")}
_OLD_NUMBER = re.compile(r"[-+]?0_*[0-9]|.*:")


class _Loader(yaml.SafeLoader):
    """Says where a value stands that is not of its type, such as `!!int abc`.

    What older YAML alone reads as something else is text, as it stands there: 2024-01-02 as a date, 010 as 8,
    1:30 as 90. Where a number is wanted, the text 010 is the number 10.
    """

    yaml_constructors: ClassVar = {
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag not in _NO_SETTINGS
    }

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        tag: str = super().resolve(kind, value, implicit)
        old_number = tag in (f"{_TAG}int", f"{_TAG}float") and _OLD_NUMBER.match(value)
        return f"{_TAG}str" if old_number or tag in _NO_SETTINGS else tag

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag in _NO_TEXT:
                text = f"the key '{shortened(str(key.value))}' is no text; put it in quotes"
                raise ConstructorError(None, None, text, key.start_mark)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            made = super().construct_object(node, deep)
            if isinstance(node, yaml.ScalarNode):  # thousands of digits, half a character: no file holds them
                str(made).encode()
            return made
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception:  # Python's own, of as many kinds as there are types
            kind = _KINDS.get(node.tag.rpartition(":")[2], "text that can be written")
            text = f"'{shortened(str(node.value))}' is no {kind}; text goes in quotes"
            raise ConstructorError(None, None, text, node.start_mark) from None


@contextmanager
def _loader(text: str, name: str) -> Iterator[_Loader]:
    """What parses a text; its errors are told with their place in `name`."""
    loader = None
    try:
        loader = _Loader(text)
        yield loader
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = f"the character U+{error.character:04X}" if isinstance(error.character, int) else "a character"
        raise InputError(f"{name} line {line}: this is not valid YAML: it holds {code}.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(error.problem).removeprefix("but ")  # of a sentence whose beginning is no news
        raise InputError(f"{name}{where}: this is not valid YAML: {problem}.") from None
    except RecursionError:
        raise InputError(f"{name}: this is nested too deeply.") from None
    finally:
        if loader is not None:
            loader.dispose()


def _check_size(node: yaml.Node, sizes: dict[yaml.Node, int], depth: int) -> int:
    """How many values a node stands for, those behind aliases counted wherever they are used.

    Args:
        sizes: of what was seen; 0 while it is looked into.

    Raises:
        ConstructorError: they are too many or too deep, or a value contains itself.
    """
    if sizes.get(node) == 0:
        raise ConstructorError(None, None, "a value contains itself", node.start_mark)
    if depth > DEEPEST:
        raise ConstructorError(None, None, "this is nested too deeply", node.start_mark)
    if node not in sizes:
        sizes[node] = 0
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = chain.from_iterable(inner) if isinstance(node, yaml.MappingNode) else inner
        sizes[node] = 1 + sum(_check_size(part, sizes, depth + 1) for part in parts)
    if sizes[node] > MOST_VALUES:
        text = f"this stands for more than {MOST_VALUES:,} values"
        raise ConstructorError(None, None, text, node.start_mark)
    return sizes[node]


def _keys(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            here = (*path, str(key.value))
            yield here, key.start_mark.line + 1, value
            yield from _keys(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*path, index)
            yield here, value.start_mark.line + 1, value
            yield from _keys(value, here)
