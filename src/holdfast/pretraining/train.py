"""Pre-training the embedded model: warm-ups for seeing and for option look-up, then the curriculum.

The two processes of a 2-core machine each take half of every batch and average their gradients,
so the result depends on `processes` (and on nothing else that varies between machines of one kind).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from holdfast.pretraining.build import (
    CHAT_TEMPLATE,
    MERGE,
    PATCH,
    build_image_processor,
    build_model,
    build_tokenizer,
)
from holdfast.pretraining.curriculum import Lesson, draw_lesson, option_drill
from holdfast.rng import stream
from holdfast.tasks.embedded.canvas import SIZE
from holdfast.tasks.embedded.words import COLOURS, KINDS, LETTERS, SIDES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

CYCLES = (4_500, 1_500)  # steps; each cycle starts with a fresh optimizer and warms up again
PEAKS = (2e-3, 1.5e-3)  # learning rates of the first cycle and of the later ones
WARMUP_STEPS, BETAS, CLIP, WEIGHT_DECAY = 200, (0.9, 0.98), 1.0, 0.01
VISION_STEPS = 150  # of the warm-up with a probe
OPTION_STEPS = 350  # of looking options up: in the mixture alone this is learned last, if at all
BATCH = 128  # lessons a step, over all processes
GRID = SIZE // PATCH
CELL_COUNT = (GRID // MERGE) ** 2
LABELS = (
    "",
    *KINDS,
    *(f"{colour} {letter}" for colour in COLOURS for letter in LETTERS),
    *SIDES,
    *(f"{colour} {figure}" for colour in COLOURS for figure in ("rectangle", "figure")),
    *(f"{kind} cell" for kind in ("pale", "dark", "ring")),
)


@dataclass(frozen=True)
class Batch:
    """Lessons as tensors. B sequences of L tokens (right padded), N pictures."""

    tokens_BL: torch.Tensor
    mask_BL: torch.Tensor
    target_mask_BL: torch.Tensor  # 1 on the tokens to predict
    positions_3BL: torch.Tensor
    patches: torch.Tensor | None  # (N · GRID², 3 · 2 · PATCH²); None without pictures
    labels_NC: torch.Tensor  # index into LABELS; -1 where the picture's cells were not told


def patchify(lessons: Sequence[Lesson]) -> torch.Tensor:
    """What the image processor gives for pictures that need no resizing, all at once.

    Returns (N · GRID², 3 · 2 · PATCH²): patches in the order of the vision tower, which keeps the
    MERGE × MERGE patches of one merged token together; each frame stands twice (temporal patch).
    """
    images = np.stack([np.asarray(lesson.image) for lesson in lessons if lesson.image is not None])
    pixels = torch.from_numpy(images).float().div_(255).sub_(0.5).div_(0.25)
    count, blocks = len(images), GRID // MERGE
    pixels = pixels.view(count, blocks, MERGE, PATCH, blocks, MERGE, PATCH, 3)
    pixels = pixels.permute(0, 1, 4, 2, 5, 7, 3, 6)  # N, block row, block column, row, column, colour, y, x
    pixels = pixels.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)
    return pixels.reshape(count * GRID * GRID, 3 * 2 * PATCH * PATCH)


class Collator:
    """Lessons to tensors, in the layout of the chat template."""

    def __init__(self) -> None:
        self.tokenizer = build_tokenizer()

    def __call__(self, lessons: Sequence[Lesson]) -> Batch:
        rows, starts = [], []
        for lesson in lessons:
            picture = (
                ""
                if lesson.image is None
                else f"<|vision_start|>{'<|image_pad|>' * CELL_COUNT}<|vision_end|>"
            )
            prompt = f"<|im_start|>user {picture}{lesson.prompt}<|im_end|><|im_start|>assistant "
            prompt_ids = self.tokenizer.encode(prompt)
            rows.append(prompt_ids + self.tokenizer.encode(f"{lesson.response}<|im_end|>"))
            starts.append(len(prompt_ids))
        length = max(map(len, rows))
        tokens = torch.zeros(len(rows), length, dtype=torch.long)
        mask, target_mask = torch.zeros_like(tokens), torch.zeros_like(tokens)
        positions = torch.zeros(3, len(rows), length, dtype=torch.long)
        side = GRID // MERGE
        cells = torch.arange(CELL_COUNT)
        for index, (row, start, lesson) in enumerate(zip(rows, starts, lessons, strict=True)):
            end = len(row)
            tokens[index, :end] = torch.tensor(row)
            mask[index, :end] = 1
            target_mask[index, start:end] = 1
            positions[:, index, :end] = torch.arange(end)
            if (
                lesson.image is not None
            ):  # M-RoPE: (time, row, column) inside the picture, then on from its side
                first = 3
                positions[:, index, first : first + CELL_COUNT] = first + torch.stack(
                    [torch.zeros_like(cells), cells // side, cells % side]
                )
                positions[:, index, first + CELL_COUNT : end] -= CELL_COUNT - side
        pictured = [lesson for lesson in lessons if lesson.image is not None]
        labels = torch.tensor(
            [
                [
                    LABELS.index(lesson.labels.get(cell, "")) if lesson.labels else -1
                    for cell in range(CELL_COUNT)
                ]
                for lesson in pictured
            ]
        )
        return Batch(tokens, mask, target_mask, positions, patchify(lessons) if pictured else None, labels)


def encode_pictures(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Vision features (N · CELL_COUNT, hidden) of a batch's pictures."""
    grid = torch.tensor([[1, GRID, GRID]]).expand(len(batch.labels_NC), -1)
    return model.model.visual(batch.patches, grid_thw=grid).pooler_output


def vision_loss(model: Qwen2_5_VLForConditionalGeneration, batch: Batch, probe: nn.Linear) -> torch.Tensor:
    """A throw-away linear probe names what each cell shows."""
    logits = probe(encode_pictures(model, batch))
    return F.cross_entropy(logits, batch.labels_NC.flatten(), ignore_index=-1)


def language_loss(model: Qwen2_5_VLForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the response tokens."""
    embeds = model.get_input_embeddings()(batch.tokens_BL)
    if batch.patches is not None:
        picture = batch.tokens_BL == model.config.image_token_id
        embeds = embeds.masked_scatter(picture.unsqueeze(-1), encode_pictures(model, batch))
    hidden = model.model.language_model(
        inputs_embeds=embeds, position_ids=batch.positions_3BL, attention_mask=batch.mask_BL, use_cache=False
    ).last_hidden_state
    wanted = batch.target_mask_BL[:, 1:].bool()
    return F.cross_entropy(model.lm_head(hidden[:, :-1][wanted]), batch.tokens_BL[:, 1:][wanted])


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
    """One cycle in one process; a later cycle goes on from the folder the last one left."""
    torch.set_num_threads(1)
    if processes > 1:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        torch.distributed.init_process_group("gloo", rank=rank, world_size=processes)
    torch.manual_seed(seed)
    collate = Collator()
    model = build_model(collate.tokenizer) if cycle == 0 else load(out)
    probe = nn.Linear(model.config.text_config.hidden_size, len(LABELS))
    parameters = [*model.parameters(), *(probe.parameters() if cycle == 0 else ())]
    optimizer = torch.optim.AdamW(parameters, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True)
    before, steps, peak = sum(cycles[:cycle]), cycles[cycle], PEAKS[min(cycle, 1)]
    started = time.time()
    loss_of: Callable[[Qwen2_5_VLForConditionalGeneration, Batch], torch.Tensor]
    for step in range(before, before + steps):
        if step < VISION_STEPS:
            phase, draw, loss_of = "vision", draw_lesson, partial(vision_loss, probe=probe)
        elif step < VISION_STEPS + OPTION_STEPS:
            phase, draw, loss_of = "options", option_drill, language_loss
        else:
            phase, draw, loss_of = "everything", draw_lesson, language_loss
        rng = stream("pretrain", seed, step, rank)
        loss = loss_of(model, collate([draw(rng) for _ in range(BATCH // processes)]))
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
            save(model, collate.tokenizer, out)
    if processes > 1:
        torch.distributed.destroy_process_group()


def load(folder: Path) -> Qwen2_5_VLForConditionalGeneration:
    from transformers import Qwen2_5_VLForConditionalGeneration

    return Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, local_files_only=True)


def save(model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """An ordinary checkpoint folder: weights, configs, tokenizer, chat template, image processor."""
    from holdfast.policy.processor import build_processor

    model.save_pretrained(out)
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
    for cycle in range(len(cycles)):
        port = 29_000 + (os.getpid() + cycle) % 2_000
        arguments = (out, tuple(cycles), cycle, processes, seed, report, port)
        if processes == 1:
            _train(0, *arguments)
        else:
            torch.multiprocessing.spawn(_train, arguments, nprocs=processes)
