"""`holdfast init`: the first experiment of somebody who has just installed it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cli_helpers import Call
from holdfast.config.load import load_experiment
from holdfast.errors import InputError
from holdfast.start import look
from holdfast.start.draft import cut_off
from holdfast.start.look import is_table, look_at_rows, look_at_table, style_for
from holdfast.start.split import split_file
from holdfast.tasks.fieldnames import choice_columns
from hub_fixtures import IMAGE, hub_image, table


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOLDFAST_DATA", f"{tmp_path}-data")


def write(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def questions(answers: list[str], **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"what is {n} ?", "answer": answer, **more} for n, answer in enumerate(answers)]


@pytest.mark.parametrize(
    ("rows", "scorer"),
    [
        (questions(["yes", "No", "no."]), "yes_no"),
        (questions(["12", "-0.5", "1,200"]), "number"),
        (questions(["12", "twelve"]), "exact"),
        (questions(["B", "red"], choices=["red", "blue"]), "options"),
        (questions(["green"], choices=["red", "blue"]), "exact"),
        (questions(["dog", "dog"], references=["dog", "dog", "cat"]), "vqa"),
    ],
)
def test_the_scorer_that_fits_all_answers_is_proposed(
    tmp_path: Path, rows: list[dict[str, Any]], scorer: str
) -> None:
    data = look_at_rows({"train": write(tmp_path, rows)})
    assert (data.scorer, data.never_right) == (scorer, [])
    assert style_for(data)[0] == "cot"


def test_long_answers_are_asked_for_directly(tmp_path: Path) -> None:
    data = look_at_rows({"train": write(tmp_path, questions(["a b c d e f g h i j k"] * 3))})
    assert data.scorer == "exact" and "a rule of your own" in data.why
    assert style_for(data)[0] == "direct"


def test_answers_that_are_cut_off_are_counted() -> None:
    assert cut_off([3, 4], 4) is None
    assert str(cut_off([3, 9, 5], 4)).startswith("2 of 3 answers are longer than max_tokens: 4")


def test_a_fifth_is_held_out_and_no_picture_is_in_both(tmp_path: Path) -> None:
    rows = [{"prompt": str(n), "answer": "x", "images": [f"{n // 4}.png"]} for n in range(40)]
    parts = split_file(write(tmp_path, rows))
    read = {split: list(map(json.loads, path.read_text().splitlines())) for split, path in parts.items()}
    assert len(read["test"]) == 8 and len(read["train"]) == 32
    shown = [{row["images"][0] for row in part} for part in read.values()]
    assert not shown[0] & shown[1]
    before = {path: path.read_bytes() for path in parts.values()}
    assert split_file(tmp_path / "rows.jsonl") == parts  # once more the same
    assert {path: path.read_bytes() for path in parts.values()} == before
    parts["train"].write_text("mine")
    with pytest.raises(InputError, match=r"rows-train\.jsonl is there already, with other rows"):
        split_file(tmp_path / "rows.jsonl")
    assert parts["train"].read_text() == "mine" and len(list(tmp_path.iterdir())) == 3


def test_the_same_picture_under_two_names_is_in_one_part(tmp_path: Path) -> None:
    for n in range(40):
        Image.new("RGB", (8, 8), (6 * (n // 4), 0, 0)).save(tmp_path / f"{n}.png")
    rows = [{"prompt": "which ?", "answer": "x", "images": [f"{n}.png"]} for n in range(40)]
    parts = split_file(write(tmp_path, rows))
    read = [list(map(json.loads, path.read_text().splitlines())) for path in parts.values()]
    shown = [{(tmp_path / row["images"][0]).read_bytes() for row in part} for part in read]
    assert not shown[0] & shown[1] and sorted(map(len, shown)) == [2, 8]


def test_more_than_a_fifth_held_out_is_said_with_its_reason(tmp_path: Path, call: Call) -> None:
    rows = [{"prompt": f"how many {n % 2} ?", "answer": str(n % 2)} for n in range(20)]
    said = call("init", "mine.yaml", "--data", write(tmp_path, rows), "--model", "embedded")
    assert "10 of 20 rows are held out, as rows of one picture or text stay together" in said.out


def test_half_a_character_is_named_with_its_row(tmp_path: Path, call: Call) -> None:
    rows = ['{"prompt": "a", "answer": "b"}'] * 9
    rows[6] = '{"prompt": "a \\ud800", "answer": "b"}'
    for name, text in (("rows.jsonl", "\n".join(rows)), ("rows.json", f"[{','.join(rows)}]")):
        (tmp_path / name).write_text(text)
        said = call("init", tmp_path / "new.yaml", "--data", tmp_path / name, "--model", "embedded")
        assert said.code == 2
        assert f"{name}, row 7 holds half a character" in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.json", "rows.jsonl"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"prompt": "a", "answer": "b", "answer": "c"}', "line 7, field 'answer': stands there twice"),
        ('{"prompt": "a" "answer": "b"}', "line 7: is broken JSON: Expecting ',' delimiter at column 16"),
        ("[1, 2]", "line 7: must be a JSON object with prompt and answer, not a list"),
        ('{"prompt": "a"}', "line 7, field 'answer': is missing"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_with_its_line(
    tmp_path: Path, call: Call, row: str, said: str
) -> None:
    rows = ['{"prompt": "a", "answer": "b"}'] * 9
    rows[6] = row
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    told = call("init", tmp_path / "new.yaml", "--data", tmp_path / "rows.jsonl", "--model", "embedded")
    assert told.code == 2 and f"rows.jsonl, {said}" in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.slow
def test_init_takes_csv_and_finds_its_pictures_by_what_they_are(tmp_path: Path, call: Call) -> None:
    lines = ["file,question,label,note"]
    for n in range(20):
        Image.new("RGB", (48, 48), (12 * n, 0, 0)).save(tmp_path / f"{n}.png")
        lines.append(f'{n}.png,which ?,00{n % 3},"a, ""b"""')
    (tmp_path / "mine.csv").write_bytes("\r\n".join([*lines, ""]).encode())
    said = call("init", "mine.yaml", "--data", "mine.csv", "--model", "embedded")
    assert said.code == 0, said.err
    assert "Wrote mine-train.csv and mine-test.csv" in said.out
    task = load_experiment(tmp_path / "mine.yaml").task("mine")
    assert task.sizes == {"train": 16, "test": 4}
    assert {one.answer for one in task.examples("train")} == {"000", "001", "002"}  # as written
    assert all(len(one.images) == 1 for one in task.examples("test"))
    said = call(
        "init", "two.yaml", "--data", "mine-train.csv", "--test", "mine-test.csv", "--model", "embedded"
    )
    assert said.code == 0 and load_experiment(tmp_path / "two.yaml").sequence == ("mine",)
    (tmp_path / "ragged.csv").write_text("question,label\na,b\nc,d,e\n")
    said = call("init", "three.yaml", "--data", "ragged.csv", "--model", "embedded")
    assert said.code == 2 and "names 2 columns, but its line 3 has 3 fields" in said.err


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_init_holds_out_of_tables_with_their_pictures_and_types(
    tmp_path: Path, call: Call, suffix: str
) -> None:
    rows = [
        {"question": f"how many {n} ?", "label": n % 3, "image": hub_image(n // 2, form="PNG")}
        for n in range(600)  # more than are read at once
    ]
    table(tmp_path / "mine.parquet", rows, image=IMAGE)
    if suffix == ".arrow":
        whole = pq.read_table(tmp_path / "mine.parquet")
        with pa.ipc.new_stream(tmp_path / "mine.arrow", whole.schema) as stream:
            stream.write_table(whole)
    said = call("init", "mine.v1.yaml", "--data", f"mine{suffix}", "--model", "embedded")
    assert said.code == 0, said.err
    assert "Wrote mine-train.parquet and mine-test.parquet" in said.out
    experiment = load_experiment(tmp_path / "mine.v1.yaml")
    task = experiment.task("mine")
    assert experiment.name == "mine-v1"
    assert task.sizes == {"train": 480, "test": 120}
    parts = [pq.read_table(tmp_path / f"mine-{split}.parquet") for split in ("train", "test")]
    assert all(part.schema.equals(pq.read_schema(tmp_path / "mine.parquet")) for part in parts)
    read = [part.to_pylist() for part in parts]
    assert sorted(read[0] + read[1], key=lambda row: int(row["question"].split()[2])) == rows
    shown = [{row["image"]["bytes"] for row in part} for part in read]
    assert not shown[0] & shown[1]


def test_init_writes_an_experiment_and_shows_its_plan(tmp_path: Path, call: Call) -> None:
    Image.new("RGB", (48, 48), "red").save(tmp_path / "a.png")
    write(tmp_path, questions(["red"] * 20, images="a.png"), "train.jsonl")
    write(tmp_path, [{"prompt": "which colour ?", "answer": "red"}], "test.jsonl")
    said = call(
        "init", "new/mine.yaml", "--data", "train.jsonl", "--test", "test.jsonl", "--model", "embedded"
    )
    assert (said.code, said.err) == (0, "")
    assert "Wrote new/mine.yaml.\nScorer of mine: exact" in said.out
    assert "in one process (a first guess for the embedded model)" in said.out
    experiment = load_experiment(tmp_path / "new" / "mine.yaml")
    assert (experiment.name, experiment.sequence) == ("mine", ("mine",))  # train.jsonl tells nothing
    assert (experiment.model.path, experiment.prompts["cot"]) == ("embedded", "{prompt} think")
    before = (tmp_path / "new" / "mine.yaml").read_bytes()
    said = call("init", "new/mine.yaml", "--data", "train.jsonl", "--test", "test.jsonl")
    assert said.code == 2 and "nothing is overwritten" in said.err
    assert (tmp_path / "new" / "mine.yaml").read_bytes() == before


def test_init_takes_several_data_as_a_sequence(tmp_path: Path, call: Call) -> None:
    for folder, answers in (("clocks", ["3", "4"] * 10), ("signs", ["stop", "go"] * 4)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, questions(answers), "rows.jsonl")
    write(tmp_path, [{"question": f"{n} ?", "label": "yes"} for n in range(30)], "signs.jsonl")
    data = ("--data", "clocks/rows.jsonl", "--data", "signs/rows.jsonl", "--data", "signs.jsonl")
    said = call("init", "mine.yaml", *data, "--model", "embedded")
    assert said.code == 0, said.err
    assert "Scorer of clocks: number" in said.out and "Scorer of signs-3: yes_no" in said.out
    experiment = load_experiment(tmp_path / "mine.yaml")
    assert experiment.sequence == ("clocks", "signs", "signs-3")
    assert [experiment.task(name).scorer for name in experiment.sequence] == ["number", "exact", "yes_no"]
    assert experiment.task("signs").sizes == {"train": 6, "test": 2}
    assert {method.batch for method in experiment.methods.values()} == {6}  # as many as the smallest has
    said = call("init", "one.yaml", *data, "--test", "signs.jsonl", "--model", "embedded")
    assert said.code == 2 and "--test is there 1 times and --data 3 times" in said.err
    files = (
        *data,
        "--test",
        "clocks/rows-test.jsonl",
        "--test",
        "signs/rows-test.jsonl",
        "--test",
        "signs.jsonl",
    )
    assert call("init", "all.yaml", *files, "--model", "embedded").code == 0
    assert load_experiment(tmp_path / "all.yaml").task("clocks").sizes == {"train": 20, "test": 4}


def test_texts_among_several_data_are_asked_for_directly(tmp_path: Path, call: Call) -> None:
    write(tmp_path, questions(["yes"] * 10), "short.jsonl")
    write(tmp_path, questions(["a b c d e f g h i j k"] * 10), "long.jsonl")
    call("init", "mine.yaml", "--data", "short.jsonl", "--data", "long.jsonl", "--model", "embedded")
    assert load_experiment(tmp_path / "mine.yaml").styles == ("direct",)


def test_init_gives_data_a_name_of_its_own(tmp_path: Path, call: Call) -> None:
    write(tmp_path, questions(["red"] * 20), "reading.jsonl")
    assert call("init", "mine.yaml", "--data", "reading.jsonl", "--model", "embedded").code == 0
    assert load_experiment(tmp_path / "mine.yaml").sequence == ("my-reading",)


def test_init_gives_every_task_a_name_that_can_be_one(tmp_path: Path, call: Call) -> None:
    data = ["a-3.jsonl", "one/a.jsonl", "two/a.jsonl", f"{'n' * 120}.jsonl"]
    for name in data:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path, questions(["red"] * 20), name)
    named = [word for name in data for word in ("--data", name)]
    said = call("init", f"{'m' * 120}.yaml", *named, "--model", "embedded")
    assert said.code == 0, said.err
    experiment = load_experiment(tmp_path / f"{'m' * 120}.yaml")
    assert experiment.name == "m" * 80 and experiment.sequence == ("a-3", "a", "a-4", "n" * 80)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["2024", "true", "null", "2024-01-31", "1e3"])
def test_init_quotes_names_that_yaml_would_read_as_something_else(
    tmp_path: Path, call: Call, name: str
) -> None:
    write(tmp_path, questions(["1", "2", "3", "4", "5"]), f"{name}.jsonl")
    said = call("init", f"{name}.yaml", "--data", f"{name}.jsonl", "--model", "embedded")
    assert said.code == 0, said.err
    experiment = load_experiment(tmp_path / f"{name}.yaml")
    assert (experiment.name, experiment.sequence) == (name, (name,))


def test_init_counts_rows_that_can_never_be_right_or_do_not_fit(tmp_path: Path, call: Call) -> None:
    write(tmp_path, questions(["a", "b {", "c"]), "train.jsonl")
    write(tmp_path, questions(["a"]), "test.jsonl")
    said = call("init", "--data", "train.jsonl", "--test", "test.jsonl", "--model", "embedded")
    assert said.code == 2
    assert "1 rows can never be right as they stand" in said.err
    assert "train-2 (" in said.err and "is read back as" in said.err
    (tmp_path / "experiment.yaml").unlink()
    write(tmp_path, [*questions(["a"] * 3), {"prompt": "what " * 900, "answer": "a"}], "train.jsonl")
    said = call("init", "--data", "train.jsonl", "--test", "test.jsonl", "--model", "embedded")
    assert said.code == 0, said.err
    assert "1 of 4 train rows of train is left out" in said.err
    assert load_experiment(tmp_path / "experiment.yaml").bad_rows == "skip"
    (tmp_path / "experiment.yaml").unlink()
    write(tmp_path, [{"prompt": "what " * 900, "answer": "a"}], "test.jsonl")
    said = call("init", "--data", "train.jsonl", "--test", "test.jsonl", "--model", "embedded")
    assert said.code == 2 and "of some task it takes none, so change settings" in said.err
    assert load_experiment(tmp_path / "experiment.yaml").bad_rows == "stop"


def test_init_names_words_that_the_model_does_not_know(tmp_path: Path, call: Call) -> None:
    Image.new("RGB", (48, 48)).save(tmp_path / "a.png")
    row = {"prompt": "<image>how many dots are there ?", "images": ["a.png"], "answer": "0"}
    write(tmp_path, [*questions([str(n % 7) for n in range(9)]), row], "odd.jsonl")
    said = call("init", "odd.yaml", "--data", "odd.jsonl", "--model", "embedded")
    assert "The model does not know 1 of the rows' 15 words (dots): it sees <|unk|> in their" in said.err
    write(tmp_path, questions([str(n % 7) for n in range(10)]), "known.jsonl")
    assert "does not know" not in call("init", "k.yaml", "--data", "known.jsonl", "--model", "embedded").err


def test_rows_that_are_none_are_named_with_their_file(tmp_path: Path, call: Call) -> None:
    (tmp_path / "rows.jsonl").write_text("\n\n")
    said = call("init", tmp_path / "new.yaml", "--data", tmp_path / "rows.jsonl", "--model", "embedded")
    assert said.code == 2 and "rows.jsonl has no rows." in said.err


def test_init_says_what_it_must_be_told(tmp_path: Path, call: Call) -> None:
    assert "Say --data" in call("init").err
    said = call("init", "--data", "", "--model", "embedded")
    assert said.code == 2 and "--data is empty" in said.err
    table(tmp_path / "a.parquet", [{"question": "a", "answer": "b"}])
    said = call("init", "--data", "a.parquet", "--model", "embedded")
    assert said.code == 2 and "a.parquet has too few rows" in said.err and "--test FILE" in said.err
    said = call("init", "--data", "a.parquet", "--model", "embeded")
    assert said.code == 2 and "There is no model 'embeded'" in said.err
    (tmp_path / "rows.tsv").write_text("question\tanswer\n")
    said = call("init", "--data", "rows.tsv", "--model", "embedded")
    assert said.code == 2 and "rows.tsv is none of .parquet, .json" in said.err
    table(tmp_path / "one" / "train.parquet", [{"question": "a", "answer": "b"}])
    said = call("init", "--data", "one", "--model", "embedded")
    assert said.code == 2 and "one has no split to judge by, only train. Give one of" in said.err
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    said = call("init", "--data", "cut.parquet", "--model", "embedded")
    assert said.code == 2 and "cut.parquet" in said.err
    assert not list(tmp_path.glob("*-train*")) and not list(tmp_path.glob("*.yaml"))


def test_the_folder_that_one_is_in_may_hold_the_data_but_not_the_copies(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "test"):
        table(tmp_path / f"{split}.parquet", [{"question": "a", "answer": "b"}])
    said = call("init", "mine.yaml", "--data", ".", "--model", "embedded")
    assert said.code == 0, said.err
    assert load_experiment(Path("mine.yaml")).task("mine").sizes == {"train": 1, "test": 1}
    monkeypatch.setenv("HOLDFAST_DATA", "data")
    said = call("init", "other.yaml", "--data", ".", "--model", "embedded")
    assert said.code == 2 and ". holds the folder data, where copies of tables go; move" in said.err
    with pytest.raises(InputError, match=r"tasks\.mine\.hub: .* holds the folder data, where copies"):
        load_experiment(Path("mine.yaml"))


@pytest.mark.parametrize("judges", ["test", "validation", "val", "dev"])
def test_what_judges_is_known_by_any_of_its_names(monkeypatch: pytest.MonkeyPatch, judges: str) -> None:
    rows = [{"question": "a", "answer": "b"}]
    monkeypatch.setattr(look, "first_rows", lambda place: dict.fromkeys(("train", judges), rows))
    assert look_at_table("owner/name", {}).settings.items() >= {"train": "train", "test": judges}.items()
    monkeypatch.setattr(look, "first_rows", lambda place: dict.fromkeys((judges, "unlabelled"), rows))
    with pytest.raises(InputError, match=f"has no split to train on, only {judges}, unlabelled"):
        look_at_table("owner/name", {})


def test_a_tables_columns_are_known_by_their_names(tmp_path: Path) -> None:
    for split in ("train", "test"):
        table(
            tmp_path / f"{split}.parquet",
            [{"question": "a", "label": "b", "image": hub_image(0)}],
            image=IMAGE,
        )
    files = {split: tmp_path / f"{split}.parquet" for split in ("train", "test")}
    named = {"prompt": "{question}", "answer": "{label}", "images": "image"}
    assert look_at_table("", files).settings == {
        **{split: str(file) for split, file in files.items()},
        **named,
    }
    assert look_at_table(str(tmp_path), {}).settings == {
        "hub": str(tmp_path), "train": "train", "test": "test", **named,
    }  # fmt: skip
    assert look_at_table("", files).scorer == "exact"
    for rows, why in ((2, ""), (99, " (in the first 64 rows)")):
        table(tmp_path / "number.parquet", [{"question": "a", "answer": n} for n in range(rows)])
        data = look_at_table("", {"train": tmp_path / "number.parquet"})
        assert (data.scorer, data.why) == ("number", f"every answer is a number{why}")
    table(tmp_path / "other.parquet", [{"text_a": "a", "score": "b"}])
    with pytest.raises(InputError, match=r"is called as a question \(prompt.* columns: text_a, score"):
        look_at_table("", {"train": tmp_path / "other.parquet"})
    table(tmp_path / "half.parquet", [{"question": "a", "verdict": "b"}])
    with pytest.raises(InputError, match=r"'question' is the question, .* as an answer \(answer, label"):
        look_at_table("", {"train": tmp_path / "half.parquet"})


@pytest.mark.parametrize(
    ("columns", "choices"),
    [
        (["A", "B", "C"], ["A", "B", "C"]),
        (["option_1", "option_2"], ["option_1", "option_2"]),
        (["optB", "optA"], ["optA", "optB"]),
        (["A", "C"], []),  # something lies between
        (["option_a"], []),
        (["1", "2"], []),
        (["b", "c"], []),
    ],
)
def test_columns_of_a_choice_each_are_known_by_their_names(columns: list[str], choices: list[str]) -> None:
    assert choice_columns(["question", *columns, "answer"]) == choices


def test_choices_in_columns_of_their_own_are_shown_and_columns_without_use_are_said(tmp_path: Path) -> None:
    row = {"question": "which ?", "optA": "red", "optB": "blue", "correct": "B", "source": "web"}
    file = tmp_path / "rows.csv"
    file.write_text("\n".join([",".join(row), *[",".join(row.values())] * 3]) + "\n")
    data = look_at_table("", {"train": file})
    assert data.settings["choices"] == ["optA", "optB"] and data.settings["answer"] == "{correct}"
    assert (data.scorer, data.unused) == ("options", ["source"])
    assert data.settings["chance"] == 0.5
    lines = file.with_suffix(".jsonl")
    lines.write_text(json.dumps(row | {"prompt": "which ?", "answer": "B"}) + "\n")
    assert is_table(lines)


def test_rows_with_several_right_answers_and_no_first_one_are_a_table(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"question": "what ?", "answers": ["stop", "halt"]}) + "\n")
    assert is_table(file)
    assert look_at_table("", {"train": file}).scorer == "vqa"


@pytest.mark.parametrize(
    ("answers", "setting"),
    [
        ([2, 0], {"answer_index": "answer"}),
        ([2, 1], {"answer": "{answer}"}),  # counted from 1, as far as one can tell
        ([3, 0], {"answer": "{answer}"}),  # no place
        (["c", "a"], {"answer": "{answer}"}),
        (["2", "0"], {"answer_index": "answer"}),
        (["2", "1"], {"answer": "{answer}"}),
    ],
)
def test_answers_that_are_places_among_choices_are_an_index(
    tmp_path: Path, answers: list[Any], setting: dict[str, str]
) -> None:
    rows = [{"question": "which ?", "choices": ["a", "b", "c"], "answer": answer} for answer in answers]
    table(tmp_path / "mine.parquet", rows)
    data = look_at_table("", {"train": tmp_path / "mine.parquet"})
    assert (
        setting.items() <= data.settings.items() and len({"answer", "answer_index"} & set(data.settings)) == 1
    )


def test_columns_of_sets_on_the_hub_are_known(tmp_path: Path) -> None:
    """ChartQA lists its answers, A-OKVQA has places, MathVista names files that are not there."""
    file = tmp_path / "mine.parquet"
    shown = {"question": "what ?", "image": "images/1.jpg", "decoded_image": hub_image(0)}
    for answers, scorer in (([["14"]], "number"), ([["STOP"]], "exact"), ([["stop", "halt"], ["go"]], "vqa")):
        table(file, [{**shown, "label": given} for given in answers], decoded_image=IMAGE)
        data = look_at_table("", {"train": file})
        assert (data.settings["references"], data.scorer) == ("label", scorer)
        assert data.settings["images"] == "decoded_image" and "answer" not in data.settings
    rows = [{**shown, "choices": ["a", "b"], "correct_choice_idx": place} for place in (1, 0)]
    table(file, rows, decoded_image=IMAGE)
    assert look_at_table("", {"train": file}).settings["answer_index"] == "correct_choice_idx"
    table(file, [{**shown, "answer": letter} for letter in "BA"], decoded_image=IMAGE)
    assert look_at_table("", {"train": file}).scorer == "options"


def test_a_row_whose_answer_is_a_place_among_choices_says_how_to_name_it(tmp_path: Path) -> None:
    rows = [{"prompt": "which ?", "choices": ["a", "b"], "answer": 0}]
    with pytest.raises(
        InputError, match=r"line 1, field 'answer'.*write a choice's letter.*answer_index: answer"
    ):
        look_at_rows({"train": write(tmp_path, rows)})
    with pytest.raises(InputError, match='write it in quotes: "0"'):
        look_at_rows({"train": write(tmp_path, [{"prompt": "which ?", "answer": 0}])})


def test_jsonl_with_names_of_its_own_is_a_table(tmp_path: Path, call: Call) -> None:
    for n in range(10):
        Image.new("RGB", (48, 48), (20 * n, 0, 0)).save(tmp_path / f"{n}.png")
    rows = [{"question": f"how many {n} ?", "image": f"{n // 2}.png", "answer": n} for n in range(20)]
    write(tmp_path, rows, "mine.jsonl")
    said = call("init", "mine.yaml", "--data", "mine.jsonl", "--model", "embedded")
    assert said.code == 0, said.err
    assert "a fifth of the rows is held out (" in said.out and "Scorer of mine: number" in said.out
    task = load_experiment(tmp_path / "mine.yaml").task("mine")
    assert task.sizes == {"train": 16, "test": 4}
    train, test = ({one.images[0].read() for one in task.examples(split)} for split in ("train", "test"))
    assert not train & test and len(test) == 2  # questions about one picture stay together
    assert {one.prompt for one in task.examples("test")} <= {row["question"] for row in rows}
    # A file that cannot be read, and rows in the names of JSONL, are read as before.
    assert not is_table(write(tmp_path, questions(["a"], images="0.png"), "ours.jsonl"))
    assert not is_table(write(tmp_path, [{"messages": [], "image": "a"}], "chat.jsonl"))
    (tmp_path / "broken.jsonl").write_text('{"question": \n')
    assert not is_table(tmp_path / "broken.jsonl")
