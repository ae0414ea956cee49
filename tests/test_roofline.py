"""The count behind `benchmarks/roofline.py`, by hand where it is small, else on a tiny model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from roofline import TRAINING, count, table
from steps.count import KERNEL, LAUNCH, PRODUCTS, Card, Meter
from steps.kernels import as_compiled, on_a_gpu
from steps.workload import Case

CARD = Card("slow", operations=1e6, bytes=1e6, memory=1e9)


def meta(*shape: int, grad: bool = False) -> torch.Tensor:
    return torch.empty(shape, device="meta", requires_grad=grad)


def metered(work, *inputs):
    meter = Meter(CARD, vocabulary=77)
    with on_a_gpu(meter), meter.counting("part"):
        kept = work(*inputs)
        meter.wait()
    del kept
    return meter, meter.parts["part"]


def test_a_product_is_counted_by_hand():
    meter, part = metered(torch.mm, meta(4, 8), meta(8, 16))
    assert (part.kernels, part.operations, part.bytes) == (1, 2 * 4 * 8 * 16, 4 * (32 + 128 + 64))
    assert part.seconds == pytest.approx(LAUNCH + KERNEL + 1024 / (PRODUCTS * 1e6))
    assert meter.peak == 4 * 64


def test_views_and_empty_tensors_are_no_kernels():
    _, part = metered(lambda x: x.view(8, 4).transpose(0, 1).new_empty(3), meta(4, 8))
    assert part.kernels == part.bytes == 0


def test_a_gather_moves_what_it_takes():
    _, part = metered(lambda x: x.index_select(0, torch.tensor([1, 1])), meta(100, 8))
    assert part.bytes == 2 * 4 * 16


def test_compiled_operations_are_one_kernel_forward_and_one_backward():
    def gate(x, y):
        return F.silu(x) * y

    _, eager = metered(gate, meta(4, 8), meta(4, 8))
    assert (eager.kernels, eager.bytes) == (2, 4 * 32 * 5)
    meter = Meter(CARD, vocabulary=77)
    with on_a_gpu(meter), meter.counting("part"):
        out = as_compiled(meter, gate)(meta(4, 8, grad=True), meta(4, 8, grad=True))
        assert (meter.parts["part"].kernels, meter.parts["part"].bytes) == (1, 4 * 32 * 3)
        out.backward(meta(4, 8))
    assert (meter.parts["part"].kernels, meter.parts["part"].bytes) == (2, 4 * 32 * 8)


def test_attention_keeps_no_scores():
    q, k = meta(2, 4, 10, 16), meta(2, 4, 20, 16)
    _, part = metered(lambda *x: F.scaled_dot_product_attention(*x), q, k, k)
    assert (part.kernels, part.operations) == (1, 2 * 2 * (2 * 4 * 10 * 20 * 16))
    assert part.bytes == 4 * (2 * q.numel() + 2 * k.numel())


def test_what_is_repeated_counts_so_often_and_a_replay_needs_no_host():
    meter = Meter(CARD, vocabulary=77)
    x = meta(4, 8)
    with on_a_gpu(meter), meter.counting("part"), meter.repeating(10, launched=False):
        x + x
    part = meter.parts["part"]
    assert part.kernels == 10 and part.bytes == 10 * 4 * 64
    assert part.seconds == pytest.approx(10 * (KERNEL + 256e-6))


@pytest.mark.slow
def test_a_whole_step_is_counted():
    case = Case("grpo", 2, 3, 4, 56, micro_prompts=1, checkpointing=True)
    again = count(case, CARD)
    once = count(Case("grpo", 2, 3, 4, 56, micro_prompts=1), CARD)
    assert set(TRAINING) <= set(again.parts) and "recompute" not in once.parts
    assert again.parts["recompute"].operations > 0.5 * again.parts["text forward"].operations
    forward = sum(once.parts[name].operations for name in ("text forward", "vision forward"))
    assert once.parts["backward"].operations == pytest.approx(2 * forward, rel=0.1)
    column = {"parts": {n: (p.seconds, p.kernels, p.bytes) for n, p in once.parts.items()}, "peak": 3e9}
    text = table(case, CARD, {"this": column})
    assert "| peak memory, GB (of 1) | 3 |" in text and "| of the first column's | 1.00 |" in text


@pytest.mark.slow
def test_what_it_puts_in_place_is_gone_afterwards():
    """In a process of its own: PyTorch notes once which functions take a device."""
    code = (
        "import torch\n"
        "from steps.count import CARDS, Meter\n"
        "from steps.kernels import on_a_gpu\n"
        "with on_a_gpu(Meter(CARDS['h200'], vocabulary=77)), torch.device('meta'):\n"
        "    torch.empty(0)\n"
        "with torch.device('meta'):\n"
        "    assert torch.tensor([]).is_meta\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1] / "benchmarks")
