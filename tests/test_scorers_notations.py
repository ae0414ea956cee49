"""The same answer in other notations and languages, and what is like it but another answer."""

from __future__ import annotations

import pytest

from holdfast.tasks.example import Example
from holdfast.tasks.scorers import SCORERS, mmmu, options
from holdfast.tasks.scorers.mathematics import geometry
from holdfast.tasks.scorers.short import superclevr
from holdfast.tasks.scorers.text import bare
from holdfast.tasks.scoring import choice, number

READERS = [options.option_letter, options.mmlu_pro_letter, options.mmmu_letter]
FRACTIONS = (r"$\frac{1}{2}$", r"$\frac{3}{4}$", "0.2", "2/4")
ANGLES = (r"$30^{\circ}$", "45°", "60 degrees")
MOLECULES = (r"$\text{H}_2\text{O}$", "CO2", "O₂")
SUMS = ("2 + 3", "2 × 3", "2 ÷ 3", "3-2")
GENOTYPES = ("AA", "Aa", "aa")
LENGTHS = (r"$15\,\text{cm}$", "15 m", "1,200 m")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("choices", "answer", "letter"),
    [
        (FRACTIONS, r"\dfrac{3}{4}", "B"), (FRACTIONS, r"$\frac34$", "B"), (FRACTIONS, "3/4", "B"),
        (FRACTIONS, "The answer is 0.75.", "B"), (FRACTIONS, "½", "A"), (FRACTIONS, "2/4", "D"),
        (FRACTIONS, "0.5", None), (FRACTIONS, r"\frac{4}{3}", None), (FRACTIONS, r"-\frac{3}{4}", None),
        (ANGLES, "30°", "A"), (ANGLES, r"$45^\circ$", "B"), (ANGLES, "45 degrees", "B"),
        (ANGLES, r"60^{\circ}", "C"), (ANGLES, "45 cm", None),
        (MOLECULES, "H₂O", "A"), (MOLECULES, "H2O", "A"), (MOLECULES, r"$\mathrm{CO_2}$", "B"),
        (MOLECULES, "The answer is CO₂.", "B"), (MOLECULES, r"\text{O}_2", "C"), (MOLECULES, "O3", None),
        (SUMS, "2×3", "B"), (SUMS, r"2 \times 3", "B"), (SUMS, "2+3", "A"), (SUMS, "3–2", "D"),
        (SUMS, "5", None), (SUMS, "1", None), (SUMS, "2 · 3", None),
        (GENOTYPES, "Aa", "B"), (GENOTYPES, "The answer is aa.", "C"), (GENOTYPES, "aA", None),
        (LENGTHS, "15 cm", "A"), (LENGTHS, r"15\ \text{cm}", "A"), (LENGTHS, "15 meters", "B"),
        (LENGTHS, "1200 m", "C"), (LENGTHS, r"1{,}200 m", "C"), (LENGTHS, "15", None),
        (("x^2+1", "x^2-1"), "x² + 1", "A"), (("$\\sqrt{2}$", "2"), "√2", "A"), (("$2\\pi$", "π"), "2π", "A"),
        (("Yes", "No"), "No, it is not.", "B"), (("Yes", "No"), "yes, no", None),
        (("Yes", "No"), "Yes, B", "B"),
        (("Yes", "No", "Maybe"), "Yes, maybe", None),
        (("Paris", "Paris, Texas"), "Paris, Texas", "B"), (("Paris", "Rome"), "Paris, Rome", None),
    ],
)  # fmt: skip
def test_a_text_of_an_option_counts_in_any_notation(read, choices, answer, letter):
    assert read(answer, choices) == letter


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        (r"Option\ B", "B"), (r"\textbf{(B)}\ \text{dog}", "B"), ("The answer is ( B ).", "B"),
        (r"A\ B", None),
        # statements
        ("La respuesta correcta es la B.", "B"), ("La respuesta es la opción B.", "B"),
        ("La risposta corretta è la B.", "B"), ("A resposta correta é a letra B.", "B"),
        ("La bonne réponse est la B.", "B"), ("B est la bonne réponse.", "B"), ("B es correcta.", "B"),
        ("Die richtige Antwort lautet B.", "B"), ("B ist richtig, A ist falsch.", "B"), ("Antwort B", "B"),
        ("Le chien aboie, donc B.", "B"), ("Die Antwort ist nicht A, sondern B.", "B"),
        ("ответ B", "B"), ("Đáp án là B", "B"), ("الإجابة الصحيحة هي B", "B"), ("답은 B입니다.", "B"),
        ("正确的是B", "B"), ("A错误，C不正确。答案：B", "B"), ("It is est. 1990. The answer is B.", "B"),
        # and denials
        ("No es la B.", None), ("non è B", None), ("A resposta não é B", None), ("Ce n'est pas B.", None),
        ("Die Antwort ist nicht B.", None), ("B ist falsch.", None), ("B est fausse", None),
        ("La B es falsa", None), ("B è sbagliata", None), ("B 错误", None), ("B不对", None),
        ("B 不正确", None), ("不是 B", None), ("ответ не B", None),
    ],
)  # fmt: skip
def test_other_languages_say_yes_and_no_of_a_letter(read, answer, letter):
    assert read(answer, ("cat", "dog", "cow", "pig")) == letter


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
        ("sin A = 3/5", "0.6", 1), (r"\cos(A) = 0.6", "0.6", 1), (r"\sin \angle A = 0.6", "0.6", 1),
        ("sin θ = 0.6", "0.6", 1), ("S_{ABC} = 36", "36", 1), ("Therefore, x = 36", "36", 1),
        ("about 36", "36", 1), ("approximately 0.6", "0.6", 1), ("(x, y) = (-2, 5)", "(-2, 5)", 1),
        ("the point (-2, 5)", "(-2, 5)", 1), ("point P(-2, 5)", "(-2, 5)", 1),
        ("sin A = 0.7", "0.6", 0), (r"\sin 0.6", "0.6", 0), ("So 72 = 36", "36", 0), ("about", "36", 0),
        ("sin B = 0.6", "sin A = 0.6", 0), ("(y, x) = (-2, 5)", "(-2, 5)", 0), ("0.6", "sin A = 0.6", 1),
        (r"\sin B", r"\sin A", 0), ("point P(2, 5)", "(-2, 5)", 0),
    ],
)  # fmt: skip
def test_what_names_a_value_of_geometry_is_not_of_it(answer, reference, right):
    assert geometry(answer, reference) == right


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


@pytest.mark.parametrize(
    "dress", [r"\text{%s}", "**%s**", "`%s`", "$%s$", "<answer> %s </answer>", r"$\mathrm{%s}$"]
)
@pytest.mark.parametrize(
    ("scorer", "answer", "other"), [("exact", "a dog", "dog"), ("choice", "B", "A"), ("number", "12", "13")]
)
def test_what_sets_the_type_of_a_whole_answer_is_no_matter(dress, scorer, answer, other):
    rule = SCORERS[scorer]
    assert rule(dress % answer, Example("1", "?", answer)) == 1
    assert rule(dress % other, Example("1", "?", answer)) == 0
    assert SCORERS["exact"](dress % answer, Example("1", "?", dress % answer)) == 1


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (r"\text{a} and \text{b}", r"\text{a} and \text{b}"), (r"\text{a {b}}", "a {b}"),
        (r"\textbf{\text{B}}", "B"),
        ("**a** or **b**", "**a** or **b**"), ("$5 or $6", "$5 or $6"), ("2*3*4", "2*3*4"), ("", ""),
        ("<answer>a</answer> <answer>b</answer>", "<answer>a</answer> <answer>b</answer>"), ("**", "**"),
    ],
)  # fmt: skip
def test_only_what_stands_around_all_of_an_answer_is_taken_off(answer, left):
    assert bare(answer) == left


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("Color: brown", "brown", 1), ("brown colored", "brown", 1), ("It is made of rubber.", "rubber", 1),
        ("rubber material", "rubber", 1), ("large in size", "large", 1),
        ("The material is metal.", "metal", 1),
        ("made of metal", "rubber", 0), ("colored", "brown", 0), ("brown and red in color", "brown", 0),
        ("colored blue and brown", "Blue and brown", 1),
    ],
)  # fmt: skip
def test_what_kind_of_attribute_it_is_may_be_said(answer, reference, right):
    assert superclevr(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Options A and C", 1), ("['A', 'C']", 1), ('["C", "A"]', 1), ("the options (A), (C)", 1),
        ("Option A", 0.5), ("Options A and B", 0),
    ],
)  # fmt: skip
def test_a_set_of_options_may_be_called_so_or_quoted(answer, score):
    assert SCORERS["option_set"](answer, Example("1", "?", "A,C")) == score
