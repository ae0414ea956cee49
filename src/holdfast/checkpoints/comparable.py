"""Whether answers compare: the same questions, asked in the same way, in the same setting."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from holdfast.checkpoints.folder import Examined
from holdfast.errors import InputError, none_of, shortened

# What `--allow` names, with the keys of a record file's inputs that it stands for.
ASKED = {"sampling": ("sampling",), "prompt": ("style", "template")}
MADE = ("machine", "mode", "versions")
ALLOWABLE = (*MADE, "unknown", *ASKED)


def parse_allowed(names: Sequence[str]) -> frozenset[str]:
    """The differences that are meant.

    Raises:
        InputError: one is none of `ALLOWABLE`.
    """
    for name in names:
        if name not in ALLOWABLE:
            raise InputError(f"--allow {none_of(name, ALLOWABLE)}")
    return frozenset(names)


def check_inputs(
    task: str,
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    sides: tuple[str, str],
    allowed: Collection[str],
) -> None:
    """See that one task was asked in one way.

    Raises:
        InputError: it was not; naming the first difference that is not allowed.
    """
    meant = {key for name in allowed for key in ASKED.get(name, ())}
    names = {key: name for name, keys in ASKED.items() for key in keys}
    for key in dict.fromkeys([*ours, *theirs]):
        if ours.get(key) != theirs.get(key) and key not in meant:
            advice = f", or say --allow {names[key]}" if key in names else ""
            raise InputError(
                f"{task} is asked in different ways, so the answers cannot be compared: {key} is "
                f"{_shown(ours.get(key))} {sides[0]} and {_shown(theirs.get(key))} {sides[1]}. "
                f"Evaluate both with the same options{advice}."
            )


def check_setting(
    ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None, allowed: Collection[str]
) -> None:
    """See that two checkpoints answer in one setting.

    Args:
        ours: the setting of the answers before; None where it was not noted.
        theirs: of those after.

    Raises:
        InputError: they do not, or of one of them it is not known; naming all that differs.
    """
    if ours is None or theirs is None:
        if "unknown" in allowed:
            return
        raise InputError(
            f"Machine and mode of the answers {'before' if ours is None else 'after'} were not noted (an "
            "earlier version of Holdfast wrote them). Ask again with --again, or say --allow unknown."
        )
    if differing := [key for key in MADE if ours.get(key) != theirs.get(key) and key not in allowed]:
        said = "; ".join(f"{key} is {_difference(ours.get(key), theirs.get(key))}" for key in differing)
        meant = [name for name in ALLOWABLE if name in allowed or name in differing]
        raise InputError(
            f"It is answered in different settings, which alone turns answers: {said}. Evaluate both in the "
            f"same one, or say --allow {','.join(meant)}."
        )


def served_remarks(old: Sequence[Examined], new: Sequence[Examined]) -> list[str]:
    """What servers said which model answered.

    Raises:
        InputError: the tasks of one side were answered by different models.
    """
    said = []
    for side, examined in (("before", old), ("after", new)):
        served = [(one.setting or {}).get("served") for one in examined]
        models = {one["model"] for one in served if one and one["model"]}
        if len(models) > 1:
            raise InputError(
                f"The server changed its model between tasks: {' and '.join(sorted(models))} gave the "
                f"answers {side}. Evaluate that side again with --again."
            )
        said.append([one for one in served if one])
    ours, theirs = said
    if not ours or not theirs:
        return []
    if ours[0]["model"] == theirs[0]["model"] and _backends(ours) == _backends(theirs):
        return [f"by what the server says, the same model answered on both sides ({ours[0]['model']})"]
    return [f"the server says that {_backend(ours)} answered before and {_backend(theirs)} after"]


def _backends(served: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({mark for one in served for mark in one["fingerprints"]})


def _backend(served: Sequence[Mapping[str, Any]]) -> str:
    marks = _backends(served)
    return str(served[0]["model"]) + (f" ({', '.join(marks)})" if marks else "")


def _difference(ours: Any, theirs: Any) -> str:
    """How two values differ, in words; of two mappings, their first entry that differs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*ours, *theirs]):
            if ours.get(key) != theirs.get(key):
                return f"{key} {_noted(ours.get(key))} before and {_noted(theirs.get(key))} after"
    return f"{_noted(ours)} before and {_noted(theirs)} after"


def _noted(value: Any) -> str:
    return "not known" if value is None else _shown(value)


def _shown(value: Any) -> str:
    return shortened(repr(value))
