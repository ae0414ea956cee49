"""The study's experiments: valid without data, and planned in full where data is prepared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.config.experiment import Experiment
from holdfast.config.load import load_experiment
from holdfast.errors import InputError
from holdfast.experiment.plan import make_plan
from holdfast.tasks.benchmarks import BENCHMARKS, GENERAL, SEQUENCE
from holdfast.tasks.prepare import prepare
from holdfast.tasks.source import from_folder
from hub_fixtures import HUB, OFFICIAL

FOLDER = Path(__file__).parents[1] / "configs" / "paper"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if path.stem != "common")  # which they extend


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rows of every data set, prepared."""
    folder = tmp_path_factory.mktemp("benchmarks")
    for name in (*SEQUENCE, *GENERAL):
        (OFFICIAL if name == "vizwiz" else HUB)[name](folder / name)  # the hub's has no training split
        prepare(BENCHMARKS[name], from_folder(BENCHMARKS[name], folder / name), folder / "data" / name)
    return folder / "data"


def load(name: str, data: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Experiment:
    monkeypatch.setenv("HOLDFAST_DATA", str(data))
    (path,) = [path for path in FILES if path.stem == name]
    return load_experiment(path, overrides)


def test_all_are_there() -> None:
    assert [path.stem for path in FILES] == ["cot", "fair", "kl", "main", "rif"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_without_data_only_preparing_is_missing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))
    with pytest.raises(InputError) as caught:
        load_experiment(path)
    problems = str(caught.value).splitlines()[1:]
    unprepared = [re.search(r"Task (\w+) is not prepared.*holdfast data prepare", text) for text in problems]
    assert [found and found[1] for found in unprepared] == [*SEQUENCE, *GENERAL]


@pytest.mark.parametrize("path", [FOLDER / "common.yaml", *FILES], ids=lambda path: path.stem)
def test_every_key_says_where_it_comes_from(path: Path) -> None:
    """On its line or just above, but for names, a method's objective, and lists that one comment is for."""
    text = path.read_text()
    assert max(map(len, text.splitlines())) <= 110
    silent, above = [], False
    for line in text.splitlines():
        key = re.fullmatch(r" *([\w<]+): *(.*)", line)
        said = above or "#" in line or (key and key[1] in ("name", "objective", "extends", "<<", *SEQUENCE))
        if key and key[2] and not said and not key[2].startswith("&"):
            silent.append(line.strip())
        above = line.strip().startswith("#")
    assert not silent


@pytest.mark.slow
@pytest.mark.parametrize("name", ["main", "kl", "cot", "rif", "fair"])
def test_the_released_values(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of RFT, wherever a config does not ask about just that value; of SFT, in main."""
    experiment = load(name, data, monkeypatch)
    model = experiment.model
    assert (model.path, model.dtype) == ("Qwen/Qwen2.5-VL-7B-Instruct", "bfloat16")
    assert (model.freeze, model.lora, model.min_pixels, model.max_pixels) == ((), None, 200_704, 1_003_520)
    for template in experiment.prompts.values():  # the instruction stands on the question's last line
        assert template.startswith("{prompt} ") and "\n" not in template
    assert model.system_prompt == "You are a helpful assistant."
    assert experiment.evaluation.max_tokens == 1024
    assert experiment.evaluation.temperature == (0 if name == "fair" else 0.5)
    assert experiment.evaluation.top_p == 0.99
    for method, settings in experiment.methods.items():
        if settings.objective == "sft":
            continue
        assert (settings.batch, settings.group_size, settings.updates) == (512, 8, 4)
        assert (settings.schedule, settings.warmup, settings.weight_decay) == ("constant", 0, 0.01)
        assert settings.learning_rate == (1e-5 if method == "grpo_1e-5" else 1e-6)
        assert (settings.clip_low, settings.clip_high, settings.dual_clip) == (0.2, 0.3, 3.0)
        assert settings.clip_grad == 1.0
        assert settings.loss_mean == ("tokens" if name == "fair" else 4)
        assert settings.kl_coef == (0 if method == "grpo_no_kl" else 0.01)
        assert settings.optimizer_state == ("float32" if name == "fair" else "kahan")
        sampling = settings.sampling
        assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (1.0, 0.99, 1024)
        assert settings.filter_samples == 8
    if name == "main":
        sft = experiment.methods["sft"]
        assert (sft.learning_rate, sft.schedule, sft.warmup) == (1e-5, "cosine", 0.1)
        assert (sft.style, sft.target) == ("direct", "answer")


def test_the_main_experiment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = load("main", data, monkeypatch)
    methods = experiment.methods
    assert experiment.sequence == SEQUENCE
    assert experiment.general == GENERAL
    assert experiment.scoring == "study"
    assert {experiment.task(name).scorer for name in SEQUENCE} == {"study"}
    assert set(methods) == {"grpo", "rloo", "remax", "sft", "joint_sft", "joint_grpo"}
    # Batches: 128 prompts a step for RFT, 16 examples for SFT.
    assert {name: method.batch // method.updates for name, method in methods.items()} == {
        "grpo": 128, "rloo": 128, "remax": 128, "sft": 16, "joint_sft": 16, "joint_grpo": 128
    }  # fmt: skip
    assert methods["joint_sft"].learning_rate == methods["sft"].learning_rate == 1e-5
    assert methods["grpo"].iterations_on(SEQUENCE) == 476
    assert methods["joint_grpo"].iterations_on(SEQUENCE) == 334
    plan = make_plan(experiment)
    by_kind = [job.kind for job in plan.jobs.values()]
    assert by_kind.count("learn") == 4 * 7 + 2
    stages = [plan.jobs[name].inputs["iterations"] for name in plan.chains[0].learn]
    assert stages == [90, 67, 40, 156, 40, 38, 45]


def test_the_iterations_are_passes_over_the_published_rows(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SFT trains on each row once (Geometry3K ten times, Super-CLEVR three times), within a batch."""
    rows = {"gqa": 80_000, "superclevr_mathv360k": 8_000}
    rows |= {name: BENCHMARKS[name].sizes["train"] for name in SEQUENCE if name not in rows}
    passes = {"geometry3k": 10, "superclevr_mathv360k": 3}
    methods = load("main", data, monkeypatch).methods
    sft, joint, grpo = (methods[name].iterations for name in ("sft", "joint_sft", "grpo"))
    assert isinstance(sft, dict) and isinstance(joint, dict) and isinstance(grpo, dict)
    for name in SEQUENCE:
        assert abs(sft[name] - rows[name] * passes.get(name, 1) / 512) < 1
        assert abs(joint[name] - rows[name] / 512) < 1
        if name != "scienceqa":
            assert grpo[name] == rows[name] // 512 * passes.get(name, 1)


def test_the_others_differ_in_what_they_ask(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = make_plan(load("main", data, monkeypatch))
    grpo = next(chain for chain in main.chains if chain.method == "grpo")
    for name, method in (("kl", "grpo_kl_stage_start"), ("cot", "grpo_cot"), ("rif", "none")):
        plan = make_plan(load(name, data, monkeypatch))
        shared = next(chain for chain in plan.chains if chain.method == method)
        assert (shared.learn, shared.cells) == (grpo.learn, grpo.cells)  # not run again
        assert len({chain.learn[-1] for chain in plan.chains}) == len(plan.chains)
    fair = load("fair", data, monkeypatch)
    assert len(fair.seeds) == 3
    assert fair.scoring == "official"
    equal = ("style", "iterations", "batch", "updates", "schedule", "warmup", "weight_decay")
    for name, method in fair.methods.items():
        for key in equal:
            assert getattr(method, key) == getattr(fair.methods["grpo_1e-6"], key), (name, key)
    make_plan(fair)


def test_the_first_two_stages_alone(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/paper.md says; what they make is the start of the whole."""
    whole = make_plan(load("main", data, monkeypatch))
    short = make_plan(load("main", data, monkeypatch, "sequence=[scienceqa, textvqa]"))
    for chain, start in zip(whole.chains, short.chains, strict=True):
        if not chain.settings.joint:
            assert chain.learn[:2] == start.learn
