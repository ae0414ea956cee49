"""Memory that a step frees stays with the process for the next one, where the C library is glibc.

By default glibc gives a large free end of its heap back at once, and the system has to clear those pages
again for the next step: thousands of page faults, a twentieth of a small model's training step on a CPU.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

import torch

KEPT = 1 << 30  # bytes of a free end that stay
LARGEST = 32 << 20  # bytes of a block that comes from the heap; the most that glibc takes
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


@cache
def keep_freed_memory(device: torch.device) -> None:
    """Have this process keep the memory that it frees, from now on, if it computes on the CPU."""
    if device.type != "cpu":
        return
    with suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        # Either one ends glibc's own adapting: without the first, blocks of 128 KiB would each be mapped.
        if mallopt(_MMAP_THRESHOLD, LARGEST):
            mallopt(_TRIM_THRESHOLD, KEPT)
