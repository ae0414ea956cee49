"""What is freed is there again without the system's help."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CYCLES = """
import resource, torch
from holdfast.policy.heap import keep_freed_memory
keep_freed_memory(torch.device("cpu"))
faults = []
for _ in range(8):
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    rows = [torch.ones(2**21) for _ in range(10)]  # 8 MiB each
    del rows
print(faults[-1] - faults[2])  # the heap has grown by then
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
def test_freed_memory_is_kept():
    faults = int(subprocess.check_output([sys.executable, "-c", CYCLES]))
    assert faults < 10_240  # else up to 20,480 for every 80 MiB, five times
