"""Prompts and targets to tokens, images to patches.

This encoder is for Qwen-VL and for text alone; `processed.py` has the one for every other family.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from holdfast.errors import InputError
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.images import PatchMaker
from holdfast.policy.positions import mrope_positions
from holdfast.tasks.example import ImageSource


class Encoder:
    """Tokenises for one model.

    Attributes:
        shows_images: whether messages are lists of parts, of which some are images.

    Args:
        processor: the checkpoint's processor, or its tokenizer if it takes text alone.
        patches: None for a model whose images are not made here.
        image_token: id that stands for one merged patch of an image; None without patches.
        max_context: most tokens a prompt may have.
    """

    def __init__(
        self,
        processor: Any,
        tokenizer: Any,
        patches: PatchMaker | None,
        image_token: int | None,
        max_context: int,
        system_prompt: str | None,
    ):
        self.processor, self.tokenizer, self.patches = processor, tokenizer, patches
        self.image_token, self.max_context, self.system_prompt = image_token, max_context, system_prompt
        self.shows_images = patches is not None
        self.template = getattr(processor, "chat_template", None) or tokenizer.chat_template
        if self.template is None:
            raise InputError("The model has no chat template; add chat_template.jinja to its folder.")

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
        rendered = self.tokenizer.apply_chat_template(
            [self._messages(text, len(row)) for text, row in zip(texts, images, strict=True)],
            chat_template=self.template,
            tokenize=False,
            add_generation_prompt=True,
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

    def prepare(self, images: Iterable[ImageSource]) -> None:
        """Begin to decode images that are soon encoded, in a thread."""
        if self.patches is not None:
            self.patches.prepare(images)

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
        pixels, grids, counts = None, None, []
        if distinct and self.patches is not None:
            pixels, grids = self.patches.patches(distinct)
            counts = (grids.prod(-1) // self.patches.merge**2).tolist()
        rows, positions = [], []
        for index, (ids, used) in enumerate(zip(self._ids(rendered), uses, strict=True)):
            row = self._expand(index, np.asarray(ids, dtype=np.int64), [counts[image] for image in used])
            rows.append(row)
            if self.patches is None or self.image_token is None:
                positions.append(np.arange(len(row))[None])
            else:
                grid_list = [] if grids is None else grids[list(used)].tolist()
                positions.append(mrope_positions(row, self.image_token, grid_list, self.patches.merge))
        return rows, positions, {"pixel_values": pixels, "image_grid_thw": grids}

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]

    def _expand(self, index: int, ids: np.ndarray, counts: list[int]) -> np.ndarray:
        """Each image's placeholder repeated once per token of the image."""
        is_image = ids == self.image_token if self.image_token is not None else np.zeros(len(ids), dtype=bool)
        check_images(index, int(is_image.sum()), len(counts))
        repeats = np.ones(len(ids), dtype=np.int64)
        repeats[is_image] = counts
        return ids.repeat(repeats)

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
        if not self.shows_images:
            raise InputError(
                f"Prompt {index} shows an image, but the model takes text alone; choose a vision model."
            )
        try:
            return self._picture(image)
        except ValueError as error:
            raise InputError(f"An image of prompt {index} cannot be used: {error}.") from None

    def _picture(self, image: ImageSource) -> Any:
        """An image as `_tokenise` takes it, with a `key` of its own.

        Raises:
            ValueError: the model cannot see it.
        """
        assert self.patches is not None
        return self.patches.picture(image)


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
