"""Extraction, scoring, format and reward."""

import pytest

from holdfast.errors import InputError
from holdfast.tasks.example import Example
from holdfast.tasks.grading import Grade, parts_of, weighed
from holdfast.tasks.prompts import TEMPLATES, render_prompt, render_target
from holdfast.tasks.scoring import choice, exact, extract_answer, format_score, number

EXAMPLE = Example(id="1", prompt="how many?", answer="3", rationale="a1 a2 a3")


@pytest.mark.parametrize(
    ("response", "style", "answer"),
    [
        (r"<think>x</think>\boxed{3}", "cot", "3"),
        (r"\boxed{1} no, \boxed{2}", "cot", "2"),
        (r"\boxed{\frac{1}{2}}", "cot", r"\frac{1}{2}"),
        (r"\boxed{ 3 }", "cot", "3"),
        (r"\boxed{3", "cot", None),
        (r"\boxed{}", "cot", None),
        ("3", "cot", None),
        (" 3\n", "direct", "3"),
        (r"\boxed{3}", "direct", "3"),
        ("", "direct", None),
    ],
)
def test_extract_answer(response, style, answer):
    assert extract_answer(response, style) == answer


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>a\nb</think>\n\\boxed{3} done", 1.0),
        ("  <think></think>\\boxed{3}", 1.0),
        ("\\boxed{3}", 0.0),
        ("<think>a</think>3", 0.0),
        ("well <think>a</think>\\boxed{3}", 0.0),
    ],
)
def test_format_under_cot(response, expected):
    assert format_score(response, "cot") == expected


def test_reward_weighs_accuracy_and_format_under_cot_only():
    def reward(score, format, style):
        return weighed(parts_of(Grade("3", score, format), "3", EXAMPLE, style), style)

    assert reward(1.0, 1.0, "cot") == pytest.approx(1.0)
    assert reward(1.0, 0.0, "cot") == pytest.approx(0.9)
    assert reward(0.0, 1.0, "cot") == pytest.approx(0.1)
    assert reward(1.0, 1.0, "direct") == 1.0


def test_scorers():
    assert exact("Red circle", "\ufeffred\u200b circle\u00ad") == 1  # marks that nobody sees
    assert exact(" Red  Circle.", "red circle") == 1 and exact("a red circle", "red circle") == 0
    assert [choice(text, "B") for text in ("B", "(b)", "b.", "B) red", "blue", "A")] == [1, 1, 1, 1, 0, 0]
    assert [choice(text, "A") for text in ("A: dog", "a, b", "A dog", "(a) x", "a-")] == [1, 1, 0, 1, 0]
    assert number("12", "12.0") == 1 and number("1,200", "1200") == 1
    assert number("0.0000003", "0.0000004") == 0 and number("1e-9", "0") == 0 and number("0.0", "0") == 1
    for latex in (r"1{,}200", r"1\,200", r"1,\!200", r"1\;200\text{ cm}", "1200~cm", r"1200 \mathrm{cm}"):
        assert number(latex, "1200 cm") == 1
    for latex, reference in (
        (r"45\%", "45%"),
        (r"30^{\circ}", "30°"),
        (r"30\,^\circ", "30°"),
        ("45%", r"45\%"),
    ):
        assert number(latex, reference) == 1
    for latex in ("~5", r"5\text{ or }6", r"5\%", r"5^\circ", r"\text{not }5", r"\frac{5}{1}", r"5\sqrt{2}"):
        assert number(latex, "5") == 0
    assert number("12 cm", "12") == 0 and number("three", "3") == 0


def test_targets_take_the_form_of_their_style():
    assert render_target(EXAMPLE, "direct", "answer") == "3"
    assert render_target(EXAMPLE, "cot", "answer") == r"\boxed{3}"
    assert render_target(EXAMPLE, "cot", "reasoned") == r"<think>a1 a2 a3</think>\boxed{3}"
    for style in ("cot", "direct"):
        for target in ("answer", "reasoned"):
            if (style, target) != ("direct", "reasoned"):
                assert extract_answer(render_target(EXAMPLE, style, target), style) == "3"
    with pytest.raises(InputError, match="needs style cot"):
        render_target(EXAMPLE, "direct", "reasoned")
    with pytest.raises(InputError, match="no rationale"):
        render_target(Example(id="2", prompt="", answer="3"), "cot", "reasoned")


def test_every_template_keeps_the_question():
    for templates in TEMPLATES.values():
        for style in ("cot", "direct"):
            assert "how many?" in render_prompt(EXAMPLE, style, templates)
