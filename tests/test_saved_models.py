"""Shipped and saved checkpoints are ordinary ones: a process without holdfast loads them with stock
transformers, and they answer there as the policy does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cli_helpers import Call
from experiment_helpers import write_config
from family_helpers import make_internvl_folder, make_qwen2_folder
from family_processors import make_onevision_folder
from holdfast.files import read_json, write_json
from holdfast.policy.policy import Policy
from holdfast.policy.settings import EMBEDDED, Lora, ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.example import open_image
from holdfast.tasks.prompts import TEMPLATES, render_prompt
from policy_helpers import PROJECTIONS, make_folder, make_qwen3_folder

LONGEST = 24
EXAMPLES = [TASKS[name].examples("test", 1)[0] for name in ("counting", "reading", "tissue", "knowledge")]
PROCESSOR = "processor_config.json"
Questions = Sequence[tuple[str, Sequence[str]]]
Stock = Callable[[Mapping[Path, Questions]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    folder = tmp_path_factory.mktemp("questions")
    asked = []
    for number, example in enumerate(EXAMPLES):
        files = [folder / f"{number}-{index}.png" for index in range(len(example.images))]
        for image, file in zip(example.images, files, strict=True):
            open_image(image).save(file)
        asked.append((render_prompt(example, "cot", TEMPLATES["embedded"]), list(map(str, files))))
    return asked


def random_questions(questions: Questions) -> Questions:
    """The same pictures, with words that random models know."""
    return [(f"w{number} w{number + 7}", files) for number, (_, files) in enumerate(questions)]


def policys_answers(policy: Policy, questions: Questions) -> list[str]:
    texts, images = zip(*questions, strict=True)
    prompts = policy.encode(texts, [list(map(Path, files)) for files in images])
    greedy = Sampling(temperature=0, max_tokens=LONGEST)
    return [group[0] for group in policy.decode(policy.sample(prompts, 1, greedy, torch.Generator()))]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    """What a process that never imports holdfast finds in model folders; see `stock_reader.py`."""
    errors = tmp_path_factory.mktemp("stock") / "errors"
    with errors.open("w") as file, subprocess.Popen(
        [sys.executable, Path(__file__).with_name("stock_reader.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True,
        env=os.environ | {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"},
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout
        reads, says = process.stdin, process.stdout

        def ask(asked: Mapping[Path, Questions]) -> list[dict[str, Any]]:
            print(json.dumps([[str(folder), its] for folder, its in asked.items()]), file=reads, flush=True)
            said = says.readline()
            assert said, errors.read_text()
            return json.loads(said)

        yield ask


def disturbed(path: Path | str, settings: ModelSettings) -> Policy:
    """A policy that has changed, as by training."""
    policy = Policy.load(path, settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if parameter.requires_grad and ("lora_B" in name or settings.lora is None):
                size = 0.05 if settings.lora is None else 0.5
                parameter += size * torch.randn(parameter.shape, generator=generator)
    return policy


def own_section(folder: Path) -> None:
    """A base whose videos are treated in a way of their own."""
    settings = read_json(folder / PROCESSOR)
    settings["video_processor"] |= {
        "min_frames": 2,
        "max_frames": 6,
        "size": {"longest_edge": 8192, "shortest_edge": 512},
    }
    write_json(folder / PROCESSOR, settings)


def own_file(folder: Path) -> None:
    """The same, in the file that older folders have for it."""
    own_section(folder)
    settings = read_json(folder / PROCESSOR)
    write_json(folder / "video_preprocessor_config.json", settings.pop("video_processor"))
    write_json(folder / PROCESSOR, settings)


def no_videos(folder: Path) -> None:
    """A base that says nothing of videos."""
    settings = read_json(folder / PROCESSOR)
    del settings["video_processor"]
    write_json(folder / PROCESSOR, settings)


def images_alone(folder: Path) -> None:
    """As Qwen2.5-VL lies on the hub: one file, which speaks of images."""
    settings = read_json(folder / PROCESSOR)
    images = settings["image_processor"] | {"processor_class": settings["processor_class"]}
    write_json(folder / "preprocessor_config.json", images)
    (folder / PROCESSOR).unlink()


BASES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], None]]] = {
    "Qwen2.5-VL, own section": (make_folder, own_section),
    "Qwen2.5-VL, no videos": (make_folder, no_videos),
    "Qwen2.5-VL, images alone": (make_folder, images_alone),
    "Qwen3-VL, own file": (make_qwen3_folder, own_file),
    "Qwen3-VL, no videos": (make_qwen3_folder, no_videos),
    "Qwen2-VL": (make_qwen2_folder, own_section),
    "LLaVA-OneVision": (make_onevision_folder, own_file),
    "InternVL": (make_internvl_folder, own_section),
}


@pytest.mark.slow
def test_folders_load_and_answer_without_holdfast(tmp_path: Path, questions: Questions, stock: Stock) -> None:
    policies = {"embedded": disturbed("embedded", ModelSettings(device="cpu"))}
    for name, (make, change) in BASES.items():
        change(make(tmp_path / "bases" / name))
        policies[name] = Policy.load(tmp_path / "bases" / name, ModelSettings(device="cpu"))
    asked: dict[Path, Questions] = {EMBEDDED: questions}
    wanted = [policys_answers(Policy.load("embedded", ModelSettings(device="cpu")), questions)]
    for name, policy in policies.items():
        policy.save(tmp_path / name)
        its = questions if name == "embedded" else random_questions(questions)
        asked[tmp_path / name] = its if "Qwen" in name or name == "embedded" else []
        wanted.append(policys_answers(policy, its) if asked[tmp_path / name] else [])
    for folder, found, answers in zip(asked, stock(asked), wanted, strict=True):
        assert found["missing"] == [], folder
        # Control tokens, which a random model may write, are no part of a policy's text.
        assert [re.sub(r" ?<\|\w+\|>", "", text) for text in found["answers"]] == answers, folder
    assert wanted[0] != wanted[1]

    def said_of_videos(folder: Path) -> dict[str, Any]:
        settings = read_json(folder / PROCESSOR)
        return settings.get("video_processor") or read_json(folder / "video_preprocessor_config.json")

    for name, (_, change) in BASES.items():
        if change in (own_section, own_file):  # kept to the letter
            assert said_of_videos(tmp_path / name) == said_of_videos(tmp_path / "bases" / name), name
    made = said_of_videos(tmp_path / "Qwen2.5-VL, no videos")
    images = read_json(tmp_path / "Qwen2.5-VL, no videos" / PROCESSOR)["image_processor"]
    assert made == {
        "video_processor_type": "Qwen2VLVideoProcessor",
        **{key: value for key, value in images.items() if key != "image_processor_type"},
    }
    made = said_of_videos(tmp_path / "Qwen3-VL, no videos")
    assert made["video_processor_type"] == "Qwen3VLVideoProcessor" and made["patch_size"] == 8
    assert "size" not in made  # Qwen3-VL's bounds are of a whole video


@pytest.mark.slow
def test_the_merge_command(call: Call, tmp_path: Path, questions: Questions, stock: Stock) -> None:
    pytest.importorskip("peft")
    policy = disturbed("embedded", ModelSettings(device="cpu", lora=Lora(target_modules=PROJECTIONS)))
    adapters, merged = tmp_path / "adapters", tmp_path / "merged"
    policy.save(adapters)
    said = call("merge", adapters, "model.path=embedded", "--out", merged)
    assert said.code == 0, said.err
    assert not (merged / "adapter_config.json").exists()
    assert stock({merged: questions}) == [{"missing": [], "answers": policys_answers(policy, questions)}]
    base = Policy.load("embedded", ModelSettings(device="cpu"))
    assert policys_answers(policy, questions) != policys_answers(base, questions)

    named = json.loads((adapters / "adapter_config.json").read_text())
    (adapters / "adapter_config.json").write_text(
        json.dumps(named | {"base_model_name_or_path": str(EMBEDDED)})
    )
    said = call("merge", adapters, "--out", tmp_path / "again")
    assert said.code == 0 and f"The adapters are of {EMBEDDED}" in said.out
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        merged / "model.safetensors"
    ).read_bytes()
    experiment = write_config(tmp_path / "run", {"model": {"path": str(adapters)}})
    hint = call("plan", experiment)
    assert f"holds LoRA adapters of {EMBEDDED}; 'holdfast merge {adapters} --out FOLDER'" in hint.err
    write_json(adapters / "adapter_config.json", named | {"base_model_name_or_path": None})

    for arguments, message in (
        ((adapters, "--out", tmp_path / "x"), "model.path=MODEL"),
        ((merged, "model.path=embedded", "--out", tmp_path / "x"), "holds no adapters"),
        ((adapters, "model.path=embedded", "--out", merged), "is there already"),
        ((adapters, "model.path=nowhere", "--out", tmp_path / "x"), "There is no model folder nowhere"),
    ):
        refused = call("merge", *arguments)
        assert refused.code == 2
        assert message in refused.err
    weights = load_file(adapters / "adapter_model.safetensors")
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, adapters / "adapter_model.safetensors", metadata={"format": "pt"})
    refused = call("merge", adapters, "model.path=embedded", "--out", tmp_path / "x")
    assert refused.code == 2 and "has numbers that are not finite" in " ".join(refused.err.split())
    assert not (tmp_path / "x").exists()
