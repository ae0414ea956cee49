"""What fields and columns are called: of a row of one's own data, and of the same things elsewhere."""

from __future__ import annotations

import re
from collections.abc import Collection

FIELDS = ("prompt", "answer", "images", "choices", "id", "rationale", "aliases", "references")
META = "meta"  # more data, whatever its fields are called
# What fields and columns are called elsewhere, the most telling first.
COMMON_NAMES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations"),
    "prompt": ("prompt", "question", "query", "instruction", "problem", "text"),
    "answer": (
        "answer", "label", "target", "solution", "response", "output", "completion", "correct_answer",
        "correct_option", "ground_truth", "gold", "correct", "gt_answer", "answer_index", "answer_idx",
        "correct_choice_idx",
    ),
    "images": ("images", "image", "picture", "img", "image_path"),
    "choices": ("choices", "options"),
    "references": ("references", "answers"),
}  # fmt: skip
# The same in forms without end, without what parts their words: imagepaths, options, distractor2.
OTHER_NAMES = {
    "images": re.compile(
        r"(input)?(image|img|pic|picture|photo)s?(file)?(path|name|url|list|data|bytes|base64|b64)?s?\d*",
        re.I,
    ),
    "choices": re.compile(
        r"(answer)?(option|choice|alternative|candidate|distractor)s?(list|text)?s?(\d*|[a-z])", re.I
    ),
}
_CHOICE = re.compile(r"((?:option|opt|choice|answer|alternative|candidate)?[ _-]?)([A-Z]|\d)", re.I)


def choice_columns(columns: Collection[str]) -> list[str]:
    """Columns that hold a choice each, by their names (A, B, C; option_1, option_2), in their order."""
    series: dict[str, dict[str, str]] = {}
    for column in columns:
        if named := _CHOICE.fullmatch(column):
            series.setdefault(named[1].lower(), {})[named[2].upper()] = column
    for prefix, there in series.items():
        start = next((one for one in ("A", "0", "1") if one in there), None)
        if start is None or (start != "A" and len(prefix) < 2):  # numbers alone are no choices
            continue
        found = list[str]()
        while (mark := chr(ord(start) + len(found))) in there:
            found.append(there[mark])
        if len(found) == len(there) > 1:
            return found
    return []


def unseen_choices(columns: Collection[str], used: Collection[str]) -> list[str]:
    """Columns that seem to hold choices, of which no setting names any."""
    found = [name for name in COMMON_NAMES["choices"] if name in columns] or choice_columns(columns)
    return [] if {*found} & {*used} else found
