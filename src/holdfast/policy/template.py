"""The chat template of a checkpoint: a program from elsewhere, which turns messages into text.

It runs in the sandbox that transformers makes for it, which keeps it from the system. What the sandbox does
not bound is bounded here: the time and the memory that a first question takes.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from holdfast.errors import InputError, reading
from holdfast.timelimit import TooSlow, time_limit

SECONDS = 2.0  # for one short question; templates in use take a few milliseconds
BYTES = 1 << 28  # that it may take besides
LONGEST = 200_000  # characters of its text; a system prompt of a checkpoint's own is part of it

Message = dict[str, Any]


class ChatTemplate:
    """Renders conversations for one checkpoint.

    Args:
        processor: the checkpoint's processor, or its tokenizer if it takes text alone.

    Raises:
        InputError: there is none, or several and none is called default.
    """

    def __init__(self, processor: Any):
        self.tokenizer = getattr(processor, "tokenizer", processor)
        text = getattr(processor, "chat_template", None) or self.tokenizer.chat_template
        if isinstance(text, dict):  # by name: for tools, for retrieved documents and the like
            if "default" not in text:
                raise InputError(
                    f"The model has several chat templates ({', '.join(sorted(text))}) and none is called "
                    "'default'; add the one to use to its folder as chat_template.jinja."
                )
            text = text["default"]
        if text is None:
            raise InputError("The model has no chat template; add chat_template.jinja to its folder.")
        self.text = text

    def render(self, conversations: list[list[Message]], begins_reply: bool = True) -> list[str]:
        """Conversations as the model reads them, up to where its reply begins if it is to.

        Raises:
            InputError: the template raises an error.
        """
        with reading("The chat template of the model"):
            rendered: list[str] = self.tokenizer.apply_chat_template(
                conversations, chat_template=self.text, tokenize=False, add_generation_prompt=begins_reply
            )
        return rendered

    def try_out(self, conversation: list[Message]) -> str:
        """The same of a short one, within bounds.

        Raises:
            InputError: the template raises an error or exceeds them.
        """
        try:
            with time_limit(SECONDS), _memory_limit(BYTES):
                (rendered,) = self.render([conversation])
        except TooSlow:
            raise InputError(
                f"The chat template takes more than {SECONDS:g} s for a short question."
            ) from None
        if len(rendered) > LONGEST:
            raise InputError(f"The chat template makes {len(rendered):,} characters of a short question.")
        with reading("The chat template of the model"):
            rendered.encode()  # not halves of characters, which no tokenizer takes
        return rendered


@contextmanager
def _memory_limit(extra: int) -> Iterator[None]:
    """Raise MemoryError in the block once this process has taken so many bytes more; on Linux alone."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        yield
        return
    before, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + extra
    bounds = [one for one in (before, most) if one != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([limit, *bounds]), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))
