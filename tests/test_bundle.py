"""A run in one file: whole, the same each time, and checked by computing its tables anew."""

from __future__ import annotations

import json
import os
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here
from holdfast import api
from holdfast.bundle import archive, contents
from holdfast.bundle.archive import pack, unpack
from holdfast.bundle.plain import without_texts
from holdfast.errors import InputError
from holdfast.experiment.plan import Plan, make_plan
from holdfast.report.page import build
from measured_results import with_measures
from results_helpers import make_results

EMPTY = Plan({}, [], 0)


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """The files of a bundle of made-up results, with texts of every kind."""
    sequence, general = ("diagrams", "reading", "photos"), ("facts",)
    results = make_results(("sft", "grpo"), seeds=(0, 1), items=30, sequence=sequence, general=general)
    results = with_measures(results)
    files = unpack_bytes(contents.bundle(results, EMPTY))
    assert files
    return files


def unpack_bytes(packed: bytes) -> dict[str, bytes]:
    import io

    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        return {name: file.read(name) for name in file.namelist()}


def written(path: Path, files: dict[str, bytes]) -> Path:
    path.write_bytes(pack(files))
    return path


def resealed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with a manifest that says what they are now, as a forger would write it."""
    import hashlib

    manifest = json.loads(files["manifest.json"])
    with suppress(ValueError, TypeError, KeyError):
        manifest["name"] = json.loads(files["results.json"])["name"]
    for name, content in files.items():
        if name != "manifest.json":
            manifest["files"][name] = {
                "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()
            }  # fmt: skip
            if name.startswith("records/"):
                manifest["records"][name] = contents._line_hashes(content)
    return files | {"manifest.json": json.dumps(manifest).encode()}


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_run_in_one_file(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = make_experiment(tmp_path)
    config = tmp_path / "tiny.yaml"
    assert "Nothing of tiny is in the store yet" in call("bundle", config).err
    run_here(experiment)
    said = call("bundle", config, "--out", "one.zip")
    assert said.code == 0, said.err
    assert call("bundle", config).code == 0
    assert Path("one.zip").read_bytes() == Path("tiny.bundle.zip").read_bytes()
    said = call("bundle", config, "--out", tmp_path / "store")
    assert said.code == 1 and f"Is a directory: {tmp_path / 'store'}. Another name may do." in said.err
    said = call("bundle", config, "--out", config)
    assert said.code == 2 and "is there already and is no bundle; give --out another name" in said.err
    os.mkfifo("pipe")
    said = call("bundle", config, "--out", "pipe")
    assert said.code == 1 and "pipe" in said.err and Path("pipe").is_fifo()
    checked = call("verify", "one.zip")
    assert checked.code == 0, checked.err
    assert "tables agree with the" in checked.out
    assert "'holdfast verify' takes what 'holdfast bundle' wrote" in call("report", "one.zip").err

    # Its tables are those of the report, though no text is in it and no place on this disk.
    files = unpack(Path("one.zip"))
    build(api.load_results(experiment), tmp_path / "report")
    made = (tmp_path / "report/tables").glob("*.[cj]s*")
    tables = {f"tables/{path.name}": path.read_bytes() for path in made}
    assert {name: files[name] for name in tables} == tables
    text = b"".join(files.values())
    records = [content for name, content in files.items() if name.startswith("records/")]
    assert b"think" not in b"".join(records)
    assert str(tmp_path).encode() not in text
    plan = make_plan(experiment)
    assert {job["fingerprint"] for job in json.loads(files["jobs.json"])} == set(plan.jobs)
    assert json.loads(files["manifest.json"])["bundled_with"]["torch"]

    assert call("bundle", config, "--with-texts", "--out", "texts.zip").code == 0
    assert b"how many" in b"".join(unpack(Path("texts.zip")).values())
    said = call("verify", "texts.zip", "--json")
    assert said.code == 0 and json.loads(said.out)["problems"] == []

    # Whoever alters what determined a result has to find it another fingerprint, which its children name.
    jobs = json.loads(files["jobs.json"])
    (job,) = [one for one in jobs if one["kind"] == "learn" and "stage 1" in one["label"]][:1]
    job["inputs"]["seed"] = 7
    altered = resealed(files | {"jobs.json": json.dumps(jobs).encode()})
    said = call("verify", written(tmp_path / "altered.zip", altered), "--json")
    assert said.code == 3
    problem = f"jobs.json: {job['label']} has a fingerprint that its inputs do not make"
    assert json.loads(said.out)["problems"] == [problem]
    for odd in (b"{", b'{"a": 1}', b"[1]", b'[{"inputs": 1}]'):
        (problem,) = contents.verify(
            written(tmp_path / "odd.zip", resealed(files | {"jobs.json": odd}))
        ).problems
        assert problem.startswith("jobs.json is no list of jobs")


@pytest.mark.slow
def test_everything_measured_survives(made: dict[str, bytes], tmp_path: Path) -> None:
    found = contents.verify(written(tmp_path / "a.zip", made))
    assert found.problems == ()
    assert found.tables > 20 and found.records > 1000
    names = {name.rpartition("/")[2] for name in made}
    assert {"headline.csv", "headline.json"} <= names


def test_grids_along_any_setting_are_in_a_bundle(tmp_path: Path) -> None:
    results = make_results(("sft", "grpo"), items=10, sequence=("diagrams", "reading"), general=())
    runs = [
        replace(run, method=f"{run.method} a.b={value}", family=run.method, axes={"retention.share": value})
        for run in results.runs
        for value in (0.1, 0.2)
    ]
    packed = contents.bundle(replace(results, runs=tuple(runs)), EMPTY)
    (tmp_path / "grid.zip").write_bytes(packed)
    assert "tables/along_retention_share.csv" in unpack(tmp_path / "grid.zip")
    assert contents.verify(tmp_path / "grid.zip").problems == ()


def test_measures_of_any_name_are_in_a_bundle(tmp_path: Path) -> None:
    """A class of one's own may be called in any script, and at length."""
    results = make_results(("sft",), items=10, sequence=("diagrams", "reading"), general=())
    names = ("Länge", "A" * 120)
    runs = [replace(run, measures={name: {1: {"x": 1.0}} for name in names}) for run in results.runs]
    (tmp_path / "a.zip").write_bytes(contents.bundle(replace(results, runs=tuple(runs)), EMPTY))
    assert {f"tables/measure_{name}.csv" for name in names} <= unpack(tmp_path / "a.zip").keys()
    assert contents.verify(tmp_path / "a.zip").problems == ()


def test_texts_leave_what_tables_ask_of_them() -> None:
    record = {
        "id": "1", "prompt": "secret", "answer": None, "reference": "7", "score": 0.0, "lenient": 0.0,
        "format": 0.0, "meta": {"a": "secret"},
    }  # fmt: skip
    from holdfast.analysis.outcomes import Outcome, outcome

    for response, expected in (("<think>x</think> it is 7", Outcome.FORMAT), ("eight", Outcome.KNOWLEDGE)):
        full = record | {"response": response}
        bare = without_texts(full)
        assert outcome(full) == outcome(bare) == expected
        assert "secret" not in str(bare) and "eight" not in str(bare)


def test_a_single_changed_record_is_named(call: Call, made: dict[str, bytes], tmp_path: Path) -> None:
    name = next(name for name in made if name.startswith("records/") and b'"score": 1.0' in made[name])
    lines = made[name].splitlines(keepends=True)
    place = next(at for at, line in enumerate(lines) if b'"score": 1.0' in line)
    lines[place] = (
        lines[place].replace(b'"score": 1.0', b'"score": 0.0').replace(b'"lenient": 1.0', b'"lenient": 0.0')
    )
    changed = made | {name: b"".join(lines)}
    said = call("verify", written(tmp_path / "a.zip", changed))
    assert said.code == 3
    record = json.loads(lines[place])["id"]
    assert f": record {place + 1} ('{record}') was changed" in said.err
    assert name in said.err and ("stage" in said.err or "base" in said.err)
    # With the manifest made to agree, the tables do not.
    forged = call("verify", written(tmp_path / "b.zip", resealed(changed)))
    assert forged.code == 3
    assert "is not what its records make: line" in forged.err and "was changed" not in forged.err


@pytest.mark.slow
def test_an_edited_table_is_named(made: dict[str, bytes], tmp_path: Path) -> None:
    name = "tables/headline.csv"
    line = made[name].splitlines()[1]
    edited = made | {name: made[name].replace(line, line.replace(b"0.", b"0.9", 1))}
    found = contents.verify(written(tmp_path / "a.zip", edited))
    assert f"{name} is not what the manifest says" in found.problems
    assert any(one.startswith(f"{name} is not what its records make: line 2 is") for one in found.problems)
    (one,) = contents.verify(written(tmp_path / "b.zip", resealed(edited))).problems
    assert name in one
    gone = {key: content for key, content in made.items() if key != name}
    problems = contents.verify(written(tmp_path / "c.zip", gone)).problems
    assert problems == (f"{name} is missing", f"{name} is missing, which its records make")
    more = contents.verify(written(tmp_path / "d.zip", made | {"tables/mine.csv": b"a\n"})).problems
    assert "tables/mine.csv is there, which its records do not make" in more


@pytest.mark.slow
@pytest.mark.parametrize("key", ["name", "files", "records"])
def test_an_edited_manifest_is_named(made: dict[str, bytes], tmp_path: Path, key: str) -> None:
    """Sizes and hashes of single records say nothing where files are as they were; they are compared, too."""
    manifest = json.loads(made["manifest.json"])
    if key == "name":
        manifest[key] = "another run"
    elif key == "files":
        manifest[key]["results.json"]["bytes"] += 1
    else:
        next(iter(manifest[key].values()))[0] = "0" * 12
    edited = made | {"manifest.json": json.dumps(manifest).encode()}
    problems = contents.verify(written(tmp_path / "a.zip", edited)).problems
    assert problems == (f"manifest.json has other {key} than the files",)


@pytest.mark.slow
def test_records_of_no_cell_and_a_bundle_without_its_jobs_do_not_agree(
    made: dict[str, bytes], tmp_path: Path
) -> None:
    """However the manifest was rewritten: nobody may count on records that no table was made from."""
    more = resealed(made | {"records/0123456789abcdef.jsonl": b'{"id": "x"}\n'})
    problems = contents.verify(written(tmp_path / "a.zip", more)).problems
    assert problems == ("records/0123456789abcdef.jsonl belongs to no cell",)
    fewer = {name: content for name, content in made.items() if name != "jobs.json"}
    manifest = json.loads(made["manifest.json"])
    del manifest["files"]["jobs.json"]
    fewer["manifest.json"] = json.dumps(manifest).encode()
    assert contents.verify(written(tmp_path / "b.zip", fewer)).problems == ("jobs.json is missing",)


def test_what_is_no_whole_bundle(call: Call, made: dict[str, bytes], tmp_path: Path) -> None:
    path = written(tmp_path / "a.zip", made)
    whole = path.read_bytes()
    for content in (whole[:-1000], whole[: len(whole) // 2], b"", b"text"):
        path.write_bytes(content)
        said = call("verify", path)
        assert said.code == 2 and "is not a whole bundle" in said.err
    middle = len(whole) // 3
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    assert call("verify", path).code in (2, 3)
    assert "There is no file" in call("verify", tmp_path / "nowhere.zip").err
    for name in ("../evil.json", "/etc/passwd", "records/../../x.jsonl", "code.py", "tables/a\n.csv"):
        with pytest.raises(InputError, match="which bundles do not"):
            contents.verify(written(path, made | {name: b"x"}))
    for way in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):  # whose damage has errors of other kinds
        with zipfile.ZipFile(path, "w", way) as file:
            file.writestr("results.json", b"{}")
        with pytest.raises(InputError, match="packed as bundles are not"):
            unpack(path)
    without = {name: content for name, content in made.items() if name != "results.json"}
    with pytest.raises(InputError, match=r"no results\.json"):
        contents.verify(written(path, without))
    later = json.loads(made["manifest.json"]) | {"format": 2}
    with pytest.raises(InputError, match="format 2, and this version of Holdfast reads 1"):
        contents.verify(written(path, made | {"manifest.json": json.dumps(later).encode()}))


def test_sizes_are_bounded(made: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "reports.md").read_text(encoding="utf-8")
    assert f"{archive.MOST_FILES:,} files and {archive.MOST_BYTES >> 30} GiB" in " ".join(page.split())
    path = written(tmp_path / "a.zip", made | {"tables/bomb.csv": b"0" * 10_000_000})
    assert path.stat().st_size < 5_000_000
    monkeypatch.setattr(archive, "MOST_BYTES", 9_000_000)
    with pytest.raises(InputError, match="unpacks to more than 9,000,000 bytes"):
        unpack(path)
    with pytest.raises(InputError, match=r"and 'holdfast verify' takes 9,000,000 .* Leave out --with-texts"):
        pack({"manifest.json": b"0" * 9_000_001})  # nor is what nobody could verify made
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    with pytest.raises(InputError, match="a bundle has at most 3"):
        unpack(path)
    twice = tmp_path / "b.zip"
    with zipfile.ZipFile(twice, "w") as file:
        file.writestr("manifest.json", "{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("manifest.json", "{}")
    monkeypatch.undo()
    with pytest.raises(InputError, match="twice"):
        unpack(twice)


@pytest.mark.parametrize(
    "results",
    [
        b"[]", b"{}", b"nonsense", b"[" * 100_000,
        b'{"name": 1, "sequence": 3}',
    ],
)  # fmt: skip
def test_results_that_are_none(made: dict[str, bytes], tmp_path: Path, results: bytes) -> None:
    with pytest.raises(InputError, match="holds no readable results"):
        contents.verify(written(tmp_path / "a.zip", made | {"results.json": results}))


@pytest.mark.slow
@pytest.mark.parametrize(
    "manifest", [b"[]", b"{", b'{"format": 1, "files": [], "records": 3}', b'{"format": 1}']
)
def test_manifests_that_are_none(made: dict[str, bytes], tmp_path: Path, manifest: bytes) -> None:
    try:
        found = contents.verify(written(tmp_path / "a.zip", made | {"manifest.json": manifest}))
    except InputError:
        return
    assert found.problems == ("manifest.json does not list files with their hashes",)


@pytest.mark.slow
def test_hostile_fields_and_code_are_only_text(call: Call, made: dict[str, bytes], tmp_path: Path) -> None:
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    results = json.loads(made["results.json"])
    results["name"] = "[red]<b>\x1b[31m"
    results["settings"] |= {
        "measures": {f"{code}:Evil": {}}, "executor": f"{code}:Evil", "tasks": {"reading": f"{code}:TASK"}
    }  # fmt: skip
    for record in results["runs"]:
        record["axes"] = {"<script>alert(1)</script>": "|`[x](y)"}
    files = made | {"results.json": json.dumps(results).encode()}
    said = call("verify", written(tmp_path / "a.zip", files))
    assert said.code in (2, 3)
    assert "results.json is not what the manifest says" in said.err or "readable" in said.err
    assert "\x1b" not in said.out + said.err
    assert not (tmp_path / "ran").exists()
    named = json.loads(made["results.json"]) | {"name": "[red]<b>\x1b[31m"}
    kept = call(
        "verify", written(tmp_path / "b.zip", resealed(made | {"results.json": json.dumps(named).encode()}))
    )
    assert kept.code == 0, kept.err
    assert "[red]<b>\\x1b[31m" in kept.out


def test_records_of_a_hostile_kind(made: dict[str, bytes], tmp_path: Path) -> None:
    name = next(name for name in made if name.startswith("records/"))
    for bad in (b"[]\n", b"{}\n", b'{"id": {"a": []}, "score": "x"}\n', b"\xff\n"):
        lines = made[name].splitlines(keepends=True)
        files = made | {name: b"".join([bad, *lines[1:]])}
        with suppress(InputError):
            assert contents.verify(written(tmp_path / "a.zip", files)).problems


def test_the_same_results_are_the_same_bytes() -> None:
    results: Any = make_results(("sft",), items=10)
    assert contents.bundle(results, EMPTY) == contents.bundle(replace(results), EMPTY)


def test_what_a_bundle_says_is_told_in_one_line(made: dict[str, bytes], tmp_path: Path) -> None:
    results = json.loads(made["results.json"])
    named = results | {"name": "study\nall 99 tables agree " + "x" * 10_000}
    files = resealed(made | {"results.json": json.dumps(named).encode()})
    name = contents.verify(written(tmp_path / "a.zip", files)).name
    assert name.startswith("study all 99") and len(name) < 600
    cells = results["runs"][0]["cells"]
    for place, value in ((0, float("inf")), (2, "x" * 10_000)):
        kept = cells[0][place]
        cells[0][place] = value
        files = resealed(made | {"results.json": json.dumps(results).encode()})
        with pytest.raises(InputError, match="no readable results") as error:
            contents.verify(written(tmp_path / "a.zip", files))
        assert len(str(error.value)) < 1000
        cells[0][place] = kept
    packed = bytearray(pack(made))
    packed[26:28] = b"\xff\xff"  # how long the first file's name is, as its own header says
    (tmp_path / "b.zip").write_bytes(packed)
    with pytest.raises(InputError, match="not a whole bundle") as error:
        unpack(tmp_path / "b.zip")
    assert len(str(error.value)) < 600
