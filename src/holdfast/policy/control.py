"""Control tokens in a user's text are text: they neither end a turn nor begin one.

The chat template puts text among tokens such as `<|im_end|>`, and a tokenizer cannot know which of them
the template wrote. So those in the text are quoted before the template sees them, and a string with quotes
is cut at the template's own tokens; what lies between is tokenised as text. A string without quotes is
tokenised as ever.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

QUOTE = "\ufdd0"  # not a character, by the Unicode standard, so that no text holds it


class ControlTokens:
    """A tokenizer's control tokens.

    Args:
        tokenizer: of transformers.
        meant: control tokens that stay what they are in a text.
    """

    def __init__(self, tokenizer: Any, meant: Collection[str | None]):
        self.tokenizer = tokenizer
        added = {token.content: (id, token) for id, token in tokenizer.added_tokens_decoder.items()}
        self._ids = {content: id for content, (id, token) in added.items() if token.special and content}
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._quoted = _any_of([re.escape(content) for content in longest_first if content not in meant])
        self._written = _any_of(
            [f"{QUOTE}.*?{QUOTE}"] + [_with_spaces(content, added[content][1]) for content in longest_first],
        )

    def quote(self, text: str) -> str:
        """The text with quotes around its control tokens."""
        return self._quoted.sub(lambda found: f"{QUOTE}{found[0]}{QUOTE}", text)

    def is_quoted(self, text: str) -> bool:
        """Whether `quote` found something in a part of this text."""
        return QUOTE in text

    def first(self, text: str) -> int | None:
        """The control token that a text begins with, white space aside."""
        found = self._written.match(text.lstrip())
        return None if found is None else self._id(found)

    def ids(self, text: str, special: bool = False) -> list[int]:
        """The tokens of a text with quotes; with `special`, after those that begin a sequence."""
        ids = list(self.tokenizer("")["input_ids"]) if special else []
        start = 0
        for found in self._written.finditer(text):
            if found[0].startswith(QUOTE):
                continue
            ids += [*self.as_text(text[start : found.start()]), self._id(found)]
            start = found.end()
        return ids + self.as_text(text[start:])

    def as_text(self, text: str) -> list[int]:
        """The tokens of a text, whose control tokens are all text."""
        if not (text := text.replace(QUOTE, "")):
            return []
        how = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
        ids = self.tokenizer(text, **how)["input_ids"]
        control, unknown = set(self._ids.values()), self.tokenizer.unk_token_id
        if unknown is None:
            return ids
        return [unknown if id in control else id for id in ids]  # some vocabularies have them as words, too

    def _id(self, found: re.Match[str]) -> int:
        return self._ids[found[0].strip()]


def silent_ids(tokenizer: Any) -> set[int]:
    """Ids that are no part of a completion's text."""
    return {tokenizer.pad_token_id} | {
        id for token, id in tokenizer.get_vocab().items() if token.startswith("<|") and token.endswith("|>")
    }


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns) or r"(?!)", re.DOTALL)


def _with_spaces(content: str, token: Any) -> str:
    """A token with the white space that it takes with it."""
    return (r"\s*" if token.lstrip else "") + re.escape(content) + (r"\s*" if token.rstrip else "")
