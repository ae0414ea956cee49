"""A row of one's own data: its fields, checked one by one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any, NoReturn

from holdfast import plugins
from holdfast.errors import InputError, shortened
from holdfast.tasks.benchmarks.fields import by_letters, lettered
from holdfast.tasks.example import IMAGE_MARKER, Example, ImageSource
from holdfast.tasks.fieldnames import COMMON_NAMES, FIELDS, META, OTHER_NAMES, choice_columns
from holdfast.tasks.prompts import STYLES, Style, render_target
from holdfast.tasks.scorers import get_scorer
from holdfast.tasks.scoring import extract_answer

OF_PARTS, TOLERANCE = ("parts", "option_set"), "tolerance"  # numbers of these may differ by as much
OF_LETTERS = ("choice", "options", "mmmu", "mmlu_pro", "mmlu_pro_script")
_LETTER = "it must be an option's letter (B), or one option's text in a row with choices"
# How others mark a picture. With a number, and in Markdown, text may say so of pictures that are there.
_OTHER_MARKERS = re.compile(
    r"<image>|<image ?(?:here|_?placeholder)>|<img>[^<>]*</img>|\[IMG\]"
    r"|(?P<told><image[ _]?\d+>|!\[[^\]\n]*\]\([^()\s]+\.(?:jpe?g|png|gif|webp|bmp)\))",
    re.I,
)
_LETTER_AND_TEXT = re.compile(r"\(?([A-Z])[).:]{1,2}\s*(.*)", re.DOTALL)
RENAME = "rename it, or move it into 'meta' if the model is not to see it"
CHOICES = "make a list 'choices' of them, or move them into 'meta' if the model is not to see them"
_WANTED = {  # what a reference must be, for messages
    **dict.fromkeys(OF_LETTERS, _LETTER),
    "number": "it must be a plain number such as 12, -0.5 or 1,200",
    "yes_no": "it must be yes or no",
    "pope": "it must be yes or no",
    "vqa": "it must be among the references",
    "mmmu": "it must be an option's letter (B), or among the references of an open question",
}


class Row:
    """The fields of one row, checked one by one.

    Args:
        values: what the row says.
        scorer: of the task.
        id: of the row, if it says none.
        place: of the row, for messages.
        styles: the prompt styles in which its answer must be right.
    """

    def __init__(
        self, values: dict[str, Any], scorer: str, id: str, place: str = "", styles: Sequence[Style] = STYLES
    ) -> None:
        self.values, self.scorer, self.default_id, self.place = values, scorer, id, place
        self.styles = styles

    def fail(self, field: str | None, problem: str) -> NoReturn:
        place = self.place + (f", field '{field}'" if field else "")
        raise InputError(f"{place}: {problem}" + ("" if problem.endswith("?") else "."))

    def example(self, images: tuple[ImageSource, ...] = ()) -> Example:
        """The Example, with these images."""
        self._check_spelling()
        prompt, answer = self._text("prompt"), self._text("answer")
        choices = _without_letters(self._texts("choices"))
        aliases = self._texts("aliases")
        if choices:
            if not 2 <= len(choices) <= len(ascii_uppercase):
                self.fail("choices", f"must hold 2 to {len(ascii_uppercase)} options, not {len(choices)}")
            if self.scorer in OF_LETTERS:
                answer = self._letter(answer, choices)
            prompt = f"{prompt}\n{lettered(choices)}"
        self._check_markers(prompt.replace(IMAGE_MARKER, ""), len(images))
        markers = prompt.count(IMAGE_MARKER)
        if markers not in (0, len(images)):
            counts = f"has {markers} {IMAGE_MARKER} markers for {len(images)} images"
            self.fail("prompt", f"{counts}; write one for each, or none")
        example = Example(
            id=self._id(),
            prompt=prompt,
            answer=answer,
            images=images,
            choices=choices,
            aliases=aliases,
            references=self._texts("references"),
            rationale=self._text("rationale", needed=False),
            meta=self._meta(),
            place=self.place,
        )
        self._check_reference(example)
        return example

    def _check_reference(self, example: Example) -> None:
        """The row's own answer, as SFT would write it, must be right; else no answer could ever be."""
        for style in self.styles:
            if problem := misread(example, self.scorer, style):
                self.fail("answer", problem)

    def _check_spelling(self) -> None:
        """A field that nearly has a known name, or another one for the same, is a slip, not more data."""
        for key, value in self._others():
            close = difflib.get_close_matches(key, FIELDS, n=1, cutoff=0.8)
            if close and close[0] not in self.values:
                self.fail(key, f"is not a known field; did you mean '{close[0]}'?")
            if not isinstance(value, str | list | dict):
                continue
            for field, names in OTHER_NAMES.items():
                if field not in self.values and names.fullmatch(re.sub(r"[\W_]", "", key)):
                    self.fail(key, f"looks like '{field}', but no field of that name is read; {RENAME}")

        if "choices" not in self.values and (named := choice_columns([key for key, _ in self._others()])):
            self.fail(
                named[0], f"looks like one of the choices, but no field of that name is read; {CHOICES}"
            )

    def _check_markers(self, prompt: str, images: int) -> None:
        """The mark of a picture in another form would be text, and the picture before it, or nowhere."""
        for found in _OTHER_MARKERS.finditer(prompt):
            if not (found["told"] and images):
                where = f"pictures are named in 'images', and stand where the prompt says {IMAGE_MARKER}"
                self.fail("prompt", f"holds {shortened(found[0])}, which marks no picture here; {where}")

    def _others(self) -> list[tuple[str, Any]]:
        """The fields that are not asked of a row."""
        return [(key, value) for key, value in self.values.items() if key not in (*FIELDS, META)]

    def _meta(self) -> dict[str, Any]:
        meta = self.values.get(META)
        if not isinstance(meta, dict | None):
            self.fail(META, f"must be an object, not {kind_of(meta)}")
        meta = {**dict(self._others()), **(meta or {})}
        if self.scorer in OF_PARTS and TOLERANCE in meta and not _is_tolerance(meta[TOLERANCE]):
            self.fail(TOLERANCE, f"must be a number of at least 0, not {shortened(str(meta[TOLERANCE]))}")
        return meta

    def _text(self, field: str, needed: bool = True) -> str:
        value = self.values.get(field)
        if value is None:
            if needed:
                self.fail(field, f"is missing{self._called_otherwise(field)}")
            return ""
        if value != value:
            self.fail(field, "is not a number (NaN), as tables write what is missing; fill it in")
        if not isinstance(value, str):
            hint = f'; write it in quotes: "{str(value).lower()}"' if isinstance(value, int | float) else ""
            if field == "answer" and hint and self.values.get("choices"):
                hint = (
                    "; write a choice's letter or text, or, where it is a place counted from 0, name the "
                    'columns in the experiment (prompt: "{prompt}", answer_index: answer, choices: choices)'
                )
            self.fail(field, f"must be text, not {kind_of(value)}{hint}")
        if needed and not value.strip():
            self.fail(field, "is empty")
        return value

    def _called_otherwise(self, field: str) -> str:
        """What to do where the row has the field under another common name."""
        others = [name for name in COMMON_NAMES[field] if name != field and self.values.get(name) is not None]
        if not others:
            return ""
        return (
            f"; if '{others[0]}' is it, rename it, or say which field is which in the experiment "
            f'({field}: "{{{others[0]}}}")'
        )

    def _texts(self, field: str, one: bool = False) -> tuple[str, ...]:
        """A list of texts; with `one`, a single text will do."""
        value = self.values.get(field)
        if value is None:
            return ()
        if field == "choices" and isinstance(value, dict):
            value = by_letters(value)
        if one and isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self.fail(field, f"must be a list of texts, not {kind_of(value)}")
        blank = field == "references" and self.scorer == "vqa"  # an annotator may give no answer
        for position, item in enumerate(value, start=1):
            if not isinstance(item, str):
                self.fail(field, f"must hold texts only; number {position} is {kind_of(item)}")
            if not item.strip() and not blank:
                self.fail(field, f"must hold no empty text; number {position} is empty")
        return tuple(value)

    def _id(self) -> str:
        value = self.values.get("id")
        if value is None:
            return self.default_id
        if isinstance(value, bool) or not isinstance(value, str | int):
            self.fail("id", f"must be text or a whole number, not {kind_of(value)}")
        if not str(value).strip():
            self.fail("id", "is empty; leave it out to have rows numbered")
        return str(value)

    def _letter(self, answer: str, choices: tuple[str, ...]) -> str:
        """The letter of an answer that is given as a letter or as an option's text."""
        letters = ascii_uppercase[: len(choices)]
        letter = answer.strip().upper()
        if len(letter) == 1 and letter in letters:
            same = [other for other, choice in zip(letters, choices, strict=True) if choice == answer.strip()]
            if same and letter not in same:
                self.fail(
                    "answer",
                    f"'{answer}' is the letter of option {letter} and the text of option {same[0]}; "
                    "change the options' texts, so that only one can be meant",
                )
            return letter
        if choices.count(answer) == 1:
            return letters[choices.index(answer)]
        if meant := _meant(answer, dict(zip(letters, choices, strict=True))):
            return meant
        if answer in choices:
            self.fail("choices", f"hold '{answer}', the answer, {choices.count(answer)} times; keep one")
        self.fail(
            "answer", f"'{answer}' is neither a letter {letters[0]} to {letters[-1]} nor one of the choices"
        )


def _without_letters(choices: tuple[str, ...]) -> tuple[str, ...]:
    """The options' texts where all of them begin with their letters (`A. cat`), which the prompt adds."""
    named = [_LETTER_AND_TEXT.fullmatch(choice.strip()) for choice in choices]
    texts = [one[2] for letter, one in zip(ascii_uppercase, named, strict=False) if one and one[1] == letter]
    return tuple(texts) if len(texts) == len(choices) and all(texts) else choices


def _meant(answer: str, choices: Mapping[str, str]) -> str | None:
    """The letter of `(B)`, `B.`, `B. text`, and of a text but for case and blanks around it."""
    said = answer.strip()
    named = _LETTER_AND_TEXT.fullmatch(said)
    if named and named[1] in choices and named[2] in ("", choices[named[1]].strip()):
        others = {choice.strip() for letter, choice in choices.items() if letter != named[1]}
        return None if named[1] in others else named[1]
    for form in (str.strip, lambda text: text.strip().casefold()):
        same = [letter for letter, choice in choices.items() if form(choice) == form(said)]
        if same:
            return same[0] if len(same) == 1 else None
    return None


def _is_tolerance(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 0)


def misread(example: Example, scorer: str, style: Style) -> str | None:
    """Why a row's own answer, as SFT would write it, is scored as wrong; None where it is right.

    Scorers that are code of the user's are not tried.
    """
    if plugins.is_reference(scorer):
        return None
    read = extract_answer(render_target(example, style, "answer"), style)
    score = 0.0 if read is None else get_scorer(scorer)(read, example)
    # Annotators may disagree, and the answer need not be their most frequent one.
    if score == 1 or (score > 0 and scorer == "vqa"):
        return None
    if read != example.answer.strip():
        shown = "nothing" if read is None else f"'{read}'"
        boxed = r" in \boxed{…} (style cot)" if style == "cot" else ""
        way_out = r"leave out \boxed and unpaired braces" + (", or ask directly" if boxed else "")
        return f"'{example.answer}'{boxed} is read back as {shown}; {way_out}"
    wanted = _WANTED.get(scorer, "change it or the scorer")
    return f"the scorer '{scorer}' finds '{example.answer}' itself wrong; {wanted}"


_KINDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    return _KINDS.get(type(value), f"a value of type {type(value).__name__}")
