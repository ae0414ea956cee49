"""What `holdfast check` says of two checkpoints' records: verdicts, false alarms, what cannot be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast.checkpoints import comparison, folder, outputs
from holdfast.checkpoints.comparison import Comparison
from holdfast.checkpoints.folder import Examined
from holdfast.errors import InputError

SETTING = {"machine": "a machine", "mode": {"dtype": "float32"}, "versions": {"holdfast": "1"}}


def answers(task: str, scores: Any, **inputs: Any) -> Examined:
    records = [
        {"id": str(i), "prompt": "?", "reference": "1", "response": "", "answer": "1", "score": float(score),
         "lenient": 1.0, "format": 1.0, "tokens": None, "finished": True, "meta": {}}
        for i, score in enumerate(scores)
    ]  # fmt: skip
    asked = {"task": task, "scorer": "exact", **inputs}
    return Examined(task, "model", asked, records, 0.0, 0.0, "", setting=SETTING)


def compare(before: Any, after: Any, max_drop: float = 0.01, level: float = 0.95) -> Comparison:
    return comparison.compare([answers("t", before)], [answers("t", after)], max_drop=max_drop, level=level)


def test_verdicts() -> None:
    ones, zeros = np.ones(1000), np.zeros(1000)

    def lost(count: int) -> Any:
        return np.where(np.arange(1000) < count, 0.0, 1.0)

    def verdict(after: Any, **options: float) -> str:
        return compare(ones, after, **options).rows[0].verdict

    assert verdict(ones) == "kept"
    assert verdict(lost(3)) == "kept"
    assert verdict(lost(9)) == "unclear"  # less than a point, but it might be more
    assert verdict(lost(12)) == "forgotten"
    assert verdict(lost(12), max_drop=0.05) == "kept"
    assert verdict(lost(12), level=0.9999) == "unclear"
    assert compare(zeros, ones).rows[0].verdict == "kept"
    # Five of ten lost is much, and little to go by; without a fall in the mean nothing is forgotten.
    assert compare([1] * 5 + [0] * 5, [0] * 5 + [0] * 5).rows[0].verdict == "unclear"
    soft = compare([0.6] * 50, [0.4] * 25 + [1.0] * 25)
    assert soft.rows[0].change.lost == 25
    assert soft.rows[0].verdict != "forgotten"
    assert [flip.get("lost") for flip in soft.flips[::25]] == ["convention", None]
    for bound, said in ((0.01, "more than 1 point, "), (0.02, "more than 2 points, ")):
        assert said in comparison.to_table(compare(ones, ones, max_drop=bound)).note


def test_a_fall_in_partial_scores_counts() -> None:
    """Whatever the scores, an item is lost where its own fell: of 0 and 1 that is McNemar's test."""
    fell = compare([1.0] * 100, [0.5] * 100)
    assert fell.rows[0].verdict == "forgotten" and fell.rows[0].change.lost == 100
    assert fell.flips[0]["flip"] == "1→0.5"
    some = compare([1.0, 0.9, 0.3, 0.0] * 25, [1.0, 0.6, 0.6, 0.3] * 25)
    assert (some.rows[0].change.lost, some.rows[0].change.gained) == (25, 50)
    assert some.rows[0].verdict == "kept" and [flip["flip"] for flip in some.flips[::25]] == [
        "0.9→0.6",
        "0.3→0.6",
        "0→0.3",
    ]
    assert compare([1.0] * 5, [0.5] * 5).rows[0].verdict == "unclear"  # too few to tell


@pytest.mark.slow
def test_false_alarms_do_not_grow_with_the_number_of_tasks() -> None:
    """Ten tasks of 300 items on which both checkpoints are equally good and disagree on a fifth."""
    generator = np.random.default_rng(1)
    alarms = 0
    for _ in range(60):
        before, after = [], []
        for task in range(10):
            flip = generator.choice(3, size=300, p=[0.8, 0.1, 0.1])
            before.append(answers(f"t{task}", np.where(flip == 1, 1.0, 0.0)))
            after.append(answers(f"t{task}", np.where(flip == 2, 1.0, 0.0)))
        found = comparison.compare(before, after, max_drop=0.0, level=0.95)
        alarms += bool(found.named("forgotten"))
    assert alarms <= 60 * 0.1


def test_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="style is 'cot' before and 'direct' after"):
        comparison.compare(
            [answers("t", [1], style="cot")], [answers("t", [1], style="direct")], max_drop=0.01, level=0.95
        )
    other = answers("t", [1])
    other.records[0]["reference"] = "2"
    with pytest.raises(InputError, match="not the same question"):
        comparison.compare([answers("t", [1])], [other], max_drop=0.01, level=0.95)


def test_tasks_of_unlike_sizes_resolve_what_their_mean_does() -> None:
    """A task of 1,000 items and one of 20 count alike, so the mean is little surer than the small one."""

    def both(*sizes: int) -> list[dict[str, Any]]:
        before = [answers(f"t{size}-{at}", np.ones(size)) for at, size in enumerate(sizes)]
        after = [answers(one.task, np.arange(len(one.records)) % 10 > 0) for one in before]
        return comparison.to_table(comparison.compare(before, after, max_drop=0.01, level=0.95)).rows

    large, small, together = (row["resolvable"] for row in both(1000, 20))
    # As many as 4 / (1/1000 + 1/20) = 78 items, of which a tenth turned: 2.8 sqrt((7.8 + 1) / 80 / 78).
    assert together == pytest.approx(2.8016 * np.sqrt((7.8 + 1) / 80 / 78), rel=5e-3)
    assert small / 3 < together < small and large < together
    *_, alike = both(500, 500)  # of equal sizes: all items as one task
    assert alike["resolvable"] == pytest.approx(2.8016 * np.sqrt(101 / 1002 / 1000), rel=1e-3)


def test_p_is_rounded_as_everything_else_is() -> None:
    """Five lost and none gained: p = 2 / 32 = 0.0625, in the table as in the card."""
    found = compare([1] * 9, [0] * 5 + [1] * 4)
    (row,) = comparison.to_table(found).rows
    assert row["p"] == "0.063" and "| 0.063 |" in outputs.to_card(found, ("a", "b"), [])


def test_summary_without_token_counts() -> None:
    (table,) = folder.tables([answers("t", [1, 0])])
    row = table.rows[0]
    assert row["tokens"] is None
    assert row["lenient"] == 1.0


def test_a_gain_of_few_items_makes_up_for_a_small_loss_of_many() -> None:
    """A third lost in 60 items and all gained in 18: the mean fell by a point, which is chance, though falls
    are three times as many as rises."""
    before = [1.0] * 60 + [0.0] * 18 + [1.0] * 122
    found = compare(before, [2 / 3] * 60 + [1.0] * 18 + [1.0] * 122, max_drop=0.005)
    assert found.rows[0].change.fell(0.005) and found.rows[0].verdict == "unclear"
    assert "or the resamples where flips count unlike" in comparison.to_table(found).note
    assert (
        compare(before, [2 / 3] * 60 + [0.0] * 18 + [0.0] * 20 + [1.0] * 102).rows[0].verdict == "forgotten"
    )


def test_all_tasks_together_are_tested_by_their_mean() -> None:
    """The large task fell by 3 points, the small one rose by 1.5: flips alone would tell of the large one."""
    small, large = np.arange(200), np.arange(10_000)
    before = [answers("large", large < 5000), answers("small", small < 100)]
    after = [answers("large", large < 4700), answers("small", small < 103)]
    *_, together = comparison.compare(before, after, max_drop=0.005, level=0.95).rows
    assert together.change.lost > together.change.gained and together.change.value < -0.005
    assert together.p > 0.05 and together.verdict == "unclear"


def test_a_fall_of_just_what_is_allowed_is_no_fall_beyond_it() -> None:
    """0.7 / 100 is a little less than 7 / 1000."""
    ones = np.ones(1000)
    assert compare(ones, np.arange(1000) >= 7, max_drop=0.7 / 100).rows[0].verdict == "unclear"
    assert compare(ones, np.arange(1000) >= 8, max_drop=0.7 / 100).rows[0].verdict == "forgotten"
