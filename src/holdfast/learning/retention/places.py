"""Old examples in the places of new ones; the batch keeps its size. What er, kl_old, cpr and remind share."""

from __future__ import annotations

from holdfast.learning.methods import Method
from holdfast.learning.retention import Continuing, Strategy
from holdfast.learning.retention.pool import not_graded


class TakesPlaces(Strategy):
    rehearses = takes_places = True

    share: float  # of a batch, that is for old examples

    def places(self, batch: int) -> int:
        """Those for old examples: their share, rounded, and at least one."""
        return max(1, round(self.share * batch))

    def unfit(self, method: Method) -> str | None:
        """A batch may have no place for old examples, or none for new ones."""
        old, batch = self.places(method.batch), method.batch
        if 0 < old < batch:
            return None
        lacking, change = ("new", "lower") if old else ("earlier", "raise")
        return (
            f"has no place for {lacking} examples: {change} share ({self.share:g}), or raise batch ({batch})"
        )


class ByPassRates(Continuing, TakesPlaces):
    """Old prompts are asked when their pass rates say so; a batch may have fewer than it has places."""

    def unfit(self, method: Method) -> str | None:
        return not_graded(method) or super().unfit(method)

    def places(self, batch: int) -> int:
        """The most that may be old."""
        return int(self.share * batch)
