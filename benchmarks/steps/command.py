"""The command line of the step benchmarks: what is measured, and a table whatever happens."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from steps.arm import FOLDER, Rival
from steps.duel import OURS, Course, Result, Run, race
from steps.tables import failures, tables
from steps.workload import SHAPES, Case

RESULTS = FOLDER / "results"
TRL = "1.16.0"
LORA_RANK = 16
MISSING = "not installed"


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--arms", default="holdfast,trl", help="holdfast or trl or both (the default)")
    parser.add_argument(
        "--base", type=Path, metavar="DIR", help="another checkout of Holdfast, as one more arm"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measured steps of each arm")
    parser.add_argument("--warmup", type=int, default=1, help="steps before them")
    parser.add_argument("--step-limit", type=float, default=300, metavar="S", help="most seconds of a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="the smallest sizes, two rounds")
    parser.add_argument("--cases", type=int, metavar="N", help="the first N sizes alone")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--shape", default="tiny", choices=list(SHAPES))
    parser.add_argument("--lora", action="store_true", help=f"train adapters of rank {LORA_RANK} alone")
    parser.add_argument("--most-memory", type=float, metavar="X", help="fail above X times the estimate")
    parser.add_argument("--profile", default="", metavar="FILE", help="a trace of a step of the first case")
    parser.add_argument("--save", action="store_true", help=f"keep the table in {RESULTS.name}/")
    return parser


def rivals(options: argparse.Namespace) -> list[Rival]:
    """The arms, Holdfast first."""
    known = {"holdfast": Rival("Holdfast", OURS), "trl": Rival("TRL", "steps.arm_trl")}
    asked = options.arms.split(",")
    if unknown := set(asked) - set(known):
        raise SystemExit(f"--arms {options.arms}: there is no arm {', '.join(sorted(unknown))}.")
    found = [rival for name, rival in known.items() if name in asked]
    if options.base is not None:
        found.insert(1, Rival("base", OURS, source_of(options.base)))
    return found


def source_of(base: Path) -> Path:
    """Where the Holdfast of another checkout is imported from."""
    source = base / "src" if (base / "src").is_dir() else base
    if not (source / "holdfast").is_dir():
        raise SystemExit(f"--base {base}: there is no src/holdfast.")
    return source.resolve()


def run(name: str, cases: Sequence[Case], options: argparse.Namespace) -> int:
    """Measure, print and, if asked, keep the table with its date, command and machine.

    Returns:
        The exit code: 0, 1 if Holdfast's own arm did not do all of it, 130 if it was interrupted.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a time limit's; as on Ctrl-C
    rounds, warmup = (2, 1) if options.quick else (options.rounds, options.warmup)
    on_gpu = options.device.startswith("cuda")
    course = Course(rounds, warmup, options.step_limit, together=not on_gpu)
    results: list[Result] = []
    interrupted = False
    try:
        for number, case in enumerate(cases[: options.cases]):
            print(f"{case.name()} …", file=sys.stderr, flush=True)
            results.append(Result(case, [_start(rival) for rival in rivals(options)]))
            profile = str(Path(options.profile).resolve()) if options.profile and not number else ""
            _measure(results[-1], Course(**{**vars(course), "profile": profile}))
    except KeyboardInterrupt:
        interrupted = True
    if not results:
        return 130
    text = _text(name, results, course, options)
    print(text, flush=True)
    if details := failures(results):
        print(details, file=sys.stderr, flush=True)
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{time.strftime('%Y-%m-%d')}-{name}-{cases[0].shape}.md").write_text(
            text, encoding="utf-8"
        )
    if interrupted:
        return 130
    return _judge(results, options.most_memory)


def _start(rival: Rival) -> Run:
    return Run(rival, failure=MISSING) if lacks_trl(rival) else Run(rival)


def lacks_trl(rival: Rival) -> bool:
    """Whether it cannot run for want of TRL, which is said."""
    if rival.name != "TRL" or importlib.util.find_spec("trl") is not None:
        return False
    print(f"TRL is needed here alone: pip install --no-deps trl=={TRL}", file=sys.stderr)
    return True


def _measure(result: Result, course: Course) -> None:
    race(result, course)
    counts = {run.parameters for run in result.runs if run.parameters is not None}
    if len(counts) > 1:
        print(f"  The arms train different models: {counts}", file=sys.stderr)
    for run in result.runs:
        if run.steps:
            print(f"  {run.rival.name}: {run.seconds():.3f} s a step", file=sys.stderr, flush=True)


def _judge(results: Sequence[Result], most_memory: float | None) -> int:
    own = [(result, run) for result in results for run in result.runs if run.rival.name == "Holdfast"]
    good = all(run.whole for _, run in own)
    if most_memory is not None:
        for result, run in own:
            if run.steps and result.estimate is not None:
                share = run.peak / result.estimate
                good = good and share <= most_memory
                print(f"{result.case.name()}: {share:.2f} of the memory that was estimated", flush=True)
    return 0 if good else 1


def _text(name: str, results: Sequence[Result], course: Course, options: argparse.Namespace) -> str:
    command = " ".join(["python", f"benchmarks/{name}.py", *sys.argv[1:]])
    case = results[0].case
    numbers = [run.parameters for result in results for run in result.runs if run.parameters is not None]
    size = f"{max(numbers) / 1e6:.1f} M random parameters, " if numbers else ""
    order = "alternated" if course.together else "one arm after the other"
    return (
        f"# {name}, {time.strftime('%Y-%m-%d')}\n\n`{command}`\n\n{machine(case.device)}. "
        f"{case.shape}: {size}{case.dtype}, {case.threads} thread(s). "
        f"Median of {course.rounds} steps of each arm, {order}, after {course.warmup} of warm-up; at most "
        f"{course.limit:g} s a step. Tokens are those of completions. Memory is the peak above the idle "
        f"model.\n\n{tables(results)}\n"
    )


def machine(device: str) -> str:
    """What it was measured on, and the versions of what was used."""
    parts = [part for part in ("torch", "transformers", "trl") if importlib.util.find_spec(part)]
    versions = ", ".join(f"{part} {importlib.metadata.version(part)}" for part in parts)
    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name()}; {versions}"
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores; {versions}"
