"""Scorers and readers under a fuzzer that follows which lines an input reaches.

    pip install atheris
    python benchmarks/fuzz_coverage.py -max_total_time=120 [libFuzzer's options, or a folder of inputs]

The other half of `fuzz.py`: bytes instead of grammars, and what reaches a new line is varied further. Each
input is an answer and a reference for one scorer, rows of JSONL, or an experiment's YAML; anything but a
score from 0 to 1, an `Example`, an `Experiment` or an `InputError` ends it with the input.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["holdfast"]):
    from holdfast.config.load import load_experiment
    from holdfast.errors import InputError
    from holdfast.tasks.example import Example
    from holdfast.tasks.grading import grade
    from holdfast.tasks.jsonl import OwnTask, load_task
    from holdfast.tasks.scorers import FORMULAS, SCORERS
    from holdfast.tasks.task import Task

NAMES = sorted(set(SCORERS) - set(FORMULAS))  # computer algebra has processes of its own
LONGEST = 2000  # characters of an answer
folder = Path(tempfile.mkdtemp(prefix="fuzz-"))


def score(data: atheris.FuzzedDataProvider) -> None:
    name, style = data.PickValueInList(NAMES), data.PickValueInList(["cot", "direct"])
    reference = data.ConsumeUnicode(40)
    choices = ("a dog", "Vitamin C", "-5", "none of these") if data.ConsumeBool() else ()
    answer = data.ConsumeUnicode(LONGEST)
    example = Example("1", "?", reference, choices=choices, references=(reference,) * 3)
    task = Task("fuzz", 1, "", lambda split, count: [], {}, name)
    given = grade(task, example, answer, style).score
    assert 0 <= given <= 1, (name, answer, reference, given)


def read_row(data: atheris.FuzzedDataProvider) -> None:
    path = folder / "rows.jsonl"
    path.write_bytes(data.ConsumeBytes(LONGEST))
    load_task("fuzz", OwnTask(train=path, test=path)).examples("test")


def read_experiment(data: atheris.FuzzedDataProvider) -> None:
    path = folder / "experiment.yaml"
    path.write_bytes(data.ConsumeBytes(LONGEST))
    load_experiment(path)


def one_input(raw: bytes) -> None:
    data = atheris.FuzzedDataProvider(raw)
    target = data.PickValueInList([score, score, score, read_row, read_experiment])
    with suppress(InputError):  # said in words, as it should be
        target(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
