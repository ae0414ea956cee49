"""YAML that is none, or that would take for ever."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from holdfast.errors import InputError
from holdfast.yamlfile import parse_value, read_yaml

BOMB = "a0: &a0 [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MERGES = "b0: &b0 {x: 1}\n" + "".join(f"b{i}: &b{i} {{<<: [*b{i - 1}, *b{i - 1}]}}\n" for i in range(1, 26))


def message(folder: Path, content: str | bytes) -> str:
    path = folder / "x.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as told:
        read_yaml(path)
    said = str(told.value)
    assert str(path) in said and len(said) < 400 + len(str(path))
    return said


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a: 1\n---\nb: 2\n", "line 2, column 1: this is not valid YAML: found another document."),
        ("a: !!int abc\n", "line 1, column 4: this is not valid YAML: 'abc' is no whole number"),
        ("a: !!int ''\n", "'' is no whole number"),
        ("a: !!float x\n", "'x' is no number"),
        ("a: !!bool abc\n", "'abc' is no truth value"),
        ("a: !!timestamp abc\n", "could not determine a constructor"),
        ("a: 1\nb: " + "9" * 5000, "is no whole number"),
        ("a: 0x" + "f" * 20_000, "is no whole number"),
        ('a: "\\ud800"', "is no text that can be written"),
        ("a: 1\nb: \x07\n", "line 2: this is not valid YAML: it holds the character U+0007"),
        ("a: \0\n", "it holds the character U+0000"),
        (b"a: \xff\n", "what is not UTF-8 text"),
        ("[" * 200 + "]" * 200, "nested too deeply"),
        ("a: " + "{a: " * 5000, "nested too deeply"),
        (BOMB, "stands for more than 1,000,000 values"),
        (MERGES, "stands for more than 1,000,000 values"),
        (
            "a: 1\nb: !!set {x, y}\n",
            "line 2, column 4: this is not valid YAML: could not determine a constructor",
        ),
        ("a: !!binary aGVsbG8=\n", "could not determine a constructor"),
        ("a: !!map x\n", "line 1, column 4: this is not valid YAML"),
        (
            "a:\n  yes: 1\n",
            "line 2, column 3: this is not valid YAML: the key 'yes' is no text; put it in quotes",
        ),
        ("1.5: 1\n", "the key '1.5' is no text"),
        ("a: {rate: 1,5}\n", "line 1, column 13: this is not valid YAML: the key '5' is no text"),
        ("~: 1\n", "the key '~' is no text"),
        ("a: &a [*a]", "a value contains itself"),
        ("a: &a {<<: *a}", "a value contains itself"),
    ],
    ids=range(25),
)
def test_one_line_that_says_where(tmp_path: Path, content: str | bytes, expected: str) -> None:
    start = time.monotonic()
    assert expected in message(tmp_path, content)
    assert time.monotonic() - start < 5


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes into it
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match="is not a file"):
            read_yaml(path)


def test_aliases_are_kept(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n")
    assert read_yaml(tmp_path / "x.yaml").value == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 2},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-02", "2024-01-02"),
        ("2024-13-01", "2024-13-01"),
        ("1:30", "1:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("010", "010"),
        ("-0_7", "-0_7"),
        ("=", "="),
        ("0", 0),
        ("-1_000", -1000),
        ("0x10", 16),
        ("0.50", 0.5),
        ("yes", True),
    ],
)
def test_what_older_yaml_alone_reads_as_something_else_is_text(text: str, expected: object) -> None:
    assert parse_value(text).value == expected


@pytest.mark.slow
@pytest.mark.parametrize("text", ["!!int abc", "9" * 5000, "[" * 3000, "&a [*a]", "\x01", "["])
def test_values_of_the_command_line(text: str) -> None:
    with pytest.raises(InputError, match=r"not valid YAML|nested too deeply") as told:
        parse_value(text)
    assert len(str(told.value)) < 400


def test_a_value_of_the_command_line_is_told_by_its_key() -> None:
    with pytest.raises(InputError, match=r"^seeds: '\[0, 1' line 1, column 6: this is not valid YAML"):
        parse_value("[0, 1", "seeds")
