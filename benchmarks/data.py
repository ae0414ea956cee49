"""What preparing, loading and scoring cost: a GQA-style set of 100,000 rows, 10,000 short answers.

Targets: preparing at 2,000 rows a second in less than 1 GiB, loading in 2 s, each scorer 2 s,
1,000 formulas 20 s.
Run with `python benchmarks/data.py` (about half a minute on one core; Linux, for the peak memory).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from holdfast.tasks.catalog import get_task
from holdfast.tasks.example import Example
from holdfast.tasks.scorers import SCORERS, latex
from hub_fixtures import IMAGE, gqa_row, hub_image, table  # the rows that the tests are made of

ROWS, ROWS_AN_IMAGE, IMAGE_BYTES, ANSWERS, FORMULAS = 100_000, 13, 20_000, 10_000, 1_000
PREPARE = """
import sys, time; from pathlib import Path
from holdfast.tasks.benchmarks import BENCHMARKS; from holdfast.tasks.source import from_folder
from holdfast.tasks.prepare import prepare
start, gqa = time.perf_counter(), BENCHMARKS['gqa']
prepare(gqa, from_folder(gqa, Path(sys.argv[1])), Path(sys.argv[2]))
print(time.perf_counter() - start, Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])
"""


def make_source(folder: Path) -> None:
    """The two tables of GQA, as on the hub."""
    rows = [{"id": f"{n:08d}", **gqa_row(n), "imageId": f"n{n // ROWS_AN_IMAGE}"} for n in range(ROWS)]
    table(folder / "train_balanced_instructions" / "train-00000-of-00001.parquet", rows)
    padding = os.urandom(IMAGE_BYTES)
    images = [{"id": f"n{n}", "image": hub_image(n % 256)} for n in range(ROWS // ROWS_AN_IMAGE + 1)]
    for number, row in enumerate(images):
        row["image"]["bytes"] += str(number).encode() + padding + b"\xff\xd9"  # what follows is not shown
    table(folder / "train_balanced_images" / "train-00000-of-00001.parquet", images, image=IMAGE)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, prepared = Path(name) / "source", Path(name) / "data"
        make_source(folder)
        command = [sys.executable, "-c", PREPARE, str(folder), str(prepared / "gqa")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, kibibytes = map(float, done.stdout.split())
        print(f"prepare: {ROWS / seconds:,.0f} rows/s, peak {kibibytes / 2**10:,.0f} MiB")
        os.environ["HOLDFAST_DATA"] = str(prepared)
        start = time.perf_counter()
        assert len(get_task("gqa").examples("train")) == ROWS
        print(f"load: {time.perf_counter() - start:.2f} s")
    rng = random.Random(0)
    stock = ["Yes", "no", "A. dog", "the red bus", "12.5", "Unanswerable", "two", "(C)"]
    answers = [f"{rng.choice(stock)} {rng.randrange(5000)}".rstrip("0") for _ in range(ANSWERS)]
    example = Example(
        id="1",
        prompt="?",
        answer="B",
        choices=("red", "blue", "green", "grey"),
        references=("red bus", "bus", "a red bus", "bus 7") * 2,
    )
    for scorer in SCORERS:
        start = time.perf_counter()
        for answer in answers:
            SCORERS[scorer](answer, example)
        print(f"{scorer}: {ANSWERS:,} answers in {time.perf_counter() - start:.2f} s")
    pairs = [(rf"{n} x + \sqrt{{{n + 2}}} y", rf"\sqrt{{{n + 2}}} y + {n} x") for n in range(FORMULAS)]
    start = time.perf_counter()
    assert all(latex.equal(*pair) for pair in pairs)
    print(f"formulas: {FORMULAS:,} pairs in {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
