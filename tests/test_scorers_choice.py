"""Options and short answers: right where good guesses go wrong, and never slow on degenerate output."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from experiment_helpers import make_experiment
from holdfast.errors import InputError
from holdfast.tasks.example import Example
from holdfast.tasks.grading import Grade, grade
from holdfast.tasks.jsonl import OwnTask, load_task
from holdfast.tasks.prompts import Style
from holdfast.tasks.scorers import FORMULAS, SCORERS, decisions, options, short, vqa
from holdfast.tasks.scorers.summaries import summarise
from holdfast.tasks.task import Task

TOKENS, BOUND_S = 8192, 0.5  # about ten times what the slowest takes, for machines that do other work
DEGENERATE = (
    "in", "m", "hours", " ", "\n", "(", "[", "{", "A", "(A)", "A,", "A or", "A is", "N/", "B. ", "é",
    "The answer", "The answer is", "answer:", "option", "</think>", "<think>", "<answer>", r"\boxed{",
    r"\boxed{A}", r"\text{", r"\text ", "$", "**", "*", "`", "1", "1,", "1,111", "1.", "-", "'", '"A"',
    "not A", "no", "yes or", "there is", "blue,", "& ", r"\(",
)  # fmt: skip
READERS = [options.option_letter, options.mmlu_pro_letter, options.mmmu_letter]
FOUR = ("Louisiana", "Solution A", "Solution B", "a dog")
TEN = tuple(f"choice {index}" for index in range(10))


def degenerate_outputs() -> Iterator[str]:
    for unit in DEGENERATE:
        for blank in ("", " \n"):
            repeated = blank.join([unit] * (TOKENS // 3))
            yield f"{repeated}… The answer{repeated}… 5 {repeated} then"
    yield r"\text{" * (TOKENS // 2) + "A" + "}" * (TOKENS // 2)
    drawn = random.Random(0)
    for _ in range(10):
        yield "".join(drawn.choices(drawn.sample(DEGENERATE, 4), k=TOKENS))


@pytest.mark.slow
@pytest.mark.parametrize("scorer", [name for name in SCORERS if name not in FORMULAS])
def test_no_degenerate_output_takes_long(scorer: str) -> None:
    short_one = scorer in ("pathvqa", "superclevr", "yes_no", "pope")
    example = Example("1", "?", "yes" if short_one else "B", choices=FOUR, references=("12", "dog"))
    for output in degenerate_outputs():
        start = time.process_time()
        SCORERS[scorer](output, example)
        if scorer == "mmmu":  # the same for all that read options, and open questions
            options.beside_the_box(scorer, "17", output, FOUR)
            SCORERS[scorer](output, replace(example, choices=()))
        assert time.process_time() - start < BOUND_S, output[:40]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        # a letter before a text that holds capitals
        ("C. Vitamin D", "C"), (r"\boxed{C. Vitamin D}", "C"), ("(C) Hepatitis B", "C"), ("A: type I", "A"),
        ("H. Machine A is fast; Machine B is slow", "H"), ("D. Increase in C, I, G", "D"),
        ("C\nVitamin D", "C"), ("D.C. is far", None),
        ("(a) The band is 16 kHz. (b) It falls to 13 kHz. So it is (G).", "G"),  # parts of the question
        ("Some reasoning on vitamin D\n\nB", "B"), ("e.g. iron", None), ("U.S. law", None),
        # formulas and quotation marks round the letter
        (r"Answer: \(E\)", "E"), (r"Answer: \( \text{B} \)", "B"), (r"\[B\]", "B"), (r"\(B\)", "B"),
        ("The answer is $B$.", "B"), ('"B"', "B"), ("The answer is “B”.", "B"), (r"$\mathrm{B}$", "B"),
        ("答案是B", "B"), ("所以选 C。", "C"), ("選B", "B"), ("選項B", "B"), ("不選B", None),
        # more after the letter
        ("Answer: D (1.9)", "D"), ("Answer: B) 0.1", "B"), ("The answer is B because D is small.", "B"),
        ("The answer to this question is most likely option B.", "B"), ("Answer - B", "B"),
        ("I would go with B.", "B"), ("The answer is indeed B", "B"), ('The answer is "B. vitamin D"', "B"),
        # negated and listed
        ("The answer is H. D is wrong.", "H"), ("The correct answer is B. Note that A is a distractor.", "B"),
        ("The answer is not B.", None), ("The answer is not B but C.", "C"), ("The answer is B, not C.", "B"),
        ("The answer is B, C", None), ("A, B or D", None), ("A and B are wrong, so the answer is C", "C"),
        ("The answer cannot be B", None), ("It can't be A; it's D", "D"), ("It is not the option (B)", None),
        ("A isn't right, hence C.", "C"), ("(A), (B) and (D)", None), ("The answer is either A or B.", None),
        # a list of all options is no answer; a statement after it is one
        ("A. cat\nB. cow\nC. dog\nThe answer is B.", "B"), ("A. cat\nB. cow\nC. dog", None),
        ("- **A:** 5%\n- **B:** 6%\n\nAnswer: A, B", None), ("* A. cat\n* B. cow", None),
        # options that are weighed
        ("Option A is too small, and option B is too large. The next step is (D).", "D"),
        ("option a is plausible, option c is better", None),
        ("It may be the scribes (option D). The rest is no option.", "D"),
        # small letters are the parts of a question
        ("(a) It is 10 H.\n\n(b) It is 2 F.\n\nThe closest options are (G) 10 H and 2 F.", "G"),
        ("a) 10 H\nb) 2 F", None), ("(b) 2 F", "B"), ("G. 10 H\n\n(a) E = 20 J\n(b) L = 2 E", "G"),
        ("**A. P, Q**\n\nThe others:\n* **R:** chiral\n* **S:** the same", "A"),
        # letters of words, things and formulas
        ("N/A", None), ("vitamin C deficiency", None), ("Hepatitis B", None), ("at 25 °C", None),
        ("C++", None), ("well-known vitamin-C", None),
        ("The value of P(A) is small", None), ("B = 3 T", None), ("The answer is vitamin C.", None),
        ("The answer is E coli", None), ("I'm sorry, I can't say", None),
        ("Answer: Cannot be determined", None),
        ("cut off at … A multistage", None),
        # an option's text
        ("choice 3", "D"), ("Choice 3.", "D"), ("The answer is choice 3.", "D"), ("**choice 3**", "D"),
        # ruled out in other words
        ("I don't think it's B.", None), ("I do not believe it is B", None), ("Anything but B", None),
        ("B seems wrong", None), ("B must be wrong", None), ("B is clearly wrong", None),
        ("B, which is wrong", None), ("Excluding A and C, B remains.", "B"), ("I rule out B", None),
        # letters of a range, a way or a formula
        ("A–D", None), ("A to D", None), ("It moves from A to B.", None), ("A < B", None), ("B + C", None),
        ("P(B|A) is small", None), (r"\(A\cup B\)", None), ("A^2 = 4", None), ("|A|", None), ("A*B", None),
        # a conclusion, what is left over, and other words for "the answer"
        ("A is a cat, but it barks, so B", "B"), ("(A) fails, (B) too; therefore (C).", "C"),
        ("So A or B", None),
        ("Eliminating A, C and D leaves B.", "B"), ("Ruling out A and D leaves us with C", "C"),
        ("The correct choice is: (d)", "D"), ("The best option would be D.", "D"),
        ("The correct option isn't B", None), ("The best option is unclear", None),
        ("A and/or B", None), ("A ⊂ B", None), ("A ∥ B", None), ("A ✗ B ✓ C ✗ D ✗", "B"), ("A ✗\nB ✓", "B"),
        # a letter with nothing but dress, and letters of other types
        ("_B_", "B"), ("_The answer is B_", "B"), ("# B", "B"), ("• B", "B"), ("```\nB\n```", "B"),
        ("<B>", "B"),
        ("【B】", "B"), ("\ufeffB", "B"), ("✓ B", "B"), ("✅ C", "C"), ("1) B", "B"), ("Ⓑ", "B"), ("ⓒ", "C"),
        ("Option Ⓒ", "C"), ("𝐁", "B"), ("«B»", "B"),
        # other languages
        ("选项B正确", "B"), ("选项C是正确的", "C"), ("选项C是错误的", None), ("选项A不对", None),
        ("选择D最合适", "D"),
        ("La respuesta es D", "D"), ("Die Antwort ist C.", "C"), ("La réponse est B.", "B"),
        # a list of all options in one line
        ("A) cat, B) dog, C) cow, D) pig", None), ("(A) cat (B) dog (C) cow: I pick (B)", "B"),
        # the pronoun
        ("I based this on the image", None), ("First, I then looked. I pick B", "B"), ("B I think", "B"),
        # small letters, arrows, other scripts and dress
        ("Answer: b) dog", "B"), ("The answer is b because it barks", "B"), ("option b is right", "B"),
        ("⇒ B", "B"), (r"\Rightarrow B", "B"), ("（B）", "B"), ("Ｂ", "B"), ("答案应该是B", "B"),
        ("答案不是B", None), ("正解はBです", "B"), (r"\textrm{B}", "B"), (r"\boldsymbol{B}", "B"),
        ("<|begin_of_box|>B<|end_of_box|>", "B"),
        ("B appears to be right", "B"), ("Definitely B", "B"), ("I believe B.", "B"),
    ],
)  # fmt: skip
def test_letters_that_all_three_rules_read_alike(read, answer, letter):
    assert read(answer, TEN[:9]) == letter


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        # texts that hold letters, formulas or begin with an article
        ("Answer: C - I and II", "C"), ("C (I and II)", "C"), ("The answer is B, A and B.", "B"),
        (r"\boxed{\text{D. $\frac{1}{2}$}}", "D"), (r"-$\frac{1}{2}$", None), ("I and II", "C"),
        ("The answer is A Noble Gas.", "E"), ("The answer is A", "A"),
        # more lines
        ("Answer: C\n- D: too small\n- A: too large", "C"), ("Answer: C\nit is red", "C"),
        ("B) too small\nA) fits\n\nA. a dog", "A"), ("A. no\nB. yes\n\nA. no\nB. yes", None),
        ("### Answer\na dog", "A"), ("**Final Answer**\n\nI and II", "C"), ("Ans: a dog", "A"),
        ("a dog\n\nIt barks.", "A"), ("a dog, because it barks", "A"), ("a dog (it barks)", "A"),
        # said in other words and signs
        ("The answer is 【B】.", "B"), ("The answer is <B>.", "B"), ("答案是 “B”", "B"), ("That's B", "B"),
        ("C over D", "C"), ("C, as opposed to D.", "C"), ("D is too small. C", "C"),
        ("Among C, D and B, B fits.", "B"), ("D is the wrong answer", None), ("D is unlikely", None),
    ],
)  # fmt: skip
def test_an_answer_with_its_text_its_list_and_its_reasons(read, answer, letter):
    choices = ("a dog", "A and B", "I and II", r"$\frac{1}{2}$", "a noble gas")
    assert read(answer, choices) == letter


def test_of_options_that_are_weighed_the_chosen_one_counts():
    weighed = ("The answer could be A, but I choose D", "See (A).\nIt must be D", "A fits, but it's D")
    for said in weighed:
        assert options.option_letter(said, TEN) == "D"


@pytest.mark.parametrize("read", READERS)
def test_options_whose_text_names_another_letter(read):
    for answer in ("The answer is Solution B.", "Solution B", "solution b.", r"\boxed{\text{Solution B}}"):
        assert read(answer, FOUR) == "C"
    assert read("Look at Solution B first", FOUR[:2]) is None
    assert read("The answer is B. Solution A", FOUR) == "B"
    assert read("The answer is A and B.", ("A", "B", "A and B")) == "C"


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("answer", "choices", "letter"),
    [
        ("5", ("-5", "7"), None), ("−5", ("-5", "7"), "A"), ("x < 2", ("x > 2", "x > 7"), None),
        ("x>2", ("x > 2", "x > 7"), "A"), ("5!", ("5", "6"), None), ("|x|", ("x", "y"), None),
        ("type A", ("type", "type B"), None), ("the type", ("type", "type B"), "A"),
        ("The answer is dog, since it barks.", ("cat", "dog"), "B"),
        ("The answer is dog (it barks)", ("cat", "dog"), "B"),
        ("50", ("20%", "50%"), "B"), ("COVID 19", ("COVID-19", "flu"), "A"), ("2 - 3", ("2 + 3", "7"), None),
    ],
)  # fmt: skip
def test_signs_of_an_options_text_count(read, answer, choices, letter):
    assert read(answer, choices) == letter


@pytest.mark.parametrize("read", READERS)
def test_a_letter_outweighs_the_text_after_it_but_for_a_text_that_starts_with_one(read):
    animals = ("cat", "dog", "E. coli", "a dog", "C. elegans")
    assert [read(answer, animals) for answer in ("A. dog", "a dog", "dog", "E. coli", "C. elegans")] == [
        "A", "D", "B", "C", "E",
    ]  # fmt: skip


@pytest.mark.parametrize("read", READERS)
def test_a_letter_and_the_text_of_its_option_need_no_mark_between_them(read):
    animals = ("cat", "dog", "cow")
    assert [read(answer, animals) for answer in ("B dog", "A cat", "A dog", "C dog")] == ["B", "A", "B", None]


def test_mmlu_pros_own_rule_reads_what_its_three_searches_find():
    """Parity with the script's searches on texts of their parts, and by hand where ours is another."""

    def script(text: str) -> str | None:
        for search in (r"answer is \(?([A-J])\)?", r".*[aA]nswer:\s*([A-J])"):
            if found := re.search(search, text):
                return found[1]
        last = re.search(r"\b[A-J]\b(?!.*\b[A-J]\b)", text, re.DOTALL)
        return last and last[0]

    parts = ["answer is ", "Answer: ", "answer:", "(", "A", "B", "J", "K", "\n", " ", "Dog", "°F", "_", "b"]
    draw = random.Random(0)
    for _ in range(3000):
        text = "".join(draw.choices(parts, k=draw.randrange(12)))
        assert options.mmlu_pro_script_letter(text, TEN) == script(text), text
    for text, theirs, ours in [
        ("at 1800 °F", "F", None), ("The answer is Fluorine", "F", None), ("so it isn't D", "D", None),
        ("the answer is b", None, "B"), ("Answer: A or Answer: C", "C", "A"),
    ]:  # fmt: skip
        assert options.mmlu_pro_script_letter(text, TEN) == theirs, text
        assert options.mmlu_pro_letter(text, TEN) == ours, text
    assert graded("mmlu_pro_script", "F", "It boils at 1800 °F", "direct").score == 1
    boxed = graded("mmlu_pro_script", "C", r"The answer is (F). No: \boxed{C}", "cot")
    assert (boxed.answer, boxed.score) == ("C", 1)


def test_of_several_statements_mmlu_pro_takes_the_first_and_the_others_the_last():
    said = "So the answer is (B). Wait, let me check. The answer is (C)."
    assert [read(said, TEN[:9]) for read in READERS] == ["C", "B", "C"]
    assert options.mmlu_pro_letter("Answer: B? No. The answer is C.", TEN) == "C"  # `answer is` goes first
    assert options.mmmu_letter("Smallpox (J) or measles (D)? Answer: A", TEN[:9]) == "A"


def test_an_option_called_so_outweighs_the_letters_of_a_list_after_it():
    said = "The correct answer, by those rates, is option **G**:\nA: -26%; B: 51%; C: 33%; E: -16%"
    assert options.mmmu_letter(said, TEN[:9]) == options.option_letter(said, TEN[:9]) == "G"
    assert options.mmlu_pro_letter(said, TEN) == "E"  # as its script: the last letter


def graded(scorer: str, answer: str, response: str, style: Style, choices: tuple[str, ...] = TEN) -> Grade:
    task = Task("x", 1, "", lambda split, count: [], {}, scorer)
    return grade(task, Example(id="1", prompt="?", answer=answer, choices=choices), response, style)


@pytest.mark.parametrize("scorer", options.READERS)
@pytest.mark.parametrize("style", ["cot", "direct"])
def test_a_box_that_holds_working_does_not_hide_the_statement(scorer, style):
    said = r"<think>Answer: B?</think> so it is \boxed{17}. The answer is (F)."
    assert graded(scorer, "F", said, style).score == 1
    assert graded(scorer, "B", said, style).score == 0
    boxed = graded(scorer, "C", r"The answer is (F). No: \boxed{C. Vitamin D}", style)
    assert (boxed.answer, boxed.score) == ("C. Vitamin D", 1)
    # Without a statement beside it, the box is the answer, and names no option.
    assert graded(scorer, "A", r"I hold A for good: \boxed{17}", style).answer == "17"
    assert graded(scorer, "F", "The answer is (F).", "cot").answer is None


def test_other_scorers_get_the_box_as_before():
    assert graded("exact", "F", r"\boxed{17}. The answer is (F).", "cot").answer == "17"
    assert graded("mmmu", "17", r"\boxed{17}. The answer is (F).", "cot", ()).score == 1


DECISIONS = [
    ("Yes, and no other", "yes"), ("yes, but it is not clear", "yes"), ("Yes\nNo other", "yes"),
    ("Yes, there is no doubt that a dog is visible", "yes"), ("No, yes there was", "no"),
    ("The answer is: Yes, not two", "yes"), ("Well, I think it is not", "no"), ("True, no others", "yes"),
    ("There isn't a kite.", "no"), ("There isn’t one", "no"), ("I don't see a kite", "no"),
    ("I cannot see a kite", "no"), ("There aren't any", "no"), ("None", "no"), ("Nope.", "no"),
    ("There is a kite.", "yes"), ("There are two dogs", "yes"), ("I can see a kite", "yes"),
    ("There's a kite", "yes"), ("There is no kite", "no"), ("There is clearly not a kite", "no"),
    ("I'm sorry, I can't see it", None), ("Not sure", None), ("I do not know", None), ("I cannot tell", None),
    ("Sorry, I do not see any image", None), ("It is not clear whether there is one", None),
    ("yes or no", None), ("No/Yes", None), ("a kite", None), ("There is", None), ("notice", None),
    ("No idea.", None), ("No image was provided", None), ("No image of a kite", "no"),
    # nothing is there; it is seen; agreement
    ("There is nothing there", "no"), ("There are zero kites", "no"), ("I see nobody", "no"),
    ("I see.", None), ("There appears to be a kite", "yes"), ("We can see a kite", "yes"),
    ("A kite is visible.", "yes"),
    ("A kite is not visible", "no"), ("That's correct", "yes"), ("That is incorrect", "no"),
    ("Of course.", "yes"), ("Of course not", "no"), ("I think so", "yes"), ("Not true", "no"),
    ("Yup", "yes"), ("Nah", "no"),
    ("No doubt there is a kite", "yes"), ("Without a doubt, yes", "yes"),
    # both, or neither
    ("Yes and no", None), ("[yes/no]", None), ("Answer yes or no", None), ("The answer is yes or no", None),
    ("It cannot be determined", None), ("can not tell", None), ("Not applicable", None), ("No comment", None),
    # agreement and denial in a word, and after an apology
    ("Y", "yes"), ("n", "no"), ("Sorry, no.", "no"), ("I'm sorry, but yes", "yes"), ("It is.", "yes"),
    ("They are", "yes"), ("It does", "yes"), ("It isn't", "no"), ("Indeed, there is a kite.", "yes"),
    ("Absolutely, there is", "yes"), ("Certainly, there is nothing", "no"), ("Indeed it is", "yes"),
    ("Absolutely not", "no"), ("It is not false", "yes"), ("That isn't wrong", "yes"),
    ("A kite is in the picture", "yes"),
    ("There is hardly a kite", None), ("Sorry, no idea", None), ("Sorry, not sure", None),
    ("I'm sorry, but no image was provided", None), ("The image shows a kite", None),
    ("There is no way to tell", None), ("I have no idea", None), ("There isn't enough information", None),
    ("I don't have access to the image", None), ("I can't view images", None), ("I won't answer", None),
    ("There is insufficient information", None), ("I can neither confirm nor deny", None), ("No way", "no"),
    ("In the image, there is a kite.", "yes"), ("Looking at the picture, I can see a kite", "yes"),
    ("In the image, there is no kite", "no"), ("There does appear to be a kite", "yes"),
    ("There certainly is a kite", "yes"), ("There certainly is no kite", "no"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "decision"), DECISIONS)
def test_the_first_word_of_yes_and_no_decides(answer, decision):
    assert decisions.yes_or_no(answer) == decision
    for score in (short.yes_no, short.pathvqa, short.superclevr):
        for reference in ("yes", "no") if score is short.yes_no else ("yes", "no", "True", "False"):
            meant = {"True": "yes", "False": "no"}.get(reference, reference)
            assert score(answer, reference) == (decision == meant)


def test_popes_own_script_is_a_scorer_of_its_own():
    said = [
        ("Yes", "yes"), ("No, sir", "no"), ("yes, but it is not clear", "no"), ("There isn't a kite", "yes"),
        ("gibberish", "yes"), ("Nope", "yes"), ("NO", "yes"), ("It is there. There is no doubt", "yes"),
    ]  # fmt: skip
    for answer, decision in said:
        example = Example(id="1", prompt="?", answer=decision)
        assert SCORERS["pope"](answer, example) == 1
    records = [
        {"answer": answer, "reference": "no", "score": 0.0, "meta": {"category": "random"}}
        for answer, _ in said
    ]
    assert summarise("pope", records)["random"]["accuracy"] == 2 / 8
    assert summarise("pope", records)["all"]["no_answer"] == 0


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("3.0", "3", 1), ("3", "3.00", 1), ("3.5", "3", 0), ("None", "0", 1), ("no objects", "0", 1),
        ("There are no objects.", "0", 1), ("There are none", "0", 1), ("no", "0", 0), ("0", "no", 0),
        ("no objects", "1", 0), ("blue, brown", "Blue and brown", 1), ("blue & brown", "Blue and brown", 1),
        ("brown, and blue", "blue and brown", 1), ("The bus is blue, brown", "Blue and brown", 1),
        ("red, blue & brown", "blue, brown and red", 1), ("blue, red", "Blue and brown", 0),
        ("1,000", "1,000", 1), ("two (2)", "2", 1), ("Two objects are blue.", "2", 1), ("02", "2", 1),
        ("2 or more", "2", 0), ("up to 2", "2", 0), ("> 2", "2", 0), ("≥2", "2", 0), ("2+", "2", 0),
        ("1 : 2", "1:2", 1), ("red + blue", "red and blue", 1), ("about 2", "2", 1),
        ("more than 2", "2", 0), ("not 2", "2", 0), ("at least 2", "2", 0), ("2 and 2", "2", 0),
        ("There aren't any", "0", 1), ("There is nothing", "0", 1), ("None are blue", "0", 1),
        ("brown/blue", "Blue and brown", 1), ("blue; brown", "Blue and brown", 1), ("It's a bus", "bus", 1),
        ("They're brown and blue", "Blue and brown", 1), ("It isn't a bus", "bus", 0),
        ("The shape of the large metal object on the left is a bus", "bus", 1),
        ("three hundred", "3", 0), ("thirty-three", "3", 0), ("three and a half", "3", 0), ("3%", "3", 0),
        ("3rd", "3", 0), ("isn't 3", "3", 0), ("nearly three", "3", 0), ("three dozen", "3", 0),
        ("No objects are visible", "0", 1), ("No, there are 2 objects", "0", 0), ("Not any", "0", 1),
        ("I don't see any", "0", 1), ("red in color", "red", 1), ("Answer: red", "red", 1), ("３", "3", 1),
        ("both blue and brown", "Blue and brown", 1), ("5 to 4", "5:4", 1),
    ],
)  # fmt: skip
def test_superclevr_in_other_words(answer, reference, right):
    assert short.superclevr(answer, reference) == right


@pytest.mark.parametrize("count", range(1, 10))
def test_with_fewer_than_ten_references_the_most_frequent_answer_is_right(count):
    for frequent in range(1, count + 1):
        references = ["dog"] * frequent + [f"other {index}" for index in range(count - frequent)]
        assert vqa.soft_accuracy("The dog", references) == 1
        assert vqa.soft_accuracy("cat", references) == 0
    assert vqa.soft_accuracy("cat", ["dog", "dog", "cat"]) == pytest.approx(1 / 2)
    assert vqa.soft_accuracy("cat", ["dog"] * 5 + ["cat"]) == pytest.approx(1 / 3)


RIGHT = {"yes_no": "yes", "pope": "no", "number": "-1,200"}


def rows_of(folder: Path, scorer: str, *rows: dict[str, object]) -> list[Example]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "?", **row}) + "\n" for row in rows))
    return load_task("mine", OwnTask(test=path, scorer=scorer)).examples("test")


@pytest.mark.parametrize(
    ("scorer", "row", "reason"),
    [
        ("yes_no", {"answer": "perhaps"}, "it must be yes or no"),
        ("pope", {"answer": "maybe"}, "it must be yes or no"),
        ("number", {"answer": "about twelve"}, "plain number"),
        ("number", {"answer": "three"}, "plain number"),
        ("choice", {"answer": "Option B"}, "option's letter"),
        ("options", {"answer": "red"}, "option's letter"),
        ("options", {"answer": "(B)"}, "option's letter"), ("mmlu_pro", {"answer": "B."}, "option's letter"),
        ("mmmu", {"answer": "cat", "references": ["dog"]}, "among the references"),
        ("vqa", {"answer": "cat", "references": ["dog", "cow"]}, "among the references"),
        ("exact", {"answer": "a } b"}, r"\(style cot\) is read back as 'a'; .* ask directly"),
        ("gqa", {"answer": "{1, 2"}, "read back"),
        ("exact", {"answer": r"\boxed{3}"}, "read back as '3'"),
        ("geometry", {"answer": "<answer> 3 </answer>"}, "change it or the scorer"),
        ("study", {"answer": "a } b"}, "read back as 'a'"),
    ],
)  # fmt: skip
def test_a_reference_that_its_own_scorer_finds_wrong_is_refused(tmp_path, scorer, row, reason):
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2, field 'answer': .*" + reason):
        rows_of(tmp_path, scorer, {"answer": RIGHT.get(scorer, "B")}, row)


def test_references_that_are_right_are_taken(tmp_path):
    rows_of(tmp_path, "yes_no", {"answer": "True"}, {"answer": "No!"})
    rows_of(tmp_path, "exact", {"answer": "f{x}"}, {"answer": "<answer> 3 </answer>"}, {"answer": " a\nb "})
    rows_of(tmp_path, "vqa", {"answer": "cat", "references": ["dog"] * 9 + ["cat"]}, {"answer": "x"})
    rows_of(tmp_path, "geometry", {"answer": r"8 \sqrt { 3 }"}, {"answer": "$3$"}, {"answer": "x = 3"})
    (example,) = rows_of(tmp_path, "mmlu_pro", {"answer": "C. elegans", "choices": ["E. coli", "C. elegans"]})
    assert example.answer == "B"


def test_braces_matter_where_answers_are_boxed(tmp_path):
    rows = [{"prompt": "?", "answer": "if (x) {", "id": f"{n}"} for n in range(16)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = {"train": str(tmp_path / "rows.jsonl"), "test": str(tmp_path / "rows.jsonl")}
    changes = {"tasks": {"code": files}, "sequence": ["code"], "general": []}
    changes |= {"train_examples": None, "test_examples": None}
    method = {"objective": "sft", "iterations": 1, "batch": 2, "learning_rate": 1e-4}
    make_experiment(tmp_path, **changes, methods={"sft": method | {"style": "direct"}})
    with pytest.raises(InputError, match="is read back as nothing; leave out"):
        make_experiment(tmp_path, **changes, methods={"sft": method | {"style": "cot"}})
