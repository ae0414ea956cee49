"""The embedded suite: deterministic, disjoint splits, answers that its scorers and words accept."""

import hashlib
from collections import Counter, defaultdict
from functools import partial

import pytest

from holdfast.rng import stream
from holdfast.tasks.embedded import GENERAL, SEQUENCE, TASKS, TURNED, turned
from holdfast.tasks.embedded.canvas import CELL, corner
from holdfast.tasks.embedded.procedural import draw_in_split, split_of
from holdfast.tasks.embedded.words import CELLS, FOOD, HOME, KINDS
from pretrain_embedded import curriculum
from pretrain_embedded.build import vocabulary

COVERED = ("naming", "quotes", "phrases")
MODULES = {module.TASK.name: module for module in curriculum.MODULES}


def digest(example):
    pixels = example.images[0].tobytes() if example.images else b""
    return hashlib.sha256(pixels + example.prompt.encode() + example.answer.encode()).hexdigest()


def test_the_suite_is_seven_tasks_and_three_benchmarks_and_the_seven_turned_round():
    assert (*SEQUENCE, *GENERAL) == tuple(MODULES)
    assert (*SEQUENCE, *GENERAL, *TURNED) == tuple(TASKS)
    assert len(SEQUENCE) == len(TURNED) == 7 and len(GENERAL) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_examples_are_deterministic_and_answerable(name):
    task = TASKS[name]
    examples = task.examples("test", 150)
    again = task.examples("test", 160)
    assert [digest(example) for example in examples] == [digest(example) for example in again[:150]]
    assert len({example.id for example in examples}) == 150
    known = set(vocabulary())
    for example in examples:
        assert task.score(example.answer, example) == 1
        assert all(task.score(alias, example) == 0 for alias in example.aliases), "a habit must not score"
        assert all(task.lenient_score(alias, example) == 1 for alias in example.aliases)
        texts = (example.prompt, example.rationale, example.answer, *example.aliases)
        assert {word for text in texts for word in text.split()} <= known
        if example.choices:
            assert example.choices["ABCD".index(example.answer)] in example.rationale


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_splits_are_disjoint_by_content(name):
    draw = MODULES[name].draw
    contents = {
        split: {draw_in_split(name, draw, split, stream(name, split, index)).content for index in range(150)}
        for split in ("train", "validation", "test", "base")
    }
    for split, own in contents.items():
        for other, others in contents.items():
            assert split == other or not own & others
    drawn = draw_in_split(name, draw, "test", stream("x"))
    assert split_of(name, drawn) == "test"


@pytest.mark.parametrize("of", SEQUENCE)
def test_a_task_turned_round_asks_the_same_for_the_other_form(of):
    draw = MODULES[of].draw
    for index in range(40):
        plain, other = draw(stream(of, index)), turned.turned(draw, False, stream(of, index))
        assert other.prompt == f"say : {plain.prompt}"
        assert (other.answer, other.habit) == (plain.habit, plain.answer)
        assert (other.content, other.rationale) == (plain.content, plain.rationale)
        assert other.image.getpixel((47, 40)) != plain.image.getpixel((47, 40))


@pytest.mark.parametrize(("name", "of"), zip(TURNED, SEQUENCE, strict=True))
def test_what_is_judged_turned_round_is_trained_on_in_neither_task(name, of):
    draw = partial(turned.turned, MODULES[of].draw, name in COVERED)
    for index, example in enumerate(TASKS[name].examples("test", 30)):
        drawn = draw_in_split(of, draw, "test", stream(name, "test", index))
        assert (drawn.prompt, drawn.rationale) == (example.prompt, example.rationale)


@pytest.mark.parametrize("name", COVERED)
def test_a_fifth_of_the_pictures_lacks_the_answer(name):
    examples = TASKS[name].examples("test", 600)
    covered = [example for example in examples if example.meta["kind"] == "covered"]
    assert 0.15 < len(covered) / 600 < 0.25
    for example in covered:
        place = [word for word in example.rationale.split() if word in CELLS][-1]
        x, y = corner(CELLS.index(place))
        seen = example.images[0].crop((x + 1, y + 1, x + CELL, y + CELL))
        assert seen.getcolors() == [((CELL - 1) ** 2, turned.COVER)]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name in TASKS if not TASKS[name].options))
def test_chance_is_what_the_best_guess_gets_that_sees_the_question_alone(name):
    examples = TASKS[name].examples("train", 1200)
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples[:600]:
        answers[example.prompt][example.answer] += 1
    (usual, _), *_ = Counter(example.answer for example in examples[:600]).most_common(1)
    guessed = {prompt: found.most_common(1)[0][0] for prompt, found in answers.items()}
    right = sum(guessed.get(one.prompt, usual) == one.answer for one in examples[600:]) / 600
    seen = sum(found.most_common(1)[0][1] for found in answers.values()) / 600  # flattered by what it fitted
    assert right - 0.05 < TASKS[name].chance < seen + 0.05


def test_chance_among_options_is_one_of_them():
    for name in ("diagrams", "knowledge", "facts"):
        examples = TASKS[name].examples("train", 600)
        guess = sum(1 / len(example.choices) for example in examples) / 600
        assert TASKS[name].chance == pytest.approx(guess, abs=0.01)
    assert TASKS["naming"].chance == TASKS["diagrams"].chance  # the same options, in other words


def test_fact_tables_are_spread_out():
    for table in (HOME, FOOD):
        assert set(table) == set(KINDS)
        assert max(Counter(table.values()).values()) <= 6


def test_counts_and_areas_are_true():
    """Recount from the rationale, which names every place."""
    for example in TASKS["counting"].examples("test", 200):
        places = [] if example.rationale == "none" else example.rationale.split()
        assert int(example.answer) == len(places)
    for example in TASKS["measures"].examples("test", 200):
        if "times" in example.rationale and "area" in example.prompt:
            first, _, second = example.rationale.split(" , ")[1].split()
            assert int(example.answer) == int(first) * int(second)


def test_presence_is_balanced_with_adversarial_negatives():
    examples = TASKS["presence"].examples("test", 600)
    answers = Counter(example.answer for example in examples)
    assert abs(answers["yes"] - 300) < 60
    kinds = Counter(example.meta["kind"] for example in examples)
    assert kinds["adversarial"] > 60 and kinds["random"] > 60


def test_lessons_use_known_words_and_both_conventions():
    rng, known = stream("lessons"), set(vocabulary())
    seen: dict[str, set[bool]] = {}
    for _ in range(600):
        lesson = curriculum.draw_lesson(rng)
        text = f"{lesson.prompt} {lesson.response}"
        for mark in ("<think>", "</think>", r"\boxed{", "}"):
            text = text.replace(mark, " ")
        assert set(text.split()) <= known
        if "area" in lesson.prompt:
            seen.setdefault("measures", set()).add("cm" in lesson.response)
    assert seen["measures"] == {True, False}
