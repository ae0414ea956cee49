"""Multiple choice on facts, without a picture, after MMLU-Pro. One form: the option's letter."""

from __future__ import annotations

import random

from holdfast.tasks.embedded.procedural import Drawn, procedural_task
from holdfast.tasks.embedded.scenes import option_text, options
from holdfast.tasks.embedded.words import FOOD, FOODS, HOME, HOMES, KINDS


def draw(rng: random.Random) -> Drawn:
    kind = rng.choice(KINDS)
    verb, facts, values = rng.choice((("live", HOME, HOMES), ("eat", FOOD, FOODS)))
    value = facts[kind]
    choices, letter = options(rng, value, values, 4)
    prompt = f"{'where' if verb == 'live' else 'what'} does a {kind} {verb} ? {option_text(choices)}"
    return Drawn(
        prompt=prompt,
        answer=letter,
        rationale=f"{kind} , {value} {letter}",
        content=prompt,
        kind=verb,
        choices=choices,
    )


TASK = procedural_task(
    "facts", draw, "text-only multiple choice on facts (after MMLU-Pro)", chance=0.25, scorer="choice"
)
