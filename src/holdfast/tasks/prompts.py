"""Prompt styles: the instruction that is added to a question, and what SFT writes in reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from holdfast.errors import InputError
from holdfast.tasks.example import IMAGE_MARKER, Example

Style = Literal["cot", "direct"]
STYLES: tuple[Style, ...] = ("direct", "cot")
Target = Literal["answer", "reasoned", "sampled"]

# `{prompt}` is the question. Ours say what the study's say (arXiv 2507.05386) in our own words;
# the embedded model's instruction is one word, as its context is short.
TEMPLATES: dict[str, dict[Style, str]] = {
    "standard": {
        "cot": (
            "{prompt}\nFirst reason about the question step by step inside <think> </think> tags. "
            r"Then give the final answer inside \boxed{{}}."
        ),
        "direct": "{prompt}\nGive only the final answer, without any explanation.",
    },
    "embedded": {"cot": "{prompt} think", "direct": "{prompt} answer"},
}
# A question whose answer is shown, for writing a reasoning that leads there (`show_answer`).
HINTS: dict[str, str] = {
    "standard": "{prompt}\nThe right answer is {answer}. Explain how to find it.",
    "embedded": "{answer} {prompt}",
}


def render_prompt(example: Example, style: Style, templates: Mapping[Style, str]) -> str:
    """The user's turn: the question with the instruction of its style."""
    return templates[style].format(prompt=example.prompt)


def parts_of(prompt: str, images: int) -> list[str | None]:
    """A prompt's texts in order, with None where an image stands: at the markers, or before all text.

    Raises:
        ValueError: it has markers, but more or fewer than images. (Without images they are text.)
    """
    first, *others = prompt.split(IMAGE_MARKER)
    if not images or not others:
        return [None] * images + [prompt]
    if len(others) != images:
        raise ValueError(f"has {len(others)} {IMAGE_MARKER} markers for {images} images; write one for each")
    parts = [first, *(part for text in others for part in (None, text))]
    return [part for part in parts if part != ""]


def render_target(example: Example, style: Style, target: Target) -> str:
    r"""What SFT learns to write for an example, in the style it is judged in.

    `answer` is the bare answer under `direct` and the boxed one under `cot`; `reasoned` puts the
    example's rationale in front, in `<think>` tags. (`sampled` targets are not written but drawn:
    `learning.sampled_targets`.)

    Raises:
        InputError: a `reasoned` target without a rationale, or under `direct`.
    """
    if style == "direct":
        if target == "reasoned":
            raise InputError(
                "A 'reasoned' SFT target needs style cot: direct prompts ask for the bare answer."
            )
        return example.answer
    boxed = rf"\boxed{{{example.answer}}}"
    if target == "answer":
        return boxed
    if not example.rationale:
        raise InputError(
            f"Example {example.id} has no rationale for the 'reasoned' SFT target; use target: answer."
        )
    return f"<think>{example.rationale}</think>{boxed}"
