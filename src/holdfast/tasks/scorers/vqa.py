"""VQA soft accuracy, the official metric of TextVQA and VizWiz.

An answer is worth what ten annotators say: normalised as EvalAI does it, and compared with each
leave-one-out set of nine. The rules follow `EvalAIAnswerProcessor` of facebookresearch/mmf, which
EvalAI and lmms-eval use, slips of its patterns included: scores must agree with theirs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from holdfast.tasks.scorers.text import NUMBER_WORDS

ANNOTATORS = 10
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA_DIGIT = re.compile(r"\d,\d")
# Meant as "a full stop between digits stays"; as published it spares only those before a digit.
_FULL_STOP = re.compile(r"\.(?!\d)")
_NUMBERS = {"none": "0"} | {word: NUMBER_WORDS[word] for word in list(NUMBER_WORDS)[:11]}  # to ten
_ARTICLES = {"a", "an", "the"}

_CONTRACTIONS_SPELT_RIGHT = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
    he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've
    mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't
    shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
    something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've
    they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
    where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
# The official table maps each form with one apostrophe missing to the right one; one entry is backwards.
_CONTRACTIONS = {
    right[:place] + right[place + 1 :]: right
    for right in _CONTRACTIONS_SPELT_RIGHT.split()
    for place, letter in enumerate(right)
    if letter == "'"
} | {"somebody'd": "somebodyd"}


@lru_cache(maxsize=65_536)
def normalise(text: str) -> str:
    """The official normal form of an answer: case, punctuation, number words, articles, contractions."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    out = text
    for mark in _PUNCTUATION:
        # A mark beside a space is dropped everywhere in the answer; else it parts words.
        beside_space = f"{mark} " in text or f" {mark}" in text or _DIGIT_COMMA_DIGIT.search(text)
        out = out.replace(mark, "" if beside_space else " ")
    out = _FULL_STOP.sub("", out)
    kept = (_NUMBERS.get(word, word) for word in out.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in kept if word not in _ARTICLES)


def soft_accuracy(answer: str, references: Sequence[str]) -> float:
    """Mean over the annotators i of min(1, matches among the others / 3).

    With ten annotators of whom 0, 1, 2, 3, 4 agree: 0, 0.3, 0.6, 0.9, 1. The official rule knows ten
    only. Of fewer, leaving one out would put a right answer far below 1, so all are asked, and as
    many as agree at most are enough: min(1, matches / min(3, matches of the most frequent answer)).
    A blank reference is an annotator whom nobody agrees with.
    """
    said = [normalise(reference) for reference in references if reference.strip()]
    matches = said.count(normalise(answer))
    if len(references) < ANNOTATORS:
        most = max(Counter(said).values(), default=1)
        return min(1.0, matches / min(3, most))
    others_of_matching = min(1.0, (matches - 1) / 3)
    others_of_rest = min(1.0, matches / 3)
    total = matches * others_of_matching + (len(references) - matches) * others_of_rest
    return round(total / len(references), 10)


def majority(references: Sequence[str]) -> str:
    """The annotators' most frequent answer in normal form, as it was first written.

    The one reference that the study's scorer and SFT use. Ties go to the one given first; blanks count
    for nothing.
    """
    given = [reference for reference in references if reference.strip()]
    counts = Counter(map(normalise, given))
    best = max(counts.values())
    return next(reference for reference in given if counts[normalise(reference)] == best).strip()
