"""The same answer in other notations and languages, and what is like it but another answer."""

from __future__ import annotations

import pytest

from holdfast.tasks.scorers import mmmu
from holdfast.tasks.scorers.mathematics import geometry
from holdfast.tasks.scoring import choice, number


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("8⋅√3", r"8 \sqrt { 3 }", 1), ("8∙√3", r"8 \sqrt { 3 }", 1), ("1.2⋅10^3", "1200", 1),
        ("5⋅3", "5 3", 0), ("A⋅B", "A B", 0),
    ],
)  # fmt: skip
def test_a_dot_multiplies_whichever_it_is(answer, reference, right):
    assert geometry(answer, reference) == right
    if reference == "1200":
        assert number(answer, reference) == mmmu.open_answer(answer, [reference]) == right


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("$5", "$5", 1), ("5", "$5", 1), ("$5.00", "$5", 1), ("5$", "$5", 1), (r"\$5", "$5", 1),
        ("-$1,200", "-1200 $", 1), ("$1.5e3", "$1500", 1),
        ("€5", "$5", 0), ("$5", "5", 0), ("$5 or $6", "$5", 0), ("$", "$5", 0), ("$5", "-$5", 0),
    ],
)  # fmt: skip
def test_the_sign_of_a_currency_may_stand_before_its_number(answer, reference, right):
    assert number(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("B\n\nThe dog barks.", 1), ("(B)\nbecause", 1), ("\nB\n", 1), ("B。狗", 1), ("B、狗", 1),
        ("A\nB", 0), ("B dog", 0), ("But\nB", 0), ("b. dog", 1),
    ],
)  # fmt: skip
def test_a_letter_in_a_first_line_of_its_own_is_chosen(answer, right):
    assert choice(answer, "B") == right


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [("5 000", "5000", 1), (r"5\,000 N", "5000", 1), ("12 5000", "5000", 1), ("5 000", "5", 0)],
)
def test_open_answers_of_mmmu_may_part_thousands_by_blanks(answer, reference, right):
    assert mmmu.open_answer(answer, [reference]) == right
