"""The published sets: from fixtures as on the hub, and two official releases, to examples and scores."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from holdfast.errors import InputError
from holdfast.tasks.benchmarks import BENCHMARKS
from holdfast.tasks.catalog import get_task, names
from holdfast.tasks.example import open_image
from holdfast.tasks.prepare import prepare, remarks
from holdfast.tasks.prompts import TEMPLATES, render_prompt
from holdfast.tasks.scorers import SCORERS, latex
from holdfast.tasks.scoring import extract_answer
from holdfast.tasks.source import from_folder
from holdfast.tasks.task import Task
from hub_fixtures import HUB, OFFICIAL, ROWS, TEN, hub_image, science_row, table, textvqa_row

FORMS = [(name, "hub") for name in HUB] + [(name, "official") for name in OFFICIAL]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a fixture, prepares it, and gives the task."""
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))

    def make(name: str, form: str, **options) -> Task:
        release = tmp_path / f"{name}-{form}"
        (HUB if form == "hub" else OFFICIAL)[name](release)
        benchmark = BENCHMARKS[name]
        prepare(benchmark, from_folder(benchmark, release), tmp_path / "data" / name, **options)
        return get_task(name)

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_from_a_release_to_scores(made, name, form):
    task = made(name, form)
    assert task.scorer == BENCHMARKS[name].scorer
    for split, size in task.sizes.items():
        examples = task.examples(split)
        assert len(examples) == size
        assert len({example.id for example in examples}) == size
        for example in examples:
            assert task.score(example.answer, example) >= 0.9
            assert task.score("complete nonsense", example) == 0
            assert get_task(name, scoring="study").score(example.answer, example) == 1
            assert extract_answer(rf"<think>…</think>\boxed{{{example.answer}}}", "cot") == example.answer
            assert "<image>" not in example.prompt
            assert all(open_image(image).mode == "RGB" for image in example.images)
            assert bool(example.images) == (name != "mmlu_pro")
            assert example.prompt in render_prompt(example, "direct", TEMPLATES["standard"])


def test_the_two_forms_of_vizwiz_give_the_same_questions(made):
    def seen(task: Task) -> set[tuple]:
        rows = task.examples("test")
        return {(row.answer, row.choices, row.references, row.prompt, row.id) for row in rows}

    hub = seen(made("vizwiz", "hub"))
    assert seen(made("vizwiz", "official")) == hub


def first(task: Task, split: str = "test"):
    return min(task.examples(split), key=lambda example: example.id)


def test_scienceqa(made):
    task = made("scienceqa", "hub")
    assert task.sizes == {"train": ROWS, "validation": ROWS, "test": ROWS}  # the row without image is out
    example = first(task)
    assert example.prompt == (
        "Which is farthest north?\nA. West Virginia\nB. Louisiana\nC. Arizona\n"
        "Answer with the option's letter from the given choices directly."
    )
    prompts = [example.prompt for example in task.examples("test")]
    assert any(prompt.startswith("Context: A map.\nWhich") for prompt in prompts)
    assert not any("LECTURE" in prompt or "SOLUTION" in prompt for prompt in prompts)
    assert task.score("louisiana", next(row for row in task.examples("test") if row.answer == "B")) == 1


def test_textvqa_and_vizwiz_have_ten_answers_and_one_reference(made):
    example = first(made("textvqa", "hub"))
    assert example.prompt == (
        "what is the brand of this camera?\nReference OCR token:DAKOTA,Pire\n"
        "Answer the question using a single word or phrase."
    )
    assert example.answer == "ocean" and len(example.references) == 10
    task = get_task("textvqa")
    assert task.score("nikon", example) == pytest.approx(0.3)
    assert task.scored_by("study").score("nikon", example) == 0
    viz = made("vizwiz", "hub")
    assert set(viz.sizes) == {"test"}
    with pytest.raises(InputError, match=r"no split 'train'; it has test. For train, .* with Annotations"):
        viz.examples("train")
    assert {example.answer: example.meta["answerable"] for example in viz.examples("test")} == {
        "ocean": True,
        "unanswerable": False,
    }
    assert set(made("vizwiz", "official").sizes) == {"train", "test"}


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        ({"ocr_tokens": []}, "?\nReference OCR token:\nAnswer"),
        ({"ocr_tokens": "['$6']"}, "token:$6\n"),
        ({}, "?\nAns"),
    ],
)
def test_the_line_of_ocr_tokens_stays_where_there_are_none_but_not_without_their_column(cells, line):
    row = {**textvqa_row(0), "image": hub_image(0), "question": "what?", "row": 0}
    row.pop("ocr_tokens", None)
    assert line in BENCHMARKS["textvqa"].example({**row, **cells}, "test").prompt


def test_questions_keep_their_case():
    """lmms-eval's `capitalize()` would make "ibm" of a brand's name."""
    row = {**textvqa_row(0), "image": hub_image(0), "question": "does it say IBM on it?", "row": 0}
    assert BENCHMARKS["textvqa"].example(row, "train").prompt.startswith("does it say IBM on")


@pytest.mark.parametrize(
    ("answers", "reference"),
    [
        (["unsuitable"] * 4 + ["unanswerable"] * 3 + ["black"] * 3, "unanswerable"),
        (["unsuitable image"] * 3 + ["dog"] * 4 + ["unanswerable"] * 3, "unanswerable"),
        (["Unsuitable"] * 10, "unanswerable"),
        (["unsuitable"] * 3 + ["dog"] * 4 + ["cat"] * 3, "dog"),
        (["dog", "unsuitable"] * 5, "dog"),  # the first wins a tie
        (TEN, "ocean"),
    ],
)
def test_vizwiz_reads_unsuitable_as_unanswerable_where_it_chooses_the_reference(answers, reference):
    row = {"question_id": "VizWiz_val_1.jpg", "question": "what?", "answers": answers, "image": hub_image(0)}
    example = BENCHMARKS["vizwiz"].example(row, "test")
    assert example.answer == reference
    assert example.references == tuple(answers)  # soft accuracy counts what they said
    assert example.meta["answerable"] == (reference != "unanswerable")


@pytest.mark.parametrize("name", ["textvqa", "vizwiz"])
def test_an_annotator_without_an_answer_is_one_of_the_ten(name):
    """Leaving blanks out would leave fewer than ten, of whom two that agree are enough."""
    answers = ["dog"] * 3 + ["cat"] * 2 + ["", " ", ""] + ["cow", "pig"]
    row = {**textvqa_row(0), "answers": answers, "image": hub_image(0), "row": 0}
    example = BENCHMARKS[name].example(row | {"question_id": "VizWiz_val_1.jpg"}, "test")
    assert example.answer == "dog" and len(example.references) == 10
    scores = [SCORERS["vqa"](said, example) for said in ("dog", "cat", "cow", "the", "rat")]
    assert scores == pytest.approx([0.9, 0.6, 0.3, 0, 0])


def test_a_blank_hint_is_none():
    row = {**science_row(0), "hint": " ", "image": hub_image(0), "row": 0}
    assert BENCHMARKS["scienceqa"].example(row, "test").prompt.startswith("Which is farthest")


def test_an_option_na_among_others_keeps_its_letter():
    row = {"question_id": 1, "question": "?", "category": "x", "answer": "C", "answer_index": 2}
    example = BENCHMARKS["mmlu_pro"].example(row | {"options": ["a", "N/A", "c", "d", "N/A"]}, "test")
    assert example.choices == ("a", "N/A", "c", "d") and example.choices[2] == "c"


def test_vizwiz_takes_the_flag_of_the_official_release(tmp_path):
    """It may differ from the majority's answer."""
    OFFICIAL["vizwiz"](tmp_path)
    file = tmp_path / "Annotations" / "train.json"
    rows = json.loads(file.read_text())
    assert rows[0]["answerable"] == 1
    rows[0]["answerable"] = 0
    file.write_text(json.dumps(rows))
    benchmark = BENCHMARKS["vizwiz"]
    records = from_folder(benchmark, tmp_path).splits["train"]()
    example = benchmark.example(next(records), "train")
    assert example.answer == "ocean" and example.meta["answerable"] is False


def test_gqa_joins_images_and_takes_the_short_answer(made):
    task = made("gqa", "hub")
    assert first(task).answer == "circle"
    pictures = {open_image(example.images[0]).tobytes() for example in task.examples("test")}
    assert len(pictures) == ROWS // 2


@pytest.mark.parametrize("name", ["gqa", "geometry3k", "pathvqa"])
def test_columns_with_the_type_of_images_are_not_decoded(made, tmp_path, name):
    """The hub's files say which columns are images, and `datasets` would decode those."""
    import datasets

    plain = made(name, "hub")
    before = [(example.id, [image.read() for image in example.images]) for example in plain.examples("train")]
    release = tmp_path / "typed"
    HUB[name](release)
    for file in release.rglob("*.parquet"):
        rows = pq.read_table(file).to_pylist()
        features = {
            key: datasets.List(datasets.Image()) if key == "images" else datasets.Image()
            for key in ("image", "images")
            if key in rows[0]
        }
        features |= {
            key: datasets.Value("bool" if value is True else "string")
            for key, value in rows[0].items()
            if key not in features
        }
        datasets.Dataset.from_list(rows, features=datasets.Features(features)).to_parquet(file)
        assert (b"Image" in file.read_bytes()) == bool({"image", "images"} & set(rows[0]))
    prepare(BENCHMARKS[name], from_folder(BENCHMARKS[name], release), tmp_path / "data" / name)
    after = get_task(name).examples("train")
    assert [(example.id, [image.read() for image in example.images]) for example in after] == before


def test_mmmu(made):
    task = made("mmmu", "hub")
    kinds = {example.meta["kind"]: example for example in task.examples("test")}
    choice, free = kinds["multiple-choice"], kinds["open"]
    assert "(A) $6\n(B) $7" in choice.prompt and choice.answer == "B" and len(choice.images) == 1
    assert len(free.images) == 2 and free.references == ("12.5", "12 1/2")
    assert task.score("The answer is 12.5", free) == 1
    assert {example.meta["subject"] for example in task.examples("test")} == {
        "Accounting",
        "Art_Theory",
        "Music",
    }


def test_mmlu_pro_drops_filler_options(made):
    examples = made("mmlu_pro", "hub").examples("test")
    assert {len(example.choices) for example in examples} == {9}
    assert all("N/A" not in example.prompt for example in examples)


def test_pope_numbers_repeat_across_categories(made):
    assert made("pope", "hub").sizes == {"test": 3 * ROWS}


def test_superclevr_splits_by_image(made):
    task = made("superclevr", "official")
    assert task.sizes == {"train": 6, "validation": 6, "test": 6}
    assert {example.answer for example in task.examples("test")} == {
        "yes", "no", "3", "mountain bike", "rubber", "brown"
    }  # fmt: skip
    converted = made("superclevr_mathv360k", "hub")
    assert converted.sizes["train"] + converted.sizes["test"] == 60
    assert first(converted, "train").prompt.startswith("Hint: Please answer the question")


@pytest.mark.slow
@pytest.mark.parametrize("name", HUB)
def test_a_missing_or_wrong_column_is_named(tmp_path, name):
    benchmark = BENCHMARKS[name]
    column = next((name for name in benchmark.columns if name in ("question", "problem")), "conversations")
    for change in ("rename", "retype"):
        folder = tmp_path / change
        HUB[name](folder)
        for file in folder.rglob("*.parquet"):
            data = pq.read_table(file)
            if column in data.column_names:
                if change == "rename":
                    data = data.rename_columns([f"{c}_new" if c == column else c for c in data.column_names])
                    pq.write_table(data, file)
                else:
                    rows = [{**row, column: 1.5} for row in data.drop_columns([column]).to_pylist()]
                    table(file, [{c: row[c] for c in data.column_names} for row in rows])
        message = f"has no column '{column}'; it has" if change == "rename" else "no row of .* can be used"
        with pytest.raises(InputError, match=message) as caught:
            prepare(benchmark, from_folder(benchmark, folder), tmp_path / f"set-{change}")
        named = ".parquet" if change == "rename" else f"{column} is float, not text"
        if column == "conversations" and change == "retype":
            named = "no question and answer"
        assert f"Task {name}:" in str(caught.value) and named in str(caught.value)


def test_what_is_not_prepared_says_how(tmp_path, monkeypatch):
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"gqa is not prepared.*'holdfast data prepare gqa'.*HOLDFAST_DATA"):
        get_task("gqa")
    assert "gqa" not in names()
    with pytest.raises(InputError, match="did you mean 'scienceqa'"):
        get_task("sciencqa")


def test_remarks_tell_a_part_from_the_whole(tmp_path):
    HUB["scienceqa"](tmp_path / "release")
    benchmark = BENCHMARKS["scienceqa"]
    manifest = prepare(benchmark, from_folder(benchmark, tmp_path / "release"), tmp_path / "set")
    assert "train: 6 usable rows, but 6218 are published" in remarks(benchmark, manifest)
    assert manifest["licence"].startswith("CC BY-NC-SA")


def test_a_missing_checker_of_formulas_is_told_before_any_work(made, monkeypatch):
    made("geometry3k", "hub")
    monkeypatch.setattr(latex, "find_spec", lambda name: None)
    for arguments in (("geometry3k",), ("geometry3k", None, "study")):
        with pytest.raises(InputError, match="pip install math-verify"):
            get_task(*arguments)
