"""How much a forward pass may hold: batches are split to a number of tokens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from holdfast.errors import HoldfastError

T = TypeVar("T")
log = logging.getLogger(__name__)


class TokenBudget:
    """The most tokens that are computed together, prompts and completions counted once each.

    Attributes:
        tokens: None without a bound.
    """

    def __init__(self, tokens: int | None):
        self.tokens = tokens
        self._largest = self._rows = 1  # of a part that was given out in an attempt: tokens, and rows
        self._trying = False

    def split(self, costs: Sequence[int], most_rows: int | None = None) -> list[range]:
        """Consecutive rows in parts within the budget, and of at most `most_rows`.

        A row that is larger than the budget is a part of its own.

        Args:
            costs: tokens of each row (a prompt with its group).
        """
        parts: list[range] = []
        start = total = 0
        for row, cost in enumerate(costs):
            full = self.tokens is not None and total + cost > self.tokens
            if row > start and (full or row - start == most_rows):
                parts.append(range(start, row))
                start, total = row, 0
            total += cost
            self._largest, self._rows = max(self._largest, total), max(self._rows, row + 1 - start)
        return [*parts, range(start, len(costs))]

    def attempt(self, work: Callable[[], T]) -> T:
        """What `work` returns, which splits by this budget; where memory runs out, again with half of it.

        Raises:
            HoldfastError: memory ran out although every part was a single row.
        """
        if self._trying:  # a part of other work, which has more to give up
            return work()
        self._trying = True
        try:
            while True:
                self._largest = self._rows = 1
                try:
                    return work()
                except torch.OutOfMemoryError as error:
                    if self._rows == 1:
                        raise self._too_little(error) from error
                # Outside the handler: the exception would keep the tensors of the failed attempt alive.
                self.tokens = max(1, min(self.tokens or self._largest, self._largest) // 2)
                torch.cuda.empty_cache()
                log.warning("Out of memory: going on with a token budget of %d.", self.tokens)
        finally:
            self._trying = False

    def _too_little(self, error: Exception) -> HoldfastError:
        return HoldfastError(
            f"Out of memory even with one prompt at a time ({error}). Turn on "
            "model.activation_checkpointing, or use a smaller group_size, max_tokens, max_pixels or model."
        )
