"""Reliance on the picture: other pictures, what is asked, and the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from experiment_helpers import make_experiment, run_here
from holdfast.analysis.results import Record
from holdfast.analysis.views import analyse
from holdfast.api import load_results
from holdfast.measures.reliance import GREY, without_pictures
from holdfast.report.sections.reliance import compared, reliance
from holdfast.tasks.example import Example
from results_helpers import make_results


def example(name: str, *sizes: tuple[int, int]) -> Example:
    images = tuple(Image.new("RGB", size, (200, 0, 0)) for size in sizes)
    return Example(name, "What is it?", "red", images=images)


def test_grey_pictures_have_the_size_of_the_true_ones() -> None:
    text, one = without_pictures([example("text"), example("one", (12, 20))], "blank")
    assert text.images == () and (one.id, one.prompt, one.answer) == ("one", "What is it?", "red")
    (image,) = one.images
    assert isinstance(image, Image.Image)
    assert image.size == (12, 20) and image.getpixel((3, 3)) == GREY


def test_exchanged_pictures_are_those_of_the_item_half_the_list_away() -> None:
    given = [example(str(n), (10 + n, 10)) for n in range(4)] + [example("two", (5, 5), (6, 6))]
    changed = without_pictures(given, "exchanged")
    sizes = [[image.size[0] for image in one.images] for one in changed]  # type: ignore[union-attr]
    # Two places on: 0 → 2, 1 → 3; 2 would get two pictures, so 3 on; none has two others: grey ones.
    assert sizes == [[12], [13], [10], [10], [5, 6]]
    assert changed[0].images == given[2].images and changed[4].images[0].getpixel((0, 0)) == GREY  # type: ignore[union-attr]


def test_exchanged_pictures_are_others_where_items_show_the_same() -> None:
    """Four questions about each of two pictures, one after the other: half the list away is the same one."""
    given = [example(str(n), (10 + n % 2, 10)) for n in range(8)]
    changed = without_pictures(given, "exchanged")
    assert [one.images[0].size[0] for one in changed] == [11, 10] * 4  # type: ignore[union-attr]
    alone = without_pictures([example(str(n), (10, 10)) for n in range(3)], "exchanged")
    assert all(one.images[0].getpixel((0, 0)) == GREY for one in alone)  # type: ignore[union-attr]


def test_hidden_forgetting_by_hand() -> None:
    """Four items: kept with and without the picture in the end, kept by it, lost, never right."""
    results = make_results(("grpo",), items=4, sequence=("diagrams", "reading"), general=())
    run = results.runs[0]

    def cell(*scores: float) -> list[Record]:
        records = run.cells[1, "diagrams"]
        return [{**record, "score": score} for record, score in zip(records, scores, strict=True)]

    cells = {**run.cells, (1, "diagrams"): cell(1, 1, 1, 0), (2, "diagrams"): cell(1, 1, 0, 0)}
    rows = {stage: {"rows": [{"task": "diagrams", "scores": scores}]} for stage, scores in
            ((1, [0, 0, 0, 0]), (2, [1, 0, 0, 0]))}  # fmt: skip
    run = replace(run, cells=cells, measures={"reliance": rows})
    (found,) = compared(results, run)
    assert found == {"just": 0.75, "just_without": 0, "end": 0.5, "end_without": 0.25, "hidden": 0.25}
    (row,) = reliance(analyse(replace(results, runs=(run,)))).rows
    assert row["change"].value == pytest.approx((0.5 - 0.25) - 0.75)  # type: ignore[union-attr]


@pytest.mark.slow
def test_through_plan_store_and_report(tmp_path: Path) -> None:
    methods = {"sft": {"objective": "sft", "iterations": 1}}
    experiment = make_experiment(
        tmp_path, methods=methods, general=[], measures={"reliance": {"examples": 4}}, test_examples=6
    )
    assert not run_here(experiment).failed
    (run,) = load_results(experiment).runs
    stages = run.measured("reliance")
    assert [row["task"] for row in stages[2]["rows"]] == list(experiment.sequence)
    assert all(len(row["scores"]) == 4 for stage in stages.values() for row in stage["rows"])
    assert len(compared(load_results(experiment), run)) == 1
