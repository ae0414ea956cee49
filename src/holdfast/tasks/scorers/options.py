r"""Option letters: which choice an answer picks (ScienceQA, MMMU, MMLU-Pro).

Nothing is ever guessed. Harnesses that draw a random option when they cannot read an answer hide
how often that happens; here such an answer is simply wrong. The three rules read an answer in the
same steps, surest first, and differ only in what counts when several letters are named.

Every pattern runs over text whose white space is single blanks, and repeats nothing that could
match in two ways: the time is linear in the length of an answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from string import ascii_uppercase
from typing import NamedTuple

from holdfast.tasks.scorers.letters import (
    OPTION,
    has_lone_capital,
    in_english,
    without_enumeration,
    without_ruled_out,
    without_verdicts,
)
from holdfast.tasks.scorers.optiontexts import (
    LETTER_THEN_TEXT,
    SEVERAL,
    THE_ANSWER,
    THE_ANSWER_IS,
    begins_with,
    option_at_an_end,
    option_of_text,
    plain_letters,
    stated_option,
)
from holdfast.tasks.scorers.text import TAKEN_BACK, final_part, unboxed

# The dress of letters: `\(B\)`, `$B$`; "( B )"; "'B'"; "_B_"; and of one alone: "### (B).", "✓ B".
_FORMULA_MARKS = re.compile(r"\\[()\[\]]|\$")
_FORMULA_BLANKS = re.compile(r"(?<!\\)\\[ ,;:](?!\n)")
_LOOSE = re.compile(r"\( ([A-Za-z]) \)")
_QUOTED = re.compile(r"(?<![A-Za-z0-9])[\"'“”‘’«»「」]([A-Za-z])[\"'“”‘’«»「」](?![A-Za-z0-9])")
_ITALIC = re.compile(r"(?<![A-Za-z0-9\\])_([^_\n]+)_(?![A-Za-z0-9])")
_ALONE = re.compile(r"(?:#{1,6} )?[\s(\[{<【`~•✓✔✅☑\ufeff]*([A-Za-z])[\s)\]}>】`.:,;!?✓✔✅\ufeff]*")
# "The answer is B" where words are not parted by blanks; 不 and 非 say no.
_WRITTEN_TOGETHER = re.compile(
    r"(?<![不非])(?:答案|答え|正解|正确的|정?답|选项|選項|[选選][择擇]?)[^\sA-Za-z()不非]{0,4} ?\(?([A-J])"
    r"(?:です|입니다|(?=(?:是|为|最)?(?:正确|对|合适))|(?!\w))"
)

# Lists of options: "(A) cat (B) dog" in one line; "B. dog" or "- B. dog" as a line; "B" before a line break.
_LABEL = re.compile(r"(?<!\S)(?:\(([A-Z])\)|([A-Z])[.):])(?=\s)")
_LINE_OF_A_LIST = re.compile(r"^[ \t]*(?:\([A-Z]\)|[A-Z][.):])", re.MULTILINE)
_BULLET_OF_A_LIST = re.compile(r"^[ \t]*[-*•][ \t]*(?:\([A-Z]\)|[A-Z][.):])", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*[-*•+][ \t]+(?=\(?[A-Z]\b)", re.MULTILINE)
_LABEL_OF_A_LINE = re.compile(
    r"^[ \t]*(?:[-*•+][ \t]*)?(?:\(([A-Z])\)|([A-Z])(?:[.):]| \())(.*\S)?", re.MULTILINE
)
_END_OF_LINE = re.compile(r"(?<![\w'’])([A-Z])[ \t]*\n\s*(?=[a-z])")

# Statements: "the answer is most likely (B)", "Answer: B".
_FILLER = (
    r"(?:(?:most likely|probably|likely|clearly|definitely|indeed|therefore|thus|option|choice|letter) ){0,2}"
)
_OPENING = r"[(\[{<【\"'“‘]{0,2}"
_STATES = rf"(?:{THE_ANSWER_IS}|{THE_ANSWER} ?[:=–—-]? ?)"
_SAID_IS = re.compile(rf"(?i:{THE_ANSWER_IS}{_FILLER}){_OPENING}{OPTION}")
_SAID = re.compile(rf"(?i:{_STATES}{_FILLER}){_OPENING}{OPTION}")
_CORRECTED = re.compile(  # "A. Wait, no, it is B."
    rf"(?:(?i:{TAKEN_BACK})[ ,.:;!…–—-]{{1,6}}|\b[Nn]o[,.:;!…–—-]{{1,3}} )"
    rf"(?i:(?:it(?: is|['’]s)|it should be|the answer is|make that) )?{_FILLER}{_OPENING}{OPTION}\W*$"
)
# A letter may be small at the very end ("the answer is: b"), and before what "a" and "i" cannot stand.
_SMALL = r"(?:$|[):\]](?!\w)|\.(?!\w)|,? (?:because|since|is)\b)"
_SAID_SMALL = re.compile(
    rf"(?i:{_STATES}{_FILLER}){_OPENING}([A-Za-z]){_SMALL}|(?i:\b(?:option|choice) ){_OPENING}([A-Za-z])$"
)
_CALLED_SMALL = re.compile(rf"(?i:\b(?:option|choice) ){_OPENING}([a-z]){_SMALL}")

# Letters that are named otherwise: "I would go with B"; "so it is B."; "The answer, by these rates, is option
# G: A: 5 %, B: 6 %", which names one option and lists others; "(B)".
_DECIDED = re.compile(
    rf"\b(?:(?:We|I)(?: would|['’]d| will|['’]ll)? (?:choose|pick|select|go with)"
    r"|(?:[Ii]t|[Tt]hat) must be|but it(?: is|['’]s)) "
    rf"{_FILLER}{_OPENING}{OPTION}"
)
_CONCLUDED = re.compile(
    rf"(?i:\b(?:so|hence|thus|therefore|consequently)\b,? (?:it(?:['’]s| is) |we \w{{3,8}} )?)"
    rf"{_OPENING}{OPTION}\W*$"
)
_CALLED = re.compile(rf"(?i:\b(?:is|be) (?:option|choice) ){_OPENING}{OPTION}")
_IN_BRACKETS = re.compile(r"(?<!\w)\(([A-Z])\)")
# "Vitamin C" and "Solution B" are things; a letter is an option after a stop or one of these words.
_CUES = """
    answer are be believe but certainly choice choose chose clearly conclude definitely guess hence is it's
    it’s leaves leaving letter likely mark matches obviously only option pick probably say select so suggest
    suggests support supports take that's that’s then therefore think thus to towards was with è é es est ist
"""
# In any case; the first letter stands apart, as a search passes quickly over words that begin with another.
_CUE = "|".join(f"[{word[0].upper()}{word[0]}](?i:{word[1:]})" for word in _CUES.split())
_STANDING = re.compile(
    r"(?:^|[,:;!?>→⇒∴✓✔✅] ?|\d\) |[|.–—-] |(?<!\w)[(\[{]|\\(?:[Rr]ightarrow|to|implies|therefore) "
    rf"|\b(?:{_CUE}) )\(?{OPTION}"
)

# The three searches of MMLU-Pro's own script; of the third it takes the last.
_SCRIPT_IS = re.compile(r"answer is \(?([A-J])")
_SCRIPT_COLON = re.compile(r"[aA]nswer:(?=\s*([A-J]))")
_SCRIPT_LETTER = re.compile(r"\b[A-J]\b")

Reader = Callable[[str, Sequence[str]], str | None]


class _Answer(NamedTuple):
    """An answer undressed.

    Attributes:
        lines: as they are.
        text: in one line, without the letters that it rules out or lists.
        listed: how many options it lists, a line each.
        has_capital: whether a capital stands alone in the text; without one, no search need run over it.
        letters: of the options there are.
    """

    lines: str
    text: str
    listed: int
    has_capital: bool
    letters: str = ""

    def named(self, pattern: re.Pattern[str]) -> list[str]:
        """The options' letters that a pattern finds in the text, in order."""
        found = pattern.findall(self.text) if self.has_capital else []
        return [letter for letter in found if letter in self.letters]


def option_letter(answer: str, choices: Sequence[str]) -> str | None:
    """The letter an answer picks, or None.

    In this order: the letter alone (`A`, `(a)`, `A.`), the text of exactly one option, the last
    statement (`the answer is B`), a letter before its text (`A. Ohio`), the last words (`hence B.`), the only
    one called so (`it is option B`), the only letter in brackets, the only letter that stands alone.
    """
    given = _read(answer, choices, most=26)
    if sure := _sure(given, choices, (_CORRECTED, _SAID), last=True):
        return sure
    for pattern in (_DECIDED, _CONCLUDED, _CALLED, _IN_BRACKETS, _STANDING):
        if len(set(said := given.named(pattern))) == 1:
            return said[0]
    return None


def mmlu_pro_letter(answer: str, choices: Sequence[str]) -> str | None:
    """As TIGER-AI-Lab/MMLU-Pro reads it: the first `answer is (X)`, `answer: X`, else the last letter alone.

    Without its random guess, without the letters of words and formulas, and with the first steps
    of `option_letter`.
    """
    given = _read(answer, choices, most=10)
    if sure := _sure(given, choices, (_SAID_IS, _SAID, _CORRECTED), last=False):
        return sure
    return _last(given.named(_STANDING))


def mmlu_pro_script_letter(answer: str, choices: Sequence[str]) -> str | None:
    """As TIGER-AI-Lab/MMLU-Pro's `evaluate_from_local.py` reads it, to the letter, but for its random guess.

    The first `answer is X`, however the word goes on; else of the first line with an `answer: X` the last;
    else the last capital A to J that stands alone, whatever it names.
    """
    if said := _SCRIPT_IS.search(answer):
        return said[1]
    if first := _SCRIPT_COLON.search(answer):
        end = answer.find("\n", first.start())
        of_line = [said for said in _SCRIPT_COLON.finditer(answer) if end < 0 or said.start() < end]
        return of_line[-1][1]
    return _last(_SCRIPT_LETTER.findall(answer))


def mmmu_letter(answer: str, choices: Sequence[str]) -> str | None:
    """As MMMU-Pro's parser reads it: the last `Answer: X`; then as MMMU's: `(A)`, else ` A `, else a text.

    Of several the last one counts; `is option A` goes before `(A)`. Without the random guess, without
    the letters of words, and with the first steps of `option_letter`.
    """
    given = _read(answer, choices, most=9)
    if sure := _sure(given, choices, (_CORRECTED, _SAID), last=True):
        return sure
    for pattern in (_CALLED, _IN_BRACKETS, _STANDING):
        if said := _last(given.named(pattern)):
            return said
    if len(given.text.split()) <= 5:
        return None
    low = given.text.lower()
    places = {
        letter: [(found.end(), -found.start()) for found in _within(choice).finditer(low)]
        for letter, choice in zip(given.letters, choices, strict=False)
    }
    if given.listed >= len(places) and all(len(found) == 1 for found in places.values()):
        return None  # the options, repeated
    return max(filter(places.get, places), key=lambda letter: places[letter][-1], default=None)


@lru_cache(maxsize=4096)
def _within(choice: str) -> re.Pattern[str]:
    """An option's text in a sentence, not within another word or number; one letter is no text."""
    text = re.escape(choice.strip().lower())
    return re.compile(rf"(?<![\w.]){text}(?:e?s)?(?!\w|[.,]\d)" if len(choice.strip()) > 1 else r"(?!)")


READERS: dict[str, Reader] = {
    "options": option_letter,
    "mmlu_pro": mmlu_pro_letter,
    "mmmu": mmmu_letter,
}


def beside_the_box(scorer: str, boxed: str, response: str, choices: Sequence[str]) -> str:
    r"""What to score of a response with a box: the box, or all of it if only the rest says an option.

    A box may hold working: `so it is \boxed{17}. The answer is (F).`
    """
    read = READERS.get(scorer)
    if read is None or not choices or read(boxed, choices):
        return boxed
    whole = unboxed(response)
    stated = _read(whole, choices, most=26).named(_SAID)
    return whole if stated and read(whole, choices) else boxed


def _read(answer: str, choices: Sequence[str], most: int) -> _Answer:
    """An answer undressed, with the letters of the choices; where none are given, the first `most`."""
    return _undressed(answer, tuple(choices))._replace(letters=ascii_uppercase[: len(choices) or most])


@lru_cache(maxsize=4)  # a response with a box is read as a whole, too, and then what of it counts
def _undressed(answer: str, choices: tuple[str, ...]) -> _Answer:
    """What there is in an answer, but for its letters; the same whatever the rule."""
    lines = plain_letters(_FORMULA_BLANKS.sub(" ", _FORMULA_MARKS.sub("", final_part(answer))))
    lines = _LOOSE.sub(r"(\1)", lines)
    lines = _QUOTED.sub(r"\1", _ITALIC.sub(r"\1", lines))
    lines = without_verdicts(_WRITTEN_TOGETHER.sub(r" answer: \1 ", lines), choices).strip()
    text, listed = _in_one_line(lines)
    if own := _own_texts(choices):
        text = own.sub(lambda found: next(filter(None, found.groups())), text)
    has_capital = has_lone_capital(text)
    if has_capital:
        text = without_ruled_out(in_english(text))
    return _Answer(lines, text, listed, has_capital)


def _in_one_line(lines: str) -> tuple[str, int]:
    """A text without the labels of the options that it lists, and how many it lists."""
    text, listed = lines, _count_distinct(_LINE_OF_A_LIST, lines)
    for label in (_LINE_OF_A_LIST, _BULLET_OF_A_LIST):
        if _count_distinct(label, lines) > 1:
            text = label.sub(". ", text)
    text = without_enumeration(_END_OF_LINE.sub(r"\1. ", _BULLET.sub(". ", text)))
    labels = "".join(bracketed or letter for bracketed, letter in _LABEL.findall(text))
    if len(labels) > 2 and labels == ascii_uppercase[: len(labels)]:  # a list in one line
        text, listed = _LABEL.sub(" ", text), len(labels)
    return " ".join(text.split()), listed


@lru_cache(maxsize=1024)
def _own_texts(choices: tuple[str, ...]) -> re.Pattern[str] | None:
    """Letters before their own texts, where these hold letters too: `C - I and II`."""
    pairs = []
    for letter, choice in zip(ascii_uppercase, choices, strict=False):
        text = " ".join(plain_letters(_FORMULA_MARKS.sub("", choice)).split())
        if has_lone_capital(text) and (len(text) > 1 or text == letter):
            pairs.append(rf"({letter}[).]?)(?: ?[-–—:,] ?| \(| ){re.escape(text)}\)?")
    return re.compile(rf"(?<![\w'’])(?:{'|'.join(pairs)})(?!\w)") if pairs else None


def _count_distinct(labels: re.Pattern[str], lines: str) -> int:
    return len(set(map(str.strip, labels.findall(lines))))


def _sure(
    given: _Answer, choices: Sequence[str], statements: Sequence[re.Pattern[str]], last: bool
) -> str | None:
    """What the rules agree on: a letter or an option's text alone, a statement, a letter before its text."""
    if alone := _ALONE.fullmatch(given.lines):
        return _among(alone[1], given.letters) or option_of_text(given.lines, choices)
    if by_text := option_of_text(given.lines, choices):
        return by_text
    stated = stated_option(given.lines, choices, last)
    for pattern in statements:
        if said := given.named(pattern):
            name = said[-1 if last else 0]
            return stated if stated and begins_with(name, stated, choices) else name
    if small_or_stated := _said_small(given) or stated:
        return small_or_stated
    letter, _, rest = given.text.partition(" ")
    if letter == option_of_text(rest, choices):  # "B dog"
        return letter
    return _labelled(given) or (None if stated == SEVERAL else option_at_an_end(given.lines, choices))


def _said_small(given: _Answer) -> str | None:
    """The option that a statement names by a small letter."""
    text = given.text.rstrip(" .,:;!?)]}*")
    if said := _SAID_SMALL.search(text):
        return _among(said[1] or said[2], given.letters)
    called = set(_CALLED_SMALL.findall(text))
    return _among(called.pop(), given.letters) if len(called) == 1 else None  # several are only weighed


def _labelled(given: _Answer) -> str | None:
    """A letter before its text, or on a line of its own at the start or the end."""
    first, *others = given.lines.splitlines() or [""]
    ends = [alone[1] for line in (first, *others[-1:]) if (alone := _ALONE.fullmatch(line))]
    if others and len(set(ends)) == 1 and ends[0].isupper():
        return _among(ends[0], given.letters)
    if given.listed <= 1 and (label := LETTER_THEN_TEXT.match(given.text)):
        letter = label[1] or label[2]
        part = label[0].replace(letter, chr(ord(letter) + 1))
        if f" {part}" not in given.text:  # else (a) and (b) are parts of the question
            return _among(letter, given.letters)
    labels = [*_LABEL_OF_A_LINE.finditer(given.lines)]
    letters = [label[1] or label[2] for label in labels]
    if len(letters) == len(set(letters)) + 1 > 2 and letters[-1] in letters[:-1]:  # after a list, one again
        return _among(letters[-1], given.letters) if labels[-1].end() == len(given.lines) else None
    return None


def _among(letter: str, letters: str) -> str | None:
    """The letter, as a capital, if there is an option of it."""
    return letter.upper() if letter.upper() in letters else None


def _last(letters: list[str]) -> str | None:
    return letters[-1] if letters else None
