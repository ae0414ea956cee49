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

from holdfast.errors import InputError
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.control import ControlTokens
from holdfast.tasks.example import ImageSource
from holdfast.tasks.scoring import END_OF_THOUGHT, THOUGHT


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
        self.template = getattr(processor, "chat_template", None) or self.tokenizer.chat_template
        if self.template is None:
            raise InputError("The model has no chat template; add chat_template.jinja to its folder.")
        # An image's token in a text is an error (`check_images`), and thoughts are asked for by theirs.
        meant = {getattr(processor, "image_token", None), THOUGHT, END_OF_THOUGHT}
        self.control = ControlTokens(self.tokenizer, meant)

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
        rendered = self._render(
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

    @cached_property
    def opens_thought(self) -> bool:
        """Whether the chat template ends in `<think>`, so that replies begin within it."""
        return self._render([self._messages("", 0)])[0].rstrip().endswith(THOUGHT)

    @cached_property
    def end(self) -> int | None:
        """The token that ends a reply: what the chat template writes after one, else the tokenizer's own."""
        reply = "reply"
        turn = {"role": "assistant", "content": self._content(reply, 0)}
        try:
            (rendered,) = self._render([[*self._messages("question", 0), turn]], begins_reply=False)
        except Exception:  # a template refuses in ways of its own
            return self.tokenizer.eos_token_id
        written = self.control.first(rendered.rpartition(reply)[2])
        return self.tokenizer.eos_token_id if written is None else written

    def _render(self, messages: list[list[dict[str, Any]]], begins_reply: bool = True) -> list[str]:
        rendered: list[str] = self.tokenizer.apply_chat_template(
            messages, chat_template=self.template, tokenize=False, add_generation_prompt=begins_reply
        )
        return rendered

    def prepare(self, images: Iterable[ImageSource]) -> None:
        """Begin to decode images that are soon encoded, in a thread, where that is of use."""

    def completions(self, texts: Sequence[str]) -> Completions:
        """Targets followed by the end token, one for each prompt.

        Raises:
            InputError: a target is longer than the context.
        """
        rows = [[*ids, self.end] for ids in self._ids([self.control.quote(text) for text in texts])]
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
        user = {"role": "user", "content": self._content(text, images)}
        if self.system_prompt is None:
            return [user]
        return [{"role": "system", "content": self._content(self.system_prompt, 0)}, user]

    def _content(self, text: str, images: int) -> Any:
        text = self.control.quote(text)
        return [{"type": "image"}] * images + [{"type": "text", "text": text}] if self.shows_images else text

    def _tokenise(
        self, rendered: list[str], distinct: Sequence[Any], uses: Sequence[tuple[int, ...]]
    ) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, Any]]:
        """Ids and positions [K, length] of each rendered prompt, and the fields of `Prompts` with images."""
        rows = [np.asarray(ids, dtype=np.int64) for ids in self._ids(rendered)]
        positions = [np.arange(len(row))[None] for row in rows]
        return rows, positions, {"pixel_values": None, "image_grid_thw": None}

    def _ids(self, texts: list[str], special: bool = False) -> list[list[int]]:
        """With `special`, tokens such as BOS are added."""
        ids = self.tokenizer(texts, add_special_tokens=special, return_attention_mask=False)["input_ids"]
        return [
            self.control.ids(text, special) if self.control.is_quoted(text) else row
            for text, row in zip(texts, ids, strict=True)
        ]

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
        try:
            return self._picture(image)
        except ValueError as error:
            raise InputError(f"An image of prompt {index} cannot be used: {error}.") from None

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
