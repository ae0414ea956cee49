"""Own data in the shapes that other tools keep it in: chats, JSON arrays, tables, pictures within rows."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cli_helpers import Call
from experiment_helpers import make_experiment
from holdfast.config.remarks import remarks
from holdfast.errors import InputError
from holdfast.start.look import is_table, look_at_table
from holdfast.tasks.chat import as_row
from holdfast.tasks.columns import TableTask
from holdfast.tasks.copied import load_table_task
from holdfast.tasks.example import Example, open_image
from holdfast.tasks.jsonl import OwnTask, load_task
from holdfast.tasks.picturefiles import inline
from hub_fixtures import IMAGE, hub_image, table

QUESTION = "Which colour?"


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "set"))


def picture(folder: Path, name: str, colour: str = "red") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (30, 30), colour).save(path)
    return path


OWN_PICTURE = {"type": "image", "image": "a.png"}


def rows_of(folder: Path, *rows: Any, name: str = "test.jsonl", **settings: Any) -> list[Example]:
    path = folder / name
    text = json.dumps(rows, indent=1) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    path.write_text(text)
    return load_task("mine", OwnTask(test=path, **settings)).examples("test")


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


IMAGE_PART, TEXT_PART = {"type": "image"}, {"type": "text", "text": QUESTION}
LLAVA = [{"from": "human", "value": f"<image>\n{QUESTION}"}, {"from": "gpt", "value": "red"}]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [said("user", QUESTION), said("assistant", "red")], "images": ["a.png"]},
        {"messages": [said("user", f"<image>{QUESTION}"), said("assistant", "red")], "images": ["a.png"]},
        {"messages": [said("user", [IMAGE_PART, TEXT_PART]), said("assistant", "red")], "images": "a.png"},
        {"messages": [said("user", [{"type": "image", "image": "a.png"}, TEXT_PART])], "answer": "red"},
        {
            "messages": [
                said("user", [{"type": "image_url", "image_url": {"url": "a.png"}}, TEXT_PART]),
                said("assistant", [{"type": "text", "text": "red"}]),
            ]
        },
        {"prompt": [said("user", QUESTION)], "completion": [said("assistant", "red")], "images": ["a.png"]},
        {"conversations": LLAVA, "image": "a.png"},
        {"conversations": LLAVA, "images": ["a.png"]},
    ],
)  # fmt: skip
def test_every_shape_of_a_chat_is_the_same_row(tmp_path: Path, row: dict[str, Any]) -> None:
    path = picture(tmp_path, "a.png").resolve()
    (example,) = rows_of(tmp_path, row)
    assert (example.prompt, example.answer, example.images) == (QUESTION, "red", (path,))


def test_pictures_stay_where_they_stand_among_the_words() -> None:
    parts = [{"type": "text", "text": "Is "}, IMAGE_PART, {"type": "text", "text": " like "}, IMAGE_PART]
    row = as_row({"messages": [said("user", parts), said("assistant", "no")], "images": ["a", "b"], "id": 3})
    assert row == {"prompt": "Is <image> like <image>", "answer": "no", "images": ["a", "b"], "id": 3}


def test_what_the_system_says_stands_before_the_question() -> None:
    turns = [said("system", "Be short."), said("user", "Why?"), said("assistant", "so")]
    assert as_row({"messages": turns})["prompt"] == "Be short.\nWhy?"


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        (
            [said("user", "a"), said("assistant", "b")] * 2,
            "'messages': has 2 turns of the user; a row",
        ),
        ([said("user", "a")], "'messages': has 0 turns of the assistant, and no field 'answer'"),
        (
            [said("assistant", "b"), said("user", "a")],
            "'messages': answers before it is asked; put the user's",
        ),
        ([said("tool", "a")], "'messages': has a turn of 'tool'; there are system, user, human"),
        ([said("user", [IMAGE_PART]), said("assistant", "b")], "'messages': shows more pictures than"),
        ([said("user", [{"type": "audio"}])], "'messages': has a part that is neither text nor image"),
        ([{"role": ["user"], "content": "a"}], "'messages': has a turn of"),
        ([said("user", "a"), said("assistant", [OWN_PICTURE])], "'messages': shows a picture in the as"),
        ({"role": "user", "content": "a"}, "'messages': must be a list of turns"),
    ],
)
def test_chats_that_are_no_single_question(tmp_path: Path, turns: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=f"test.jsonl, line 1, field {message}"):
        rows_of(tmp_path, {"messages": turns})


def test_a_system_prompt_beside_the_turns_is_asked_about(tmp_path: Path) -> None:
    row = {"messages": [said("user", "a"), said("assistant", "b")], "system": "Be brief."}
    with pytest.raises(InputError, match="line 1, field 'system': is not read; make it the first turn"):
        rows_of(tmp_path, row)


def test_a_changed_picture_of_a_chat_is_other_data(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({"conversations": LLAVA, "image": "a.png"}))
    sources = set()
    for colour in ("red", "blue"):
        picture(tmp_path, "a.png", colour)
        sources.add(load_task("mine", OwnTask(test=tmp_path / "test.jsonl")).source)
    assert len(sources) == 2


def test_a_json_array_is_its_items(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "answer": "b"}, {"prompt": "c", "answer": "d"}]
    examples = rows_of(tmp_path, *rows, name="test.json")
    assert [(one.prompt, one.answer) for one in examples] == [("a", "b"), ("c", "d")]
    with pytest.raises(InputError, match=r"test.json, item 2, field 'answer': is missing"):
        rows_of(tmp_path, rows[0], {"prompt": "c"}, name="test.json")
    (tmp_path / "test.json").write_text('[{"prompt": "a", "answer": "b", "answer": "c"}]')
    with pytest.raises(InputError, match=r"test.json: an item has the field 'answer' twice"):
        load_task("mine", OwnTask(test=tmp_path / "test.json"))


@pytest.mark.parametrize("indent", [None, 1])
def test_rows_inside_an_object_are_said_to_lie_there(tmp_path: Path, call: Call, indent: int | None) -> None:
    rows = [{"prompt": "a", "answer": "b"}, {"prompt": "c", "answer": "d"}]
    file = tmp_path / "test.json"
    file.write_text(json.dumps({"version": 1, "authors": ["me"], "data": rows}, indent=indent) + "\n")
    with pytest.raises(InputError, match=r"test.json: its rows lie in the list 'data'; save that list alone"):
        load_task("mine", OwnTask(test=file))
    said = call("init", tmp_path / "new.yaml", "--data", file, "--model", "embedded")
    assert said.code == 2 and "its rows lie in the list 'data'" in said.err


@pytest.mark.parametrize("before", ["data:image/png;base64,", ""])
def test_pictures_within_rows(tmp_path: Path, before: str) -> None:
    noise = Image.effect_noise((40, 40), 50).convert("RGB")
    noise.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    row = {"prompt": "?", "answer": "x", "images": before + base64.b64encode(data).decode()}
    (example,) = rows_of(tmp_path, row)
    assert example.images == (data,)
    assert open_image(example.images[0]).tobytes() == noise.tobytes()


def test_base64_in_lines_of_urls_and_without_its_end_is_read(tmp_path: Path) -> None:
    Image.effect_noise((41, 40), 50).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    in_lines, of_urls = base64.encodebytes(data).decode(), base64.urlsafe_b64encode(data).decode()
    assert "\n" in in_lines and "_" in of_urls
    for text in (in_lines, f"data:image/png;base64,{in_lines}", f"DATA:image/png;BASE64, {of_urls}"):
        assert inline(text) == inline(text.rstrip("=\n")) == data
    assert inline("a picture of many things.png" * 20) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data:image/png;base64,AAAA", "no image, or damaged"),
        ("data:image/png,AAAA", "is no data URL in base64"),
        ("data:image/png;base64,A!", "base64 is broken"),
    ],
)
def test_broken_pictures_within_rows(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"line 1, field 'images': .*({message})"):
        rows_of(tmp_path, {"prompt": "?", "answer": "x", "images": [text]})


def test_rows_are_shuffled_by_a_seed_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = [{"prompt": str(n), "answer": "x"} for n in range(50)]
    as_written = rows_of(tmp_path, *rows)
    orders = {seed: [one.prompt for one in rows_of(tmp_path, *rows, shuffle=seed)] for seed in (0, 1)}
    assert [one.prompt for one in as_written] == [str(n) for n in range(50)]
    for order in orders.values():
        assert sorted(order, key=int) == [str(n) for n in range(50)] != order
    assert orders[0] != orders[1]
    path = tmp_path / "test.jsonl"
    tasks = [load_task("mine", OwnTask(test=path, shuffle=seed)) for seed in (None, 0, 1)]
    assert len({task.source for task in tasks}) == 3
    assert [one.prompt for one in tasks[1].examples("test", 5)] == orders[0][:5]
    (one,) = (one for one in tasks[1].examples("test") if one.prompt == "7")
    assert one.id == "test-8"  # the line, in any order


COLUMNS = {"prompt": "{question}", "answer": "{answer}", "images": "image", "scorer": "exact"}


@pytest.mark.parametrize("kind", ["parquet", "arrow", "csv", "jsonl"])
def test_a_file_for_each_split_with_named_columns(tmp_path: Path, kind: str) -> None:
    named, columns = "image" if kind in ("csv", "jsonl") else None, dict(COLUMNS)
    for split in ("train", "test"):
        picture(tmp_path, f"{split}.png")
        image = f"{split}.png" if named else hub_image(0)
        rows = [{"question": f"{split} {n}?", "answer": f"a{n}", "image": image} for n in range(3)]
        path = tmp_path / f"{split}.{kind}"
        if kind == "csv":
            lines = [",".join(map(str, row.values())) for row in rows]
            path.write_text("\n".join(["question,answer,image", *lines]) + "\n")
        elif kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif kind == "parquet":
            table(path, rows, image=IMAGE)
        else:
            table(tmp_path / "whole.parquet", rows, image=IMAGE)
            whole = pq.read_table(tmp_path / "whole.parquet")
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, whole.schema) as writer:
                writer.write_table(whole)
    own = {"train": f"train.{kind}", "test": f"test.{kind}", **columns}
    experiment = make_experiment(tmp_path, tasks={"mine": own}, sequence=["mine"], train_examples=None)
    task = experiment.task("mine")
    assert task.sizes == {"train": 3, "test": 3}
    assert {one.prompt for one in task.examples("test")} == {"test 0?", "test 1?", "test 2?"}
    assert len(task.examples("train")[0].images) == 1


def test_a_table_says_which_file_or_column_is_missing(tmp_path: Path) -> None:
    table(tmp_path / "train.parquet", [{"question": "a", "answer": "b"}])
    own = {"train": "train.parquet", "test": "tset.parquet", **COLUMNS}
    with pytest.raises(InputError, match=r"there is no file .*tset.parquet"):
        make_experiment(tmp_path, tasks={"mine": own}, sequence=["mine"])
    own = {"train": "train.parquet", "test": "train.parquet", **COLUMNS}
    with pytest.raises(InputError, match=r"images: there is no column 'image'"):
        make_experiment(tmp_path, tasks={"mine": own}, sequence=["mine"])


def test_a_column_of_turns(tmp_path: Path) -> None:
    turns = [said("user", QUESTION), said("assistant", "red")]
    for split in ("train", "test"):
        table(tmp_path / f"{split}.parquet", [{"chat": turns, "pictures": [hub_image(0)]}])
    own = {"train": "train.parquet", "test": "test.parquet", "messages": "chat", "images": "pictures"}
    experiment = make_experiment(tmp_path, tasks={"mine": own}, sequence=["mine"])
    (example,) = experiment.task("mine").examples("test")
    assert (example.prompt, example.answer, len(example.images)) == (QUESTION, "red", 1)


def test_answers_may_lie_beside_turns_that_only_ask(tmp_path: Path) -> None:
    """As rows for GRPO do in TRL and ms-swift."""
    picture(tmp_path, "a.png")
    rows = [{"prompt": [said("user", "<image>What?")], "image": "a.png", "solution": "a mill"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert is_table(tmp_path / "rows.jsonl")
    found = look_at_table("", {"test": tmp_path / "rows.jsonl"})
    assert found.settings["messages"] == "prompt" and found.settings["answer"] == "{solution}"
    task = load_table_task("mine", TableTask.model_validate(found.settings))
    (example,) = task.examples("test")
    assert (example.prompt, example.answer, len(example.images)) == ("What?", "a mill", 1)
    with pytest.raises(
        InputError, match=r'if \'solution\' is it, name the columns \(messages: prompt, answer: "{sol'
    ):
        rows_of(tmp_path, rows[0])


def test_pictures_of_a_chat_lie_in_one_field(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path, name)
    turns = [said("user", "What?"), said("assistant", "a mill")]
    with pytest.raises(InputError, match="field 'image': stands beside 'images'"):
        rows_of(tmp_path, {"messages": turns, "image": "a.png", "images": ["b.png"]})


def test_numbers_of_examples_are_at_most_or_one_for_each_task(tmp_path: Path) -> None:
    rows = [{"prompt": f"{n}?", "answer": "x"} for n in range(20)]
    for name, count in (("train", 20), ("test", 3)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:count]))
    own = {"tasks": {"mine": {"train": "train.jsonl", "test": "test.jsonl"}}, "sequence": ["mine"]}
    most = make_experiment(tmp_path, **own, general=["presence"], test_examples=8)
    assert [len(most.task(name).examples("test", most.count(most.task(name), "test")))
            for name in ("mine", "presence")] == [3, 8]  # fmt: skip
    each = make_experiment(
        tmp_path, **own, general=["presence"], test_examples={"presence": 5}, train_examples={"mine": 16}
    )
    assert [each.count(each.task(name), "test") for name in ("mine", "presence")] == [None, 5]
    assert each.count(each.task("mine"), "train") == 16
    with pytest.raises(InputError, match=r"test_examples.mnie: is no task; did you mean 'mine'\?"):
        make_experiment(tmp_path, **own, test_examples={"mnie": 5, "presence": 5})
    with pytest.raises(InputError, match="Task presence has no end"):
        make_experiment(tmp_path, **own, general=["presence"], test_examples={"mine": 5})


def test_rows_that_are_trained_on_and_judged_are_counted(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    picture(tmp_path, "b.png")  # the same content
    picture(tmp_path, "c.png", "blue")
    rows = {
        "train": [{"prompt": "What  is it?", "answer": "x", "images": "a.png"}],
        "test": [
            {"prompt": "What is it?", "answer": "x", "images": "b.png"},
            {"prompt": "How many?", "answer": "x", "images": "b.png"},
            {"prompt": "What is it?", "answer": "x", "images": "c.png"},
        ],
    }
    for name, own in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    tasks = {"mine": {"train": "train.jsonl", "test": "test.jsonl"}}
    method = {"sft": {"objective": "sft", "batch": 1}}
    experiment = make_experiment(tmp_path, tasks=tasks, sequence=["mine"], methods=method)
    fewer, more, same, shown = remarks(experiment)
    assert fewer == "Task mine has 1 train rows; all are taken (16 were asked for)."
    assert more == "Task mine has 3 test rows; all are taken (8 were asked for)."
    assert same.startswith(
        "Task mine: 1 of 3 test rows are also trained on (the same text and pictures), the"
    )
    assert shown.startswith("Task mine: 1 more of 3 test rows show a picture that is trained on")
    tasks["mine"]["scorer"] = "mmmu"
    assert "mmmu" not in " ".join(
        remarks(make_experiment(tmp_path, tasks=tasks, sequence=["mine"], methods=method))
    )
    method = {"grpo": {"objective": "grpo", "batch": 1}}
    said = [*remarks(make_experiment(tmp_path, tasks=tasks, sequence=["mine"], methods=method))]
    assert len(said) == 5 and "can learn to list many" in said[2]
