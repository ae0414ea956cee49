"""What an arm measures of itself: its memory and its time."""

from __future__ import annotations

import ctypes
import gc
import time
from pathlib import Path

import torch

from steps.workload import Case


class Memory:
    """Bytes above what the idle model takes: on the device if it is a GPU, else of the process."""

    def __init__(self, device: str):
        self.cuda = device.startswith("cuda")
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        else:
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        self.idle = torch.cuda.memory_allocated() if self.cuda else _status("VmRSS")

    def peak(self) -> int:
        return (torch.cuda.max_memory_allocated() if self.cuda else _status("VmHWM")) - self.idle


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def now(case: Case) -> float:
    """Seconds, when all that was started has ended."""
    if case.device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()
