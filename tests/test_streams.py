"""Other papers' streams: their files become tasks, answers are graded, and each experiment can be planned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.config.load import load_experiment
from holdfast.errors import InputError
from holdfast.experiment.plan import make_plan
from holdfast.tasks.benchmarks import BENCHMARKS
from holdfast.tasks.catalog import get_task
from holdfast.tasks.example import Example, open_image
from holdfast.tasks.prepare import prepare
from holdfast.tasks.scorers import get_scorer
from holdfast.tasks.source import from_folder
from hub_fixtures import HUB
from stream_fixtures import RELEASES, ROWS, turns

FOLDER = Path(__file__).parents[1] / "configs" / "streams"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if "common" not in path.stem)
TASKS = {name: release for release in RELEASES for name in BENCHMARKS if name.startswith(f"{release}_")}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rows of every task, prepared."""
    folder = tmp_path_factory.mktemp("streams")
    for release, write in RELEASES.items():
        write(folder / release)
    HUB["textvqa"](folder / "textvqa")
    for name, release in {**TASKS, "textvqa": "textvqa"}.items():
        prepare(BENCHMARKS[name], from_folder(BENCHMARKS[name], folder / release), folder / "data" / name)
    return folder / "data"


def test_each_paper_has_its_tasks() -> None:
    assert {name: list(TASKS.values()).count(name) for name in RELEASES} == {
        "mrcl": 5, "visulogic": 14, "mllm_cl": 5, "coin": 7
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_from_a_release_to_scores(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(data))
    task = get_task(name)
    sizes = task.sizes
    if name.startswith("visulogic"):
        assert sizes["train"] + sizes["test"] == 24 and sizes["train"] > sizes["test"] > 0
    else:
        assert sizes == {"train": ROWS, "test": ROWS}
    for split in sizes:
        for example in task.examples(split):
            assert task.score(example.answer, example) == 1
            assert task.score("complete nonsense", example) == 0
            assert "<image>" not in example.prompt
            assert all(open_image(image).mode == "RGB" for image in example.images)
            assert bool(example.images) == ("without an image" not in example.prompt)


@pytest.mark.parametrize(
    ("scorer", "reference", "answer", "score"),
    [
        ("parts", "up; left; up", "Up;left ; up", 1),
        ("parts", "up; left; up", "up; right; up", 2 / 3),
        ("parts", "up; left; up", "left; up", 0),  # each in its place
        ("parts", r"\frac{1}{2}", "0.5", 1),
        ("parts", "12", "13", 0),
        ("option_set", "A,C", "C, A", 1),
        ("option_set", "A,C", "A", 0.5),
        ("option_set", "A,C", "A,B", 0),
        ("option_set", "A,C", "A,B,C", 0),
        ("option_set", "A,C", "", 0),
        ("option_set", "A,C", "A and C", 1),
        ("option_set", "A,C", "AC", 1),
        ("option_set", "A,C", "{C; A}", 1),
        ("option_set", "A,C", r"\{A, C\}", 1),
        ("option_set", "A,C", "A、C", 1),
        ("option_set", "A,C", "(A), and (C)", 1),
        ("option_set", "A,C", "A or C", 0),
        ("option_set", "A,C", "CAB", 0),
        ("option_set", "red bus, blue car", "Blue car, red bus", 1),
        ("option_set", "red bus, blue car", "blue car", 0.5),
        ("option_set", "B", "A,B", 0),
        ("option_set", "B", "B", 1),
        ("option_set", "B", "A", 0),
        ("box", "[0.1, 0.2, 0.5, 0.6]", "[0.1,0.2,0.5,0.6]", 1),
        ("box", "[0, 0, 1, 1]", "[0, 0, 1, 0.6]", 1),
        ("box", "[0.1, 0.2, 0.5, 0.6]", "[.1, .2, .5, .6]", 1),
        ("box", "[0.1, 0.2, 0.5, 0.6]", "[1e-1, 2e-1, 5e-1, 6e-1]", 1),
        ("box", "[0.1, 0.2, 0.5, 0.6]", "[0.10000000000001, 0.2, 0.5, 0.6]", 1),
        ("box", "[0.1, 0.2, 0.5, 0.6]", "x1=0.1, y1=0.2, x2=0.5, y2=0.6", 1),
        ("box", "[10, 20, 50, 60]", '{"bbox_2d": [10, 20, 50, 60]}', 1),
        ("box", "[-0.5, 0, 1, 1]", "[−0.5, 0, 1, 1]", 1),
        ("box", "[0, 0, 1, 1]", "[0, 0, 1, 0.5]", 0),  # half is not more than half
        ("box", "[0, 0, 1, 1]", "[1, 1, 0, 0]", 0),
        ("box", "[0, 0, 0.5, 0.5]", "[0.5, 0.5, 1, 1]", 0),
        ("box", "[0, 0, 1, 1]", "[0, 0, 1]", 0),
        ("box", "[0, 0, 1, 1]", "none", 0),
    ],
)
def test_answers_of_parts(scorer: str, reference: str, answer: str, score: float) -> None:
    example = Example(id="1", prompt="?", answer=reference)
    assert get_scorer(scorer)(answer, example) == pytest.approx(score)


def test_a_tolerance_is_the_rows_own() -> None:
    score = get_scorer("option_set")
    strict = Example(id="1", prompt="?", answer="12.5")
    wide = Example(id="1", prompt="?", answer="12.5", meta={"tolerance": 0.2})
    assert [score("12.65", strict), score("12.65", wide), score("12.75", wide)] == [0, 1, 0]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (turns("../x.jpg", "?", "A"), "leads out of the data folder"),
        (turns("0.jpg", "?", ""), "answer is empty"),
        ({"image": "0.jpg", "conversations": "hello"}, "no question and answer"),
        ({"image": "0.jpg", "text": "?"}, "answer is NoneType"),
        (turns("9.jpg", "?", "A"), "9.jpg is missing"),
    ],
)
def test_a_row_that_cannot_be_used_is_told(tmp_path: Path, row: dict[str, object], problem: str) -> None:
    RELEASES["mrcl"](tmp_path)
    file = tmp_path / "Puzzle" / "jsons" / "train" / "data.json"
    file.write_text(json.dumps([row, *json.loads(file.read_text())]))
    benchmark = BENCHMARKS["mrcl_puzzle"]
    manifest = prepare(benchmark, from_folder(benchmark, tmp_path), tmp_path / "set")
    assert manifest["splits"]["train"]["rows"] == ROWS
    assert problem in " ".join(manifest["splits"]["train"]["problems"])


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("mrcl_puzzle", "Puzzle/jsons/train/data.json", "[{"),
        ("mrcl_puzzle", "Puzzle/jsons/train/data.json", "{}"),
        ("visulogic_flip", "positional.jsonl", "{"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, file: str, content: str) -> None:
    RELEASES[TASKS[name]](tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(InputError, match=Path(file).name):
        prepare(BENCHMARKS[name], from_folder(BENCHMARKS[name], tmp_path), tmp_path / "set")


def test_what_to_fetch_is_said(tmp_path: Path) -> None:
    tmp_path.joinpath("other").touch()
    with pytest.raises(InputError, match=r"spatial\.jsonl, the authors' kinds of questions"):
        from_folder(BENCHMARKS["visulogic_assembly"], tmp_path)
    with pytest.raises(InputError, match="hf download MaolinLuo/MRCL --repo-type dataset"):
        from_folder(BENCHMARKS["mrcl_puzzle"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_stream_can_be_planned(path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(data))
    experiment = load_experiment(path)
    assert len(experiment.seeds) == 3 and experiment.reference in experiment.methods
    plan = make_plan(experiment)
    kinds = [job.kind for job in plan.jobs.values()]
    chains = [chain for chain in plan.chains if not chain.settings.joint]
    assert kinds.count("learn") == len(chains) * len(experiment.sequence) + 3
    assert all(len(chain.learn) == len(experiment.sequence) for chain in chains)


def test_the_files_are_the_streams_that_the_docs_name() -> None:
    names = ["coin", "crg-positional", "crg-quantitative", "crg-spatial", "mllm-cl", "mrcl"]
    assert [path.stem for path in FILES] == names
    said = (FOLDER.parents[1] / "docs" / "streams.md").read_text()
    assert all(f"configs/streams/{name}.yaml" in said for name in names)
