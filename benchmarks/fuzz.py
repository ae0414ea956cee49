"""Scorers and readers on what nobody would write: they must say what is wrong, and never fail or hang.

    pip install hypothesis
    python benchmarks/fuzz.py --minutes 10 [--seed 0]

- Every scorer, on made-up answers and references: no exception, a score from 0 to 1.
- The same on answers of 8,192 repeated tokens: at most 50 ms each (computer algebra, which has a limit and a
  process of its own, is left out).
- Rows of JSONL files: an `Example` or an `InputError`.
- YAML files of experiments: an `Experiment` or an `InputError`.

Prints how many inputs each took, and the first failures with the input; exits with 1 if there were any.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, given, seed, settings

from holdfast.config.experiment import Experiment
from holdfast.config.load import load_experiment
from holdfast.errors import InputError
from holdfast.tasks.example import Example
from holdfast.tasks.grading import grade
from holdfast.tasks.jsonl import OwnTask, load_task
from holdfast.tasks.scorers import SCORERS, latex
from holdfast.tasks.task import Task

TOKENS, SECONDS = 8192, 0.05
CHOICES = ("Vitamin D", "a cat", "12 m", "none of these")
CONFIG = Path(__file__).parents[1] / "configs" / "embedded" / "demo.yaml"

# Pieces that mean something to one reader or another.
PIECES = st.sampled_from(
    [
        "\\boxed{", "}", "{", "<think>", "</think>", "<answer>", "</answer>", "**", "*", "`", "$", "\\(",
        "\\)", "\\[",
        "\\]", "\\frac", "\\sqrt", "\\frac{1}{2}", "\\text{", "\\sqrt{", "\\mathrm{", "[", "]", "(", ")",
        "^", "_",
        "^{2}", "^\\circ", "\\times", "10^{3}", "\\pi", "π", "√", "∞", "−", "–", "1", "12", "1,200", "3,5",
        ".5", "1e5",
        "1e999", "5!", "0", "00", "-0", "0x1F", "1_000", ">5", "=", "≈", ":", ";", ",", ".", "cm", "m^2",
        "%", "A", "B",
        "C", "(B)", "B.", "yes", "no", "not", "isn't", "The", "answer", "is", "Answer:", "or", "and",
        "None", "nan",
        "inf", "true", "vitamin", "dog", "答案是B", "１２", "²", "½", "é", "/", "|", "~", "&", "#", "@", "'",
        "’", '"', "\\",
        "\\\\", "a\u0301", "\n", "\t", "\0", "\u2028", "\ud83d", "\U0001f600", " ", "?",
    ]
)  # fmt: skip
WORDED = st.lists(PIECES | st.text(max_size=6), max_size=14).flatmap(
    lambda parts: st.sampled_from([" ", "", "\n"]).map(lambda between: between.join(parts))
)
TEXT = WORDED | st.text(max_size=60)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda one: st.lists(one, max_size=4) | st.dictionaries(TEXT, one, max_size=4),
    max_leaves=8,
)


class Report:
    """What one target took and where it failed."""

    def __init__(self, name: str) -> None:
        self.name, self.inputs, self.slowest, self.failures = name, 0, 0.0, dict[str, str]()

    def fail(self, what: str, data: object) -> None:
        """The first input of each kind of failure is kept."""
        self.failures.setdefault(what, repr(data)[:300])

    def raised(self, error: Exception, data: object) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        own = next(frame for frame in reversed(frames) if "holdfast" in frame.filename or frame == frames[0])
        where = f"{Path(own.filename).name}:{own.lineno}"
        self.fail(f"{type(error).__name__} from {where}: {error}"[:160].split("\n")[0].split(" #x")[0], data)


def graded(report: Report, scorer: str, answer: str, reference: str, style: Any, limit: float = 0.0) -> None:
    references = (reference,) * 3 if scorer in ("vqa", "mmmu") else ()
    example = Example(
        "1", "?", reference, choices=CHOICES if "?" in answer[:9] else (), references=references
    )
    task = Task("fuzz", 1, "", lambda split, count: [], {}, scorer)

    def timed() -> tuple[float, float]:
        start = time.process_time()
        return grade(task, example, answer, style).score, time.process_time() - start

    try:
        score, took = timed()
        if limit and took > limit:  # once more: it may have been the garbage collector
            took = min(took, timed()[1])
    except Exception as error:
        report.raised(error, (scorer, answer, reference, style))
        return
    report.inputs, report.slowest = report.inputs + 1, max(report.slowest, took)
    if not 0 <= score <= 1:
        report.fail(f"{scorer}: score {score}", (answer, reference, style))
    if limit and took > limit:
        report.fail(f"{scorer}: {took:.2f} s", (answer[:60], len(answer), reference, style))


def scorers(report: Report) -> Callable[[], None]:
    @given(st.sampled_from(list(SCORERS)), TEXT, TEXT, st.sampled_from(["cot", "direct"]))
    def test(scorer: str, answer: str, reference: str, style: str) -> None:
        graded(report, scorer, answer, reference, style)

    return test


def long_answers(report: Report) -> Callable[[], None]:
    @given(
        st.sampled_from(list(SCORERS)),
        st.lists(PIECES, max_size=3),
        PIECES,
        PIECES,
        st.sampled_from(["cot", "direct"]),
    )
    def test(scorer: str, start: list[str], one: str, other: str, style: str) -> None:
        answer = " ".join(start) + f"{one} {other} " * (TOKENS // 2)
        graded(report, scorer, answer, "13.9" if scorer != "yes_no" else "yes", style, SECONDS)

    return test


def jsonl_rows(report: Report, folder: Path) -> Callable[[], None]:
    fields = st.sampled_from(
        ["prompt", "answer", "images", "choices", "id", "rationale", "aliases", "references", "image", "x"]
    )
    plain = st.fixed_dictionaries({"prompt": TEXT, "answer": TEXT}, optional={"id": VALUE, "choices": VALUE})
    row = (plain | st.dictionaries(fields, VALUE, max_size=6) | VALUE).map(
        lambda value: json.dumps(value).encode()
    )

    @given(st.sampled_from(list(SCORERS)), st.lists(row | st.binary(max_size=40), min_size=1, max_size=3))
    def test(scorer: str, rows: list[bytes]) -> None:
        file = folder / "rows.jsonl"
        file.write_bytes(b"\n".join(rows))
        report.inputs += 1
        try:
            examples = load_task("fuzz", OwnTask(test=file, scorer=scorer)).examples("test")
        except InputError:
            return
        except Exception as error:
            report.raised(error, (scorer, rows))
            return
        if not all(isinstance(one, Example) for one in examples):
            report.fail(f"{scorer}: no Example", rows)

    return test


def yaml_files(report: Report, folder: Path) -> Callable[[], None]:
    lines = CONFIG.read_text(encoding="utf-8").splitlines()
    places = st.integers(0, len(lines) - 1)
    bit = st.sampled_from(
        [":", "- ", "{", "}", "[", "]", "&a", "*a", "!!python/object:x", "<<: ", "|", "'", "\t", "1e9"]
    )
    change = st.tuples(places, st.sampled_from(["drop", "twice", "value", "insert", "deeper"]), TEXT | bit)

    def changed(how: list[tuple[int, str, str]]) -> str:
        made = list(lines)
        for place, kind, text in how:
            line = made[place]
            key, colon, _ = line.partition(":")
            made[place] = {
                "drop": "", "twice": f"{line}\n{line}", "value": f"{key}{colon} {text}",
                "insert": f"{line[: len(text)]}{text}{line[len(text) :]}", "deeper": f"  {line}",
            }[kind]  # fmt: skip
        return "\n".join(made)

    @given(st.lists(change, min_size=1, max_size=4).map(changed) | TEXT)
    def test(text: str) -> None:
        file = folder / "experiment.yaml"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        report.inputs += 1
        try:
            read = load_experiment(file)
        except InputError:
            return
        except Exception as error:
            report.raised(error, text)
            return
        if not isinstance(read, Experiment):
            report.fail("no Experiment", text)

    return test


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    wanted = [Report(name) for name in ("scorers", "long answers", "JSONL rows", "YAML files")]
    with (
        tempfile.TemporaryDirectory() as name,
        patch.multiple(latex, equal=lambda *_: False, mathruler_version=lambda: None),
    ):
        folder = Path(name)
        tests = (
            scorers(wanted[0]), long_answers(wanted[1]),
            jsonl_rows(wanted[2], folder), yaml_files(wanted[3], folder),
        )  # fmt: skip
        for report, test in zip(wanted, tests, strict=True):
            profile = settings(
                max_examples=500, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            begin, rounds, run = time.monotonic(), 0, profile(test)
            while time.monotonic() - begin < 60 * asked.minutes / len(tests):
                seed(asked.seed * 1_000_000 + rounds)(run)()
                rounds += 1
            slowest = f", slowest {1000 * report.slowest:.0f} ms" if report.slowest else ""
            print(
                f"{report.name}: {report.inputs:,} inputs, {len(report.failures)} failures{slowest}",
                flush=True,
            )
            for what, data in list(report.failures.items())[:20]:
                print(f"  {what}\n    {data}")
    return int(any(report.failures for report in wanted))


if __name__ == "__main__":
    raise SystemExit(main())
