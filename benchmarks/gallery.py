"""What a gallery of many items weighs, and how long it takes to open and to filter.

    python benchmarks/gallery.py                   50,000 items, two runs of ten stages, some 900 photographs
    python benchmarks/gallery.py --items 5000
    python benchmarks/gallery.py --save            and a dated table in benchmarks/results

Items are made up: ten tasks in a row, responses that are all different, pictures of noise on gradients,
which shrink worse than photographs do. Times are taken in the page: from its address to the first painted
list, and from a change of a filter to its list. They need Chromium; the machine should be idle.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from holdfast.analysis.results import MethodRun, Record, Results
from holdfast.report.gallery.page import gallery
from holdfast.report.gallery.thumbnails import MOST_PICTURES, Album, Shelf
from holdfast.tasks.example import Example, LazyImage

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from chromium import PROGRAM, Tab, browser

TASKS = tuple(f"task_{letter}" for letter in "abcdefghij")
WORDS = (
    *("the", "a", "sign", "holds", "three", "red", "circles", "left", "of", "square", "above", "is"),
    *("not", "seen", "on", "behind", "two", "cells"),
)
FILTERS = {
    "one run": "set({run: '0'})",
    "lost": "set({fate: 'lost'})",
    "at stage 5": "set({stage: '5'})",
    "one task": "set({task: '3'})",
    "all tasks again": "set({task: '', stage: ''})",
    "lost to knowledge": "set({kind: 'knowledge'})",
    "beside another run, right there": "set({kind: '', fate: '', beside: '1', both: 'right'})",
    "a word in any text": "set({beside: '', run: '', q: 'behind'})",
    "another word": "set({q: 'circles left'})",
    "a number": "set({q: '4321'})",
    "nothing asked": "set({q: ''})",
}


def records(task: str, stage: int, count: int, generator: np.random.Generator) -> list[Record]:
    words = generator.integers(0, len(WORDS), (count, 14))
    kinds = generator.integers(0, 10, count)
    return [
        {
            "id": f"{task}-{index}",
            "prompt": f"question {index} of {task}: does {' '.join(WORDS[index % 7 : index % 7 + 12])} ?",
            "response": f"{' '.join(WORDS[word] for word in row)} {index * 31 + stage} \\boxed{{{kind}}}",
            "answer": str(kind), "reference": "5", "score": float(kind < 6), "lenient": float(kind < 7),
            "format": 1.0, "tokens": 20, "finished": bool(index % 40), "meta": {},
        }
        for index, (row, kind) in enumerate(zip(words, kinds.tolist(), strict=True))
    ]  # fmt: skip


def results(items: int) -> Results:
    """Two runs, and the base they share."""
    per_task, generator = items // len(TASKS), np.random.default_rng(0)
    base = {(0, task): records(task, 0, per_task, generator) for task in TASKS}
    runs = []
    for method in ("sft", "grpo"):
        later = {
            (stage, task): records(task, stage, per_task, generator)
            for stage in range(1, len(TASKS) + 1)
            for task in TASKS
        }
        runs.append(MethodRun(method, 0, "cot", False, method, base | later))
    return Results(f"{items:,} items", TASKS, (), {}, {}, tuple(runs))


class Photograph(LazyImage):
    """A picture of 640 × 480 that is made when it is read."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def read(self) -> bytes:
        generator = np.random.default_rng(self.seed)
        coarse = Image.fromarray(generator.integers(0, 255, (24, 32, 3), np.uint8))
        smooth = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC))
        noisy = np.clip(smooth + generator.normal(0, 9, smooth.shape), 0, 255).astype(np.uint8)
        out = io.BytesIO()
        Image.fromarray(noisy).save(out, format="JPEG")
        return out.getvalue()


def examples(task: str, per_task: int) -> list[Example]:
    first = TASKS.index(task) * per_task
    return [Example(f"{task}-{index}", "", "", (Photograph(first + index),)) for index in range(per_task)]


def opened(tab: Tab, url: str) -> float:
    """Milliseconds from the address to the painted list."""
    tab.open("about:blank")
    tab.open(url)
    return tab.ask(
        "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
    )


def filtered(tab: Tab, script: str) -> float:
    """Milliseconds of a change of the filters, its list built and laid out."""
    return tab.ask(
        f"(() => {{ const start = performance.now(); {script}; document.body.offsetHeight; "
        "return performance.now() - start; })()"
    )


def measure(items: int, repeats: int) -> list[str]:
    made, folder = results(items), Path(tempfile.mkdtemp())
    page, start = folder / "gallery.html", time.process_time()
    album = Album(MOST_PICTURES)
    page.write_bytes(gallery([made], Shelf(lambda task: examples(task, items // len(TASKS))), album))
    seconds = time.process_time() - start
    lines = [
        f"| written | {seconds:.1f} s of CPU |",
        f"| the file | {page.stat().st_size / 1e6:.1f} MB, with {len(album.pictures):,} pictures |",
    ]
    with browser(folder / "profile") as tab:
        tab.size(1300, 900)
        lines.append(_line("opened", [opened(tab, page.as_uri()) for _ in range(repeats)]))
        first = [filtered(tab, "set({q: 'sign'})")]
        lines.append(_line("the first search, which lowers the letters of all texts", first))
        times: dict[str, list[float]] = {name: [] for name in FILTERS}
        for _ in range(repeats):
            tab.ask("set({run: '', beside: '', both: '', task: '', stage: '', kind: '', fate: '', q: ''})")
            for name, script in FILTERS.items():
                times[name].append(filtered(tab, script))
        lines += [_line(f"filter: {name}", found) for name, found in times.items()]
    shutil.rmtree(folder)
    return lines


def _line(name: str, times: list[float]) -> str:
    return f"| {name} | {statistics.median(times):.0f} ms (most: {max(times):.0f}) |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="a dated table in benchmarks/results")
    options = parser.parse_args()
    if PROGRAM is None:
        sys.exit("No Chromium to open the page in.")
    head = f"{options.items:,} items, two runs, 21 answers an item; medians of {options.repeats}"
    lines = [head, "", "| what | |", "|---|---|", *measure(options.items, options.repeats)]
    load = os.getloadavg()[0]
    lines += ["", f"Headless Chromium, {os.cpu_count()} cores, load {load:.1f} at the end."]
    print("\n".join(lines))
    if options.save:
        path = Path(__file__).parent / "results" / f"{datetime.now(UTC):%Y-%m-%d}-gallery.md"
        text = "\n".join(["# The gallery", "", f"`python benchmarks/gallery.py`: {lines[0]}", *lines[1:], ""])
        path.write_text(text)


if __name__ == "__main__":
    main()
