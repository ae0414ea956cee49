"""A cache bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteCache(Generic[T]):
    """Keeps what was used last, up to `limit` bytes in all; threads may share it."""

    def __init__(self, limit: int):
        self.limit, self.size = limit, 0
        self._kept: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> T | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Hashable, value: T, size: int) -> None:
        """Keep `value`, of `size` bytes, under a key that holds nothing yet."""
        with self._lock:
            if size > self.limit or key in self._kept:
                return
            self._kept[key] = value, size
            self.size += size
            while self.size > self.limit:
                self.size -= self._kept.popitem(last=False)[1][1]
