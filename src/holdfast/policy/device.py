"""The device that a setting names, and how torch works in a job.

Nothing here makes a context on a GPU but `device_for`.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.errors import InputError, reason

if TYPE_CHECKING:
    import torch


def device_name(setting: str) -> str:
    """The device of a setting; `auto` is the GPU if torch can use one, else the CPU."""
    if setting != "auto":
        return setting
    if "torch" not in sys.modules and not _built_for_gpus():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _built_for_gpus() -> bool:
    """Whether torch may know a GPU, told without importing it, which takes seconds."""
    spec = importlib.util.find_spec("torch")
    try:
        version = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")  # type: ignore
    except (AttributeError, TypeError, OSError):
        return True  # ask torch itself
    built_for = re.findall(r"^(?:cuda|hip)\b.*= *(.+)$", version, re.MULTILINE)
    return not built_for or any(value != "None" for value in built_for)


def device_for(setting: str) -> torch.device:
    """The same for torch, tried out.

    Raises:
        InputError: torch cannot use it.
    """
    import torch

    name = device_name(setting)
    try:
        torch.empty(0, device=name)
    except Exception as error:
        raise InputError(
            f"device: {name} cannot be used ({reason(error)}). Use auto, cpu or cuda."
        ) from error
    return torch.device(name)


@contextmanager
def torch_settled(threads: int) -> Iterator[None]:
    """Within the block, torch's settings of the whole process that results depend on: threads, default dtype,
    gradients and autocast. Afterwards they are again what the user's code had made them, but for the threads.
    """
    import torch

    dtype = torch.get_default_dtype()
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        torch.set_default_dtype(dtype)
