r"""What every scorer does first: find the part of a response that is the answer, and undress it.

`\boxed{…}` has been taken out before (`holdfast.tasks.scoring.extract_answer`); here go thought,
tags and emphasis that models put around an answer. This comes before any normalising: the VQA
normaliser would turn `<answer>dog</answer>` into `answer dog answer`.
"""

from __future__ import annotations

import re
from itertools import pairwise

from holdfast.tasks.scoring import END_OF_THOUGHT, last_box

_ANSWER_TAG = re.compile(
    r"(?:<answer>|<\|begin_of_box\|>)(.*?)(?:</answer>|<\|end_of_box\|>|\Z)", re.DOTALL | re.IGNORECASE
)
_EMPHASIS = re.compile(r"(\*\*|__|`)(.+?)\1", re.DOTALL)
_STARRED = re.compile(r"(?<![\w)])\*(?!\s)([^*]+)(?<!\s)\*(?![\w(])")  # 2*3*4 is a product
WRAPPER = re.compile(  # what only sets type
    r"\\(?:text[a-z]{0,6}|math(?:rm|bf|it|sf|tt|normal)|boldsymbol|bm|[mf]box|boxed|emph|underline)"
    r"\s*\{([^{}]*)\}"
)
_FORMULA = re.compile(r"\$+([^$]+)\$+")
DEEPEST = 8  # wrappers in wrappers; each is a pass over the text

# GQA, Super-CLEVR and counting answers go further than the VQA normaliser's ten.
_SMALL_NUMBERS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty
"""
NUMBER_WORDS = {word: str(number) for number, word in enumerate(_SMALL_NUMBERS.split())}


def final_part(answer: str) -> str:
    r"""The answer without the thought before it and the dress around it.

    What follows the last `</think>`; in that the last `<answer>…</answer>`, else the last
    `\boxed{…}`, else all; then without `**bold**`, `` `code` ``, `\text{…}` and `$` around all of it.
    """
    text = answer.rpartition(END_OF_THOUGHT)[2]
    if tagged := _ANSWER_TAG.findall(text):
        text = tagged[-1]
    text = last_box(text) or text
    for _ in range(DEEPEST):
        if (plain := WRAPPER.sub(r"\1", text)) == text:
            break
        text = plain
    text = _STARRED.sub(r"\1", _EMPHASIS.sub(r"\2", text)).strip()
    formula = _FORMULA.fullmatch(text)
    return formula[1].strip() if formula else text


def unboxed(response: str) -> str:
    r"""A response without the thought before it; its boxes are braces only."""
    return response.rpartition(END_OF_THOUGHT)[2].replace(r"\boxed", "").strip()


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, without punctuation and articles."""
    found = re.findall(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)?", text.casefold())
    return [word for word, after in pairwise((*found, "")) if not _is_article(word, after)]


def _is_article(word: str, after: str) -> bool:
    """Vitamin A and the segment A B hold none."""
    return (word == "a" and len(after) > 1) or (word in ("an", "the") and bool(after))
