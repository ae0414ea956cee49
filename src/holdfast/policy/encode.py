"""Prompts and targets to tokens.

This encoder is for text alone; `families/patches.py` has the one for Qwen-VL, `processed.py` the one for
every other family with images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from holdfast.errors import HoldfastError, InputError, reason, shortened
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.control import ControlTokens
from holdfast.policy.template import ChatTemplate
from holdfast.tasks.example import IMAGE_MARKER, ImageSource
from holdfast.tasks.prompts import parts_of
from holdfast.tasks.scoring import END_OF_THOUGHT, THOUGHT

_TEXT_ALONE = "the model takes text alone; choose a vision model"
Uses = tuple[tuple[int, ...], ...]  # of each prompt, its pictures among the distinct ones
# Ids and positions [K, length] of each prompt, and the fields of `Prompts` that hold its pictures.
Tokenised = tuple[list[np.ndarray], list[np.ndarray], dict[str, Any]]
MOST_CHARACTERS = 64  # a token of the context; a longer text is not tokenised to find that it is too long


class Unfit(InputError):
    """A prompt or target that the model cannot take.

    Attributes:
        index: its place in the batch.

    Args:
        row: what the message calls it but for its place, `prompt` or `target`.
        after, before: the rest of the message.
    """

    def __init__(self, row: str, index: int, after: str, before: str = "") -> None:
        self.index, self.row, self.after, self.before = index, row, after, before
        super().__init__(self._with(f"{row} {index}"))

    def named(self, names: Sequence[str]) -> InputError:
        """The same about the row of a name, which says what a place in a batch does not."""
        return InputError(self._with(f"the {self.row} of {names[self.index]}"))

    def _with(self, subject: str) -> str:
        text = f"{self.before}{subject} {self.after}"
        return text[0].upper() + text[1:]


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
        # An image's token in a text is an error (`check_images`), and thoughts are asked for by theirs.
        meant = {getattr(processor, "image_token", None), THOUGHT, END_OF_THOUGHT}
        self.control = ControlTokens(self.tokenizer, meant)

    def prompts(self, texts: Sequence[str], images: Sequence[Sequence[ImageSource]]) -> Prompts:
        """User turns as the chat template renders them, up to where the reply begins.

        Raises:
            Unfit: a prompt is too long, shows images to a model without vision, or its image markers or
                tokens do not match its images.
            HoldfastError: an image cannot be read.
        """
        if not texts:
            raise ValueError("no prompts to encode")
        messages = [
            self._turns(index, text, len(row))
            for index, (text, row) in enumerate(zip(texts, images, strict=True))
        ]
        distinct, uses = self._distinct(images)
        rows, positions, inputs = self._tokenise(self.template.render(messages), distinct, uses)
        for index, row in enumerate(rows):
            self._check_prompt(index, len(row))
        keys = tuple(picture.key for picture in distinct)
        padded = _pad_left(rows, positions, self.tokenizer.pad_token_id)
        return Prompts(*padded, images=uses, image_keys=keys, **inputs)

    def try_out(self) -> None:
        """See that chat template and tokenizer take a question, the context holds it, and a reply ends.

        Raises:
            InputError: they do not.
        """
        asked = "Question 1?"
        rendered = self.template.try_out(self._messages(asked, int(self.shows_images)))
        if asked not in rendered:
            raise InputError(
                f"The chat template of the model writes {shortened(repr(rendered))} for every question, "
                "without the question; copy the checkpoint's own chat_template.jinja."
            )
        if (least := len(self._prompt_ids([rendered])[0])) >= self.max_context:
            raise InputError(
                f"The shortest prompt has {least} tokens, and the context is {self.max_context}; raise "
                "model.max_context, or leave it out."
            )
        self.end  # noqa: B018

    def check_room(self, prompts: Prompts, max_tokens: int) -> None:
        """See that the longest prompt leaves room for an answer.

        Raises:
            InputError: prompt and completion together may outgrow the context.
        """
        longest = prompts.tokens_BP.shape[1]
        if longest + max_tokens > self.max_context:
            raise InputError(
                f"A prompt of {longest} tokens and max_tokens {max_tokens} outgrow the context of "
                f"{self.max_context}. Lower max_tokens, or raise model.max_context."
            )

    @cached_property
    def opens_thought(self) -> bool:
        """Whether the chat template ends in `<think>`, so that replies begin within it."""
        return self.template.render([self._messages("", 0)])[0].rstrip().endswith(THOUGHT)

    @cached_property
    def end(self) -> int:
        """The token that ends a reply: what the chat template writes after one, else the tokenizer's own.

        Raises:
            InputError: neither names one.
        """
        reply, written = "reply", None
        turn = {"role": "assistant", "content": self._content(reply, 0)}
        with suppress(InputError):  # a template refuses what it was not made for
            (rendered,) = self.template.render([[*self._messages("question", 0), turn]], begins_reply=False)
            written = self.control.first(rendered.rpartition(reply)[2])
        if (end := self.tokenizer.eos_token_id if written is None else written) is None:
            raise InputError("The tokenizer names no end token (eos_token); set it in tokenizer_config.json.")
        return end

    def prepare(self, images: Iterable[ImageSource]) -> None:
        """Begin to decode images that are soon encoded, in a thread, where that is of use."""

    def completions(self, texts: Sequence[str]) -> Completions:
        """Targets followed by the end token, one for each prompt.

        Raises:
            Unfit: a target is longer than the context.
        """
        for index, text in enumerate(texts):
            self._check_characters("target", index, text)
        rows = self._target_ids(texts)
        for index, row in enumerate(rows):
            self._check_target(index, len(row))
        return self._completions(rows)

    def _completions(self, rows: Sequence[Sequence[int]]) -> Completions:
        """Rows of ids, as groups of one."""
        shape = len(rows), 1, max(1, *map(len, rows))
        tokens = np.full(shape, self.tokenizer.pad_token_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=bool)
        for index, row in enumerate(rows):
            tokens[index, 0, : len(row)] = row
            mask[index, 0, : len(row)] = True
        finished = torch.ones(len(rows), 1, dtype=torch.bool)
        return Completions(torch.from_numpy(tokens), torch.from_numpy(mask), finished)

    def texts(self, texts: Sequence[str], most: int) -> tuple[Prompts, Completions]:
        """Texts that are no turns of a chat: what can be predicted of each, as groups of one.

        A prompt is what begins a sequence (BOS), or else the text's first token; the completion is the rest,
        at most `most` tokens and what the context holds, and no end. It is empty where a text has no more
        than that token.
        """
        start = self.control.ids("", special=True)
        first = max(1, len(start))
        most = min(most, self.max_context - first)
        # Some texts take minutes to be tokenised.
        rows = [start + self.control.as_text(text[: MOST_CHARACTERS * most]) for text in texts]
        prompts = [np.asarray(row[:first], dtype=np.int64) for row in rows]
        _, (axes, *_), _ = self._tokenise(["?"], [], ((),))
        positions = [np.broadcast_to(np.arange(len(row)), (len(axes), len(row))) for row in prompts]
        padded = _pad_left(prompts, positions, self.tokenizer.pad_token_id)
        return (
            Prompts(*padded, images=((),) * len(rows), image_keys=()),
            self._completions([row[first : first + most] for row in rows]),
        )

    def look_at(
        self, texts: Sequence[str], sizes: Sequence[Sequence[tuple[int, int]]], room: int = 0
    ) -> list[Unfit | tuple[int, int]]:
        """What `prompts` would say, as far as sizes tell, and whether there is room for an answer.

        Args:
            sizes: width and height of each prompt's images.
            room: tokens that an answer may have.

        Returns:
            Of each prompt why the model cannot take it, or its tokens and how many of them are images'.
        """
        found: dict[int, Unfit | tuple[int, int]] = {}
        taken: list[tuple[int, list[dict[str, Any]], int]] = []
        for index, (text, shown) in enumerate(zip(texts, sizes, strict=True)):
            try:
                tokens = sum(self._named(index, self._image_tokens, size) for size in shown)
                taken.append((index, self._turns(index, text, len(shown)), tokens))
            except Unfit as problem:
                found[index] = problem
        rendered = self.template.render([turns for _, turns, _ in taken]) if taken else []
        rows = self._prompt_ids(rendered) if taken else []
        for (index, _, tokens), text, ids in zip(taken, rendered, rows, strict=True):
            try:
                stand = self._image_places(text, ids)
                check_images(index, stand, len(sizes[index]))
                length = len(ids) - stand + tokens
                self._check_prompt(index, length, room)
                found[index] = length, tokens
            except Unfit as problem:
                found[index] = problem
        return [found[index] for index in range(len(texts))]

    def look_at_targets(self, texts: Sequence[str]) -> list[Unfit | int]:
        """Of each target why `completions` would refuse it, or its tokens."""
        found: list[Unfit | int] = []
        for index, text in enumerate(texts):
            try:
                self._check_characters("target", index, text)
                (ids,) = self._target_ids([text])
                self._check_target(index, len(ids))
                found.append(len(ids))
            except Unfit as problem:
                found.append(problem)
        return found

    def _target_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[*ids, self.end] for ids in self._ids([self.control.quote(text) for text in texts])]

    def _check_target(self, index: int, length: int) -> None:
        self._check_length("target", index, length, "Shorten it, or raise max_context.")

    def _check_prompt(self, index: int, length: int, room: int = 0) -> None:
        self._check_length("prompt", index, length, "Shorten it, lower max_pixels, or raise max_context.")
        if length + room > self.max_context:
            raise Unfit(
                "prompt",
                index,
                f"has {length} tokens and leaves no room in the context of {self.max_context} for max_tokens "
                f"{room}. Lower max_tokens or max_pixels, or raise max_context.",
            )

    def _check_length(self, row: str, index: int, length: int, advice: str) -> None:
        if length > self.max_context:
            context = f"more than the context of {self.max_context}"
            raise Unfit(row, index, f"has {length} tokens, {context}. {advice}")

    def _check_characters(self, row: str, index: int, text: str) -> None:
        """Some texts take minutes to be tokenised."""
        if len(text) > MOST_CHARACTERS * self.max_context:
            context = f"a context of {self.max_context} tokens"
            raise Unfit(
                row, index, f"has {len(text):,} characters, far more than {context} holds. Shorten it."
            )

    def _turns(self, index: int, text: str, images: int) -> list[dict[str, Any]]:
        self._check_characters("prompt", index, text)
        try:
            return self._messages(text, images)
        except ValueError as error:
            raise Unfit("prompt", index, f"{error}.") from None

    @cached_property
    def _places_images(self) -> bool:
        """Whether the chat template leaves images where they stand among texts."""
        one, two = ({"type": "text", "text": text} for text in ("one", "two"))
        orders = [[one, {"type": "image"}, two], [{"type": "image"}, one, two]]
        within, before = self.template.render([[{"role": "user", "content": content}] for content in orders])
        return within != before

    def _messages(self, text: str, images: int) -> list[dict[str, Any]]:
        """The turns of a prompt.

        Raises:
            ValueError: its markers do not match its images, or the template moves these.
        """
        if self.shows_images and images:
            *before, _ = text.split(IMAGE_MARKER)
            if any(map(str.strip, before)) and not self._places_images:
                raise ValueError(
                    "has images within its text, but the model's chat template shows all of them before it; "
                    "move the <image> markers to the front"
                )
        user = {"role": "user", "content": self._content(text, images)}
        if self.system_prompt is None:
            return [user]
        return [{"role": "system", "content": self._content(self.system_prompt, 0)}, user]

    def _content(self, text: str, images: int) -> Any:
        if not self.shows_images:
            return self.control.quote(text)
        return [
            {"type": "image"} if part is None else {"type": "text", "text": self.control.quote(part)}
            for part in parts_of(text, images)
        ]

    def _tokenise(self, rendered: list[str], distinct: Sequence[Any], uses: Uses) -> Tokenised:
        """Rendered prompts, of which each shows those of the distinct pictures that `uses` says."""
        rows = [np.asarray(ids, dtype=np.int64) for ids in self._prompt_ids(rendered)]
        return rows, [np.arange(len(row))[None] for row in rows], {}

    def _prompt_ids(self, rendered: list[str]) -> list[list[int]]:
        """The ids of rendered prompts, in which each image is still one token."""
        return self._ids(rendered)

    def _image_places(self, rendered: str, ids: list[int]) -> int:
        """How many tokens of such a prompt, rendered, stand for images."""
        return 0

    def _image_tokens(self, size: tuple[int, int]) -> int:
        """How many tokens an image of this width and height takes in the end.

        Raises:
            ValueError: the model cannot see it.
        """
        raise ValueError(_TEXT_ALONE)

    def _ids(self, texts: list[str], special: bool = False) -> list[list[int]]:
        """With `special`, tokens such as BOS are added."""
        how = {"add_special_tokens": special, "return_attention_mask": False}
        ids = self.tokenizer(texts, **how, verbose=False)["input_ids"]  # what is too long is said here
        return [
            self.control.ids(text, special) if self.control.is_quoted(text) else row
            for text, row in zip(texts, ids, strict=True)
        ]

    def _distinct(self, images: Sequence[Sequence[ImageSource]]) -> tuple[list[Any], Uses]:
        """Each picture once, and which of them each prompt shows."""
        pictures = [
            [self._named(index, self._picture, image) for image in row] for index, row in enumerate(images)
        ]
        distinct = {picture.key: picture for row in pictures for picture in row}
        places = {key: place for place, key in enumerate(distinct)}
        return list(distinct.values()), tuple(tuple(places[one.key] for one in row) for row in pictures)

    def _named(self, index: int, made_of: Callable[[Any], Any], image: Any) -> Any:
        """What is made of an image of prompt `index`, which an error names."""
        try:
            return made_of(image)
        except HoldfastError:
            raise
        except Exception as error:  # processors refuse pictures in ways of their own
            raise Unfit("prompt", index, f"cannot be used: {reason(error)}.", "an image of ") from error

    def _picture(self, image: ImageSource) -> Any:
        """An image as `_tokenise` takes it, with a `key` of its own.

        Raises:
            ValueError: the model cannot see it.
        """
        raise ValueError(_TEXT_ALONE)


def check_images(index: int, tokens: int, images: int) -> None:
    """The chat template must have left one placeholder per image in prompt `index`.

    Raises:
        Unfit: it did not.
    """
    if tokens != images:
        raise Unfit(
            "prompt",
            index,
            f"has {tokens} image tokens after the chat template, but {images} images. Remove the image token "
            "from its text, or restore the model's own chat template.",
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
