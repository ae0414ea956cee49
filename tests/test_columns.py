"""A published set without programming: a table and which column is what, in an experiment's YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli_helpers import Call
from experiment_helpers import write_config
from holdfast.config.load import load_experiment
from holdfast.errors import InputError
from holdfast.experiment.plan import make_plan
from holdfast.tasks import copied
from holdfast.tasks.catalog import get_task
from holdfast.tasks.columns import HubTask, TableTask
from holdfast.tasks.example import open_image
from holdfast.tasks.picturecolumns import pictured, pictures_in
from holdfast.tasks.task import Task
from holdfast.tasks.templates import fill
from hub_fixtures import IMAGE, hub_image, picture, save, table

MINE = {
    "hub": "set", "train": "train", "test": "validation", "prompt": "{question}", "answer": "{answer}",
    "images": "image", "id": "key",
}  # fmt: skip


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path.with_name(f"{tmp_path.name}-data")
    monkeypatch.setenv("HOLDFAST_DATA", str(folder))
    return folder


def released(folder: Path, **changed: list[Any]) -> None:
    """A set of three columns and a picture, as its owner might put it on the hub."""
    for first, split in ((0, "train"), (100, "validation")):
        rows = [
            {
                "key": f"{split}{n}", "question": f"what is this, number {n} ?",
                "answer": ["red", "blue"][n % 2],
                "image": hub_image(first + n), **{name: values[n] for name, values in changed.items()},
            }
            for n in range(6)
        ]  # fmt: skip
        table(folder / "data" / f"{split}-00000-of-00001.parquet", rows, image=IMAGE)


def task(folder: Path, **changes: Any) -> Task:
    settings = HubTask.model_validate({**MINE, "hub": str(folder), **changes})
    return get_task("mine", {"mine": settings})


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_an_experiment_over_a_table_runs(tmp_path: Path, call: Call) -> None:
    """From a parquet folder and seven lines of YAML to a report."""
    released(tmp_path / "set")
    config = write_config(
        tmp_path,
        {
            "tasks": {"mine": MINE}, "sequence": ["mine", "reading"], "train_examples": 4, "test_examples": 4,
            "evaluation": {"max_tokens": 4, "batch": 4},
            "defaults": {"iterations": 1, "batch": 2, "learning_rate": 1e-6},
            "methods": {"sft": {"objective": "sft"}},
        },
    )  # fmt: skip
    said = call("run", config)
    assert said.code == 0, said.err
    assert (tmp_path / "out" / "report" / "index.html").is_file()
    resolved = load_experiment(tmp_path / "out" / "config.yaml")
    assert isinstance(resolved.tasks["mine"], HubTask)
    assert make_plan(resolved).jobs.keys() == make_plan(load_experiment(config)).jobs.keys()


def test_rows_become_examples(tmp_path: Path) -> None:
    released(tmp_path)
    mine = task(tmp_path)
    assert mine.sizes == {"train": 6, "test": 6}
    examples = {example.id: example for example in mine.examples("test")}
    assert sorted(examples) == [f"validation{n}" for n in range(6)]
    assert list(examples) != sorted(examples)  # the first ones are a sample of a set that is sorted
    example = examples["validation1"]
    assert (example.prompt, example.answer) == ("what is this, number 1 ?", "blue")
    assert example.images[0].read() == picture(101) and open_image(example.images[0]).mode == "RGB"


def test_every_form_of_a_table(tmp_path: Path) -> None:
    rows = [
        {"question": f"q{n}", "answer": f"a{n}", "image": f"pictures/{n}.jpg", "key": n} for n in range(3)
    ]
    for n in range(3):
        save(tmp_path / "pictures" / f"{n}.jpg", picture(n))
    save(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)).encode())
    save(tmp_path / "rows.json", json.dumps(rows).encode())
    save(
        tmp_path / "rows.csv",
        b"question,answer,key\n" + b"\n".join(b"q%d,a%d,%d" % (n, n, n) for n in range(3)),
    )
    table(
        tmp_path / "rows.parquet", [{**row, "image": hub_image(n)} for n, row in enumerate(rows)], image=IMAGE
    )
    seen = {}
    for form in ("jsonl", "json", "parquet", "csv"):
        settings: dict[str, Any] = {**MINE, "test": "train", "hub": str(tmp_path / f"rows.{form}")}
        if form == "csv":
            del settings["images"]
        mine = get_task("mine", {"mine": HubTask.model_validate(settings)})
        seen[form] = [
            (example.id, example.prompt, example.answer, [image.read() for image in example.images])
            for example in sorted(mine.examples("test"), key=lambda example: example.id)
        ]
    assert seen["jsonl"] == seen["json"] == seen["parquet"]
    assert seen["jsonl"][1] == ("1", "q1", "a1", [picture(1)])
    assert [row[:3] for row in seen["csv"]] == [row[:3] for row in seen["jsonl"]]


def test_fields_of_csv_are_text_as_written(tmp_path: Path) -> None:
    """Guessed types would make 007 a number, `NA` (Namibia) nothing, and 1.50 one digit shorter."""
    save(tmp_path / "pictures" / "1.jpg", picture(1))
    written = [("007", "NA", "pictures/1.jpg", "01"), ("1.50", "None", "", ""), ("True", "x, y", "", "1e3")]
    lines = [f'{answer},"{question}",{image},{key}' for answer, question, image, key in written]
    heading = "\ufeffanswer,question,image,key\n"
    save(tmp_path / "rows.csv", (heading + "\n\n".join(lines) + "\n").encode())
    mine = task(tmp_path / "rows.csv", test="train", prompt="{question}")
    examples = mine.examples("test")
    assert [one.answer for one in examples] == ["007", "1.50", "True"]
    assert [one.prompt.split("\n")[0] for one in examples] == ["NA", "None", "x, y"]
    assert [len(one.images) for one in examples] == [1, 0, 0]
    assert [one.id for one in examples] == ["01", "test-1", "1e3"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "rows.csv").rename(tmp_path / "folder" / "train.csv")
    in_folder = task(tmp_path / "folder", test="train", prompt="{question}", images=[])
    assert [one.answer for one in in_folder.examples("test")] == ["007", "1.50", "True"]
    indexed = MINE | {"answer": None, "answer_index": "place", "choices": ["a", "b"], "id": None}
    save(tmp_path / "places.csv", b"question,place,a,b\nwhich ?,1,NA,007\nwhich ?,2,x,y\n")
    del indexed["images"]
    (one,) = get_task("mine", {"mine": HubTask.model_validate(
        indexed | {"hub": str(tmp_path / "places.csv"), "train": "train", "test": None, "scorer": "exact"}
    )}).examples("train")  # fmt: skip
    assert (one.answer, one.choices) == ("007", ("NA", "007"))


@pytest.mark.parametrize("form", ["jsonl", "json"])
@pytest.mark.parametrize(
    "answers",
    [
        ["2024-05-01", "2023-11-30"],
        ["2024-05-01T10:00:00", "2023-11-30 09:30:00"],
        [7, "cat", "007", "1.50", "true", "null", 2.5],
        [1, 2.5, 3.0, 12345678901234567, 10**30, 6.63e-34, 0.12345678901234],  # not all as fractions
    ],
)
def test_values_of_json_are_as_written(tmp_path: Path, form: str, answers: list[Any]) -> None:
    """Guessed types would make times of texts like dates, and JSON's text of values of several types."""
    rows = [
        {"key": n, "question": "?", "answer": answer, "some": [answer, "other", 3]}
        for n, answer in enumerate(answers)
    ]
    lines = "\n".join(map(json.dumps, rows)) if form == "jsonl" else json.dumps(rows)
    save(tmp_path / f"rows.{form}", lines.encode())
    mine = task(tmp_path / f"rows.{form}", test="train", images=[], choices="some", scorer="exact")
    examples = sorted(mine.examples("test"), key=lambda example: example.id)
    assert [one.answer for one in examples] == list(map(str, answers))
    assert [one.choices for one in examples] == [(str(answer), "other", "3") for answer in answers]


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_turns_of_typed_parts_in_json(tmp_path: Path, form: str) -> None:
    """`datasets` keeps parts with other keys each as JSON's text."""
    save(tmp_path / "pictures" / "1.jpg", picture(1))
    asked = [{"type": "image", "image": "pictures/1.jpg"}, {"type": "text", "text": "what ?"}]
    rows = [
        {"key": n, "turns": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for n, answer in enumerate(["red", [{"type": "text", "text": "red"}]])
    ]
    lines = "\n".join(map(json.dumps, rows)) if form == "jsonl" else json.dumps(rows)
    save(tmp_path / f"rows.{form}", lines.encode())
    named = {"train": "train", "messages": "turns", "scorer": "exact"}
    settings = {"hub": str(tmp_path / f"rows.{form}"), **named}
    examples = get_task("mine", {"mine": HubTask.model_validate(settings)}).examples("train")
    assert [(one.prompt, one.answer) for one in examples] == [("what ?", "red")] * 2
    assert [[image.read() for image in one.images] for one in examples] == [[picture(1)]] * 2


def test_a_folder_of_pictures_with_their_words(tmp_path: Path) -> None:
    """The form that `datasets` calls an image folder."""
    rows = [{"file_name": f"{n}.jpg", "question": "what ?", "answer": f"a{n}"} for n in range(3)]
    for n in range(3):
        save(tmp_path / "train" / f"{n}.jpg", picture(n))
    save(tmp_path / "train" / "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode())
    settings = {**MINE, "hub": str(tmp_path), "test": "train", "id": None}
    mine = get_task("mine", {"mine": HubTask.model_validate(settings)})
    assert {example.answer: example.images[0].read() for example in mine.examples("test")} == {
        f"a{n}": picture(n) for n in range(3)
    }


def test_choices_by_letter_by_text_and_by_place(tmp_path: Path) -> None:
    lists = [["red", "blue", "green"]] * 6
    released(tmp_path, options=lists, place=[0, 1, 2, 1, 0, 1], letter=list("ABCBAB"), A=["red"] * 6,
             B=["blue"] * 6, C=["green", None, "green", "", "green", "green"])  # fmt: skip
    by_place = task(tmp_path, choices="options", answer=None, answer_index="place", scorer="options")
    answers = {example.id: example.answer for example in by_place.examples("test")}
    assert [answers[f"validation{n}"] for n in range(6)] == list("ABCBAB")
    assert "\nA. red\nB. blue\nC. green" in by_place.examples("test")[0].prompt
    for answer in ("{letter}", "{answer}"):
        other = task(tmp_path, choices=["A", "B", "C"], answer=answer, scorer="choice")
        assert all(example.answer in "ABC" for example in other.examples("test"))
    fewer = {example.id: example.choices for example in other.examples("test")}
    assert fewer["validation1"] == ("red", "blue") and fewer["validation0"] == ("red", "blue", "green")
    said = task(tmp_path, choices="options", answer=None, answer_index="place", scorer="exact")
    assert {example.answer for example in said.examples("test")} == {"red", "blue", "green"}


def test_more_choices_than_letters_are_told_of_their_row(tmp_path: Path) -> None:
    released(tmp_path, options=[list(map(str, range(30)))] * 6, place=[28] * 6)
    with pytest.raises(InputError, match="row 1: 30 choices are more than there are letters"):
        task(tmp_path, choices="options", answer=None, answer_index="place", scorer="options")


def test_ten_answers_give_the_reference(tmp_path: Path) -> None:
    released(tmp_path, answers=[["a dog", "Dog", "cat"]] * 6)
    mine = task(tmp_path, answer=None, references="answers", scorer="vqa")
    example = mine.examples("test")[0]
    assert example.answer == "a dog" and example.references == ("a dog", "Dog", "cat")


def test_templates_take_columns_and_nothing_else(tmp_path: Path) -> None:
    row = {"hint": None, "n": 3, "yes": True, "{odd}": "x", "a.b": "dotted", "list": [1]}
    assert fill("{hint}n is {n}, {yes}: {{as it is}} {a.b}", row) == "n is 3, yes: {as it is} dotted"
    assert fill("{n}", {"n": float("nan")}) == ""  # a place left empty in a column of numbers
    with pytest.raises(Exception, match=r"column 'list' holds lists, not texts; .* goes by references"):
        fill("{list}", row)
    for template in ("{}", "{question!r}", "{question:>9000000000}", "{question", "}", "{0}{"):
        with pytest.raises(ValueError, match=r"columns as \{column\} only|is no template"):
            HubTask.model_validate({**MINE, "prompt": template})
    released(tmp_path)
    for template in ("{question.__class__}", "{question[0]}", "{0}"):
        with pytest.raises(InputError, match="there is no column"):
            task(tmp_path, prompt=template)


def message(tmp_path: Path, **changes: Any) -> str:
    mine = {key: value for key, value in {**MINE, **changes}.items() if value is not None}
    config = write_config(tmp_path, {"tasks": {"mine": mine}, "sequence": ["mine", "reading"]})
    with pytest.raises(InputError) as caught:
        load_experiment(config)
    return str(caught.value)


def test_slips_are_named_before_any_work(tmp_path: Path) -> None:
    released(tmp_path / "set")
    (tmp_path / "ragged.csv").write_text("question,answer\na,b,c\n")
    pq.write_table(pa.table({"question": pa.array([], pa.string())}), tmp_path / "none.parquet")
    (tmp_path / "none.csv").write_text("question,answer,image,key\n")
    (tmp_path / "twice.csv").write_text("question,answer,answer\na,b,c\n")
    empty = {"empty.csv": "", "empty.jsonl": "", "blank.jsonl": "\n", "empty.json": "[]"}
    for name, content in empty.items():
        (tmp_path / name).write_text(content)
    for changes, parts in (
        ({"prompt": "{questoin} ?"}, ["mine.prompt: there is no column 'questoin'; did you mean 'question'?",
                                      "(train: key, question, answer, image)"]),
        ({"prompt": "question"}, ["mine.prompt: is 'question' in every row; the column is {question}"]),
        ({"images": ["image", "imge"]}, ["mine.images: there is no column 'imge'; did you mean 'image'?"]),
        ({"id": "identity", "prompt": "{q}"}, ["2 errors", "mine.prompt: there is no column 'q'", "mine.id"]),
        ({"test": "validaton"}, ["mine.test", "has no split 'validaton'; did you mean 'validation'?"]),
        ({"promt": "x"}, ["mine.promt: unknown key; did you mean 'prompt'?"]),
        ({"prompt": None}, ["mine: needs either prompt"]),
        ({"prompt": "{question.upper()}"}, ["mine.prompt: there is no column 'question.upper()'"]),
        ({"scorer": "exacto"}, ["mine.scorer: there is no scorer 'exacto'"]),
        ({"answer": None}, ["mine: needs an answer"]),
        ({"train": None, "test": None}, ["mine: needs at least one of train, validation, test"]),
        ({"answer_index": "n"}, ["mine: answer and answer_index say the same"]),
        ({"hub": "nowhere.parquet"}, ["mine.hub: there is no file or folder 'nowhere.parquet'"]),
        ({"hub": "data/nowhere.parquet"}, ["mine.hub: there is no file or folder 'data/nowhere.parquet'"]),
        ({"hub": "tiny.yaml"}, ["mine.hub", "tiny.yaml is none of .parquet, .json"]),
        ({"hub": ""}, ["mine.hub: there is no file or folder ''"]),
        ({"hub": "ragged.csv"}, ["mine.hub:", "ragged.csv names 2 columns, but its first row has 3 fields"]),
        ({"hub": "twice.csv"}, ["mine.hub:", "twice.csv has more than one column 'answer'"]),
        ({"hub": "none.parquet"}, ["mine.hub:", "none.parquet has no rows"]),
        ({"hub": "none.csv", "test": None}, ["mine.hub:", "none.csv has no rows"]),
        ({"hub": "empty.csv"}, ["mine.hub:", "empty.csv has no rows"]),
        ({"hub": "empty.jsonl", "test": None}, ["mine.hub:", "empty.jsonl has no rows"]),
        ({"hub": "blank.jsonl", "test": None}, ["mine.hub:", "blank.jsonl has no rows"]),
        ({"hub": "empty.json", "test": None}, ["mine.hub:", "empty.json has no rows"]),
    ):  # fmt: skip
        said = message(tmp_path, **changes)
        assert all(part in said for part in parts), said
    assert "line " in message(tmp_path, prompt="{q}")


def test_a_column_of_pictures_that_nothing_names_is_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "a.csv").write_text("file,question,label\na.png,which ?,red\n,none ?,red\n")
    named = {"train": tmp_path / "a.csv", "prompt": "{question}", "answer": "{label}", "scorer": "exact"}
    with pytest.raises(
        InputError, match=r"Task x, images: column 'file' of .* holds pictures; say images: file"
    ):
        copied.load_table_task("x", TableTask.model_validate(named))
    for images in ("file", []):
        copied.load_table_task("x", TableTask.model_validate(named | {"images": images}))
    # Where the pictures are elsewhere, or something else stands beside them, it is a text.
    (tmp_path / "a.csv").write_text("file,question,label\na.png,which ?,red\nnone,which ?,red\n")
    copied.load_table_task("x", TableTask.model_validate(named))


def test_bytes_that_are_no_picture_are_none(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": picture(0)}, "sound": {"bytes": b"RIFF" + bytes(40)}, "note": "a.png"}]
    assert pictured(rows, tmp_path) == ["image"]


def test_a_hub_that_cannot_be_reached_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreachable:
        def load_dataset(self, **arguments: Any) -> Any:
            raise ConnectionError("no route\nmore")

    def offline(self: Any, hub: str, revision: str | None, timeout: float) -> None:
        raise ConnectionError(f"no way to {hub} at {revision} in {timeout:g} s")

    monkeypatch.setattr(copied, "library", Unreachable)
    said = message(tmp_path, hub="owner/name")
    assert (
        "mine.hub: owner/name cannot be loaded (no route); on a machine with access, run 'hf download" in said
    )
    assert "copy the folder here, and say hub: FOLDER" in said
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", offline)  # asked first, once
    said = message(tmp_path, hub="owner/name", revision="v1")
    assert "mine.hub: owner/name cannot be loaded (no way to owner/name at v1 in 10 s)" in said


def test_rows_are_copied_once_and_again_when_the_table_changes(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released(tmp_path / "set")
    first = task(tmp_path / "set")
    with monkeypatch.context() as closed:
        closed.setattr(copied, "prepare", None)  # nothing is prepared now
        assert task(tmp_path / "set").source == first.source
        assert task(tmp_path / "set", description="other words", chance=0.5).source == first.source
    released(tmp_path / "elsewhere")
    assert task(tmp_path / "elsewhere").source == first.source  # the same rows and pictures
    assert task(tmp_path / "set", prompt="{question} {answer}").source != first.source
    released(tmp_path / "set", answer=["green"] * 6)
    assert task(tmp_path / "set").source != first.source
    known = set((data / "own").iterdir())
    last = tmp_path / "last"
    released(last)
    assert task(last).source == first.source
    (copy,) = set((data / "own").iterdir()) - known
    rows = copy / "train" / "rows.arrow"
    rows.write_bytes(before := rows.read_bytes()[:-1])
    with monkeypatch.context() as offline:
        offline.setattr(copied, "_splits_of_hub", unreachable)
        with pytest.raises(InputError, match="no route"):
            task(last)
    assert rows.read_bytes() == before  # it stays until there is another
    assert task(last).source == first.source  # a damaged copy is made anew
    assert rows.read_bytes() != before


def test_rows_are_copied_again_when_a_picture_that_they_name_changes(tmp_path: Path) -> None:
    """Also where it was missing, so that its row was left out."""
    rows = [{"q": "?", "a": "red", "image": f"{n}.png", "key": str(n)} for n in range(3)]
    file = tmp_path / "rows.csv"
    file.write_text("q,a,image,key\n" + "".join(f"{','.join(row.values())}\n" for row in rows))
    settings = {"test": str(file), "prompt": "{q}", "answer": "{a}", "images": "image", "id": "key"}
    found = []
    for name, number in (("0.png", 1), ("1.png", 2), ("2.png", 3), ("1.png", 3), (None, 0)):
        if name is not None:
            (tmp_path / name).write_bytes(picture(number))
        found.append(get_task("mine", {"mine": TableTask.model_validate(settings)}))
    assert [one.sizes["test"] for one in found] == [1, 2, 3, 3, 3]
    assert len({one.source for one in found}) == 4 and found[3].source == found[4].source


def unreachable(*arguments: object) -> None:
    raise InputError("no route")


def test_rows_that_cannot_be_used_are_left_out_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    released(tmp_path, question=["a ?", " ", "c ?", None, "e ?", "f ?"], key=list("abcdef"))
    mine = task(tmp_path)
    assert mine.sizes == {"train": 4, "test": 4}
    assert "Task mine, train: 2 rows cannot be used (left out)." in caplog.text
    assert "row 2: prompt is empty" in caplog.text
    released(tmp_path / "none", answer=[None] * 6)
    with pytest.raises(InputError, match=r"no row of .* can be used; for instance: row 1: answer is empty"):
        task(tmp_path / "none")


@pytest.mark.parametrize("content", [b'[{"question": ', b"\xff\xfe", b"[1, 2]", b""])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    for form in ("json", "jsonl", "parquet", "csv"):
        file = tmp_path / f"rows.{form}"
        file.write_bytes(content)
        with pytest.raises(InputError, match=f"rows.{form}|there is no column"):
            task(file, test="train")


def test_pictures_stay_inside_their_folder(tmp_path: Path) -> None:
    save(tmp_path / "secret.jpg", picture(0))
    rows = [{"key": n, "question": "?", "answer": "a", "image": name} for n, name in enumerate(
        ("../secret.jpg", str(tmp_path / "secret.jpg"), "https://example.org/x.jpg", "gone.jpg", "there.jpg")
    )]  # fmt: skip
    save(tmp_path / "set" / "rows.jsonl", "\n".join(map(json.dumps, rows)).encode())
    save(tmp_path / "set" / "there.jpg", picture(1))
    mine = task(tmp_path / "set" / "rows.jsonl", test="train")
    assert [example.id for example in mine.examples("test")] == ["4"]


def test_what_is_not_there_is_not_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    for source in ("/nowhere/rows", "./rows", "rows.csv"):
        with pytest.raises(InputError, match=f"There is no file or folder {source}"):
            copied.first_rows(source)
    asked: list[tuple[str, str | None]] = []

    def reach(kind: str, hub: str, revision: str | None) -> None:
        asked.append((hub, revision))
        raise OSError("no way")

    monkeypatch.setattr(copied, "reach", reach)
    with pytest.raises(InputError, match=r"owner/name cannot be loaded \(no way\); on a machine with access"):
        copied.first_rows("owner/name")
    assert asked == [("owner/name", None)]


def test_class_labels_are_said_by_name(tmp_path: Path) -> None:
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    rows = {"image": [hub_image(n) for n in range(4)], "label": [0, 1, 1, -1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    settings = {
        **MINE,
        "hub": str(tmp_path),
        "test": "train",
        "id": None,
        "prompt": "what ?",
        "answer": "{label}",
    }
    mine = get_task("mine", {"mine": HubTask.model_validate(settings)})
    assert sorted(example.answer for example in mine.examples("test")) == [
        "cat",
        "dog",
        "dog",
    ]  # -1 is no label


def test_a_type_that_is_no_image_is_a_bad_row() -> None:
    assert pa.types.is_struct(IMAGE)
    with pytest.raises(Exception, match="column 'image' holds no image"):
        list(pictures_in(3, "image", None))
    with pytest.raises(Exception, match="nothing is fetched"):
        list(pictures_in("https://example.org/x.jpg", "image", None))


def test_rows_whose_own_answer_is_wrong_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    released(tmp_path, answer=["1", "two", "3", "four", "5", "6"])
    assert task(tmp_path, scorer="number").sizes["test"] == 4
    assert "the scorer 'number' finds 'two' itself wrong; it must be a plain number" in caplog.text


def test_choices_that_no_setting_names_are_told_when_a_table_is_copied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("question,optA,optB,label\n" + "which ?,red,blue,A\n" * 3)
    settings: dict[str, Any] = {"test": file, "answer": "{label}", "images": []}
    for prompt, said in (("{question}", True), ("{question} {optA} or {optB}", False)):
        caplog.clear()
        copied.load_table_task("mine", TableTask(**settings, prompt=prompt))
        assert (f"{file}: the model does not see optA, optB" in caplog.text) is said
    caplog.clear()
    named = {"choices": ("optA", "optB"), "scorer": "options"}
    copied.load_table_task("mine", TableTask(**settings, **named, prompt="{question}"))
    assert "does not see" not in caplog.text
