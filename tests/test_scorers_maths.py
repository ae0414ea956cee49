"""Scorers of formulas and numbers: what is right in any notation, what is not, and that nothing can hang."""

from __future__ import annotations

import itertools
import time

import pytest

from holdfast.policy.encode import Encoder
from holdfast.tasks.example import Example
from holdfast.tasks.scorers import SCORERS, identity, latex, study
from holdfast.tasks.scorers.mathematics import geometry
from holdfast.tasks.scorers.units import split_unit
from holdfast.tasks.scorers.value import value
from holdfast.tasks.scoring import exact, extract_answer, format_score, number
from holdfast.tasks.task import Task
from policy_helpers import CHAT_TEMPLATE, make_tokenizer

TOKENS = 8192
DEGENERATE = {
    **{unit: "It is 5" + f" {unit}" * TOKENS + " then" for unit in ("in", "cm", "square", "hours", "m^2")},
    "answer": "The answer" + "\n" * TOKENS + "is",
    "wide blanks": "5" + " " * 8 * TOKENS + "x",
    **{repr(part): part * TOKENS for part in (
        " ", "\n", "\t", "1", "12,", "1,234,", ".", "-", "−", "(", "[", "{", "}", "$", "%", "\\", "\\ ",
        "=", "<",
        " / ", "^", "x=", r"\text{", r"\sqrt", r"\frac", r"\frac{1}{", r"\boxed{", "</think>", "<think>",
        r"</think>\boxed{", r"\boxed{}", "<think>a</think>", " and ", " or ", "a", "é", "5 cm ", "1e5",
        "year",
    )},
}  # fmt: skip
GOLDS = ("5", "13.9", r"8 \sqrt { 3 }", "a + b = 90", "red and white", "(1,2)")


@pytest.mark.slow
@pytest.mark.parametrize("name", DEGENERATE)
def test_no_degenerate_response_takes_long(name, monkeypatch):
    """Each is graded in both styles, and so is its beginning; computer algebra has a limit of its own."""
    monkeypatch.setattr(latex, "equal", lambda *_: False)
    texts = [DEGENERATE[name], f"<think>a</think>{DEGENERATE[name]}", DEGENERATE[name][:399]]
    for text, style, gold in itertools.product(texts, ("cot", "direct"), GOLDS):
        example = Example(id="1", prompt="?", answer=gold)
        for scorer in ("geometry", "study", "number", "exact", "choice"):
            start = time.perf_counter()
            format_score(text, style, opened=True)
            answer = extract_answer(text, style) or text
            SCORERS[scorer](answer, example)
            assert time.perf_counter() - start < 0.5, (scorer, gold)


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("311.46", "311.5", 1), (r"\sqrt{97032}", "311.5", 1), ("623/2", "311.5", 1), ("309", "311.5", 0),
        ("311.44", "311.5", 0), ("115.2", "114.2", 0), ("7.9", "7.85", 0), ("50.0", "50", 1),
        ("50.04", "50", 0),
        ("13.9", r"8 \sqrt { 3 }", 1), ("14", r"8 \sqrt { 3 }", 0), ("13.8", r"8 \sqrt { 3 }", 0),
        ("13.8564", "13.9", 1), ("0.3", "1/3", 1), ("0.0", "0.04", 0), ("0.00000001", "0.00000002", 0),
        ("0.0", r"4\pi \times 10^{-7}", 0), ("0.0", "1/30", 0), ("-0.00", "-1/300", 0), ("0.03", "1/30", 1),
    ],
)  # fmt: skip
def test_geometry_rounds_to_the_digits_that_are_given(answer, reference, right):
    assert geometry(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        (r"32\pi \text{ cm}^2", r"32 \pi", 1), ("32π cm", r"32 \pi", 1), (r"x \approx 13.9", "13.9", 1),
        (r"8\sqrt{3} = 13.86", r"8 \sqrt { 3 }", 1), (r"m\angle A = 65", "65", 1),
        (r"\angle 1 = 65", "65", 1),
        (r"\overline{AC} = 65", "65", 1), (r"65\degree", "65", 1), ("∠A = 65°", "65", 1),
        ("AC = 12 cm", "12", 1),
        ("2x = 130", "130", 0), ("x = 3 = 4", "4", 0), ("x = 66", "65", 0), ("AC = AB + BC", "12", 0),
        (r"\overline{AD} \text{ and } \overline{BE}", "A D and B E", 1), ("BE and AD", "A D and B E", 1),
        ("AD and BF", "A D and B E", 0), (r"\angle 5 \cong \angle 3", r"\angle 3 \cong \angle 5", 1),
        (r"\angle 5 \cong \angle 4", r"\angle 3 \cong \angle 5", 0), ("90 = a+b", "a + b = 90", 1),
        ("x > y", "y > x", 0), ("x'", "x", 0), ("A′B′", "AB", 0), ("¬x", "x", 0), ("A'B'", "A' B'", 1),
    ],
)  # fmt: skip
def test_geometry_in_any_notation(answer, reference, right):
    assert geometry(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("−8", "- 8", 1), ("8", "- 8", 0), ("–8", "-8", 1), ("8", "８", 1), ("(1, 2)", "(1,2)", 1),
        ("(2,1)", "(1,2)", 0), ("[1,2)", "(1,2)", 0), ("[1, 4/2)", "[1,2)", 1), ("(1,2,3)", "(1,2)", 0),
        (r"\{2, 1\}", r"\{1,2\}", 1), (r"\left\{1, 3\right\}", r"\{1,2\}", 0), ("1,200", "1200", 1),
        ("1200", "1,200", 1), ("13,9", "13.9", 1), ("1,5", "15", 0), ("1{,}200", "1200", 1),
        ("5 cm", "5 m", 0),
        ("5 cm", "5 centimeters", 1), ("5 cm^2", "5 square cm", 1), ("5 cm", "5 cm^2", 0), ("5", "5 cm", 1),
        ("6.63e-34", "1.6e-19", 0), (r"6.63 \times 10^{-34}", "6.63e-34", 1), ("4, 3", "3, 4", 1),
        # what stands round words and numbers makes them other things
        (">5", "5", 0), ("5!", "5", 0), ("∛5", "5", 0), ("-x", "x", 0), ("|x|", "x", 0),
        ("∓5", "5", 0), ("x!", "x", 0), ("n''", "n'", 0), ("⌊5.5⌋", "5.5", 0), ("A∪B", "A∩B", 0),
        ("x→5", "x, 5", 0), ("±5", r"\pm 5", 1), ("A’B’", "A'B'", 1),
        ("AB - CD", "AB CD", 0), ("right-angled", "right angled", 1), ("a square!", "square", 1),
        ("= 5", "5", 1), (r"\approx 5", "5", 1),
        # digits apart and stars between them
        ("1 2", "12", 0), ("1 200", "1200", 1), ("1 1/2", "11/2", 0), ("2*3*4", "24", 1),
        ("2*1*2", "212", 0),
        ("*24*", "24", 1), ("so **24** or *24*", "24", 0),
        # other signs for the same
        ("½", "0.5", 1), ("3½", "3.5", 1), ("10⁴", "10000", 1), ("10⁻³", "0.001", 1), ("2∶3", "2:3", 1),
        (r"\cfrac{1}{2}", "0.5", 1), ("12^{o}", "12", 1), (r"12\textdegree", "12", 1), ("12'", "12", 0),
        ("2 rad", "2", 1), (r"\boldsymbol{12}", "12", 1), (r"32\pi\,\text{units}^2", r"32 \pi", 1),
        ("8*3**0.5", r"8 \sqrt { 3 }", 1), ("2θ", r"2 \theta", 1), ("(-∞, 3]", r"(-\infty, 3]", 1),
        ("(∞, 3]", r"(-\infty, 3]", 0),
        ("40^∘", "40", 1), ("2 pi cm", r"2\pi", 1), (r"0.\overline{6}", "0.67", 1),
        (r"0.\overline{6}", "0.6", 0), (r"0.1\overline{6}", "1/6", 1),
        # what orders is no equality
        (r"\leq 5", "x = 5", 0), ("≠5", "x = 5", 0), (r"\leq 5/2", r"\frac{5}{2}", 0),
        ("y ≤ 2x+1", "y = 2x+1", 0),
        # relations from either side, and the name of what is asked for
        ("x ≤ 3", r"x \leq 3", 1), ("3 >= x", r"x \leq 3", 1), ("x ≥ 3", r"x \leq 3", 0),
        ("3 < x", "x > 3", 1), ("3 > x", "x > 3", 0), ("7 > x > 3", "3 < x < 7", 1),
        ("7 < x < 3", "3 < x < 7", 0),
        ("x != 3", r"x \neq 3", 1), ("3", "x = 3", 1), ("3 cm", "x = 3", 1), ("y = 3", "x = 3", 0),
        ("x", "x = 3", 0), ("12 = x", "12", 1), ("|AB| = 12", "12", 1), ("12 = 13", "12", 0),
        (r"\Delta ABC", r"\triangle A B C", 1), ("ΔABC", r"\triangle A B C", 1), ("Δ", r"\triangle A B C", 0),
        ("A B", "B", 0), ("A, B", "B", 0), ("a square", "square", 1), ("1.000.000", "1000000", 1),
        ("angle 5", r"\angle 5", 1), ("△ABC", r"\triangle A B C", 1), ("Triangle ABD", r"\triangle A B C", 0),
        ("AB || CD", r"\overline{A B} \parallel \overline{C D}", 1), ("AD & BE", "A D and B E", 1),
    ],
)  # fmt: skip
def test_numbers_and_collections(answer, reference, right):
    assert geometry(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("−5", "-5", 1), ("5", "-5", 0), ("3,5", "3.5", 1), ("1,2", "12", 0), ("1,200.5", "1200.5", 1),
        ("1.200,5", "1200.5", 1), ("6.63e-34", "1.6e-19", 0), ("6.63E-34", "6.63e-34", 1), ("12 cm", "12", 0),
        ("12", "12 cm", 1), ("12 CM", "12 cm", 1), ("12 m", "12 cm", 0), ("1.2.3", "1.2", 0), ("", "0", 0),
        ("1_000", "1000", 0), ("inf", "inf", 0), (".5", "0.5", 1), ("+7", "7", 1), ("3 ,", "3", 1),
        ("１２", "12", 1), ("5 m^2", "5 m^2", 1), ("5 m2", "5 M2", 1),
        ("999999", "1000000", 0), ("999999.5", "1000000", 1), ("1.000.000", "1000000", 1),
        ("1.000", "1000", 0),
        # more than one number is none
        ("12 or 13", "12 or 13", 0), ("12", "12 or 13", 0), ("1/2", "1/2", 0), ("1", "1/2", 0),
    ],
)  # fmt: skip
def test_number(answer, reference, right):
    assert number(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        # names, primes and what brackets hold are not for computer algebra, which passes over them
        (r"\angle 7 \cong \angle 2", r"\angle 1 \cong \angle 2", 0), (r"\angle 2 \cong \angle 1",
        r"\angle 1 \cong \angle 2", 1), ("m∠1 = m∠3", r"m \angle 1 = m \angle 2", 0),
        (r"\angle 2 + m\angle 1 = 180", r"m \angle 1 + m \angle 2 = 180", 1), ("-8'", "-8", 0),
        (r"\triangle A B C'", r"\triangle A B C", 0), ("±x = 3", "x = 3", 0),
        ("a + b = 90? no", "a + b = 90", 0),
        (r"\sqrt{a + b = 90}", "a + b = 90", 0), (r"[2\pi, 2\pi]", r"2 \pi", 0), (r"5, \pm 5", r"\pm 5", 0),
        # one relation or line in other signs
        (r"\overline{CD}\parallel\overline{AB}", r"\overline{A B} \parallel \overline{C D}", 1),
        ("AB // CD", r"\overline{A B} \parallel \overline{C D}", 1),
        (r"AB \| CE", r"\overline{A B} \parallel \overline{C D}", 0), ("AB ⟂ CD", r"A B \perp C D", 1),
        ("△ABC ~ △DEF", r"\triangle A B C \sim \triangle D E F", 1), ("∆ABC", r"\triangle A B C", 1),
        (r"\overset{\frown}{AB}", r"\widehat { A B }", 1), ("{3, 2, 1}", r"\{1,2,3\}", 1),
        ("(-inf, 3]", r"(-\infty, 3]", 1), ("(-∞,1)∪(3,∞)", r"(-\infty, 1) \cup (3, \infty)", 1),
        ("2 to 3", "2 : 3", 1), ("3 to 2", "2 : 3", 0), ("2𝜃", r"2 \theta", 1), ("（1，2）", "(1,2)", 1),
        # numbers
        ("0,333", "0.333", 1), ("0,333", "333", 0), ("1 230", "1230.0", 1), ("0.(3)", "0.333", 1),
        ("6.02 x 10^23", r"6.02 \times 10^{23}", 1), ("∛2", r"\sqrt[3]{2}", 1), ("-1x", "-x", 1),
        # units, and what is written round an answer
        ("12 cm2", "12 cm^2", 1), ("12 meters cubed", "12 m^3", 1), ("12 meters squared", "12 m^3", 0),
        (r"\mathbf{\frac{13}{4}}", r"\frac { 13 } { 4 }", 1), (r"\text{\frac{1}{4}}", r"\frac{13}{4}", 0),
        ("The answer is 48.", "48", 1), ("Answer: 48 cm", "48", 1), ("The value of x is 48", "48", 1),
        ("The length is not 48", "48", 0), ("area of ABC = 48", "48", 1), ("48\u200b", "48", 1),
        (r"\color{red}{48}", "48", 1), ("∴ x = 48", "48", 1),
    ],
)  # fmt: skip
def test_geometry_reads_what_is_said_and_nothing_else(answer, reference, right):
    assert geometry(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("1 200", "1200", 1), ("1\u202f200", "1200", 1), ("1 2", "12", 0), ("0,333", "0.333", 1),
        ("0,333", "333", 0), ("1.2×10^3", "1200", 1), ("1.2 × 10³", "12000", 0), ("12 cm.", "12 cm", 1),
        ("12 m2", "12 m²", 1), ("12 m3", "12 m²", 0), ("5％", "5%", 1),
    ],
)  # fmt: skip
def test_numbers_as_they_are_set(answer, reference, right):
    assert number(answer, reference) == right


def test_units():
    assert split_unit(r"32\pi  square inches ") == (r"32\pi", "in2")
    assert split_unit("7 sq. cm") == ("7", "cm2") and split_unit("5 units") == ("5", "")
    assert split_unit("yard") == ("yard", "") and split_unit("5 apples") == ("5 apples", "")
    assert value("6.63e-34") == 6.63e-34 and value("2e") is None


# Answer, reference, and what mathruler 0.1.0 says.
FROM_MATHRULER = [
    ("128", "128", 1), ("AC = 128", "128", 0), ("128 units", "128", 0), ("128 square units", "128", 0),
    ("128 m", "128", 0), (r"128\text{units}", "128", 0), ("48 in.", "48", 0), (r"\frac{256}{2}", "128", 0),
    (r"\sqrt{16384}", "128", 0), (r"x=8\sqrt{3}", r"8 \sqrt { 3 }", 0), (r"8\sqrt{3}", r"8 \sqrt { 3 }", 1),
    (r"8\sqrt{3} \approx 13.86", r"8 \sqrt { 3 }", 0), ("8√3", r"8 \sqrt { 3 }", 0),
    ("(dakota)", "dakota", 0),
    ("5 MILES", "5", 0), ("5 miles", "5", 1), ("Football", "football", 0), ("Second part", "second part", 0),
    ("65.", "65", 1), ("A.", "A", 0), ("15%.", "15%", 1), (r"\(65\)", "65", 1), (r"\(yes\)", "yes", 1),
    (r"32 \pi \text{ cm}^2", r"32 \pi", 1), (r"65\degree", "65", 1), ("red, white", "red and white", 1),
    ("red and white", "red, white", 1), ("white, red", "red and white", 0), ("2/4", "1/2", 0),
    ("0.5", "1/2", 1),
    ("(0,100)", "100", 0), (r"08\sqrt{3}", r"8 \sqrt { 3 }", 0), ("08", "8", 1),
    (r"0.5\pi", r"\frac{\pi}{2}", 1),
    ("x = 3", "3", 1), ("1,000", "1000", 1), ("1+x", "x + 1", 1), ("x*2", "2 x", 1), ("(2,1)", "(1,2)", 0),
    ("[1,2)", "(1,2)", 0), ("1.6e-19", "6.63e-34", 1), ("4 4/11", r"4 \frac { 4 } { 11 }", 1),
    (r"\sqrt{\frac{4}{3}}", r"\frac{4}{3}", 0), (r"\frac{\sqrt{4}}{3}", "4/3", 0), ("ADandBE",
    "A D and B E", 1),
    (r"\sqrt{\overline{A C}}", r"\overline{A C}", 0), (r"\frac{}{2}", r"\frac{1}{2}", 0), (r"\sqrt{}", "0",
    0),
    (r"8\cdot\sqrt{3}", r"8 \sqrt { 3 }", 1), (r"(25/3)π\text{ cm}", r"\frac { 25 \pi } { 3 }", 1),
    (r"\bm{32π}", r"32 \pi", 1), (r"13.9~\text{cm}", "13.9", 1), (r"1\,230", "1230", 0),
    (r"\color{red}{48}", "48", 1), (r"8√3\ \mathrm{cm}", r"8\sqrt{3}", 0),
    (r"\mathrm{yard}", "yard", 1), ("a + b = 90", "b + a = 90", 0), ("(x-1)(x+1)", "x^2-1", 1),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "reference", "right"), FROM_MATHRULER)
def test_our_own_code_has_the_rule_of_the_study(answer, reference, right):
    assert study.same(answer, reference) == right


FORMS = (
    "{}", "{}.", "({})", "${}$", r"\({}\)", "AC = {}", "x = {}", "{} units", "{} m", "{} cm", "{} in.",
    r"{} \text{{ cm}}^2", r"{}\degree", "{}%", r"\text{{{}}}", r"\textbf{{{}}}", "-{}", "{}, 3", "{} MILES",
)  # fmt: skip
REFERENCES = (
    "128", r"8 \sqrt { 3 }", r"32 \pi", "13.9", r"\frac { 4 } { 3 }", "red and white", "no", "yard", "1/2",
    "x + 1", "(1,2)", "a bus",
)  # fmt: skip


@pytest.mark.skipif(latex.mathruler_version() is None, reason="mathruler is not installed")
def test_our_own_code_agrees_with_mathruler():
    pairs = [(form.format(gold), gold) for form in FORMS for gold in REFERENCES]
    pairs += [*itertools.product(REFERENCES, REFERENCES), *((one, other) for one, other, _ in FROM_MATHRULER)]
    assert len(pairs) >= 150
    with_it = [study.study(*pair) for pair in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latex, "mathruler_version", lambda: None)
        without = [study.study(*pair) for pair in pairs]
    assert [pair for pair, one, other in zip(pairs, with_it, without, strict=True) if one != other] == []
    assert [latex.equal(*pair[:2], "mathruler") for pair in FROM_MATHRULER] == [
        bool(right) for _, _, right in FROM_MATHRULER
    ]


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("no", "on"), ("yard", "feet"), ("$", "day"), ("hour", "minute"), ("red or blue", "red and blue"),
        ("", "day"), ("1.6e-19", "6.63e-34"), ("1.6e-19", "0"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("installed", [True, False])
def test_what_is_plainly_wrong_does_not_count_whoever_grades(answer, reference, installed, monkeypatch):
    monkeypatch.setattr(latex, "mathruler_version", lambda: "0.1.0" if installed else None)
    monkeypatch.setattr(latex, "equal", lambda *_: True)
    assert study.study(answer, reference) == 0


def test_who_grades_is_part_of_what_determines_a_result(monkeypatch):
    def task(scorer, source="data"):
        return Task("x", 1, "", lambda split, count: [], {}, scorer, source=source)

    monkeypatch.setattr(latex, "mathruler_version", lambda: None)
    own = task("study").scoring
    monkeypatch.setattr(latex, "mathruler_version", lambda: "0.1.0")
    assert (
        own["scorer"] == "study 5 by own" and task("study").scoring["scorer"] == "study 5 by mathruler 0.1.0"
    )
    assert identity("mmlu_pro_script") == "mmlu_pro_script" and identity("rules.py:score") == "rules.py:score"
    assert task("number", source="").scoring == {"scorer": "number"}  # its version says it


@pytest.mark.parametrize(
    ("response", "style", "answer"),
    [
        ("<think>3 or 4?</think> 4", "direct", "4"), (r"<think>\boxed{17}</think> 4", "direct", "4"),
        ("3 or 4?</think>4", "direct", "4"), ("4 <think>surely", "direct", "4"),
        ("<think>it never", "direct", None), (r"<think>so \boxed{3}", "direct", "3"),
        (r"<think>a</think>so \boxed{5}.", "direct", "5"), (r"<think>a</think>\boxed{", "direct", None),
        (r"<think>\boxed{17}</think> \boxed{4}", "cot", "4"), ("<think>3</think> 4", "cot", None),
        (r"<think>\boxed{5}</think> so it is 6", "cot", "5"), (r"<think>maybe \boxed{5} but", "cot", "5"),
    ],
)  # fmt: skip
def test_reasoning_is_no_answer_in_either_style(response, style, answer):
    assert extract_answer(response, style) == answer
    assert answer is None or exact(answer, answer) == 1


@pytest.mark.parametrize(
    ("response", "opened", "score"),
    [
        (r"a</think>\boxed{3}", True, 1), (r"a</think>\boxed{3}", False, 0), (r"a \boxed{3}", True, 0),
        (r"<think>a</think>\boxed{3}", True, 1), (r"well <think>a</think>\boxed{3}", True, 0),
        (r"<think>\boxed{3}</think>", True, 0), (r"<think>a</think>\boxed{3", False, 0),
        (r"<think>a</think>}\boxed{3", False, 0), (r"<think></think></think>\boxed{\boxed{}", False, 1),
    ],
)  # fmt: skip
def test_a_prompt_may_open_the_thought(response, opened, score):
    assert format_score(response, "cot", opened) == score


@pytest.mark.parametrize(("ending", "opens"), [("", False), ("<think>\n", True), ("<think></think>", False)])
def test_a_chat_template_tells_whether_it_opens_the_thought(ending, opens):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE + ending
    assert Encoder(tokenizer, 100, None).opens_thought is opens
