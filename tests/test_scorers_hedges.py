"""Answers that name several things at once, deny what they name, or say another thing by their signs."""

from __future__ import annotations

import pytest

from holdfast.tasks.scorers import decisions, options, short
from holdfast.tasks.scorers.mathematics import geometry

READERS = [options.option_letter, options.mmlu_pro_letter, options.mmmu_letter]
NINE = tuple(f"choice {index}" for index in range(9))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        # rows and enumerations of letters, with little or nothing between them
        ("A B C D", None), ("(A)(B)(C)(D)", None), ("[A][C]", None), ("A\nB\nC\nD", None), ("B B B", "B"),
        ("- A\n- B\n- C\n- D", None), ("A. B. C. D.", None), ("1. A 2. B 3. C", None), ("A | B | C", None),
        ("A、B", None), ("A… B", None), (r"A \lor C", None), (r"A \quad C", None), (r"A \\ C", None),
        ("(a)(b)(c)", None), ("(a) or (c)", None), ("A B C D? The answer is (B).", "B"),
        ("The answer is B\nA. Choice 0 is wrong.", "B"), ("In triangle A B C it is so. Answer: B", "B"),
        # two at once in other words
        ("A or maybe B", None), ("A, possibly C", None), ("A (or B)", None), ("A as well as B", None),
        ("Option A or option B", None), ("Option A, Option B, Option C", None), ("A and also B", None),
        ("The answer is A or, possibly, C", None), ("The answer is A or the answer is C", None),
        ("Option A and option B are wrong. Option C fits.", "C"), ("The answer is B, probably.", "B"),
        ("A. Or C.", None), ("A? Maybe C?", None), ("A, otherwise C", None),
        ("A或C", None), ("A, alternatively C", None), ("A but also C", None), ("A together with C", None),
        ("The answer is A. Also, B and C are incorrect.", "A"),
        ("The answer is A. Perhaps B fits, too.", "A"),
        # doubts, questions and denials
        ("I doubt the answer is C.", None), ("No doubt the answer is C", "C"), ("It can hardly be C", None),
        ("It is unlikely to be C.", None), ("It is false that the answer is C", None),
        ("Nobody would say C.", None), ("I don't think the correct answer is C", None),
        ("C is wrong; so is A.", None), ("Some say it is C, but that is wrong.", None),
        ("Is the answer C?", None), ("Could it be C? I don't think so.", None),
        ("The answer is C? No.", None),
        ("The wrong answer is C.", None), ("Wrong answer: C", None), ("The incorrect option is C", None),
        ("The wrong answers are A, C and D.", None), ("The wrong answer is A, the right one is C.", "C"),
        ("The wrong answer is A. The answer is C.", "C"), ("Wrong answer: choice 2", None),
        ("The answer is C. Wait, that is wrong.", None), ("C. Wait, no, that's wrong. The answer is B.", "B"),
        ("The answer is C. Wait, that is right.", "C"), ("The others are wrong. Answer: C", "C"),
        ("The worst answer is C.", None), ("Incorrect: C", None), ("Wrong: A, B. The answer is C.", "C"),
        ("C is a distractor.", None), ("Most people would say C. I disagree.", None),
        # what is said of each
        ("A: incorrect\nB: incorrect\nC: correct", "C"), ("A - False\nB - True\nC - True", None),
        ('{"A": false, "B": false, "C": true}', "C"), ("A is wrong, B is wrong, C is right.", "C"),
        ("A (60%), C (40%)", None), ("A: 0.2, C: 0.8", None), ("A: 20 %, C: 80 %. The answer is C.", "C"),
        ("~~A~~ C", "C"), ("~~C~~", None), ("#### C", "C"),
        # which are no options but the ends of a segment
        ("The distance from A to B is 24 cm", None), ("Between points A and B is a wall", None),
        ("The distance between A and B is 24 cm. Therefore, C.", "C"),
        # what is taken back
        ("A. Wait, no, B.", "B"), ("A... wait, no. B", "B"), ("A. Correction: B", "B"),
        ("A (actually B)", "B"),
        ("A, no, B", "B"), ("(A). Wait, no. (B)", "B"), ("A. Sorry, I meant B.", "B"), ("A. No", "A"),
        ("Could it be A? No. The answer is C.", "C"), ("Is it C? Yes, it is C.", "C"),
    ],
)  # fmt: skip
def test_letters_that_are_listed_doubted_or_denied_choose_nothing(read, answer, letter):
    assert read(answer, NINE) == letter


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("cat; dog", None), ("cat. Dog.", None), ("cat (or dog)", None), ("Answer: cat\ndog", None),
        ("cat; it meows", "A"), ("cat. It meows.", "A"), ("cat (it meows)", "A"),
        ("Answer: cat\nit meows", "A"),
        ("A = 5 m", None), ("5 m", "C"), ("x=5", "D"), ("The answer is x = 5", "D"),
    ],
)  # fmt: skip
def test_two_texts_of_options_are_no_answer(read, answer, letter):
    assert read(answer, ("cat", "dog", "5 m", "x = 5")) == letter


@pytest.mark.parametrize("read", READERS)
def test_options_whose_texts_are_verdicts_or_numbers(read):
    assert read("A: False\nB: True", ("False", "True")) is None
    assert read("B: 0.7. A: 0.5 is too low.", ("0.5", "0.7")) == "B"
    assert read("The answer is dog, not cat.", ("cat", "dog", "cow")) == "B"
    assert read("dog, or cat", ("cat", "dog", "cow")) is None


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("the sum of 5 m/s and of 10 m/s is a speed of 15 m/s", "C"),  # which holds 5 m/s
        ("A. 5 m/s\nB. 10 m/s\nC. 15 m/s\nwhich of them is it", None), ("it is 5 m/s, as far as I see", "A"),
        ("I think it is 105 m/s or 5 m/square", None), ("not 5 m/s, not 10 m/s, not 15 m/s, but 10 m/s", "B"),
    ],
)  # fmt: skip
def test_texts_of_options_within_sentences_of_mmmu(answer, letter):
    assert options.mmmu_letter(answer, ("5 m/s", "10 m/s", "15 m/s")) == letter


@pytest.mark.parametrize("read", READERS)
def test_texts_that_are_or_begin_with_a_letter(read):
    roman, names = ("I and II", "I", "II"), ("Mars", "E. coli", "a cat", "A noble gas", "Ebola")
    for answer, letter in (("I", "B"), ("I.", "B"), ("A", "A"), ("D", None), ("The answer is I.", "B")):
        assert read(answer, roman) == letter, answer
    said = (("E. coli", "B"), ("E", "E"), ("a cat", "C"), ("A noble gas", "D"), ("A", "A"))
    for answer, letter in said:
        assert read(f"The answer is {answer}.", names) == letter, answer


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        ("Yes. No.", None), ("no yes", None), ("yes\nno", None), ("yes (or no)", None),
        ("Yes, maybe no", None),
        ('["yes", "no"]', None), ('{"yes": true, "no": true}', None), ("true false", None), ("yes-no", None),
        ("Yes if it is a dog, no otherwise.", None), ("Yes, if you look closely.", "yes"),
        ("Yes. Yes!", "yes"),
        ("yes: 50%, no: 50%", None), ("Yes, true.", "yes"), ("No, false.", "no"),
        ("No, yes there was", "no"), ("Yes, no doubt", "yes"),
        ("It is impossible to tell whether a dog is visible.", None), ("I wouldn't know.", None),
        ("It is hard to say if a dog is present", None), ("A dog is visible.", "yes"),
        # which answer is wrong
        ("The wrong answer is yes.", None), ("Wrong answer: no", None), ("Yes is wrong", None),
        ("The answer yes is incorrect.", None), ("No is not the answer", None), ("Yes is correct.", "yes"),
        ("Yes, this is wrong.", "yes"), ("No, that is not correct", "no"),
        # another thing is there
        ("I only see a cat", None), ("There is only a cat.", None), ("There is only one dog.", "yes"),
        ("There is a cat instead of a dog", None), ("There is something else", None),
        ("There are other animals", None), ("There is no other dog", "no"), ("There isn't another dog", "no"),
        ("There is a chance", None), ("There is some ambiguity", None), ("I see why you ask", None),
        # denied twice
        ("The answer is not no", None), ("I can't deny that there is a dog", None), ("not a no", None),
        ("I cannot rule out a dog.", None), ("It is not the case that there is no dog", None),
        ("It is not the case that there is a dog", "no"), ("There is not only a dog", None),
        ("No, not only a dog", "no"), ("It is not. No.", "no"),
        ("No problem", None), ("no data", None), ("There is no shortage of dogs", None),
        ("absent", "no"), ("Present.", "yes"),
    ],
)  # fmt: skip
def test_neither_yes_nor_no_is_said(answer, decision):
    for score in (short.yes_no, short.pathvqa, short.superclevr):
        assert [score(answer, gold) for gold in ("yes", "no")] == [decision == "yes", decision == "no"]


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        # another number than the one that is written
        ("-3", "3", 0), (".3", "3", 0), ("≠3", "3", 0), ("√3", "3", 0), ("3k", "3", 0),
        ("minus three", "3", 0),
        ("above 3", "3", 0), ("greater than three", "3", 0), ("never 3", "3", 0),
        ("any number but 3", "3", 0),
        ("3 billion", "3", 0), ("three quarters", "3", 0), ("3 pairs", "3", 0), ("3 squared", "3", 0),
        ("double 3", "3", 0), ("3^2", "3", 0), ("x3", "3", 0), ("3½", "3", 0), ("3 or none", "3", 0),
        ("3 and counting", "3", 0), ("3 times", "3", 0), ("3.", "3", 1), ("3!", "3", 1),
        ("3 objects other than the bus", "3", 1), ("There are 3 objects smaller than the bus.", "3", 1),
        # yes or no besides
        ("2, yes", "2", 0), ("no; 0", "0", 0), ("Yes, there are 2 cars.", "2", 1), ("2, yes", "yes", 1),
        ("3 cars and no bus", "3", 1),
        # no number at all
        ("no yes no yes", "0", 0), ("no no no", "0", 0),
        ("no idea", "0", 0), ("No comment", "0", 0), ("no answer", "0", 0), ("no way to tell", "0", 0),
        ("non-zero", "0", 0), ("nonzero", "0", 0),
        ("I can't see any image", "0", 0), ("No red cars", "0", 1), ("I can't see any", "0", 1),
    ],
)  # fmt: skip
def test_a_count_is_the_number_that_is_said(answer, reference, right):
    assert short.superclevr(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        # characters that computer algebra passes over
        (r"16≡8\sqrt{3}", r"8 \sqrt { 3 }", 0), ("2x+1≡3x", "3x", 0), ("2x+1_3x", "3x", 0),
        ("√3x", "3x", 0), ("√ab", r"\sqrt{ab}", 0), ("√(x+1)", "x + 1", 0), ("2·x", "2x3", 0),
        # signs that it is told in LaTeX
        ("5√2x", r"5 \sqrt { 2 } x", 1), ("2·x + 1", "2x + 1", 1), ("√x", r"\sqrt { x }", 1),
        ("x÷2", "x / 2", 1),
        # where a name is asked for, another name is another answer
        (r"\angle 4 = \angle 5", r"\angle 5", 0), (r"\angle 5 ≈ \angle 4", r"\angle 5", 0),
        ("A D = B E", "A D", 0), (r"\text{answer} = \angle 5", r"\angle 5", 1),
        (r"A = \pi", r"\pi", 1), (r"\pi = 32", "32", 0), (r"\angle 5 = 32", "32", 1), ("32 = x", "32", 1),
    ],
)  # fmt: skip
def test_formulas_that_give_two_answers_are_none(answer, reference, right):
    assert geometry(answer, reference) == right


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        # there is no picture, which says nothing of what is asked
        ("You haven't provided an image.", None), ("I was not given any picture", None),
        ("I don't have an image to look at.", None), ("I cannot open the picture.", None),
        ("The image is not available.", None), ("The image isn't displayed.", None),
        ("The image does not load", None), ("There is no image here.", None), ("There isn't an image.", None),
        ("No visual input was given.", None),
        # which the picture does not show
        ("The image does not show a dog.", "no"), ("There is no picture on the wall.", "no"),
        ("The room does not have a picture.", "no"), ("You do not see a dog in the image.", "no"),
        ("I don't have to look twice: no dog.", "no"), ("The image is not black and white.", "no"),
        # neither
        ("It could be a dog or not.", None), ("There may or may not be a dog.", None),
        ("It might not be a dog.", None), ("Yes, there may or may not be others.", "yes"),
    ],
)  # fmt: skip
def test_no_picture_is_no_answer(answer, decision):
    assert decisions.yes_or_no(answer) == decision


@pytest.mark.parametrize(
    ("answer", "first", "last"),
    [
        ("The answer is A. No, B.", "A", "B"), ("The answer is A. Wait, actually B", "A", "B"),
        ("Answer: A. Correction: B", "A", "B"), ("The answer is A. Actually, it should be B.", "A", "B"),
        ("The answer is A, no wait, it's B", "A", "B"), ("The answer is A. No doubt.", "A", "A"),
        ("choice 0. No, choice 1.", None, None),
    ],
)  # fmt: skip
def test_a_statement_is_taken_back_but_by_the_rule_that_reads_the_first(answer, first, last):
    assert options.mmlu_pro_letter(answer, NINE) == first
    assert options.option_letter(answer, NINE) == options.mmmu_letter(answer, NINE) == last


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        ("Yes. Wait, no.", "no"), ("Yes, wait, no", "no"), ("Yes — actually, no!", "no"),
        ("No. Sorry, yes.", "yes"),
        ("The answer is yes. Wait, no, the answer is no.", "no"), ("No, wait: it's yes", "yes"),
        ("Yes, actually no other dog is there.", "yes"), ("Yes, there are actually two.", "yes"),
        ("Sorry, no.", "no"), ("Sorry, no image was given.", None),
    ],
)  # fmt: skip
def test_a_decision_is_taken_back(answer, decision):
    assert decisions.yes_or_no(answer) == decision
