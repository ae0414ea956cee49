"""The base of every settings model: unknown keys are errors, values do not change."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def value_text(value: Any) -> str:
    """A plain setting as short text: 0.0001 as 1e-4, true as on."""
    if isinstance(value, bool) or value is None:
        return {True: "on", False: "off", None: "none"}[value]
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    mantissa, exponent = f"{value:e}".split("e")
    return min(f"{value:g}", f"{float(mantissa):g}e{int(exponent)}", key=len)
