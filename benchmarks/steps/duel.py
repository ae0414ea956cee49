"""Runs both arms of a case side by side, a step of one after a step of the other, and tells the result."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from steps.floor import Floor, Rates, floor, measure_rates
from steps.workload import Case

FOLDER = Path(__file__).parents[1]
RESULTS = FOLDER / "results"
TRL = "1.16.0"


class Arm:
    """A process that makes steps on demand."""

    def __init__(self, module: str, case: Case, steps: int):
        self.module = module
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        paths = [str(FOLDER), str(FOLDER.parent / "src"), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "OMP_NUM_THREADS": str(case.threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"steps.{module}", case.to_json(), str(steps)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise SystemExit(f"{self.module} ended early:\n{self.errors.read()[-3000:]}")
        return json.loads(line)

    def step(self) -> dict[str, Any]:
        self._tell("step")
        return self.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self._tell("stop")
        self.process.wait()

    def _tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()


@dataclass(frozen=True)
class Result:
    """Rounds of both arms after the warm-up, and the floor with the rates it comes from."""

    case: Case
    parameters: int
    holdfast: list[dict[str, Any]]
    trl: list[dict[str, Any]]
    rates: Rates
    floor: Floor

    def seconds(self, arm: list[dict[str, Any]], part: str = "seconds") -> float:
        return median(entry[part] for entry in arm)

    @property
    def speed(self) -> float:
        return self.seconds(self.trl) / self.seconds(self.holdfast)


def duel(case: Case, rounds: int, warmup: int) -> Result:
    """Alternate the arms, so that whatever else the machine does meets both alike."""
    before = measure_rates(case)
    torch.cuda.empty_cache()  # the arms need the memory
    arms = [Arm("arm_holdfast", case, rounds + warmup), Arm("arm_trl", case, rounds + warmup)]
    parameters = {arm.read()["parameters"] for arm in arms}
    told: list[list[dict[str, Any]]] = [[], []]
    for number in range(rounds + warmup):
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            entry = arms[index].step()
            _same_work(case, arms[index].module, entry)
            if number >= warmup:
                told[index].append(entry)
    for arm in arms:
        arm.close()
    after = measure_rates(case)
    rates = Rates(max(before.operations, after.operations), max(before.bytes, after.bytes))
    assert len(parameters) == 1, "the arms train different models"
    return Result(case, parameters.pop(), told[0], told[1], rates, floor(case, rates))


def _same_work(case: Case, arm: str, entry: dict[str, Any]) -> None:
    wanted = (case.prompts * case.prompt_tokens, case.completion_tokens)
    found = (entry["prompt_tokens"], entry["completion_tokens"])
    if found != wanted or entry.get("way", "packed") != "packed":
        raise SystemExit(f"{arm} did other work: {found} prompt and completion tokens instead of {wanted}")


def table(results: list[Result]) -> str:
    """Both arms in Markdown, then Holdfast's parts against their floors."""
    lines = [
        "| work | Holdfast, s | TRL, s | faster | Holdfast, tokens/s | TRL, tokens/s "
        "| Holdfast, MB | TRL, MB | memory | floor, s | times the floor |",
        "|---|" + "---:|" * 10,
    ]
    for result in results:
        case, ours, theirs = result.case, result.seconds(result.holdfast), result.seconds(result.trl)
        peaks = [max(entry["peak"] for entry in arm) / 1e6 for arm in (result.holdfast, result.trl)]
        lines.append(
            f"| {case.name()} | {ours:.3f} | {theirs:.3f} | **{result.speed:.1f}×** "
            f"| {case.completion_tokens / ours:.0f} | {case.completion_tokens / theirs:.0f} "
            f"| {peaks[0]:.0f} | {peaks[1]:.0f} | {peaks[0] / peaks[1]:.2f} "
            f"| {result.floor.total:.3f} | {ours / result.floor.total:.1f} |"
        )
    lines += [
        "",
        "| Holdfast's parts | sample, s | its floor | train and update, s | its floor "
        "| share of the matrix rate in training | matrix rate, TFLOP/s | bandwidth, GB/s |",
        "|---|" + "---:|" * 7,
    ]
    for result in results:
        sample, train = (result.seconds(result.holdfast, part) for part in ("sample", "train"))
        share = result.floor.train_operations / train / result.rates.operations
        lines.append(
            f"| {result.case.name()} | {sample:.3f} | {result.floor.sample:.3f} "
            f"| {train:.3f} | {result.floor.train + result.floor.update:.3f} | {share:.0%} "
            f"| {result.rates.operations / 1e12:.3f} | {result.rates.bytes / 1e9:.1f} |"
        )
    return "\n".join(lines)


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured steps of each arm")
    parser.add_argument("--warmup", type=int, default=1, help="steps before them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, two rounds")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--shape", default="tiny", choices=["tiny", "qwen2.5-vl-3b", "qwen2.5-vl-7b"])
    parser.add_argument("--save", action="store_true", help=f"keep the table in {RESULTS.name}/")
    return parser


def run(name: str, cases: list[Case], options: argparse.Namespace) -> None:
    """Measure, print and, if asked, keep the table with its date, command and machine."""
    if importlib.util.find_spec("trl") is None:
        raise SystemExit(f"TRL is missing; it is needed here alone: pip install --no-deps trl=={TRL}")
    rounds, warmup = (2, 1) if options.quick else (options.rounds, options.warmup)
    results = []
    for case in cases:
        print(f"{case.name()} …", file=sys.stderr, flush=True)
        results.append(duel(case, rounds, warmup))
        print(f"  {results[-1].speed:.1f}× faster", file=sys.stderr, flush=True)
    command = " ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]])
    case = cases[0]
    text = (
        f"# {name}, {time.strftime('%Y-%m-%d')}\n\n`{command}`\n\n{_machine(case)}. "
        f"{case.shape}: {results[0].parameters / 1e6:.1f} M random parameters, {case.dtype}, "
        f"{case.threads} thread(s). Median of {rounds} steps of each arm, alternated, after {warmup} of "
        "warm-up. Tokens are those of completions. Memory is the peak above the idle model.\n\n"
        f"{table(results)}\n"
    )
    print(text)
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{time.strftime('%Y-%m-%d')}-{name}-{case.shape}.md").write_text(text, encoding="utf-8")


def _machine(case: Case) -> str:
    parts = ("torch", "transformers", "trl")
    versions = ", ".join(f"{part} {importlib.metadata.version(part)}" for part in parts)
    if case.device.startswith("cuda"):
        return f"{torch.cuda.get_device_name()}; {versions}"
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores; {versions}"
