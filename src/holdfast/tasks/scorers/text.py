r"""What every scorer does first: find the part of a response that is the answer, and undress it.

`\boxed{…}` has been taken out before (`holdfast.tasks.scoring.extract_answer`); here go thought,
tags and emphasis that models put around an answer. This comes before any normalising: the VQA
normaliser would turn `<answer>dog</answer>` into `answer dog answer`.
"""

from __future__ import annotations

import re
from itertools import pairwise

from holdfast.tasks.numerals import UNSEEN
from holdfast.tasks.scoring import END_OF_THOUGHT, last_box

_ANSWER_TAG = re.compile(
    r"(?:<answer>|<\|begin_of_box\|>)(.*?)(?:</answer>|<\|end_of_box\|>|\Z)", re.DOTALL | re.IGNORECASE
)
_EMPHASIS = re.compile(r"(\*\*|__|`)(.+?)\1", re.DOTALL)
_STARRED = re.compile(r"(?<![\w)])\*(?!\s)([^*]+)(?<!\s)\*(?![\w(])")  # 2*3*4 is a product
_TAGS = re.compile(r"</?(?:b|i|u|em|strong|code|mark|s)>")
_STRUCK = re.compile(r"~~(?=\S)[^~\n]+~~")  # out; as text is in Markdown, while LaTeX has ~~ for blanks
_COMMANDS = re.compile(r"<\|(?:im_end|endoftext|eot_id)\|>|\\(?:text)?color\s*\{[A-Za-z]{1,20}\}")
_BRACE = re.compile(  # of a command that only sets type, or any
    r"(\\(?:text[a-z]{0,6}|math(?:rm|bf|it|sf|tt|normal)|boldsymbol|bm|[mf]box|boxed|emph|underline)\s*\{)"
    r"|\\.|[{}]",
    re.DOTALL,
)
_WHOLE = re.compile(  # what only sets type, around all of an answer
    r"\\(?:text[a-z]{0,6}|math(?:rm|bf|it|sf|tt|normal)|boldsymbol|bm|[mf]box|emph|underline)\s*"
    r"\{(?P<set>(?:[^{}]|\{[^{}]*\})*)\}|(\*\*|__|`)(?P<marked>[^*_`]+)\2|\$(?P<formula>[^$]+)\$"
    r"|<answer>(?P<tagged>(?:(?!<answer>)[\s\S])*)</answer>"
)
_FORMULA = re.compile(r"\$+([^$]+)\$+")
_LABEL = re.compile(
    r"(?:#+ )?(?:(?:the|my) )?(?:(?:final|correct|right|short) )?answer ?(?:[:：]\s*|\s*\n\s*)(?=\S)",
    re.IGNORECASE,
)
_ARTICLE_OF_A_LETTER = re.compile(r"\ba (?=[^\W\d_]-[^\W\d_]{2})")  # a t-shirt
# What an answer says before it takes back what it said first: "A. Wait, B", "Yes, sorry, no".
TAKEN_BACK = (
    r"\b(?:wait|actually|sorry|correction|(?:i|we) (?:mean|meant)|scratch that|on second thought|hold on)\b"
)
_QUOTES = ('""', "''", "“”", "‘’", "«»", "「」")

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
    text = _COMMANDS.sub("", _STRUCK.sub("", text.translate(UNSEEN)))
    if "</" in text:  # <b> alone may be an option
        text = _TAGS.sub("", text)
    text = unwrapped(text)
    text = _STARRED.sub(r"\1", _EMPHASIS.sub(r"\2", text)).strip()
    formula = _FORMULA.fullmatch(text)
    return formula[1].strip() if formula else text


def labelled_part(answer: str) -> str:
    """The final part without a label before it (`Answer: dog`) and quotation marks round it."""
    text = final_part(answer)
    if label := _LABEL.match(text):
        text = text[label.end() :]
    return text[1:-1].strip() if len(text) > 2 and text[0] + text[-1] in _QUOTES else text


def bare(answer: str) -> str:
    r"""An answer without tags, `**bold**`, `\text{…}` and `$` around all of it; what stands inside stays."""
    text = answer.strip()
    while whole := _WHOLE.fullmatch(text):
        text = whole[whole.lastgroup or 0].strip()
    return text


def unwrapped(text: str, blank: str = "") -> str:
    r"""Without `\text{…}` and other commands that only set type; what stands in them stays.

    Args:
        blank: what stands for a command and for its closing brace.
    """
    if not any(found[1] for found in _BRACE.finditer(text)):
        return text
    kept: list[str] = []
    opened: list[tuple[int, bool]] = []  # braces: where in what is kept, and whether of a command
    end = 0
    for found in _BRACE.finditer(text):
        kept += text[end : found.start()], found[0]
        end = found.end()
        if found[0].endswith("{") and found[0] != r"\{":
            opened.append((len(kept) - 1, bool(found[1])))
        elif found[0] == "}" and opened:
            place, wraps = opened.pop()
            if wraps:
                kept[place] = kept[-1] = blank
    return "".join((*kept, text[end:]))


def unboxed(response: str) -> str:
    r"""A response without the thought before it; its boxes are braces only."""
    return response.rpartition(END_OF_THOUGHT)[2].replace(r"\boxed", "").strip()


def words(text: str) -> list[str]:
    """Lower-case words and numbers of a text, without punctuation and articles."""
    text = _ARTICLE_OF_A_LETTER.sub("", text.casefold().replace("’", "'"))
    found = re.findall(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)?", text)
    return [word for word, after in pairwise((*found, "")) if not _is_article(word, after)]


def _is_article(word: str, after: str) -> bool:
    """Vitamin A and the segment A B hold none."""
    return (word == "a" and len(after) > 1) or (word in ("an", "the") and bool(after))
