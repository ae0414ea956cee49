"""The plain pass: every completion with its own copy of the prompt and image.

The oracle that tests and the self-check compare the packed pass with, and what an unknown
architecture falls back to. It leaves everything, positions included, to the transformers model.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from holdfast.policy.batch import Completions, GroupLogprobs, Prompts
from holdfast.policy.drawing import Recorder
from holdfast.policy.generation import own_settings_aside
from holdfast.policy.logprobs import logits_to_logprobs, scatter, top_entropy
from holdfast.policy.processed import check_features, collate, image_features

ALONE, UNCACHED = 1, 2  # care in sampling: prompts one by one; and no cache of what came before


def plain_logprobs(
    model: Any,
    prompts: Prompts,
    completions: Completions,
    banned_V: torch.Tensor,
    temperature: float,
    top: int | None = None,
) -> GroupLogprobs:
    """Like `packed_logprobs`, by one forward pass over B * G rows of prompt and completion."""
    logits_TV = plain_logits(model, prompts, completions)
    targets_T = completions.tokens_BGR[completions.mask_BGR]
    rest = () if top is None else (top_entropy(logits_TV.detach(), banned_V, temperature, top),)
    found = logits_to_logprobs(logits_TV, targets_T, banned_V, temperature)
    return scatter(completions.mask_BGR, *found, *rest)


def plain_logits(model: Any, prompts: Prompts, completions: Completions) -> torch.Tensor:
    """The logits [T, V] that predict the T completion tokens, in the order of the mask."""
    group = completions.tokens_BGR.shape[1]
    rows = [
        torch.cat(
            [
                prompts.tokens_BP[b][prompts.mask_BP[b]],
                completions.tokens_BGR[b, g][completions.mask_BGR[b, g]],
            ]
        )
        for b in range(len(prompts))
        for g in range(group)
    ]
    tokens_XL = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths_X = torch.tensor([len(row) for row in rows], device=tokens_XL.device)
    steps_L = torch.arange(tokens_XL.shape[1], device=tokens_XL.device)
    mask_XL = steps_L < lengths_X[:, None]
    with _named_errors(model, prompts):
        logits_XLV = model(
            input_ids=tokens_XL,
            attention_mask=mask_XL.long(),
            use_cache=False,
            **image_inputs(model, prompts, group, tokens_XL),
        ).logits
    rows_T, steps_T = completions.mask_BGR.flatten(0, 1).nonzero(as_tuple=True)
    starts_X = prompts.lengths_B.repeat_interleave(group)
    return logits_XLV[rows_T, starts_X[rows_T] - 1 + steps_T]


@torch.no_grad()
def sample_plain(model: Any, prompts: Prompts, out: Recorder, care: int = 0) -> None:
    """Like `sample_packed`, through the model's own `generate` on repeated prompts, with `care`."""
    group = out.shape[1]
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=out.sampling.max_tokens,
        eos_token_id=out.draw.ends.tolist(),
        pad_token_id=out.draw.pad,
        **({"use_cache": False} if care == UNCACHED else {}),
    )
    for first, some in (
        [(row, prompts.select([row])) for row in range(len(prompts))] if care else [(0, prompts)]
    ):
        tokens_XP = some.tokens_BP.repeat_interleave(group, 0)
        drawer = _Drawer(out, tokens_XP.shape[1], first * group)
        with own_settings_aside(model), _named_errors(model, some):
            model.generate(
                input_ids=tokens_XP,
                attention_mask=some.mask_BP.long().repeat_interleave(group, 0),
                **image_inputs(model, some, group, tokens_XP),
                logits_processor=LogitsProcessorList([drawer]),
                generation_config=settings,
            )


class _Drawer(LogitsProcessor):
    """Chooses the token itself, and leaves `generate` nothing else to choose."""

    def __init__(self, recorder: Recorder, prompt_length: int, first: int):
        self.recorder, self.prompt_length, self.first = recorder, prompt_length, first

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        live = torch.arange(self.first, self.first + len(scores), device=scores.device)
        tokens_X = self.recorder.step(input_ids.shape[1] - self.prompt_length, live, scores)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens_X[:, None], 0.0)


def image_inputs(
    model: Any, prompts: Prompts, group: int, tokens_XL: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Images repeated for every completion, as the model's own processor would lay them out.

    Args:
        tokens_XL: of prompts and completions.
    """
    distinct = prompts.each_image()
    uses = [distinct[image] for row in prompts.images for _ in range(group) for image in row]
    inputs = collate(uses, model.dtype) if uses else {}
    image_token = getattr(model.config, "image_token_id", None)
    for name in ("mm_token_type_ids", "token_type_ids"):  # 1 on what stands for an image
        if image_token is not None and name in inspect.signature(model.forward).parameters:
            inputs[name] = (tokens_XL == image_token).int()
    return inputs


@contextmanager
def _named_errors(model: Any, prompts: Prompts) -> Iterator[None]:
    """Where a model refuses its images inside, an error that names the prompt."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError):
        counts = [len(image_features(model, [image])[0]) for image in prompts.each_image()]
        if counts:
            check_features(prompts, model.config.image_token_id, counts)
        raise
