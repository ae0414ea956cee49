"""From a response to numbers: extract the answer, score it, check the format, shape the reward.

A *score* says whether the answer is right (0..1). The *reward* that RFT learns from adds the
format: 0.9 accuracy + 0.1 format under `cot`, accuracy alone under `direct` (arXiv 2507.05386,
released reward function). Filters and reports use scores, learners use rewards.
"""

from __future__ import annotations

import re
import unicodedata

from holdfast.tasks.prompts import Style

FORMAT = re.compile(r"\s*<think>.*</think>.*\\boxed\{.*\}.*", re.DOTALL)
ACCURACY_WEIGHT, FORMAT_WEIGHT = 0.9, 0.1


def extract_answer(response: str, style: Style) -> str | None:
    r"""The answer a response gives: the last `\boxed{…}` under `cot`, all of it under `direct`.

    Braces inside the box may nest. A response under `direct` that boxes its answer is taken at
    its box. None when there is no answer.
    """
    start = response.rfind(r"\boxed{")
    if start >= 0:
        depth = 0
        for position in range(start + len(r"\boxed"), len(response)):
            depth += {"{": 1, "}": -1}.get(response[position], 0)
            if depth == 0:
                return response[start + len(r"\boxed{") : position].strip() or None
        return None  # the box never closes
    if style == "direct":
        return response.strip() or None
    return None


def format_score(response: str, style: Style) -> float:
    """1.0 when the response has the form its prompt style asks for, else 0.0."""
    if style == "direct":
        return 1.0
    return float(FORMAT.fullmatch(response) is not None)


def reward(score: float, format: float, style: Style) -> float:
    """What RFT maximises, 0..1."""
    if style == "direct":
        return score
    return ACCURACY_WEIGHT * score + FORMAT_WEIGHT * format


def normalise(text: str) -> str:
    """Lower case, one kind of white space, no full stop at the end."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(text.split()).rstrip(".").strip()


def exact(answer: str, reference: str) -> float:
    """Equal after `normalise`."""
    return float(normalise(answer) == normalise(reference))


def choice(answer: str, reference: str) -> float:
    """The same option letter: `B`, `(B)`, `b.` and `B) red` all choose B; `A dog` chooses nothing."""
    found = re.match(r"\(?([a-z])(?=$|[).:,])", normalise(answer))
    return float(found is not None and found[1] == normalise(reference).strip("()"))


def number(answer: str, reference: str) -> float:
    """The same number, within 1e-6 of it (relative); thousands commas are ignored."""
    try:
        ours, theirs = (float(text.replace(",", "")) for text in (answer, reference))
    except ValueError:
        return 0.0
    return float(abs(ours - theirs) <= 1e-6 * abs(theirs))
