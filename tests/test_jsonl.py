"""Own data: what a row may hold, and what each error says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from holdfast.errors import InputError
from holdfast.tasks.catalog import get_task, names
from holdfast.tasks.jsonl import OwnTask, load_task
from holdfast.tasks.sheet import PICTURE, scaled, wrapped, write_sheet
from holdfast.tasks.task import Task


def write(folder: Path, *rows: object, name: str = "test.jsonl") -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def task_of(folder: Path, *rows: object, scorer: str = "exact") -> Task:
    return load_task("mine", OwnTask(test=write(folder, *rows), scorer=scorer))


def picture(folder: Path, name: str = "a.png", size: tuple[int, int] = (8, 6)) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "red").save(path)
    return path


def test_a_full_row(tmp_path):
    picture(tmp_path, "pictures/a.png")
    task = task_of(
        tmp_path,
        {
            "id": 7,
            "prompt": "Which?",
            "images": ["pictures/a.png"],
            "answer": "B",
            "choices": ["red", "blue"],
            "rationale": "it is blue",
            "aliases": ["navy"],
            "source": "book",
        },
    )
    (example,) = task.examples("test")
    assert example.id == "7"
    assert example.prompt == "Which?\nA. red\nB. blue"
    assert example.images == ((tmp_path / "pictures" / "a.png").resolve(),)
    assert example.choices == ("red", "blue")
    assert (example.rationale, example.aliases) == ("it is blue", ("navy",))
    assert example.meta == {"source": "book"}
    assert task.score("b", example) == 1
    assert task.lenient_score("navy", example) == 1


def test_the_least_a_row_needs(tmp_path):
    picture(tmp_path)
    task = task_of(
        tmp_path, {"prompt": "?", "answer": "x"}, "", {"prompt": "?", "answer": "y", "images": "a.png"}
    )
    first, second = task.examples("test")
    assert task.sizes == {"test": 2}
    assert (first.id, second.id) == ("test-1", "test-3")  # numbers of lines, blank ones counted
    assert first.images == ()
    assert len(second.images) == 1
    assert task.examples("test", 1) == [first]


def test_optional_fields_may_be_null(tmp_path):
    (example,) = task_of(tmp_path, {"prompt": "?", "answer": "x", "choices": None, "id": None}).examples(
        "test"
    )
    assert (example.choices, example.id) == ((), "test-1")


@pytest.mark.parametrize(("answer", "letter"), [("b", "B"), ("blue", "B"), ("A", "A")])
def test_the_choice_scorer_wants_a_letter(tmp_path, answer, letter):
    row = {"prompt": "?", "answer": answer, "choices": ["red", "blue"]}
    (example,) = task_of(tmp_path, row, scorer="choice").examples("test")
    assert example.answer == letter


def test_the_scorers_of_benchmarks_work_on_own_data(tmp_path):
    rows = [{"prompt": "?", "answer": "dog", "references": ["dog", "dog", "cat", "a cow"]}]
    vqa = task_of(tmp_path, *rows, scorer="vqa")
    assert [vqa.score(answer, vqa.examples("test")[0]) for answer in ("the dog", "cat", "x")] == [1, 0.5, 0]
    rows = [{"prompt": "?", "answer": "blue", "choices": ["red", "blue"]}]
    options = task_of(tmp_path, *rows, scorer="options")
    assert options.score("the answer is (B)", options.examples("test")[0]) == 1


ROW = {"prompt": "?", "answer": "x"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"prompt": "?", "answer": ', r"line 2: is broken JSON: .* at column"),
        ("[1, 2]", r"line 2: must be a JSON object .* not a list"),
        ({"prompt": "?"}, r"line 2, field 'answer': is missing"),
        ({"answer": "x"}, r"line 2, field 'prompt': is missing"),
        ({"prompt": "?", "answer": "  "}, r"line 2, field 'answer': is empty"),
        ({"prompt": "?", "answer": 3}, r"line 2, field 'answer': must be text, not a number; write it"),
        ({"prompt": ["?"], "answer": "x"}, r"line 2, field 'prompt': must be text, not a list"),
        ({**ROW, "choices": "red"}, r"line 2, field 'choices': must be a list of texts, not text"),
        ({**ROW, "choices": ["red"]}, r"line 2, field 'choices': must hold 2 to 26 options, not 1"),
        ({**ROW, "choices": ["red", 4]}, r"line 2, field 'choices': .* number 2 is a number"),
        ({**ROW, "images": {"path": "a.png"}}, r"line 2, field 'images': must be a list of texts, not an"),
        ({**ROW, "images": "b.png"}, r"line 2, field 'images': the picture 'b.png' is missing"),
        ({**ROW, "images": "bad.png"}, r"line 2, field 'images': the picture 'bad.png' cannot be read"),
        ({**ROW, "images": "cut.png"}, r"line 2, field 'images': the picture 'cut.png' cannot be read"),
        ({**ROW, "images": "cut.jpg"}, r"line 2, field 'images': the picture 'cut.jpg' cannot be read \(cut"),
        ({**ROW, "images": "http://a.b/c.png"}, r"line 2, field 'images': 'http://a.b/c.png' is an address"),
        ({**ROW, "images": "../out.png"}, r"line 2, field 'images': '../out.png' leads out of"),
        ({**ROW, "images": "/etc/hostname"}, r"line 2, field 'images': '/etc/hostname' leads out of"),
        ({**ROW, "images": "link.png"}, r"line 2, field 'images': 'link.png' leads out of"),
        ({**ROW, "images": "a\0.png"}, r"line 2, field 'images': .* is no usable path"),
        ({**ROW, "id": "first"}, r"line 2, field 'id': 'first' is also the id of line 1"),
        ({**ROW, "id": 1.5}, r"line 2, field 'id': must be text or a whole number, not a number"),
        ({**ROW, "image": "a.png"}, r"line 2, field 'image': is not a known field; did you mean 'images'\?"),
        ({**ROW, "rationale": 3}, r"line 2, field 'rationale': must be text"),
    ],
)  # fmt: skip
def test_errors_name_file_line_and_field(tmp_path, row, message):
    folder = tmp_path / "data"
    picture(tmp_path, "out.png")
    picture(folder, "a.png")
    (folder / "bad.png").write_text("no picture")
    (folder / "cut.png").write_bytes(picture(folder, "whole.png", (64, 64)).read_bytes()[:60])
    (folder / "cut.jpg").write_bytes(picture(folder, "whole.jpg", (64, 64)).read_bytes()[:-60])
    (folder / "link.png").symlink_to(tmp_path / "out.png")
    task = task_of(folder, {**ROW, "id": "first"}, row)
    with pytest.raises(InputError, match=rf"{folder}/test.jsonl, {message}"):
        task.examples("test")


def test_an_answer_that_is_no_option(tmp_path):
    row = {"prompt": "?", "answer": "green", "choices": ["red", "blue"]}
    with pytest.raises(InputError, match="'green' is neither a letter A to B nor one of the choices"):
        task_of(tmp_path, row, scorer="choice").examples("test")


def test_a_letter_that_is_another_options_text(tmp_path):
    row = {"prompt": "?", "answer": "A", "choices": ["B", "A"]}
    with pytest.raises(InputError, match="'A' is the letter of option A and the text of option B; change"):
        task_of(tmp_path, row, scorer="choice").examples("test")
    same = {"prompt": "?", "answer": "B", "choices": ["A", "B"]}
    assert task_of(tmp_path, same, scorer="choice").examples("test")[0].answer == "B"


def test_text_that_is_not_utf8(tmp_path):
    (tmp_path / "test.jsonl").write_bytes('{"prompt": "é", "answer": "x"}'.encode("latin-1"))
    task = load_task("mine", OwnTask(test=tmp_path / "test.jsonl"))
    with pytest.raises(InputError, match="line 1: is not UTF-8 text"):
        task.examples("test")


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(InputError, match=r"test data file .*no.jsonl does not exist"):
        load_task("mine", OwnTask(test=tmp_path / "no.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n \n")
    with pytest.raises(InputError, match="test split is empty"):
        load_task("mine", OwnTask(test=tmp_path / "empty.jsonl")).examples("test")


def test_the_fingerprint_follows_the_content(tmp_path):
    first = task_of(tmp_path, {"prompt": "?", "answer": "x"}).source
    assert task_of(tmp_path, {"prompt": "?", "answer": "x"}).source == first
    assert task_of(tmp_path, {"prompt": "?", "answer": "y"}).source != first


def test_the_fingerprint_follows_the_pictures(tmp_path):
    rows = [{**ROW, "images": "a.png"}, {**ROW, "images": ["b.png", 3]}, '{"images": ', '["images"]']
    sources = [task_of(tmp_path, *rows).source]  # nothing is there yet
    file = picture(tmp_path)
    sources.append(task_of(tmp_path, *rows).source)
    os.utime(file, ns=(0, 10**9))
    sources.append(task_of(tmp_path, *rows).source)
    assert len(set(sources)) == 3
    assert task_of(tmp_path, *rows).source == sources[-1]


def test_settings():
    with pytest.raises(ValidationError, match="at least one of train, validation, test"):
        OwnTask()
    with pytest.raises(ValidationError, match="no scorer 'exacto'; there is exact"):
        OwnTask(test=Path("t.jsonl"), scorer="exacto")


def test_catalog(tmp_path):
    own = {"mine": OwnTask(test=write(tmp_path, {"prompt": "?", "answer": "x"}))}
    assert names(own)[0] == "diagrams"
    assert names(own)[-1] == "mine"
    assert get_task("mine", own).name == "mine"
    assert get_task("reading").name == "reading"
    with pytest.raises(InputError, match="no task 'readin'; did you mean 'reading'"):
        get_task("readin", own)
    with pytest.raises(InputError, match="name of an embedded one"):
        get_task("reading", {"reading": own["mine"]})


def test_contact_sheet(tmp_path):
    picture(tmp_path, "tiny.png", (20, 10))
    picture(tmp_path, "big.png", (900, 300))
    rows = [
        {"prompt": "Which? " * 60, "answer": "x", "images": ["tiny.png", "big.png"]},
        {"prompt": "?", "answer": "y"},
    ]
    write_sheet(task_of(tmp_path, *rows), tmp_path / "new" / "sheet.png", "test", 2)
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 2 * PICTURE
    with pytest.raises(InputError, match="2 test examples, but 3"):
        write_sheet(task_of(tmp_path, *rows), tmp_path / "sheet.png", "test", 3)


def test_tiny_pictures_grow_by_whole_pixels():
    assert scaled(Image.new("RGB", (48, 48))).size == (240, 240)
    assert scaled(Image.new("RGB", (200, 100))).size == (200, 100)
    assert max(scaled(Image.new("RGB", (1000, 500))).size) == PICTURE
    assert len(wrapped("word " * 500)) == 10
