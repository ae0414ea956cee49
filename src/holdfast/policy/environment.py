"""Packages that are missing, or installed and broken, told in one line.

This module imports neither torch nor transformers, which fails obscurely beside a broken torchvision.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.errors import InputError, reading

# How transformers says that a package is missing.
_MISSING = (
    r"requires the (?:PyTorch )?([\w-]+) library",
    r"Package `([\w-]+)` is required",
    r"No module named '(\w+)",
    r"quanti[sz]\w+ .*requires ([\w-]+):? \(?`pip install",
)
_ONE_AT_A_TIME = threading.RLock()  # transformers changes classes of its own while it builds a model
_NOT_FETCHED = "LocalEntryNotFoundError"  # of huggingface_hub


class MissingPackage(InputError):
    """A package that the work needs is not installed."""


def torchvision_works() -> bool:
    """Whether torchvision is installed.

    Raises:
        InputError: it is installed but cannot be imported; transformers then fails obscurely.
    """
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # a build for another torch fails in many ways
        raise InputError(
            f"torchvision is installed but does not work with torch ({type(error).__name__}: {error}). "
            "Install the build that matches torch, or remove it (pip uninstall torchvision): "
            "Holdfast does not need it."
        ) from error
    return True


@contextmanager
def loading(part: str, source: object) -> Iterator[None]:
    """A part of a checkpoint is read inside; whatever a library raises is one line that names both.

    One thread after another is in the block.

    Raises:
        InputError: it cannot be loaded; a `MissingPackage` where a package is all that it lacks.
    """
    try:
        with _ONE_AT_A_TIME, reading(f"The {part} of {source}", "loaded"):
            yield
    except InputError as error:
        if package := missing_package(error):
            raise MissingPackage(
                f"The {part} of {source} needs {package}, which is not installed: pip install {package}"
            ) from error
        if "trust_remote_code" in str(error.__cause__):
            raise InputError(
                f"The {part} of {source} is code that lies beside the checkpoint, and Holdfast runs none. "
                "Take a copy in transformers' own form, often called NAME-hf, or another model."
            ) from error
        if any(type(cause).__name__ == _NOT_FETCHED for cause in _causes(error)):
            raise not_fetched(source) from error
        raise


def not_fetched(source: object) -> InputError:
    """A model of the hub that neither this disk nor the network has."""
    return InputError(
        f"The model {source} (model.path) is not on this disk, or not all of it, and the hub cannot "
        f"be reached. Download it first ('hf download {source}'), or give the folder of a model."
    )


def missing_package(error: BaseException) -> str | None:
    """The package whose absence an error, or what caused it, complains about."""
    for cause in _causes(error):
        for pattern in _MISSING:
            if isinstance(cause, ImportError) and (found := re.search(pattern, str(cause))):
                return found[1].lower()
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
