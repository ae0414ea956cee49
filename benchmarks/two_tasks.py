"""A run over two tasks through the command line, and the same one killed in a stage and started again.

    python benchmarks/two_tasks.py FOLDER run --device cuda       the run; its report is in FOLDER/whole
    python benchmarks/two_tasks.py FOLDER resume --device cuda    killed with SIGKILL, resumed, compared

Exits with 1 if something is not as it should be. On a CPU both runs end with the same bits; a GPU adds in
an order of its own, so there the weights may differ a little, and what is kept of a stage is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml
from safetensors.torch import load_file

ITERATIONS = 12
MOST = 1e-2  # of the weights' length, that the order of additions may explain
EXPERIMENT = {
    "prompts": "embedded",
    "sequence": ["reading", "counting"],
    "general": [],
    "train_examples": 64,
    "test_examples": 8,
    "evaluation": {"max_tokens": 24, "batch": 16},
    "defaults": {
        "iterations": ITERATIONS, "learning_rate": 1.0e-4, "batch": 4, "group_size": 4,
        "sampling": {"max_tokens": 24},
    },
    "methods": {"sft": {"objective": "sft"}, "grpo": {"objective": "grpo"}},
    "checkpoint_every": 2,
    "keep_weights": "all",
}  # fmt: skip


def start(folder: Path, device: str) -> subprocess.Popen[bytes]:
    """`holdfast run` with everything in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {"output": str(folder / "out"), "store": str(folder / "store"), "model": {"device": device}}
    config = folder / "experiment.yaml"
    config.write_text(yaml.safe_dump(EXPERIMENT | {"name": "two-tasks"} | places))
    return subprocess.Popen([sys.executable, "-m", "holdfast", "run", str(config)], env=os.environ)


def run(folder: Path, device: str) -> bool:
    good = start(folder, device).wait() == 0
    return good and (folder / "out" / "report" / "index.html").is_file()


def kill_in_a_stage(folder: Path, device: str) -> bool:
    """Start the run and kill it once a stage has left a checkpoint; whether that was in time."""
    process = start(folder, device)
    while process.poll() is None:
        for state in (folder / "store" / "work").glob("*/checkpoint/state.json"):
            process.kill()
            process.wait()
            print(f"killed in iteration {json.loads(state.read_text())['iteration']} or later", flush=True)
            return True
        time.sleep(0.01)
    print(f"the run ended with {process.returncode} before it could be killed")
    return False


def differences(whole: Path, resumed: Path) -> dict[str, float]:
    """Of every file of weights or records, relative; infinite where only one store has it."""
    found: dict[str, float] = {}
    for pattern in ("*/[!.]*/**/*.safetensors", "*/[!.]*/records.jsonl"):
        names = {file.relative_to(store) for store in (whole, resumed) for file in store.glob(pattern)}
        for name in sorted(names):
            one, other = whole / name, resumed / name
            if not (one.is_file() and other.is_file()):
                found[str(name)] = float("inf")
            elif one.read_bytes() == other.read_bytes():
                found[str(name)] = 0.0
            elif name.suffix == ".safetensors":
                weights, others = load_file(one), load_file(other)
                apart = sum(float((weights[key] - others[key]).square().sum()) for key in weights)
                found[str(name)] = (apart / sum(float(w.square().sum()) for w in weights.values())) ** 0.5
            else:
                lines = one.read_text().splitlines(), other.read_text().splitlines()
                found[str(name)] = float("nan") if len(lines[0]) == len(lines[1]) else float("inf")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("part", choices=["run", "resume"])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    whole, resumed = options.folder / "whole", options.folder / "resumed"
    if options.part == "run":
        return 0 if run(whole, options.device) else 1
    if not (kill_in_a_stage(resumed, options.device) and run(resumed, options.device)):
        return 1
    found = differences(whole / "store", resumed / "store")
    weights = [value for name, value in found.items() if name.endswith(".safetensors")]
    same = sum(value == 0 for value in found.values())
    print(f"{same} of {len(found)} files are the same to the last bit; weights differ by {max(weights):.2g}")
    if options.device == "cpu":
        return 0 if weights and same == len(found) else 1
    return 0 if weights and max(weights) <= MOST and float("inf") not in found.values() else 1


if __name__ == "__main__":
    raise SystemExit(main())
