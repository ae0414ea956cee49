"""What learning spends, so that methods can be compared at equal cost."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.operations import Operations

_RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Spent:
    """What collecting groups took.

    Attributes:
        completions: sampled, discarded ones included.
        sampled_tokens: of these.
        flops: operations of sampling and of references (`policy/operations.py`).
    """

    completions: int = 0
    sampled_tokens: int = 0
    flops: float = 0.0

    @classmethod
    def sampling(cls, operations: Operations, prompts: Prompts, completions: Completions) -> Spent:
        """What drawing `completions` took."""
        mask_BGR = completions.mask_BGR
        flops = operations.forward(prompts, completions)
        return cls(mask_BGR[:, :, 0].numel(), int(mask_BGR.sum()), flops)

    def __add__(self, other: Spent) -> Spent:
        return Spent(*map(sum, zip(astuple(self), astuple(other), strict=True)))


class EnergyMeter:
    """Joules of the processors (Linux powercap), where the system lets them be read.

    A processor's counter is that of everything that runs on it; it wraps around at its range.
    """

    def __init__(self, root: Path = _RAPL) -> None:
        self._counters = [
            counter for counter in sorted(root.glob("intel-rapl:[0-9]*")) if counter.name.count(":") == 1
        ]
        self._last = self._read()

    def joules(self) -> float | None:
        """Since the last call (or since it was made); None where nothing can be read."""
        before, self._last = self._last, self._read()
        if before is None or self._last is None:
            return None
        pairs = zip(self._last, before, strict=True)
        return sum((now - then) % size for (now, size), (then, _) in pairs) / 1e6

    def _read(self) -> list[tuple[int, int]] | None:
        """Microjoules and the range of each counter."""

        def number(file: Path) -> int:
            return int(file.read_text())

        with suppress(OSError, ValueError):
            return [
                (number(counter / "energy_uj"), number(counter / "max_energy_range_uj") + 1)
                for counter in self._counters
            ] or None
        return None
