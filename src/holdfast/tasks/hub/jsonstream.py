"""Reading JSON files of any size item by item (GQA's questions take a gigabyte)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast.errors import InputError

CHUNK = 1 << 20  # characters
_DECODER = json.JSONDecoder()


def items(path: Path, key: str | None = None) -> Iterator[tuple[str | int, Any]]:
    """Items of the file's object or list: (key, value) or (position, value).

    Args:
        key: iterate over the list (or object) under this key of the file's object instead.

    Raises:
        InputError: it is not JSON, ends too early, or has no such key.
    """
    with path.open(encoding="utf-8-sig") as file:
        reader = _Reader(file, path)
        if key is None:
            yield from reader.container()
            return
        reader.expect("{")
        while True:
            name = reader.value()
            reader.expect(":")
            if name == key:
                yield from reader.container()
                return
            reader.value()
            if reader.expect(",}") == "}":
                raise InputError(f"{path} has no '{key}'; is it a file of another data set?")


def lines(path: Path) -> Iterator[Any]:
    """Objects of a JSON Lines file.

    Raises:
        InputError: naming the broken line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield json.loads(line.decode("utf-8-sig"))
                except ValueError as error:  # broken JSON, or no UTF-8
                    raise InputError(f"{path}, line {number}: broken JSON: {error}.") from None


def whole(path: Path) -> dict[str, Any]:
    """The object of a small JSON file.

    Raises:
        InputError: it is broken, or no object.
    """
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is broken or incomplete ({error}); download it again.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no object; is it a file of another data set?")
    return value


class _Reader:
    """A window on the file that grows while a value is incomplete."""

    def __init__(self, file: Any, path: Path) -> None:
        self.file, self.path = file, path
        self.text, self.place = "", 0

    def container(self) -> Iterator[tuple[str | int, Any]]:
        closing = "}" if self.expect("{[") == "{" else "]"
        if self.peek() == closing:
            return
        position = 0
        while True:
            name: str | int = position
            if closing == "}":
                name = self.value()
                self.expect(":")
            yield name, self.value()
            position += 1
            if self.expect("," + closing) == closing:
                return

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.place)
                if end < len(self.text) or not self.more():  # else a number may go on in the next chunk
                    self.place = end
                    return value
            except json.JSONDecodeError as error:
                if not self.more():
                    raise InputError(
                        f"{self.path} is broken or incomplete ({error.msg}); download it again."
                    ) from None

    def expect(self, characters: str) -> str:
        found = self.peek()
        if not found or found not in characters:
            wanted = " or ".join(characters)
            raise InputError(
                f"{self.path} is broken or incomplete (expected {wanted}, found {found or 'its end'}); "
                "download it again."
            )
        self.place += 1
        return found

    def peek(self) -> str:
        """The next character that is not white space; "" at the end."""
        while True:
            while self.place < len(self.text) and self.text[self.place].isspace():
                self.place += 1
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.more():
                return ""

    def more(self) -> bool:
        try:
            chunk = self.file.read(max(CHUNK, len(self.text) - self.place))
        except UnicodeDecodeError:
            raise InputError(f"{self.path} is not UTF-8 text; download it again.") from None
        self.text, self.place = self.text[self.place :] + chunk, 0
        return bool(chunk)
