"""Float32 matrix products on this CPU: PyTorch's own, and those by oneDNN (policy/products.py).

    python benchmarks/products.py            # billions of operations a second, one thread
    python benchmarks/products.py --threads 2

Of M rows with K features each, N of what is made of them: forward, the gradient of the rows, and that of the
weight. And what a number of rows costs that was not met before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F

from holdfast.policy import products

SHAPES = [(128, 256), (128, 768), (384, 128), (96, 288), (2048, 2048)]  # K and N
ROWS = [16, 32, 64, 128, 512, 1500, 4096]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each product")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    products._enabled = True  # also where it does not pay
    parts = "forward", "rows' gradient", "weight's gradient"
    print("| M | K | N |", " | ".join(f"{part}, PyTorch's | oneDNN's" for part in parts), "|")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for features, made in SHAPES:
        for count in ROWS:
            rates = " | ".join(f"{rate:.0f}" for rate in compared(count, features, made, options.seconds))
            print(f"| {count} | {features} | {made} | {rates} |", flush=True)
    print(f"\nA number of rows that is new: {1000 * new_rows():.2f} ms more.")


def compared(count: int, features: int, made: int, seconds: float) -> list[float]:
    """Billions of operations a second, PyTorch's and oneDNN's by turns."""
    rows, weight = torch.randn(count, features), torch.randn(made, features)
    grad = torch.randn(count, made)
    operations = 2 * count * features * made / 1e9
    rates = []
    for wanted in ("nothing", "rows", "weight"):
        for by in (F.linear, products.linear):
            taken = best(partial(one, by, rows, weight, grad, wanted), seconds)
            rates.append(operations / taken)
    return rates


def one(by: Callable, rows: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor, wanted: str) -> float:
    """Seconds of a product."""
    with torch.set_grad_enabled(wanted != "nothing"):
        rows, weight = rows.detach(), weight.detach()
        learned = {"rows": rows, "weight": weight}.get(wanted)
        if learned is None:
            start = time.process_time_ns()
            by(rows, weight)
            return (time.process_time_ns() - start) / 1e9
        learned.requires_grad_()
        out = by(rows, weight)
        start = time.process_time_ns()
        torch.autograd.grad(out, learned, grad)
        return (time.process_time_ns() - start) / 1e9


def best(trial: Callable[[], float], seconds: float) -> float:
    """The median of trials for so long."""
    trial()
    end, taken = time.perf_counter() + seconds, [trial()]
    while time.perf_counter() < end:
        taken.append(trial())
    return median(taken)


def new_rows(numbers: int = 100) -> float:
    """Seconds more of a product with a number of rows that is met for the first time."""
    weight, rows, taken = torch.randn(200, 100), torch.randn(16 * numbers + 4096, 100), []
    for _ in ("new", "known"):
        start = time.process_time()
        for number in range(numbers):
            products._product(rows[: 4096 + 16 * number], weight)
        taken.append((time.process_time() - start) / numbers)
    return taken[0] - taken[1]


if __name__ == "__main__":
    main()
