"""Pre-training the embedded model: warm-ups for seeing and for option look-up, then the curriculum.

The two processes of a 2-core machine each take half of every batch and average their gradients,
so the result depends on `processes` (and on nothing else that varies between machines of one kind).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from holdfast.policy.policy import Policy
from holdfast.policy.processor import build_processor
from holdfast.policy.settings import ModelSettings
from holdfast.rng import stream
from holdfast.tasks.embedded.canvas import SIZE
from holdfast.tasks.embedded.words import COLOURS, KINDS, LETTERS, SIDES
from holdfast.tasks.example import ImageSource
from pretrain_embedded.build import (
    CHAT_TEMPLATE,
    MERGE,
    PATCH,
    build_image_processor,
    build_model,
    build_tokenizer,
)
from pretrain_embedded.curriculum import Lesson, draw_lesson, option_drill

CYCLES = (4_500, 1_500)  # steps; each cycle starts with a fresh optimizer and warms up again
PEAKS = (2e-3, 1.5e-3)  # learning rates of the first cycle and of the later ones
WARMUP_STEPS, BETAS, CLIP, WEIGHT_DECAY = 200, (0.9, 0.98), 1.0, 0.01
VISION_STEPS = 150  # of the warm-up with a probe
OPTION_STEPS = 350  # of looking options up: in the mixture alone this is learned last, if at all
BATCH = 128  # lessons a step, over all processes
CELLS = (SIZE // PATCH // MERGE) ** 2  # of a picture
LABELS = (
    "",
    *KINDS,
    *(f"{colour} {letter}" for colour in COLOURS for letter in LETTERS),
    *SIDES,
    *(f"{colour} {figure}" for colour in COLOURS for figure in ("rectangle", "figure")),
    *(f"{kind} cell" for kind in ("pale", "dark", "ring")),
)


def language_loss(policy: Policy, lessons: Sequence[Lesson]) -> torch.Tensor:
    """Mean cross-entropy of the response tokens."""
    images: list[tuple[ImageSource, ...]] = [
        () if lesson.image is None else (lesson.image,) for lesson in lessons
    ]
    prompts = policy.encode([lesson.prompt for lesson in lessons], images)
    completions = policy.encode_completions([lesson.response for lesson in lessons])
    logprobs_BGR = policy.group_logprobs(prompts, completions).logprobs_BGR
    return -logprobs_BGR[completions.mask_BGR].mean()


def vision_loss(policy: Policy, lessons: Sequence[Lesson], probe: nn.Linear) -> torch.Tensor:
    """A throw-away linear probe names what each cell of each picture shows."""
    pictured = [lesson for lesson in lessons if lesson.image is not None]
    images = [(lesson.image,) for lesson in pictured if lesson.image is not None]
    prompts = policy.encode([lesson.prompt for lesson in pictured], images)
    visual = policy.model.model.visual
    features = visual(prompts.pixel_values, grid_thw=prompts.image_grid_thw).pooler_output
    features_NCH = features.view(-1, CELLS, features.shape[-1])[[image for (image,) in prompts.images]]
    labels_NC = torch.tensor([_labels(lesson) for lesson in pictured])
    return F.cross_entropy(probe(features_NCH).flatten(0, 1), labels_NC.flatten(), ignore_index=-1)


def _labels(lesson: Lesson) -> list[int]:
    """Of the cells, as indices into LABELS; -1 where the picture's cells were not told."""
    return [LABELS.index(lesson.labels.get(cell, "")) if lesson.labels else -1 for cell in range(CELLS)]


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up to `peak`, then a cosine to a fiftieth of it."""
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def average_gradients(parameters: Sequence[nn.Parameter], processes: int) -> None:
    if processes == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= processes
    for parameter, piece in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = piece.view_as(parameter)


def _train(
    rank: int,
    out: Path,
    cycles: tuple[int, ...],
    cycle: int,
    processes: int,
    seed: int,
    report: Callable[[str], None],
    port: int,
) -> None:
    """One cycle in one process; it goes on from the folder that building or the last cycle left."""
    torch.set_num_threads(1)
    if processes > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        torch.distributed.init_process_group("gloo", rank=rank, world_size=processes)
    policy = Policy.load(out, ModelSettings(device="cpu"))
    torch.manual_seed(seed)
    probe = nn.Linear(policy.model.config.text_config.hidden_size, len(LABELS))
    parameters = [*policy.model.parameters(), *(probe.parameters() if cycle == 0 else ())]
    optimizer = torch.optim.AdamW(parameters, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True)
    before, steps, peak = sum(cycles[:cycle]), cycles[cycle], PEAKS[min(cycle, 1)]
    started = time.time()
    loss_of: Callable[[Policy, Sequence[Lesson]], torch.Tensor]
    for step in range(before, before + steps):
        if step < VISION_STEPS:
            phase, draw, loss_of = "vision", draw_lesson, partial(vision_loss, probe=probe)
        elif step < VISION_STEPS + OPTION_STEPS:
            phase, draw, loss_of = "options", option_drill, language_loss
        else:
            phase, draw, loss_of = "everything", draw_lesson, language_loss
        rng = stream("pretrain", seed, step, rank)
        loss = loss_of(policy, [draw(rng) for _ in range(BATCH // processes)])
        optimizer.zero_grad()
        loss.backward()
        average_gradients(parameters, processes)
        nn.utils.clip_grad_norm_(parameters, CLIP)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step - before, steps, peak)
        optimizer.step()
        last = step == before + steps - 1
        if rank == 0 and (step % 100 == 0 or last):
            place = f"step {step} of {sum(cycles)}, cycle {cycle + 1}"
            report(f"{place}, {phase}: loss {loss.item():.4f}, {time.time() - started:.0f} s")
        if rank == 0 and (step % 1000 == 999 or last):
            policy.save(out)
    if processes > 1:
        torch.distributed.destroy_process_group()


def build(out: Path, seed: int) -> None:
    """Write the model's folder with random weights: an ordinary checkpoint with its processor."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    build_model(tokenizer).save_pretrained(out)
    build_processor(build_image_processor(), tokenizer, CHAT_TEMPLATE).save_pretrained(out)


def pretrain(
    out: Path,
    cycles: Sequence[int] = CYCLES,
    processes: int = 2,
    seed: int = 0,
    report: Callable[[str], None] = print,
) -> None:
    """Train the embedded model from scratch and write its folder.

    Args:
        cycles: steps of each cycle of the learning rate.
        processes: how many share each batch; `BATCH` must be a multiple of it.
        report: told a line now and then.
    """
    build(out, seed)
    for cycle in range(len(cycles)):
        port = 29_000 + (os.getpid() + cycle) % 2_000
        arguments = (out, tuple(cycles), cycle, processes, seed, report, port)
        if processes == 1:
            _train(0, *arguments)
        else:
            torch.multiprocessing.spawn(_train, arguments, nprocs=processes)
