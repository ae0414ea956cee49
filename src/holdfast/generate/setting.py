"""In which setting answers were made: the machine, the mode it computed in, and the versions.

The same model gives other answers on another machine, in another precision or beside other questions. So
every record file says where it comes from, and a comparison across settings is refused unless it is meant.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.versions import package_versions

if TYPE_CHECKING:
    from holdfast.generate.generator import Generator


def setting_of(generator: Generator, batch: int | None) -> dict[str, Any]:
    """`machine`, `mode` and `versions` behind a generator's answers; of a server, what it says it `served`.

    A server's machine, precision and versions cannot be seen from here: they are its own.

    Args:
        batch: examples that are asked together; None where the generator divides the work itself.
    """
    mode: dict[str, Any] = {"engine": type(generator).__name__, **getattr(generator, "mode", {})}
    if batch is not None:
        mode["batch"] = batch
    versions = package_versions()
    if (served := getattr(generator, "served", None)) is not None:
        return {"mode": mode, "versions": {"holdfast": versions["holdfast"]}, "served": served}
    shown = {name: version for name, version in versions.items() if name != "python"}  # which changes none
    device = getattr(generator, "device", mode.get("device", "cpu"))
    return {"machine": machine(str(device)), "mode": mode, "versions": shown}


@cache
def machine(device: str) -> str:
    """What computes: the name of the GPU, or of the processor."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return _processor() or platform.machine()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
