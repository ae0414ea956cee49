"""What settings of several ways of learning are checked for."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast import plugins
from holdfast.errors import InputError, suggestion
from holdfast.policy.settings import Sampling


def known(value: str, names: Sequence[str], what: str) -> str:
    """A name of the package's own, or code of the user's.

    Raises:
        ValueError: it is neither, or the code is not there.
    """
    if plugins.is_reference(value):
        try:
            plugins.load_function(value)
        except InputError as error:
            raise ValueError(str(error)) from None
    elif value not in names:
        all_names = ", ".join(names)
        raise ValueError(
            f"must be one of {all_names}, or FILE.py:NAME, not '{value}'{suggestion(value, names)}"
        )
    return value


def needs_differing_completions(who: str, sampling: Sampling) -> None:
    """Raises ValueError: they would all be the same."""
    if sampling.temperature == 0:
        raise ValueError(
            f"{who} learns from differing completions, so sampling.temperature must be above 0 "
            "(1.0: the policy itself)"
        )
