"""The experiment files that come with the package."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import HoldfastError

EMBEDDED = "configs/embedded"


def configs() -> Path:
    """The folder of the embedded experiments: beside an installed package's modules, or in the checkout.

    Raises:
        HoldfastError: it is in neither.
    """
    package = Path(__file__).parent
    for root in (package, package.parents[1]):
        if (root / EMBEDDED / "demo.yaml").is_file():
            return root / EMBEDDED
    raise HoldfastError(f"This installation holds no {EMBEDDED}; install Holdfast again.")
