"""Own data: what a row may hold, and what each error says."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from holdfast.errors import InputError
from holdfast.tasks import picturefiles
from holdfast.tasks.catalog import get_task, names
from holdfast.tasks.imagecheck import look
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
        ({"prompt": "?"}, r"line 2, field 'answer': is missing\.$"),
        ({"question": "?", "answer": "x"}, r"line 2, .* is missing; if 'question' is it, .*\{question\}"),
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
        ({**ROW, "id": " "}, r"line 2, field 'id': is empty; leave it out"),
        ({**ROW, "image": "a.png"}, r"line 2, field 'image': is not a known field; did you mean 'images'\?$"),
        ({**ROW, "answer": math.nan}, r"line 2, field 'answer': is not a number \(NaN\), as tables write"),
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


@pytest.mark.parametrize("tolerance", ["0.1", True, -1, float("nan"), [1]])
def test_a_tolerance_is_a_number(tmp_path, tolerance):
    row = {"prompt": "?", "answer": "3; 4"}
    for told in ({"tolerance": tolerance}, {"meta": {"tolerance": tolerance}}):
        with pytest.raises(
            InputError, match=r"line 1, field 'tolerance': must be a number of at least 0, not"
        ):
            task_of(tmp_path, {**row, **told}, scorer="parts").examples("test")
    task = task_of(tmp_path, {**row, "tolerance": 0.5}, scorer="parts")
    assert task.score("3.4; 4.6", task.examples("test")[0]) == 0.5


def test_a_set_of_no_options_is_no_reference(tmp_path):
    with pytest.raises(InputError, match=r"the scorer 'option_set' finds ',' itself wrong"):
        task_of(tmp_path, {"prompt": "?", "answer": ","}, scorer="option_set").examples("test")


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
    picture(tmp_path, size=(8, 7))
    sources.append(task_of(tmp_path, *rows).source)
    assert len(set(sources)) == 3
    os.utime(file, ns=(0, 10**9))  # copied, or cloned: the same picture
    assert task_of(tmp_path, *rows).source == sources[-1]


def test_pictures_are_read_again_when_they_change_alone(tmp_path, monkeypatch):
    """A large set is looked at once, whichever process asks; a broken picture every time."""
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(picturefiles, "REMEMBER_FROM", 1)
    looked: list[bytes] = []
    monkeypatch.setattr(picturefiles, "look", lambda data: looked.append(data) or look(data))
    rows = [{**ROW, "images": name} for name in ("a.png", "b.png", "bad.png")]
    picture(tmp_path, "a.png"), picture(tmp_path, "b.png", (9, 9))
    (tmp_path / "bad.png").write_text("no picture")

    def load() -> int:
        monkeypatch.setattr(picturefiles, "_found", {})  # as in a new process
        looked.clear()
        task = task_of(tmp_path, *rows)
        assert len(task.examples("test", 2)) == 2
        with pytest.raises(InputError, match=r"line 3, .*'bad.png' cannot be read"):
            task.examples("test")
        return len(looked)

    assert [load(), load()] == [3, 1]
    picture(tmp_path, "b.png", (10, 10))
    assert load() == 2
    for _ in range(2):  # written anew, the second time with the size and the time that were there before
        os.utime(tmp_path / "b.png", (0, 0))
        assert load() == 2
    for damage in ("", "[]", '{"version": 2}', '{"version": 0, "sha256": {}}'):
        (tmp_path / "data" / "pictures.json").write_text(damage)
        assert load() == 3


def test_pictures_stand_where_the_markers_do(tmp_path):
    picture(tmp_path, "a.png"), picture(tmp_path, "b.png")
    rows = [
        {"prompt": "first: <image> second: <image> same?", "answer": "x", "images": ["a.png", "b.png"]},
        {"prompt": "Which?", "answer": "x", "choices": ["<image>", "<image>"], "images": ["a.png", "b.png"]},
    ]
    assert len(task_of(tmp_path, *rows).examples("test")) == 2


@pytest.mark.parametrize(
    ("prompt", "images", "message"),
    [
        ("<image><image><image> same?", 2, "has 3 <image> markers for 2 images; write one for each, or none"),
        ("<image> same?", 2, "has 1 <image> markers for 2 images"),
        ("<image> same?", 0, "has 1 <image> markers for 0 images"),
    ],
)
def test_markers_are_counted(tmp_path, prompt, images, message):
    picture(tmp_path)
    row = {**ROW, "prompt": prompt, "images": ["a.png"] * images}
    with pytest.raises(InputError, match=rf"line 1, field 'prompt': {message}"):
        task_of(tmp_path, row).examples("test")


@pytest.mark.parametrize(
    "marker", ["<Image>", "<img>a.png</img>", "[IMG]", "<ImageHere>", "<image 1>", "![](a.png)"]
)
def test_pictures_that_are_marked_in_another_form_are_asked_about(tmp_path, marker):
    picture(tmp_path)
    with pytest.raises(InputError, match=r"line 1, field 'prompt': holds .*, which marks no picture here"):
        task_of(tmp_path, {**ROW, "prompt": f"{marker} what?"}).examples("test")
    shown = task_of(tmp_path, {**ROW, "prompt": f"{marker} what?", "images": ["a.png"]})
    if marker in ("<image 1>", "![](a.png)"):  # which may be words about the picture
        assert len(shown.examples("test")[0].images) == 1
    else:
        with pytest.raises(InputError, match="marks no picture here"):
            shown.examples("test")


def test_choices_in_fields_of_their_own_are_asked_about(tmp_path):
    with pytest.raises(InputError, match="line 1, field 'A': looks like one of the choices"):
        task_of(tmp_path, {**ROW, "A": "red", "B": "blue"}).examples("test")


def test_a_broken_array_is_named_with_its_line(tmp_path):
    (tmp_path / "rows.json").write_text('[\n {"prompt": "q", "answer": "a"},\n {"prompt": "p",}\n]\n')
    with pytest.raises(InputError, match=r"rows.json: is broken JSON: .* at line 3, column"):
        load_task("rows", OwnTask(test=tmp_path / "rows.json"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image_path", "x.png", "looks like 'images', but no field of that name is read; rename it, or move"),
        ("imagePath", "x.png", "looks like 'images'"),
        ("img", "x.png", "looks like 'images'"),
        ("image_1", "x.png", "looks like 'images'"),
        ("pictures", ["x.png"], "looks like 'images'"),
        ("photos", [{"path": "x.png"}], "looks like 'images'"),
        ("options", ["red", "blue"], "looks like 'choices'"),
        ("option_a", "red", "looks like 'choices'"),
        ("candidates", ["red", "blue"], "looks like 'choices'"),
        (
            "scan",
            "a.png",
            "names the picture 'a.png', but pictures are read from 'images'; rename it, or move",
        ),
        ("pages", ["a.png"], "names the picture 'a.png'"),
        ("scan", {"file": "a.png"}, "names the picture 'a.png'"),
        ("image_b64", "iVBORw0KGgo", "looks like 'images'"),
        ("meta", "a.png", "must be an object, not text"),
    ],
)
def test_a_picture_or_options_by_another_name_are_asked_about(tmp_path, key, value, message):
    picture(tmp_path)
    with pytest.raises(InputError, match=rf"test.jsonl, line 1, field '{key}': {message}"):
        task_of(tmp_path, {**ROW, key: value}).examples("test")
    if key != "meta":
        (example,) = task_of(tmp_path, {**ROW, "meta": {key: value}, "source": "book"}).examples("test")
        assert example.meta == {"source": "book", key: value} and example.images == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [("image_id", 7), ("photographer", "Ann"), ("image_license", "CC"), ("file", "b.png"), ("optional", "x")],
)
def test_other_fields_are_kept(tmp_path, key, value):
    assert task_of(tmp_path, {**ROW, key: value}).examples("test")[0].meta == {key: value}


def test_a_second_name_beside_the_pictures_is_kept(tmp_path):
    picture(tmp_path)
    row = {**ROW, "images": "a.png", "image_url": "http://a.b/a.png", "file": "a.png"}
    assert set(task_of(tmp_path, row).examples("test")[0].meta) == {"image_url", "file"}


HALF = "holds half a character"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (r'{"prompt": "a \ud83d b", "answer": "x"}', f", field 'prompt': {HALF}"),
        (r'{"prompt": "a", "answer": "\uDE00"}', f", field 'answer': {HALF}"),
        (r'{"prompt": "a", "answer": "x", "id": "\ud83d"}', f", field 'id': {HALF}"),
        (r'{"prompt": "a", "answer": "x", "choices": ["\ud83d", "x"]}', f", field 'choices': {HALF}"),
        (r'{"prompt": "a", "answer": "x", "meta": {"k": ["\ud83d"]}}', f", field 'meta': {HALF}"),
        (r'{"prompt": "a", "answer": "x", "\ud83d": 1}', f", field '.ud83d': {HALF}"),
        ('{"prompt": "a", "answer": "x", "deep": ' + "[" * 9999 + "]" * 9999 + "}", ": is nested too deep"),
        ('{"prompt": "a", "answer": "x", "n": ' + "9" * 5000 + "}", ": holds a number of too many digits"),
        ('{"prompt": "a", "answer": "x", "prompt": "b"}', ", field 'prompt': stands there twice; keep one"),
        ('{"prompt": "a", "answer": "x", "meta": {"k": 1, "k": 2}}', ", field 'k': stands there twice"),
        ('{"prompt": "a", "answer": "x", "images": "' + "a" * 300 + '.png"}', r"a' is no usable path \(File"),
        ('{"prompt": "a", "answer": "x", "images": "pipe.png"}', "the picture 'pipe.png' is missing"),
    ],
)  # fmt: skip
def test_lines_that_readers_stumble_over(tmp_path, line, message):
    os.mkfifo(tmp_path / "pipe.png")  # reading it would wait for ever
    with pytest.raises(InputError, match=rf"test.jsonl, line 1.*{message}") as caught:
        task_of(tmp_path, line).examples("test")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    str(caught.value).encode()  # can be printed


def test_whole_characters_of_two_escapes_are_text(tmp_path):
    (example,) = task_of(tmp_path, r'{"prompt": "\ud83d\ude00", "answer": "x"}').examples("test")
    assert example.prompt == "\U0001f600"


@pytest.mark.parametrize("form", ["{}. {}", "({}) {}", "{}) {}", " {}: {}"])
@pytest.mark.parametrize("answer", ["B", "a dog", "{}"])
def test_options_that_begin_with_their_letters_are_shown_with_one(tmp_path, form, answer):
    texts = [
        form.format(letter, text) for letter, text in zip("ABC", ("a cat", "a dog", "an owl"), strict=True)
    ]
    row = {"prompt": "Which?", "answer": answer.format(texts[1]), "choices": texts}
    (example,) = task_of(tmp_path, row, scorer="choice").examples("test")
    assert example.prompt == "Which?\nA. a cat\nB. a dog\nC. an owl"
    assert (example.answer, example.choices) == ("B", ("a cat", "a dog", "an owl"))


@pytest.mark.parametrize(
    "texts",
    [["A. Lincoln", "G. Washington"], ["A. cat", "a dog"], ["B. cat", "A. dog"], ["A.", "B."], ["A", "B"]],
)
def test_options_that_begin_otherwise_are_as_they_are(tmp_path, texts):
    row = {"prompt": "Which?", "answer": texts[0], "choices": texts}
    (example,) = task_of(tmp_path, row, scorer="exact").examples("test")
    assert example.choices == tuple(texts)


def test_the_answer_among_the_choices_twice(tmp_path):
    row = {"prompt": "?", "answer": "cat", "choices": ["cat", "dog", "cat"]}
    with pytest.raises(InputError, match="field 'choices': hold 'cat', the answer, 2 times; keep one"):
        task_of(tmp_path, row, scorer="choice").examples("test")


def test_settings():
    with pytest.raises(ValidationError, match="at least one of train, validation, test"):
        OwnTask()
    with pytest.raises(ValidationError, match="no scorer 'exacto'; there is exact"):
        OwnTask(test=Path("t.jsonl"), scorer="exacto")


def test_catalog(tmp_path):
    own = {"mine": OwnTask(test=write(tmp_path, {"prompt": "?", "answer": "x"}))}
    assert names()[0] == "diagrams"
    assert get_task("mine", own).name == "mine"
    assert get_task("reading").name == "reading"
    with pytest.raises(InputError, match="no task 'invoices'; 'holdfast tasks' and 'holdfast data' list"):
        get_task("invoices", {})
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
