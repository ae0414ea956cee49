"""Versions of what makes results: part of the fingerprints of jobs, and readable without torch."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from holdfast import __version__

FILTER_VERSION = 4  # raise when a filter keeps other examples for the same settings
EVALUATION_VERSION = 4  # raise when records change for the same model and examples

PACKAGES = ("torch", "transformers", "peft")  # whose versions may show in the bits of results


@cache
def package_versions() -> dict[str, str]:
    """Versions of Holdfast, Python and the packages that compute; what is not installed is left out."""
    versions = {"holdfast": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
