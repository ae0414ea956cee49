"""Which class an objective names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from holdfast import plugins
from holdfast.errors import InputError, none_of
from holdfast.learning.methods.estimators import CISPO, DAPO, GRPO, GSPO, RLOO, DrGRPO, Reinforce, ReMax
from holdfast.learning.methods.method import Method
from holdfast.learning.methods.rft import RFT
from holdfast.learning.methods.sft import SDFT, SFT, SampledSFT

OBJECTIVES: dict[str, tuple[type[Method], ...]] = {  # those of one name are told apart by their targets
    "sft": (SFT, SampledSFT),
    "sdft": (SDFT,),
    "grpo": (GRPO,),
    "dr_grpo": (DrGRPO,),
    "dapo": (DAPO,),
    "gspo": (GSPO,),
    "cispo": (CISPO,),
    "rloo": (RLOO,),
    "remax": (ReMax,),
    "reinforce": (Reinforce,),
}


def method_class(settings: Mapping[str, Any]) -> type[Method]:
    """The class that a method's settings choose.

    Raises:
        InputError: there is no such objective, or the code it names cannot be used.
    """
    objective = settings.get("objective")
    if plugins.is_reference(objective):
        found: type[Method] = plugins.load_class(str(objective), Method)
        if found.make is Method.make or (issubclass(found, RFT) and found.advantages is RFT.advantages):
            lacks = "make" if found.make is Method.make else "advantages"
            raise InputError(f"{objective} has no `{lacks}`, which says how it learns; add it to the class")
        return found
    if not isinstance(objective, str) or objective not in OBJECTIVES:
        raise InputError(none_of(objective, OBJECTIVES, own="FILE.py:CLASS"))
    classes = OBJECTIVES[objective]
    return next((one for one in classes if settings.get("target") in _targets(one)), classes[0])


def make_method(**settings: Any) -> Method:
    """The method with these settings.

    Raises:
        InputError: there is no such objective.
        ValidationError: a setting is wrong.
    """
    return method_class(settings).model_validate(settings)


def every_setting(methods: Iterable[Any]) -> list[str]:
    """All settings that some way of learning has, the user's own ways among `methods` included."""
    classes = [one for classes in OBJECTIVES.values() for one in classes]
    for settings in methods:
        if isinstance(settings, Mapping) and plugins.is_reference(settings.get("objective")):
            with suppress(InputError):  # which is reported where the method is read
                classes.append(method_class(settings))
    return list(dict.fromkeys(key for one in classes for key in one.model_fields))


def objectives_with(key: str) -> list[str]:
    """The objectives that have a setting of this name; with the target where only one of them has it."""
    found = []
    for name, classes in OBJECTIVES.items():
        having = [one for one in classes if key in one.model_fields]
        if having:
            only = f" with target: {_targets(having[0])[0]}" if len(having) < len(classes) else ""
            found.append(f"{name}{only}")
    return found


def _targets(one: type[Method]) -> tuple[str, ...]:
    target = one.model_fields.get("target")
    return () if target is None else target.annotation.__args__  # type: ignore[union-attr]
