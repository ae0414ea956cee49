"""What one answer is: right, or wrong in its form, in its convention, or in what it says.

An item is right when its score is at least one half. A wrong one is, in this order,

- *convention*: right by the lenient rule, which accepts another way of writing the same answer;
- *format*: no answer could be extracted, or the response has not the form its prompt style asks for,
  but the reference stands in the part of the response where the answer belongs: behind the last
  `</think>`, or anywhere if there is no think block (a block that never closes hides what it holds);
- *knowledge*: everything else, as far as an answer can tell.

"Stands in" means: after normalising both (case, white space, Unicode forms), the reference occurs with
no letter, digit, hyphen, minus sign or part of a number on either side, so that 5 is not found in 0.5, -5,
−5, 5-6 or 1,500.
A response that names several candidates counts as format when the reference is one of them.
"""

from __future__ import annotations

import re
from enum import IntEnum

from holdfast.analysis.results import Record
from holdfast.tasks.scoring import RIGHT, normalise

HYPHENS = r"\-‐−"  # as a set of a pattern has them: hyphens, and the minus sign


class Outcome(IntEnum):
    """What an answer is; the values are what arrays of outcomes hold."""

    RIGHT = 0
    FORMAT = 1
    CONVENTION = 2
    KNOWLEDGE = 3


def outcome(record: Record) -> Outcome:
    """Judge one record."""
    if record["score"] >= RIGHT:
        return Outcome.RIGHT
    if record["lenient"] >= RIGHT:
        return Outcome.CONVENTION
    malformed = record["answer"] is None or record["format"] < 1
    if malformed and stands_in(str(record["reference"]), record["response"]):
        return Outcome.FORMAT
    return Outcome.KNOWLEDGE


def stands_in(reference: str, response: str) -> bool:
    """Whether the part of the response where the answer belongs holds the reference as a word."""
    told = response.rpartition("</think>")[2].partition("<think>")[0]
    wanted, found = normalise(reference), normalise(told)
    if not wanted or wanted not in found:
        return False
    whole = rf"(?<![\w.{HYPHENS}])(?<!\d,){re.escape(wanted)}(?![\w{HYPHENS}])(?![.,]\d)"
    return re.search(whole, found) is not None
