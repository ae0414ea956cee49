"""What is freed is there again without the system's help."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CYCLES = """
import resource, sys, torch
from holdfast.policy.heap import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory(torch.device("cpu"))
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    rows = [torch.ones(2**21) for _ in range(10)]  # 8 MiB each
    del rows
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(which: str) -> int:
    """Pages that the system had to give for the third 80 MiB."""
    return int(subprocess.check_output([sys.executable, "-c", CYCLES, which]))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_memory_is_kept():
    assert faults("kept") < 100 < faults("given back")
