"""Make the embedded model again, from scratch, and measure it (its card and figures)."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path


def main() -> None:
    sys.path[0] = str(Path(__file__).parents[1])  # this folder is a package of the one above
    from holdfast.experiment.progress import duration
    from pretrain_embedded.card import EXAMPLES, write_card
    from pretrain_embedded.train import BATCH, CYCLES, pretrain

    parser = argparse.ArgumentParser(prog="python tools/pretrain_embedded", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the new model")
    parser.add_argument(
        "--steps", type=int, action="append", help="optimiser steps of a cycle; repeat it for each cycle"
    )
    parser.add_argument("--processes", type=int, default=2, help="processes that share each batch")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the data")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="examples a row of the card")
    given = parser.parse_args()
    cycles = given.steps or CYCLES
    if min(cycles) < 1 or given.processes < 1 or BATCH % given.processes or given.examples < 1:
        parser.error(f"--steps and --examples must be at least 1, and --processes must divide {BATCH}")

    start = time.monotonic()
    pretrain(given.out, cycles, given.processes, given.seed)
    took = duration(time.monotonic() - start)
    command = " ".join(
        ["python tools/pretrain_embedded --out FOLDER", *(f"--steps {steps}" for steps in cycles),
         f"--processes {given.processes} --seed {given.seed}"]
    )  # fmt: skip
    made_by = f"{command}\n(took {took} in {given.processes} processes of one thread)"
    write_card(given.out, made_by, report=print, count=given.examples)
    print(f"The model lies in {given.out}; its card is README.md there.")


if __name__ == "__main__":
    main()
