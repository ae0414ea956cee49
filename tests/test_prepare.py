"""Preparing: subsets, bad input, damage."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from holdfast import cli
from holdfast.errors import HoldfastError, InputError
from holdfast.tasks.benchmarks import BENCHMARKS
from holdfast.tasks.benchmarks.benchmark import BadRow
from holdfast.tasks.benchmarks.fields import text_list, without_markers
from holdfast.tasks.catalog import get_task, names
from holdfast.tasks.example import open_image
from holdfast.tasks.imagecheck import size_of
from holdfast.tasks.pictures import BadImage
from holdfast.tasks.prepare import prepare, remarks
from holdfast.tasks.source import Source, from_folder
from holdfast.tasks.tables import read_parquet
from hub_fixtures import HUB, IMAGE, OFFICIAL, ROWS, hub_image, picture, save, table

GQA = BENCHMARKS["gqa"]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def released(name: str, folder: Path, form: str = "hub") -> Source:
    (HUB if form == "hub" else OFFICIAL)[name](folder)
    return from_folder(BENCHMARKS[name], folder)


def test_a_run_that_is_killed_leaves_what_was_there(tmp_path, data):
    found = released("gqa", tmp_path / "release")
    prepare(GQA, found, data / "gqa")
    before = get_task("gqa").source

    def broken_off() -> Iterator[Any]:
        yield next(found.splits["train"]())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(GQA, Source("elsewhere", {**found.splits, "train": broken_off}), data / "gqa")
    assert get_task("gqa").source == before
    assert sorted(path.name for path in data.iterdir()) == ["gqa"]


def test_the_same_command_again_does_nothing_and_another_replaces_the_set(tmp_path, data):
    found = released("gqa", tmp_path / "release")
    first = prepare(GQA, found, data / "gqa")
    written = (data / "gqa" / "manifest.json").stat().st_mtime_ns
    assert prepare(GQA, found, data / "gqa") == first
    assert (data / "gqa" / "manifest.json").stat().st_mtime_ns == written
    before = get_task("gqa").source
    with pytest.raises(InputError, match="subset of 30 was asked for, but there are 6"):
        prepare(GQA, found, data / "gqa", subset={"train": 30})
    assert get_task("gqa").source == before  # what was there stays until something better is whole
    assert prepare(GQA, found, data / "gqa", subset={"train": 3})["splits"]["train"]["rows"] == 3
    assert get_task("gqa").source != before
    assert "gqa" in names()
    (data / "mine").mkdir()
    (data / "mine" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="is not empty"):
        prepare(GQA, found, data / "mine")


def test_a_set_that_another_process_made_meanwhile_stays(tmp_path, data):
    """It may be reading it: runs that begin together copy their tables together."""
    found = released("gqa", tmp_path / "release")
    made = []

    def meanwhile() -> Iterator[Any]:
        if not made:
            made.append(None)
            made.append(prepare(GQA, found, data / "gqa"))
            made.append((data / "gqa").stat().st_ino)
        yield from found.splits["train"]()

    ours = prepare(GQA, replace(found, splits={**found.splits, "train": meanwhile}), data / "gqa")
    assert made[1:] == [ours, (data / "gqa").stat().st_ino]
    assert [path.name for path in data.iterdir()] == ["gqa"]


def test_files_that_changed_are_read_again(tmp_path, data):
    benchmark = BENCHMARKS["vizwiz"]
    image = tmp_path / "release" / "train" / "VizWiz_train_00000000.jpg"
    released("vizwiz", tmp_path / "release", "official")
    image.unlink()
    found = from_folder(benchmark, tmp_path / "release")
    assert prepare(benchmark, found, data / "vizwiz")["splits"]["train"]["rows"] == ROWS - 1
    save(image, picture(0))
    again = from_folder(benchmark, tmp_path / "release")
    assert prepare(benchmark, again, data / "vizwiz")["splits"]["train"]["rows"] == ROWS


def test_a_set_is_known_by_its_content_wherever_it_came_from(tmp_path, data):
    prepare(GQA, released("gqa", tmp_path / "one"), data / "gqa")
    first = get_task("gqa").source
    found = released("gqa", tmp_path / "two")
    assert prepare(GQA, found, data / "gqa")["origin"].endswith("two")
    assert get_task("gqa").source == first
    file = tmp_path / "two" / "train_balanced_images" / "train-00000-of-00001.parquet"
    rows = pq.read_table(file).to_pylist()
    table(file, [{**row, "image": hub_image(200 + n)} for n, row in enumerate(rows)], image=IMAGE)
    prepare(GQA, from_folder(GQA, tmp_path / "two"), data / "gqa")
    assert get_task("gqa").source != first  # another picture is other data


@pytest.mark.slow
def test_subsets_and_order_follow_the_seed(tmp_path):
    found = released("gqa", tmp_path / "release")

    def ids(seed: int) -> list[str]:
        folder = tmp_path / str(seed)
        prepare(GQA, found, folder / "gqa", subset={"train": 3}, seed=seed)
        os.environ["HOLDFAST_DATA"] = str(folder)
        return [example.id for example in get_task("gqa").examples("train")]

    drawn = {seed: ids(seed) for seed in range(6)}
    assert all(len(set(chosen)) == 3 for chosen in drawn.values())
    assert len({tuple(chosen) for chosen in drawn.values()}) > 1
    os.environ["HOLDFAST_DATA"] = str(tmp_path / "0")
    assert [example.id for example in get_task("gqa").examples("train", 2)] == drawn[0][:2]


def test_bytes_are_copied_as_they_are(tmp_path, data):
    prepare(BENCHMARKS["pathvqa"], released("pathvqa", tmp_path / "release"), data / "pathvqa")
    stored = {example.images[0].read() for example in get_task("pathvqa").examples("train")}
    assert stored == {picture(n, mode="CMYK") for n in range(ROWS)}


def test_a_picture_that_many_rows_show_is_kept_once(tmp_path, data):
    prepare(BENCHMARKS["pope"], released("pope", tmp_path / "release"), data / "pope")
    assert len(get_task("pope").examples("test")) == 3 * ROWS
    images = (data / "pope" / "test" / "images.arrow").read_bytes()
    assert [images.count(picture(n)) for n in range(ROWS)] == [1] * ROWS


def test_rows_that_cannot_be_used_are_counted_and_reported(tmp_path, data):
    released("vizwiz", tmp_path, "official")
    file = tmp_path / "Annotations" / "train.json"
    rows = json.loads(file.read_text())
    rows.append({**rows[0]})  # the id again
    rows.append({**rows[0], "image": "../../secret.jpg"})
    rows.append({**rows[0], "image": "gone.jpg"})
    rows.append({**rows[0], "image": "cut.jpg"})
    rows.append({**rows[0], "image": "text.jpg"})
    rows.append({**rows[0], "image": "out.jpg"})
    rows.append({**rows[0], "image": "dot.jpg"})
    rows.append({**rows[0], "image": "x.jpg", "question": None})
    rows.append({**rows[0], "image": "x.jpg", "answers": None})
    rows.append({"image": "y.jpg"})
    file.write_text(json.dumps(rows))
    save(tmp_path / "train" / "cut.jpg", picture(1)[:-60])
    save(tmp_path / "train" / "text.jpg", b"no picture")
    save(tmp_path / "train" / "dot.jpg", picture(3, size=(1, 1)))
    (tmp_path / "train" / "out.jpg").symlink_to("/etc/hostname")
    save(tmp_path / "val" / "VizWiz_val_00000000.jpg", picture(0))  # a training image
    benchmark = BENCHMARKS["vizwiz"]
    manifest = prepare(benchmark, from_folder(benchmark, tmp_path), data / "vizwiz")
    train = manifest["splits"]["train"]
    assert (train["rows"], train["duplicates"], train["bad_rows"], train["bad_images"]) == (7, 1, 4, 4)
    assert train["small_images"] == 1
    assert manifest["overlap"] == {"train/test": 1}
    said = "\n".join(remarks(benchmark, manifest))
    for part in (
        "train: 1 rows repeat an id", "train: 4 rows cannot be used", "train: 4 rows with missing or corrupt",
        "'../../secret.jpg' leads out of the data folder", "gone.jpg is missing", "cut.jpg: cut off",
        "text.jpg: no image", "out.jpg leads out of the data folder", "train and test: 1 images are in both",
        "a side under 28 pixels",
    ):  # fmt: skip
        assert part in said


def test_pictures_of_every_kind(tmp_path, data, monkeypatch):
    """Grey, transparent, CMYK, palette and rotated pictures come out upright and RGB; bombs are left out."""
    OFFICIAL["vizwiz"](tmp_path)
    train = tmp_path / "train"
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    for number, mode in enumerate(("L", "CMYK", "RGB")):
        path = train / f"VizWiz_train_{number:08d}.jpg"
        Image.new(mode, (40, 30)).save(path, exif=turned)
    Image.new("LA", (40, 30)).save(train / "VizWiz_train_00000003.jpg", "PNG")
    Image.new("P", (40, 30)).save(train / "VizWiz_train_00000004.jpg", "PNG", transparency=0)
    Image.new("I;16", (40, 30), 128 * 256).save(tmp_path / "val" / "VizWiz_val_00000000.jpg", "PNG")
    Image.new("1", (2000, 2000)).save(train / "VizWiz_train_00000005.jpg", "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    benchmark = BENCHMARKS["vizwiz"]
    manifest = prepare(benchmark, from_folder(benchmark, tmp_path), data / "vizwiz")
    assert manifest["splits"]["train"]["bad_images"] == 1
    pictures = {example.id: open_image(example.images[0]) for example in get_task("vizwiz").examples("train")}
    assert {picture.mode for picture in pictures.values()} == {"RGB"}
    sizes = [pictures[f"train-VizWiz_train_{number:08d}"].size for number in range(5)]
    assert sizes == [(30, 40)] * 3 + [(40, 30)] * 2
    (grey,) = (one for one in get_task("vizwiz").examples("test") if one.id == "test-VizWiz_val_00000000")
    assert open_image(grey.images[0]).getpixel((0, 0)) == (128,) * 3


def test_images_missing_from_their_table(tmp_path, data):
    HUB["gqa"](tmp_path)
    file = tmp_path / "train_balanced_images" / "train-00000-of-00001.parquet"
    pq.write_table(pq.read_table(file).slice(1), file)
    manifest = prepare(GQA, from_folder(GQA, tmp_path), data / "gqa")
    train = manifest["splits"]["train"]
    assert (train["rows"], train["bad_rows"], train["problems"][0]) == (ROWS - 2, 2, "row 1: no image")
    file.unlink()
    with pytest.raises(InputError, match="not their images; download the folder train_balanced_images"):
        from_folder(GQA, tmp_path)


def test_a_repeated_id_does_not_take_the_first_rows_image(tmp_path, data):
    HUB["gqa"](tmp_path)
    file = tmp_path / "train_balanced_instructions" / "train-00000-of-00001.parquet"
    rows = pq.read_table(file).to_pylist()
    table(file, [*rows, *({**row, "imageId": "elsewhere"} for row in rows)])
    train = prepare(GQA, from_folder(GQA, tmp_path), data / "gqa")["splits"]["train"]
    assert (train["rows"], train["bad_rows"], train["images"]) == (ROWS, ROWS, ROWS // 2)


def test_broken_releases(tmp_path):
    HUB["scienceqa"](tmp_path / "cut")
    file = next((tmp_path / "cut" / "data").glob("train*"))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(InputError, match="damaged or incomplete"):
        from_folder(BENCHMARKS["scienceqa"], tmp_path / "cut")
    for name in ("pathvqa", "gqa"):  # damage inside, which only reading shows
        HUB[name](tmp_path / name)
        for file in (tmp_path / name).rglob("train-*.parquet"):
            content = file.read_bytes()
            file.write_bytes(content[:60] + bytes(byte ^ 255 for byte in content[60:260]) + content[260:])
        with pytest.raises(InputError, match="is damaged or incomplete"):
            prepare(BENCHMARKS[name], from_folder(BENCHMARKS[name], tmp_path / name), tmp_path / "set")
    HUB["scienceqa"](tmp_path / "part")
    file = next((tmp_path / "part" / "data").glob("train*"))
    file.rename(file.with_name("train-00000-of-00002.parquet"))
    with pytest.raises(InputError, match=r"1 of the 2 files.*incomplete"):
        from_folder(BENCHMARKS["scienceqa"], tmp_path / "part")
    save(tmp_path / "zips" / "images.zip", b"PK")
    with pytest.raises(
        InputError, match=r"not recognised in .*holds images.zip. Unpack images.zip first. Run .*superCLEVR_q"
    ):
        from_folder(BENCHMARKS["superclevr"], tmp_path / "zips")
    with pytest.raises(InputError, match="There is no folder"):
        from_folder(GQA, tmp_path / "nowhere")
    superclevr = BENCHMARKS["superclevr"]
    OFFICIAL["superclevr"](tmp_path / "super")
    questions = tmp_path / "super" / "superCLEVR_questions_30k.json"
    for content, problem in (
        (questions.read_bytes()[:-100], "broken or incomplete"),
        (b"[" * 100_000, "broken or incomplete .it is nested too deeply"),
        (b"[1]", "no list"),
    ):
        questions.write_bytes(content)
        with pytest.raises(InputError, match=problem):
            prepare(superclevr, from_folder(superclevr, tmp_path / "super"), tmp_path / "set")


def test_columns_of_another_type_are_bad_rows_or_a_damaged_release(tmp_path):
    HUB["geometry3k"](tmp_path / "hub")
    geometry = BENCHMARKS["geometry3k"]
    file = next((tmp_path / "hub").rglob("test-*.parquet"))
    read = pq.read_table(file)
    images = read.column_names.index("images")
    pq.write_table(read.set_column(images, "images", pa.array([3] * len(read))), file)
    test = prepare(geometry, from_folder(geometry, tmp_path / "hub"), tmp_path / "set")["splits"]["test"]
    assert (test["rows"], test["bad_rows"]) == (0, len(read))
    assert test["problems"][0].startswith("row 1: a value in it is of the wrong kind or size")
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for file, ids in zip(files, (pa.nulls(2), pa.array(["x", "y"])), strict=True):
        pq.write_table(pa.table({"id": ids}), file)
    with pytest.raises(InputError, match="is damaged or incomplete"):
        list(read_parquet(files, ("id",)))


def test_an_official_release_of_a_set_that_the_hub_has_names_the_hubs_form(tmp_path):
    for name, file in (
        ("scienceqa", "problems.json"),
        ("textvqa", "TextVQA_0.5.1_train.json"),
        ("gqa", "train_balanced_questions.json"),
        ("geometry3k", "train/0/data.json"),
        ("pathvqa", "pvqa/qas/train/train_qa.pkl"),
        ("pope", "coco_pope_random.json"),
    ):
        save(tmp_path / name / file, {})
        with pytest.raises(InputError) as caught:
            from_folder(BENCHMARKS[name], tmp_path / name)
        said = str(caught.value)
        assert (
            f"Task {name} was not recognised in {tmp_path / name}; it holds {file.partition('/')[0]}." in said
        )
        assert f"run 'hf download {BENCHMARKS[name].hub[0]} --repo-type dataset" in said
        assert f"'holdfast data prepare {name} --from FOLDER'" in said


def test_a_set_that_changed_is_refused_with_the_command_that_makes_it_again(tmp_path, data):
    def again() -> None:
        prepare(GQA, released("gqa", tmp_path / "release"), data / "gqa", subset={"train": 3}, seed=2)

    command = (
        f"run 'holdfast data prepare gqa --from {tmp_path / 'release'} --subset train=3 --seed 2' to make"
    )
    rows, images = data / "gqa" / "train" / "rows.arrow", data / "gqa" / "test" / "images.arrow"
    for file, harm in (
        (rows, lambda content: content.replace(b"circle", b"square")),  # of the same length
        (rows, lambda content: content[:-9]),
        (images, lambda content: content[:-9]),
    ):
        again()
        file.write_bytes(harm(file.read_bytes()))
        with pytest.raises(InputError, match=re.escape(command)) as caught:
            get_task("gqa")
        assert f"{file.parent.name}/{file.name} changed" in str(caught.value)
        shutil.rmtree(data / "gqa")
    again()
    source = get_task("gqa").source
    rows.write_bytes(rows.read_bytes()[:-9])
    again()  # the same command mends it
    assert get_task("gqa").source == source
    images.unlink()
    with pytest.raises(InputError, match=re.escape(command)):
        get_task("gqa")
    manifest = (data / "gqa" / "manifest.json").read_text()
    outside = re.sub(r'"(train|validation|test)": \{(\s+"selected)', r'"../\1": {\2', manifest)
    (data / "gqa" / "manifest.json").write_text(outside)
    with pytest.raises(InputError, match=r"manifest.json is damaged \('../train'\); run"):
        get_task("gqa")
    for broken in ("{", "[]", '{"format": 2, "version": 1}'):
        (data / "gqa" / "manifest.json").write_text(broken)
        with pytest.raises(InputError, match=r"manifest.json is damaged.*run 'holdfast data prepare gqa' to"):
            get_task("gqa")


def test_a_picture_that_changed_is_found_when_it_is_read(tmp_path, data):
    prepare(BENCHMARKS["pope"], released("pope", tmp_path / "release"), data / "pope")
    examples, spoilt = get_task("pope").examples("test"), hashlib.sha256(picture(0)).hexdigest()
    file = data / "pope" / "test" / "images.arrow"
    content = file.read_bytes()
    file.write_bytes(content.replace(picture(0)[-40:], b"\0" * 38 + b"\xff\xd9"))
    assert len(file.read_bytes()) == len(content)
    (changed,) = {image for example in examples for image in example.images if image.sha256 == spoilt}
    with pytest.raises(HoldfastError, match=r"images.arrow is damaged or gone \(an image in it changed\)"):
        open_image(changed)
    assert all(open_image(image) for example in examples for image in example.images if image != changed)
    prepare(BENCHMARKS["pope"], from_folder(BENCHMARKS["pope"], tmp_path / "release"), data / "pope")
    assert file.read_bytes() == content  # preparing looks at every picture
    file.unlink()
    with pytest.raises(HoldfastError, match="damaged or gone"):
        open_image(examples[0].images[0])


@pytest.mark.parametrize(
    ("manifest", "command"),
    [
        ({"origin": "lmms-lab/GQA@abc", "layout": "hub", "subset": {"train": 80000}, "seed": 0},
         "holdfast data prepare gqa --hub lmms-lab/GQA --revision abc --subset train=80000"),
        ({"origin": "/data/my gqa", "layout": "hub", "subset": {}, "seed": 7},
         "holdfast data prepare gqa --from '/data/my gqa' --seed 7"),
        ({"origin": "/data/official", "layout": "official", "subset": {}, "seed": 0},
         "holdfast data prepare gqa"),
    ],
)  # fmt: skip
def test_a_set_of_the_earlier_format_is_recognised(data, manifest, command):
    """It says how to make it again as it was made, as far as that is still possible."""
    save(data / "gqa" / "manifest.json", {"format": 1, "task": "gqa", "version": 1, **manifest})
    message = f"gqa was made by another version of Holdfast; run {command!r} to make it again"
    with pytest.raises(InputError, match=re.escape(message.replace('"', "'"))):
        get_task("gqa")
    save(data / "vizwiz" / "manifest.json", {"format": 1, "task": "vizwiz", "version": 1, **manifest})
    with pytest.raises(InputError, match="vizwiz was made by another version"):
        get_task("vizwiz")


def test_a_set_of_the_earlier_format_is_replaced(tmp_path, data, call):
    save(data / "gqa" / "manifest.json", {"format": 1, "task": "gqa", "version": 1, "splits": {}})
    assert "prepare again" in call("data").out and call("tasks").code == 0
    save(data / "gqa" / "train" / "rows-00000.parquet", b"old")
    prepare(GQA, released("gqa", tmp_path / "release"), data / "gqa")
    assert len(get_task("gqa").examples("train")) == ROWS
    assert not (data / "gqa" / "train" / "rows-00000.parquet").exists()


def test_odd_values():
    assert text_list("['$6', 7]", "options") == ("$6", "7")
    for odd in ("__import__('os')", "5", None, 3):
        with pytest.raises(BadRow):
            text_list(odd, "options")
    assert without_markers("<image>Find x.", 1) == "Find x."
    with pytest.raises(BadRow, match="2 <image> markers for 1 images"):
        without_markers("<image><image>Find x.", 1)


@pytest.mark.parametrize(
    ("data_", "problem"),
    [
        (b"", "empty"),
        (b"GIF", "no image"),
        (picture(1)[:-100], "cut off"),
        (picture(1, form="PNG")[:-20], "cut off"),
        (picture(1, form="PNG").replace(b"IDAT", b"IDAT\0", 1), "damaged"),
    ],
)
def test_image_check(data_, problem):
    assert size_of(picture(1, size=(30, 20))) == (30, 20)
    with pytest.raises(BadImage, match=problem):
        size_of(data_)


def test_the_command(tmp_path, data, monkeypatch, capsys):
    HUB["pope"](tmp_path / "release")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["holdfast", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    code, out, _ = call("data", "prepare", "pope", "--from", tmp_path / "release", "--subset", "test=10")
    assert code == 0
    assert "10 test examples" in out and "18 usable rows, but 9000 are published" in out
    code, out, _ = call("data")
    assert code == 0 and "prepared" in out and "mmlu_pro" in out
    assert call("tasks", "show", "pope", "--count", 4, "--out", tmp_path / "sheet.png")[0] == 0
    for arguments, message in (
        (("nope",), "no data set 'nope'"),
        (("pope", "--from", tmp_path, "--hub", "a/b"), "either --from"),
        (("pope", "--from", tmp_path / "release", "--subset", "test"), "SPLIT=COUNT"),
        (("pope", "--from", tmp_path / "release", "--subset", "train=5"), "no train split"),
    ):
        code, _, err = call("data", "prepare", *arguments)
        assert code == 2 and message in " ".join(err.split())
