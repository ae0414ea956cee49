"""The base of every settings model: unknown keys are errors, values do not change."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from holdfast.errors import shortened

LARGEST = 10**12  # that a whole number may be


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name, field in cls.model_fields.items():
            if _holds_set(field.annotation):  # its results would be others of other settings to each process
                raise TypeError(f"{cls.__name__}.{name} is a set, which has no order; make it a tuple")

    @field_validator("*", mode="before")
    @classmethod
    def _usable_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` would count as 1, and some numbers are beyond all that is counted with them."""
        kinds = [*_kinds(cls.model_fields[info.field_name or ""].annotation)]
        if (int in kinds or float in kinds) and not any(
            kind in (bool, Any) or _is_model(kind) for kind in kinds
        ):
            for item in _plain(value):
                if isinstance(item, bool):
                    raise ValueError(f"must be a number, not {str(item).lower()}")
                if isinstance(item, int) and abs(item) > LARGEST:
                    raise ValueError(f"must be a number of at most {LARGEST:,}")
        return value

    @field_validator("*")
    @classmethod
    def _one_zero(cls, value: Any) -> Any:
        """-0.0 is 0.0, which would be other settings by their text."""
        return 0.0 if isinstance(value, float) and value == 0 else value


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:
        inner = inner[:1]
    for one in inner:
        yield from _kinds(one)
    if not inner:
        yield annotation


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _plain(value: Any) -> Iterator[Any]:
    """The values in one that are no lists or mappings."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
    if inner is None:
        yield value
    for one in inner or ():
        yield from _plain(one)


def _holds_set(annotation: Any) -> bool:
    kind = get_origin(annotation) or annotation
    return kind is set or kind is frozenset or any(map(_holds_set, get_args(annotation)))


def whole_or_each(value: Any, validate: ValidatorFunctionWrapHandler, bounds: str) -> Any:
    """A whole number, or one for each task: one message in place of one for each form.

    Raises:
        ValueError: it is neither.
    """
    try:
        if not isinstance(value, bool):  # true would count as 1
            return validate(value)
    except ValidationError:
        pass
    raise ValueError(
        f"must be a whole number {bounds}, or one for each task (task: number), not {shortened(repr(value))}"
    )


def columns_named(value: Any) -> Any:
    """A column or a list of columns; pydantic would name the places of a tuple.

    Raises:
        ValueError: it is neither.
    """
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return value
    said = "null" if value is None else shortened(repr(value))
    raise ValueError(f"must be a column or a list of columns, not {said}")


def value_text(value: Any) -> str:
    """A plain setting as short text: 0.0001 as 1e-4, true as on."""
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    mantissa, exponent = f"{value:e}".split("e")
    return min(f"{value:g}", f"{float(mantissa):g}e{int(exponent)}", key=len)
