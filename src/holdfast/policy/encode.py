"""Prompts and targets to tokens.

This encoder is for text alone; `families/patches.py` has the one for Qwen-VL, `processed.py` the one for
every other family with images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from holdfast.errors import InputError, reading
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.template import ChatTemplate
from holdfast.tasks.example import ImageSource
from holdfast.tasks.scoring import THOUGHT


class Encoder:
    """Tokenises for one model.

    Attributes:
        shows_images: whether messages are lists of parts, of which some are images.

    Args:
        processor: the checkpoint's processor, or its tokenizer if it takes text alone.
        max_context: most tokens a prompt may have.
    """

    shows_images: ClassVar[bool] = False

    def __init__(self, processor: Any, max_context: int, system_prompt: str | None):
        self.processor, self.tokenizer = processor, getattr(processor, "tokenizer", processor)
        self.max_context, self.system_prompt = max_context, system_prompt
        self.template = ChatTemplate(processor)

    def prompts(self, texts: Sequence[str], images: Sequence[Sequence[ImageSource]]) -> Prompts:
        """User turns as the chat template renders them, up to where the reply begins.

        Raises:
            InputError: a prompt is too long, shows images to a model without vision, or its image
                tokens do not match its images; the message names its index.
            HoldfastError: an image cannot be read.
        """
        if not texts:
            raise ValueError("no prompts to encode")
        distinct, uses = self._distinct(images)
        rendered = self.template.render(
            [self._messages(text, len(row)) for text, row in zip(texts, images, strict=True)]
        )
        rows, positions, inputs = self._tokenise(rendered, distinct, uses)
        for index, row in enumerate(rows):
            if len(row) > self.max_context:
                raise InputError(
                    f"Prompt {index} has {len(row)} tokens, more than the context of {self.max_context}. "
                    "Shorten it, lower max_pixels, or raise max_context."
                )
        keys = tuple(picture.key for picture in distinct)
        padded = _pad_left(rows, positions, self.tokenizer.pad_token_id)
        return Prompts(*padded, images=uses, image_keys=keys, **inputs)

    def try_out(self) -> None:
        """See that the chat template and the tokenizer take a question, and the context holds it.

        Raises:
            InputError: they do not.
        """
        rendered = self.template.try_out(self._messages("?", int(self.shows_images)))
        if (least := len(self._ids([rendered])[0])) >= self.max_context:
            raise InputError(
                f"The shortest prompt has {least} tokens, and the context is {self.max_context}; raise "
                "model.max_context, or leave it out."
            )

    @cached_property
    def opens_thought(self) -> bool:
        """Whether the chat template ends in `<think>`, so that replies begin within it."""
        return self.template.render([self._messages("", 0)])[0].rstrip().endswith(THOUGHT)

    def prepare(self, images: Iterable[ImageSource]) -> None:
        """Begin to decode images that are soon encoded, in a thread, where that is of use."""

    def completions(self, texts: Sequence[str], end: int) -> Completions:
        """Targets followed by the end token, one for each prompt.

        Raises:
            InputError: a target is longer than the context.
        """
        rows = [[*ids, end] for ids in self._ids(list(texts))]
        for index, row in enumerate(rows):
            if len(row) > self.max_context:
                raise InputError(
                    f"Target {index} has {len(row)} tokens, more than the context of {self.max_context}. "
                    "Shorten it, or raise max_context."
                )
        longest = max(len(row) for row in rows)
        tokens = torch.full((len(rows), 1, longest), self.tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros(tokens.shape, dtype=torch.bool)
        for index, row in enumerate(rows):
            tokens[index, 0, : len(row)] = torch.tensor(row)
            mask[index, 0, : len(row)] = True
        return Completions(tokens, mask, torch.ones(len(rows), 1, dtype=torch.bool))

    def _messages(self, text: str, images: int) -> list[dict[str, Any]]:
        content: Any = text
        if self.shows_images:
            content = [{"type": "image"}] * images + [{"type": "text", "text": text}]
        system = self.system_prompt
        if system is None:
            return [{"role": "user", "content": content}]
        system_content: Any = [{"type": "text", "text": system}] if self.shows_images else system
        return [{"role": "system", "content": system_content}, {"role": "user", "content": content}]

    def _tokenise(
        self, rendered: list[str], distinct: Sequence[Any], uses: Sequence[tuple[int, ...]]
    ) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, Any]]:
        """Ids and positions [K, length] of each rendered prompt, and the fields of `Prompts` with images."""
        rows = [np.asarray(ids, dtype=np.int64) for ids in self._ids(rendered)]
        positions = [np.arange(len(row))[None] for row in rows]
        return rows, positions, {"pixel_values": None, "image_grid_thw": None}

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]

    def _distinct(
        self, images: Sequence[Sequence[ImageSource]]
    ) -> tuple[list[Any], tuple[tuple[int, ...], ...]]:
        """Each picture once, and which of them each prompt shows."""
        places: dict[bytes, int] = {}
        distinct: list[Any] = []
        uses = []
        for index, row in enumerate(images):
            pictures = [self._named_picture(index, image) for image in row]
            for picture in pictures:
                if picture.key not in places:
                    places[picture.key] = len(distinct)
                    distinct.append(picture)
            uses.append(tuple(places[picture.key] for picture in pictures))
        return distinct, tuple(uses)

    def _named_picture(self, index: int, image: ImageSource) -> Any:
        with reading(f"An image of prompt {index}"):
            return self._picture(image)

    def _picture(self, image: ImageSource) -> Any:
        """An image as `_tokenise` takes it, with a `key` of its own.

        Raises:
            ValueError: the model cannot see it.
        """
        raise ValueError("the model takes text alone; choose a vision model")


def check_images(index: int, tokens: int, images: int) -> None:
    """The chat template must have left one placeholder per image in prompt `index`.

    Raises:
        InputError: it did not.
    """
    if tokens != images:
        raise InputError(
            f"Prompt {index} has {tokens} image tokens after the chat template, but {images} images. Remove "
            "the image token from its text, or restore the model's own chat template."
        )


def _pad_left(
    rows: list[np.ndarray], positions: list[np.ndarray], pad: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """tokens_BP, mask_BP, positions_KBP."""
    longest = max(len(row) for row in rows)
    tokens = np.full((len(rows), longest), pad, dtype=np.int64)
    mask = np.zeros((len(rows), longest), dtype=bool)
    places = np.zeros((len(positions[0]), len(rows), longest), dtype=np.int64)
    for index, (row, position) in enumerate(zip(rows, positions, strict=True)):
        tokens[index, longest - len(row) :] = row
        mask[index, longest - len(row) :] = True
        places[:, index, longest - len(row) :] = position
    return torch.from_numpy(tokens), torch.from_numpy(mask), torch.from_numpy(places)
