"""Sample-level forgetting on hand-worked items: kinds of loss, chance, persistence, stage pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from holdfast.analysis.outcomes import Outcome, outcome, stands_in
from holdfast.analysis.results import MethodRun, Results
from holdfast.analysis.transitions import SHARES, ItemHistory
from holdfast.analysis.views import analyse
from holdfast.report.sections.items import turnover, turnover_by_stage, turnover_by_task
from results_helpers import make_results

WRONG = "<think>maybe three</think>\\boxed{five}"


def _record(index: int, right: bool, response: str = WRONG, answer: str | None = "five", **more) -> dict:
    record = {
        "id": str(index), "prompt": "?", "response": response, "answer": answer, "reference": "three",
        "score": float(right), "lenient": float(right), "format": 1.0, "tokens": 5, "finished": True,
        "meta": {},
    }  # fmt: skip
    return record | more


def _results(histories: dict[str, list[str]], chance: float | None = None, seeds: int = 1) -> Results:
    """Task -> for each stage a string of 0 and 1, one digit per item; "" where not evaluated."""
    tasks = tuple(histories)
    cells = {
        (stage, task): [_record(index, digit == "1") for index, digit in enumerate(digits)]
        for task, stages in histories.items()
        for stage, digits in enumerate(stages)
        if digits
    }
    runs = tuple(MethodRun("m", seed, "cot", False, "sft", cells) for seed in range(seeds))
    return Results("items", tasks, (), dict.fromkeys(tasks, chance), {}, runs, options=frozenset(tasks))


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (_record(0, True), Outcome.RIGHT),
        # The reasoning alone names the reference: that is no answer.
        (_record(0, False), Outcome.KNOWLEDGE),
        (_record(0, False, "three", None, format=0.0), Outcome.FORMAT),
        (_record(0, False, "<think>so</think> Three.", None, format=0.0), Outcome.FORMAT),
        (_record(0, False, "<think>three", None, format=0.0), Outcome.KNOWLEDGE),  # cut off while thinking
        (_record(0, False, "<think>three</think> five", None, format=0.0), Outcome.KNOWLEDGE),
        (_record(0, False, "three \\boxed{five}", format=0.0), Outcome.FORMAT),
        (_record(0, False, "<think></think> three \\boxed{five}"), Outcome.KNOWLEDGE),  # well formed, wrong
        (_record(0, False, "<think></think>\\boxed{3}", "3", lenient=1.0), Outcome.CONVENTION),
        (_record(0, False, "three \\boxed{3}", "3", lenient=1.0, format=0.0), Outcome.CONVENTION),
        (_record(0, False, "", None, format=0.0), Outcome.KNOWLEDGE),
    ],
)
def test_what_an_answer_is(record, kind):
    assert outcome(record) == kind


@pytest.mark.parametrize(
    ("reference", "response", "found"),
    [
        ("5", "it is 5.", True),
        ("5", "x=5, so", True),
        ("5", "15", False),
        ("5", "0.5", False),
        ("5", "5.2", False),
        ("5", "-5", False),
        ("5", "−5", False),
        ("5", "5-6", False),
        ("well", "a well-known one", False),
        ("well", "a well‑known one", False),  # its hyphen keeps it on one line
        ("500", "1,500", False),
        ("1", "1,500", False),
        ("cat", "concatenate", False),
        ("Hot  dog", "a HOT dog", True),
        ("2.5\\sqrt{3}", "so 2.5\\sqrt{3}", True),
        ("(B)", "the answer is (b)", True),
        ("", "anything", False),
    ],
)
def test_the_reference_must_stand_there_as_a_word(reference, response, found):
    assert stands_in(reference, response) is found


def test_losses_are_split_into_three_parts():
    results = _results({"a": ["0000000000", "1111111100", ""], "b": ["", "", "1111111111"]})
    end = [
        _record(0, True),
        _record(1, False),
        _record(2, False),
        _record(3, False),
        _record(4, False, "three", None, format=0.0),
        _record(5, False, "three", None, format=0.0),
        _record(6, False, "<think></think>\\boxed{3}", "3", lenient=1.0),
        _record(7, True),
        _record(8, True),
        _record(9, False, "three", None, format=0.0),  # wrong before as well: not lost
    ]
    run = replace(results.runs[0], cells={**results.runs[0].cells, (2, "a"): end})
    (found,) = ItemHistory([run], results).to_end()
    assert (found.kept, found.lost, found.gained) == pytest.approx((0.2, 0.6, 0.1))
    assert (found.lost_knowledge, found.lost_format, found.lost_convention) == pytest.approx((0.3, 0.2, 0.1))


def test_chance_correction():
    # Of 10 items: 6 right before, 5 after; 3 lost, 2 gained. Four options.
    stages = ["0" * 10, "1111110000", "1110001100"]
    history = {"a": stages, "b": ["0" * 10] * 3}
    (found,) = ItemHistory(_results(history, 0.25).runs, _results(history, 0.25)).to_end()
    by_chance = 0.4 * 0.5 / 3
    assert (found.lost, found.gained) == pytest.approx((0.3, 0.2))
    assert (found.lost_true, found.gained_true) == pytest.approx((0.3 - by_chance, 0.2 - by_chance))
    # Two options: 0.4 * 0.5 / 1 = 0.2, so what was gained is all explained.
    (found,) = ItemHistory(_results(history, 0.5).runs, _results(history, 0.5)).to_end()
    assert (found.lost_true, found.gained_true) == pytest.approx((0.1, 0.0))
    # A chance level of open answers is no number of options.
    open_answers = replace(_results(history, 0.4), options=frozenset())
    (found,) = ItemHistory(open_answers.runs, open_answers).to_end()
    assert (found.lost_true, found.gained_true) == (None, None)
    unknown = _results(history, None)
    (found,) = ItemHistory(unknown.runs, unknown).to_end()
    assert found.lost_true is None
    assert found.gained_true is None


def test_more_lost_by_chance_than_lost_is_none_lost():
    history = {"a": ["0000", "0011", "0011"], "b": ["0000"] * 3}
    results = _results(history, 0.5)
    (found,) = ItemHistory(results.runs, results).to_end()
    assert (found.lost_true, found.gained_true) == (0.0, 0.0)


def test_persistence():
    """Four items right just after training: one never lost; of the three that were, one comes back."""
    results = _results({"a": ["00000", "11110", "10011", "11000"], "b": ["00000"] * 4, "c": ["00000"] * 4})
    a, b = ItemHistory(results.runs, results).by_stage(), ItemHistory(results.runs, results).persistence()
    assert [(entry.task, entry.never_lost, entry.recovered) for entry in b] == [("a", 1 / 4, 1 / 3)]
    pairs = {(entry.task, entry.since, entry.until): (entry.lost, entry.gained) for entry in a}
    assert pairs == {
        ("a", 1, 2): (0.4, 0.2),
        ("a", 1, 3): (0.4, 0.0),
        ("a", 2, 3): (0.4, 0.2),
        ("b", 2, 3): (0.0, 0.0),
    }


def test_nothing_can_recover_within_one_stage_and_gaps_are_not_guessed():
    results = _results({"a": ["00", "11", "10"], "b": ["00", "00", "11"]})
    (found,) = ItemHistory(results.runs, results).persistence()
    assert (found.never_lost, found.recovered) == (0.5, None)
    gap = _results({"a": ["00", "11", "", "10"], "b": ["00"] * 4, "c": ["00"] * 4})
    assert [entry.task for entry in ItemHistory(gap.runs, gap).persistence()] == []  # b was never right
    assert [entry.until for entry in ItemHistory(gap.runs, gap).by_stage() if entry.task == "a"] == [3]


def test_mean_over_seeds():
    results = _results({"a": ["00", "11", "11"], "b": ["00"] * 3}, 0.5, seeds=2)
    cells = {**results.runs[1].cells, (2, "a"): [_record(0, False), _record(1, False)]}
    (found,) = ItemHistory([results.runs[0], replace(results.runs[1], cells=cells)], results).to_end()
    assert (found.lost, found.lost_knowledge, found.lost_true) == (0.5, 0.5, 0.5)


def test_the_turnover_of_all_old_tasks_has_intervals():
    results = make_results(("sft",), seeds=(0, 1, 2), items=60, sequence=("diagrams", "reading", "photos"))
    history = ItemHistory(results.runs, results)
    found, old = history.turnover, [entry for entry in history.to_end() if entry.since]
    for name in SHARES:
        assert found[name].value == pytest.approx(np.mean([getattr(entry, name) for entry in old]))
        assert 0 <= found[name].low <= found[name].value <= found[name].high <= 1
    assert found["lost"].low < found["lost"].value < found["lost"].high
    # One seed, one old task of 100 items, 30 of them lost: the binomial interval.
    one = _results({"a": ["0" * 100, "1" * 100, "1" * 70 + "0" * 30], "b": ["0" * 100] * 3})
    lost = ItemHistory(one.runs, one).turnover["lost"]
    assert (lost.value, lost.low, lost.high) == pytest.approx((0.3, 0.21, 0.39), abs=0.011)
    joint = make_results(("joint_sft",), items=20)
    assert ItemHistory(joint.runs, joint).turnover == {}


def test_tables_hold_them():
    analysis = analyse(make_results(("sft",), items=40, sequence=("diagrams", "reading", "photos")))
    (row,) = turnover(analysis).rows
    parts = [row["lost_knowledge"], row["lost_convention"], row["lost_format"]]
    assert sum(part.value for part in parts) == pytest.approx(row["lost"].value)
    known = next(entry for entry in analysis.methods[0].history.to_end() if entry.task == "diagrams")
    assert "lost_true" not in row  # a mean over the one old task with options would mislead
    assert 0 < row["never_lost"] < 1
    by_task = {entry["task"]: entry for entry in turnover_by_task(analysis).rows}
    assert by_task["reading"]["lost_true"] is None
    assert by_task["diagrams"]["lost_true"] == known.lost_true
    assert by_task["reading"]["recovered"] is None
    assert by_task["diagrams"]["recovered"] is not None
    stages = {(entry["task"], entry["since"], entry["until"]) for entry in turnover_by_stage(analysis).rows}
    assert ("diagrams", "stage 1", "stage 2") in stages
    assert ("diagrams", "stage 2", "stage 3") in stages
    assert ("knowledge", "base", "stage 3") in stages
