"""Letters in a text: which of them name an option, and which of those it lists or rules out.

As in `options`, every pattern runs over one line with single blanks, and takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# The start of a letter, which no word or number runs into; a letter, in brackets or not; one that ends there.
_START, _LETTER, _WHOLE_LETTER = r"(?<![\w'’])", r"\(?[A-Z]\)?", r"\(?[A-Z]\b\)?"

# A letter is a name of an option unless a word follows that it belongs to ("A dog", "I think", "B cells").
_OF_THINGS = (  # verbs that no article stands before
    "agrees|appears|contains|corresponds|describes|does|fits|follows|gives|has|holds|is|looks|makes|matches"
    "|remains|represents|satisfies|seems"
)
_VERBS = (
    f"{_OF_THINGS}|and|are|as|based|because|but|could|due|for|given|here|in|instead|leaves|must|or|over|rather"
    "|should|since|so|then|was|which|with|would"
)
_NO_NOUN = rf"(?! (?!(?:{_VERBS})\b)[a-z])"
_PRONOUN = re.compile(
    rf"(?<![\w'’(])I(?= (?!(?:{_OF_THINGS}|and|are|as|because|but|for|instead|or|over|rather|since)\b)[a-z])"
)
_RELATIONS = "∩∪⊂⊆⊃⊇∈∖⊕⊗∧∨∥⊥≅≡∼↔⇔"
OPTION = (
    rf"([A-Z])(?![\w'’/+#^|]|[-.*]\w|\\[A-Za-z]| ?[=≤≥×·✗✘❌{_RELATIONS}]| ?[<>] ?\d"
    rf"| (?!(?:{_VERBS})\b)[a-z])"
)

# Lists, of which no letter is the answer: "A or B", "B, C and D", "A to D", "A < B".
_MARK = (
    rf" ?(?:[,、;/|&+*<>→×·•…~`{_RELATIONS}或和与與及-]|\.\.+|<br ?/?>|\\[\\,;& ]"
    r"|\\(?:[lr]?or|vee|l?and|wedge|cup|cap|q?quad)(?![A-Za-z])) ?"
)
MAYBE = "maybe|perhaps|possibly|probably|even|also|else|otherwise|alternatively|if not"
_AND = (
    rf"and/or|and|or|nor|to|through|versus|vs\.?|plus|as well as|together with|along with|but (?:{MAYBE})"
    "|oder|ou|aber auch|o|y|e|и|или|και"
)
_AGAIN = r"(?:the answer is )?(?:(?i:option|choice) )?"
_MARK_AND_WORD = (
    rf"(?:(?:{_MARK}| | \()(?:{_AND}),? (?:(?:{MAYBE}),? )?|(?:{_MARK}| \()(?:{MAYBE}),? ){_AGAIN}"
)
_JOINED = rf"\(?[A-Z](?![\w'’]|\. ?[a-z])\)?{_NO_NOUN}"
_NO_VERB = rf"(?! (?:{_OF_THINGS}|could|must|should|was|would)\b)"
_LIST = re.compile(  # in "A, B and C, B" the last is none of the list
    rf"{_START}{_LETTER}(?:{_MARK}{_JOINED})*(?:{_MARK}{_JOINED}|(?:{_MARK_AND_WORD}{_JOINED})+){_NO_VERB}"
)
_OTHERWISE = re.compile(  # "A. Or C."
    rf"{_START}{_LETTER}[.?!] (?i:or|(?:or )?(?:maybe|perhaps|possibly|alternatively|otherwise)),? "
    rf"{_AGAIN}{_WHOLE_LETTER}(?= ?[.?!]|\W*$)"
)
_SEGMENT = re.compile(  # "The distance from A to B is 5 cm"
    rf"\b(?:[Ff]rom|[Bb]etween) (?:[a-z]{{1,12}} )?{_LETTER} (?:to|and|through) (?:[a-z]{{1,12}} )?"
    rf"{_WHOLE_LETTER}"
)
_NAMED = r"(?:[Oo]ption|[Cc]hoice)"
_NAMED_LIST = re.compile(  # "option A or option B"
    rf"\b{_NAMED} {_LETTER}(?:,? (?:(?:and|or) )?{_NAMED} {_JOINED})+{_NO_VERB}"
)
# Letters with nothing between them, "A B" and "(A)(B)", and the first ones with hardly more, "A. B. C."
_ROW = re.compile(rf"{_START}[(\[{{]?[A-Z][)\]}}]?(?:(?: |(?<=[)\]}}]))[\[{{]?{_JOINED}[\]}}]?)+")
_NEXT = r"[\s\d.):;!?•|…(\[\]–—-]{1,8}"
_FIRST_ONES = re.compile(rf"{_START}\(?A{_NEXT}B{_NEXT}C(?![\w'’])(?:{_NEXT}[D-Z](?![\w'’]))*")

# Letters that are ruled out, with the words that do so, before and behind them.
_ANSWER_IS = (
    r"the (?:(?:correct|right|best) )?(?:answer|option|choice) (?:is|was|were|(?:would|could|should|must) be)"
)
_IT_IS = (
    r"(?: (?:think|believe|say|choose|pick|select))?(?: that)?"
    rf"(?: (?:it['’]s|it is|be|(?:going )?to be|{_ANSWER_IS}))?"
)
_WRONG = (
    "not|(?:the )?(?:wrong|incorrect)|false|out|off|ruled out|eliminated|excluded|impossible|invalid|unlikely"
    "|far from|less [a-z]{1,15}|too [a-z]{1,15}"
)
_BEING = "is|was|seems|looks|appears to be|(?:must|would|should|can|could|has to|have to|to) be"
_NOT = (
    "(?:can)?not|nor|neither|never|except|exclud(?:es?|ing)|eliminat(?:es?|ing)|rul(?:es?|ing) out"
    "|rather than|instead of|as opposed to|over|unlike|(?:any|every)thing but|all but|hardly|unlikely"
    "|(?:We|I) (?:(?:would|do|really|strongly|highly) )?doubt|no(?:body| one) (?:would|could|will)"
    "|(?:false|untrue|wrong|incorrect|impossible)(?= that )"
)
_NOT_BEFORE = (  # "not B", "I doubt that the answer is option B"
    rf"(?:\b(?i:{_NOT})|(?i:n['’]t))(?i:{_IT_IS})(?i: the)? (?:(?i:option|choice|answer) )?{_WHOLE_LETTER}"
)
_NOT_BEHIND = (  # "B is wrong", "B, which cannot …", "B isn't"
    rf"{_START}{_LETTER}(?:,? which)? (?:(?:{_BEING}) (?:(?:also|just|still|\w{{1,12}}ly) )?(?:{_WRONG})"
    r"|(?:is|was|do|does|can|could|would)n?['’]t|cannot|(?:can|does|would|could) not)\b"
)
_SO_IS = rf"\b(?:[Ss]o|[Aa]s) (?:is|was|are) {_WHOLE_LETTER}(?=[.,;]|$)"  # "A is wrong, so is B"
_ASKED = (  # "Could it be A?"
    r"\b(?:Is|Was|Could|Can|Might|Would|Should) (?:it|this|that|the (?:(?:correct|right) )?answer)(?: be)?"
    rf" (?:(?i:option|choice) )?{_LETTER}\?(?! ?(?i:yes|correct|right|indeed))"
)
_TAKEN_BACK = (  # "The answer is A? No", "A, but that is wrong"
    rf"{_START}{_LETTER}(?:\? ?(?i:no|not|nope|wrong|(?:I|we) (?:do(?:n['’]t| not) think so|doubt it))\b"
    r"|(?:,? but|[.,;]? [Ww]ait,?(?: no,)?) (?:that|this|it)(?: (?:is|was|would be|seems)|['’]s)"
    r" (?:wrong|incorrect|false|impossible)\b)"
)
_WRONG_ARE = (  # "The wrong answers are A and C", "Incorrect: A"
    r"\b(?i:(?:(?:wrong|incorrect|false|worst) (?:answer|option|choice|letter|one)s?"
    r"(?: (?:is|are|was|were|would be)\b)? ?:?|(?:wrong|incorrect|false) ?:) ?(?:option |choice )?)"
    rf"{_WHOLE_LETTER}(?:(?:,? and |,? or |, ){_WHOLE_LETTER})*"
)
_DISOWNED = (  # "A is a distractor", "They say A. I disagree."
    rf"{_START}{_LETTER}(?: is (?:just |only )?a (?:distractor|trap|decoy)"
    r"|[.,;]? (?:but |and )?(?:I|We) (?:disagree|(?:do not|don['’]t) agree))\b"
)
_RULED_OUT = re.compile(
    "|".join((_NOT_BEFORE, _NOT_BEHIND, _SO_IS, _ASKED, _TAKEN_BACK, _WRONG_ARE, _DISOWNED))
)

# What a list says of each option: "A: incorrect, B: correct", "A ✗ B ✓", "A (30 %), B (70 %)".
_FOR, _AGAINST = r"(?i:true|correct|right|yes)\b|[✓✔✅]", r"(?i:false|incorrect|wrong|no)\b|[✗✘❌]"
_SHARE = r"[:=(] ?(?:\d{1,3}(?:\.\d{1,4})? ?%|[01]?\.\d{1,4}\b)\)?"
_VERDICT = re.compile(rf"{_START}\(?([A-Z])\b\)?(?:(?: is| ?[:=–—-])? ?(?:({_FOR})|{_AGAINST})| ?{_SHARE})")
_VERDICT_OR_NUMBER = re.compile(rf"{_FOR}|{_AGAINST}|\W*\d")

# What other languages say of a letter; the answer to an English question is seldom in one.
_NO = r"[Nn]o es|[Nn]on è|[Nn]ão é|(?:n['’]|ne )est pas|(?:ist|lautet) nicht|[Bb]ukan|[Нн]е|不是|不[选選]"
_IS = r"es|est|è|é|ist|lautet|là|adalah|هي|هو"
_SO = r"sondern|daher|deshalb|donc|por (?:lo )?tanto|quindi|portanto"
_FALSE = r"falsch|fau(?:x|sse)|fals[ao]|incorrect[aeo]|sbagliat[ao]|errad[ao]"
_NOUN = (
    r"antwort|lösung|réponse|respuesta|risposta|resposta|ответ|jawaban(?:nya)?|cevap|đáp án"
    r"|الإجابة(?: الصحيحة)?|الجواب|उत्तर"
)
_FOREIGN = re.compile(rf"(?<!\w)(?:{_NO}|{_IS}|{_FALSE}|(?i:{_NOUN}|{_SO}))(?!\w)|[错錯不]")
_KIND = r"opción|opzione|opção|option|alternativa|letra|lettera|lettre|answer"
_TRANSLATED = (
    (re.compile(rf"(?<!\w)(?:{_NO})(?!\w)"), "is not"),
    (re.compile(rf"(?<!\w)(?:{_IS})(?!\w)"), "is"),
    (re.compile(rf"(?<!\w)(?i:{_SO})(?!\w)"), "so"),
    (re.compile(rf"(?<!\w)(?i:{_NOUN})(?!\w)"), "answer"),
    (re.compile(rf"(?<=\bis )(?:{_FALSE})(?!\w)"), "wrong"),
    (re.compile(rf"(?<=\b(?:is|ot) )(?:(?:la|a|die) )?(?:(?i:{_KIND}) )?(?=\(?[A-Z]\b)"), ""),
    (
        re.compile(rf"{_START}([A-Z])\)? ?是?(?:[错錯](?:误|誤|的)?|不(?:正确|正確|对|對|是))"),
        r"\1 is wrong",
    ),
)
_CAPITAL = re.compile(r"\b[A-Z]\b")
_WORD = re.compile(r"\w")


def in_english(text: str) -> str:
    """A text with the words that say of a letter that it is the answer, or is not, in English."""
    if _FOREIGN.search(text) is None:
        return text
    for pattern, words in _TRANSLATED:
        text = pattern.sub(words, text)
    return text


def has_lone_capital(text: str) -> bool:
    """Whether a capital stands alone in a text; without one, no search need run over it."""
    return _CAPITAL.search(text) is not None


def without_verdicts(text: str, choices: Sequence[str]) -> str:
    """A text without what it says of several options one by one; the only one that it calls right stays."""
    said = _VERDICT.findall(text)
    if len({letter for letter, _ in said}) < 2 or any(map(_VERDICT_OR_NUMBER.match, choices)):
        return text
    right = {letter for letter, good in said if good}
    return _VERDICT.sub(lambda found: f" {found[1]}. " if found[2] and len(right) == 1 else " ", text)


def without_enumeration(text: str) -> str:
    """A text without its enumeration of options, `A. B. C. D.`; lines stay."""
    return _FIRST_ONES.sub(" ", text)


def without_ruled_out(text: str) -> str:
    """A text, in one line, without the pronoun I and the letters that it rules out or lists."""
    text = _RULED_OUT.sub(" ", _PRONOUN.sub("We", text))
    for pattern in (_SEGMENT, _LIST, _OTHERWISE, _NAMED_LIST, _ROW):
        text = pattern.sub(_unless_one, text)
    return " ".join(text.split())


def _unless_one(found: re.Match[str]) -> str:
    """Nothing for a list of several letters; one that is repeated stays, as does `B` before `A. Text`."""
    letters = _CAPITAL.findall(found[0])
    of_text = found.re is _ROW and len(letters) == 2 and _WORD.search(found.string, found.end())
    return found[0] if len(set(letters)) == 1 or of_text else " "
