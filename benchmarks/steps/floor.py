"""What a step cannot be faster than: its arithmetic at the machine's matrix rate, its bytes at its bandwidth.

Counted for the least work that gives the same result: prompt and image once per group, forward in
sampling and not again in training, and log-probabilities of completion tokens only. The backward
pass counts as twice the forward pass; recomputed activations are not counted. Rates are the best that
a plain matrix product, PyTorch's own or one as Holdfast's layers take, and a plain copy reach, measured in
the run that they are compared with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from holdfast.policy.products import linear
from steps.workload import MERGE, PATCH, SHAPES, Case

WINDOW = (112 // PATCH) ** 2  # patches


@dataclass(frozen=True)
class Rates:
    """Multiply-adds count as two operations; a copied byte counts twice, read and written."""

    operations: float  # a second
    bytes: float  # a second
    by_pytorch: float = 0.0  # operations a second of its own products


def measure_rates(case: Case, seconds: float = 1.0) -> Rates:
    """The best of many short trials with the case's device, dtype and threads."""
    torch.set_num_threads(case.threads)
    dtype, on_gpu = getattr(torch, case.dtype), case.device.startswith("cuda")
    side, length = (8192, 2**30) if on_gpu else (768, 2**27)
    matrix = torch.randn(side, side, device=case.device).to(dtype)
    source = torch.zeros(length, dtype=torch.uint8, device=case.device)
    target = torch.empty_like(source)
    own = 2 * side**3 / _best(lambda: matrix @ matrix, case, seconds)
    ours = 2 * side**3 / _best(lambda: linear(matrix, matrix), case, seconds)
    copy = _best(lambda: target.copy_(source), case, seconds)
    return Rates(max(own, ours), 2 * length / copy, own)


def _best(work: Callable[[], Any], case: Case, seconds: float) -> float:
    def once() -> float:
        start = time.perf_counter()
        work()
        if case.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - start

    once()
    best, end = once(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, once())
    return best


@dataclass(frozen=True)
class Floor:
    """Seconds of a step's parts, and the forward and backward operations of its training part."""

    prefill: float
    decode: float
    train: float
    update: float
    train_operations: float

    @property
    def sample(self) -> float:
        return self.prefill + self.decode

    @property
    def total(self) -> float:
        return self.sample + self.train + self.update


def floor(case: Case, rates: Rates) -> Floor:
    """The least time of one step of `case`."""
    size = torch.empty(0, dtype=getattr(torch, case.dtype)).element_size()
    text, vision = SHAPES[case.shape]["text"], SHAPES[case.shape]["vision"]
    hidden, layers, vocabulary = text["hidden_size"], text["num_hidden_layers"], text["vocab_size"]
    keys = 2 * hidden * text["num_key_value_heads"] // text["num_attention_heads"]  # a token's, and values
    layer = hidden * (2 * hidden + keys) + 3 * hidden * text["intermediate_size"]
    body, head = layers * layer, hidden * vocabulary  # weights

    wide, patches = vision["hidden_size"], case.image_tokens * MERGE**2
    block = 4 * wide**2 + 3 * wide * vision["intermediate_size"]
    merged = wide * MERGE**2
    merger = merged * merged + merged * hidden
    tower = vision["depth"] * block + 3 * 2 * PATCH**2 * wide
    whole = len(vision["fullatt_block_indexes"])
    seen = whole * patches + (vision["depth"] - whole) * min(WINDOW, patches)
    image = 2 * tower * patches + 4 * wide * patches * seen + 2 * merger * case.image_tokens

    prompt = 2 * body * case.prompt_tokens + 2 * layers * hidden * case.prompt_tokens**2  # causal: half
    rows = case.prompts * case.group
    mean_seen = case.prompt_tokens + case.completion / 2
    token = 2 * body + 4 * layers * hidden * mean_seen
    first = case.prompts * (image + prompt)

    def at_best(operations: float, moved: float) -> float:
        return max(operations / rates.operations, moved / rates.bytes)

    prefill = decode = 0.0
    if case.objective != "sft":
        prefill = at_best(first + 2 * head * case.prompts, (body + head + tower) * size)
        kept = layers * keys * size * (case.prompts * case.prompt_tokens + rows * case.completion / 2)
        decode = (case.completion - 1) * at_best(rows * (token + 2 * head), (body + head) * size + kept)
    forward = first + rows * ((case.completion - 1) * token + case.completion * 2 * head)
    train = 3 * forward - (0 if case.objective == "sft" else first)  # sampling has it already
    weights = body + head + tower + merger + (0 if text["tie_word_embeddings"] else head)
    # AdamW reads weight, gradient and two moments, and writes weight and moments.
    return Floor(prefill, decode, at_best(train, 0), at_best(0, 7 * size * weights), train)
