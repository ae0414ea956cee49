"""The unit behind a number: `5 cm`, `32\\pi \\text{ square inches}`, `7 m^2`."""

from __future__ import annotations

import re

_NAMES = {
    "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "km": "km kilometer kilometers kilometre kilometres",
    "m": "m meter meters metre metres",
    "in": "in inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard yards",
    "mi": "mi mile miles",
    "hour": "h hr hrs hour hours",
    "minute": "min mins minute minutes",
    "second": "s sec secs second seconds",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "year years",
    "dollar": "dollar dollars",
    "cent": "cent cents",
    # nothing that another could differ from
    "": "unit units degree degrees deg degs radian radians rad percent point points",
}
_UNITS = {name: unit for unit, names in _NAMES.items() for name in names.split()}
_POWERS = {"square": "2", "sq": "2", "cubic": "3", "cu": "3", "squared": "2", "cubed": "3"}
_LAST_WORD = re.compile(r"(?<![A-Za-z])([A-Za-z]{1,11})\.?\s*(?:(?:\^\s*\{?\s*)?([23])\s*\}?)?\s*\Z")
_POWER_BEHIND = re.compile(r" (squared|cubed)\Z")
_NUMBER_BEFORE = re.compile(r"(?:[\d)}π]|(?<![A-Za-z])pi)\s{0,3}\Z")


def split_unit(text: str) -> tuple[str, str]:
    """What stands before the unit, and the unit in one spelling: `5 inches` is ("5", "in").

    Only after a number: a unit that stands alone is the answer ("yard"). "" when there is none.
    """
    text = _POWER_BEHIND.sub(lambda found: f"^{_POWERS[found[1]]}", text)
    last = _LAST_WORD.search(text)
    if last is None or last[1].lower() not in _UNITS:
        return text, ""
    unit, power, rest = _UNITS[last[1].lower()], last[2] or "", text[: last.start()]
    before = _LAST_WORD.search(rest)
    if before and before[1].lower() in _POWERS:
        power, rest = _POWERS[before[1].lower()], rest[: before.start()]
    if not _NUMBER_BEFORE.search(rest):
        return text, ""
    return rest.strip(), unit + power if unit else ""
