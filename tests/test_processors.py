"""Processors in any environment: images need no torchvision, and a missing package is said at once."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers.integrations import peft as integration
from transformers.models.smolvlm import processing_smolvlm

import family_helpers
import family_processors
import newer_families
from cli_helpers import Call, Said
from experiment_helpers import write_config
from holdfast.errors import InputError
from holdfast.files import read_json, write_json
from holdfast.policy import lora, videos
from holdfast.policy.environment import missing_package
from holdfast.policy.processor import load_processor
from holdfast.policy.settings import Sampling
from policy_helpers import make_policy
from test_families import generator, mixed, processed

FAMILIES = ("qwen2", "onevision", "smolvlm", "internvl", "mistral3")
ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families_whose_processors_ask_for_torchvision(tmp_path, family):
    if family == "smolvlm":
        pytest.importorskip("num2words")
    makers = family_processors if family in ("onevision", "mistral3") else family_helpers
    policy = make_policy(getattr(makers, f"make_{family}_folder")(tmp_path / "base"))
    texts, images, prompts = mixed(policy)
    for row, (text, pictures) in enumerate(zip(texts, images, strict=True)):
        if family == "onevision" and len(pictures) > 1:
            continue  # its processor cuts no tiles then; here an image is processed on its own
        wanted = processed(policy, text, pictures)["input_ids"]
        assert torch.equal(prompts.select([row]).tokens_BP, wanted)
    completions = policy.sample(prompts, 2, Sampling(max_tokens=6), generator())
    logprobs = policy.group_logprobs(prompts, completions).logprobs_BGR
    torch.testing.assert_close(logprobs, completions.logprobs_BGR, rtol=0, atol=1e-4)
    logprobs.sum().backward()
    seen = [p.grad for name, p in policy.model.named_parameters() if "vision" in name or "visual" in name]
    assert any(gradient is not None and gradient.abs().max() > 0 for gradient in seen)

    policy.save(tmp_path / "saved")
    before, after = (read_json(tmp_path / folder / "processor_config.json") for folder in ("base", "saved"))
    assert after == before
    again = make_policy(tmp_path / "saved")
    assert torch.equal(again.encode(texts, images).tokens_BP, prompts.tokens_BP)


def test_a_tokenizer_that_is_not_read_as_it_was_written_is_told(tmp_path, caplog):
    """Of a Qwen3.5's folder, in which the words of the others stand without their splitter."""
    load_processor(newer_families.make_qwen3_5_folder(tmp_path / "bytes"), text_only=False)
    assert "tokenizer" not in caplog.text
    words = family_helpers.make_qwen2_folder(tmp_path / "words")
    load_processor(words, text_only=False)
    assert "tokenizer" not in caplog.text
    shutil.copy(words / "tokenizer.json", tmp_path / "bytes")
    load_processor(tmp_path / "bytes", text_only=False)
    assert "is not the one in its tokenizer.json: transformers makes a Qwen3_5Tokenizer" in caplog.text


def test_transformers_is_left_as_it_was(tmp_path):
    auto = importlib.import_module("transformers.models.auto.video_processing_auto")
    stock = auto.AutoVideoProcessor
    processor = load_processor(family_helpers.make_internvl_folder(tmp_path), text_only=False)
    assert isinstance(processor.video_processor, videos.VideoSettings)
    assert auto.AutoVideoProcessor is stock
    with pytest.raises(NotImplementedError, match="no videos"):
        processor.video_processor([])


def test_a_video_part_that_nothing_describes(tmp_path):
    folder = family_helpers.make_internvl_folder(tmp_path)
    settings = read_json(folder / "processor_config.json")
    del settings["video_processor"]
    write_json(folder / "processor_config.json", settings)
    with pytest.raises(InputError, match="no file of the checkpoint has its settings"):
        load_processor(folder, text_only=False, local_files_only=True)


@pytest.mark.parametrize(
    ("message", "package"),
    [
        ("\nOmDetTurboProcessor requires the Torchvision library but it was not found in", "torchvision"),
        ("Package `num2words` is required to run SmolVLM processor.", "num2words"),
        ("No module named 'mistral_common.tokens'", "mistral_common"),
        ("cannot import name 'x' from 'y'", None),
    ],
)
def test_which_package_is_missing(message, package):
    wrapped = RuntimeError("something else")
    wrapped.__cause__ = ImportError(message)
    assert missing_package(wrapped) == package


def one_line(said: Said, text: str) -> None:
    assert said.code == 2, said
    assert said.err.startswith("Error: ") and said.err.count("\n") == 1, said.err
    assert text in said.err
    assert not said.out


def test_a_missing_package_is_named_before_any_work(call: Call, tmp_path, monkeypatch):
    monkeypatch.setattr(processing_smolvlm, "num2words", str)
    folder = family_helpers.make_smolvlm_folder(tmp_path / "smol")
    monkeypatch.setattr(processing_smolvlm, "num2words", None)
    config = write_config(tmp_path, {"model": {"path": str(folder)}})
    text = f"The processor of {folder} needs num2words, which is not installed: pip install num2words"
    one_line(call("plan", config), text)
    one_line(call("run", config), text)
    tasks = ("test_examples=2", "prompts=embedded", "evaluation.max_tokens=4", "--tasks", "presence")
    one_line(call("check", "embedded", folder, *tasks, "--out", tmp_path / "check"), text)
    said = call("evaluate", folder, *tasks, "--out", tmp_path / "out")
    assert said.code == 2 and text in said.err and said.err.count("\n") == 1
    assert not list((tmp_path / "store").rglob("result.json"))


def test_missing_or_old_peft_is_named_before_any_work(call: Call, tmp_path, monkeypatch):
    config = write_config(tmp_path, {"model": {"lora": {"rank": 4}}})
    find_spec = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "peft" else find_spec(name))
        for command in ("plan", "run"):
            one_line(call(command, config), "model.lora needs peft: pip install peft 'transformers<5.24'")
    pytest.importorskip("peft")
    monkeypatch.setattr(integration, "MIN_PEFT_VERSION", "99.0")
    with pytest.raises(InputError, match=r"needs peft 99\.0 or later, and peft .* is installed"):
        lora.require()


def test_a_damaged_processor_and_a_missing_model_are_said_by_the_plan(call: Call, tmp_path):
    folder = family_helpers.make_qwen2_folder(tmp_path / "model")
    (folder / "tokenizer.json").write_text("{")
    said = call("plan", write_config(tmp_path, {"model": {"path": str(folder)}}))
    assert said.code == 2 and f"The processor of {folder} cannot be loaded" in said.err
    said = call("plan", write_config(tmp_path, {"model": {"path": "someone/not-on-this-disk"}}))
    assert said.code == 0 and "not-on-this-disk" in said.out


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "run", "evaluate", "merge"])
def test_a_torchvision_for_another_torch_is_one_line(tmp_path, command):
    """As pip leaves it when torch alone is upgraded."""
    broken = tmp_path / "site" / "torchvision"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    about = tmp_path / "site" / "torchvision-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1\n")
    arguments = [str(write_config(tmp_path))]
    if command == "evaluate":
        arguments = ["embedded", "test_examples=1", "prompts=embedded", "--tasks", "presence"]
        arguments += ["--out", str(tmp_path / "out")]
    if command == "merge":
        write_json(tmp_path / "adapter_config.json", {"peft_type": "LORA"})
        arguments = [str(tmp_path), "model.path=embedded", "--out", str(tmp_path / "merged")]
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT / "src")])
    ran = subprocess.run(
        [sys.executable, "-m", "holdfast", command, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        cwd=tmp_path,
    )
    assert ran.returncode == 2, ran.stderr
    assert ran.stderr.startswith("Error: torchvision is installed but does not work with torch (RuntimeError")
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--version",), ("version",)])
def test_python_m_holdfast_tells_the_version(tmp_path, arguments):
    from holdfast import __version__

    ran = subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        cwd=tmp_path,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{__version__}\n", "")


def test_nobody_is_sent_to_the_package_of_that_name():
    """`holdfast` on the package index is somebody else's; ours is not published."""
    files = [
        path for folder in ("src", "docs", "configs", "benchmarks") for path in (ROOT / folder).rglob("*")
    ]
    files += [ROOT / name for name in ("README.md", "constraints.txt", "pyproject.toml", "Makefile")]
    advice = re.compile(r"pip3? install[^\n]*\bholdfast(?!/)")
    told = [
        f"{path}: {line}"
        for path in files
        if path.suffix in (".py", ".md", ".txt", ".toml", ".yaml", "") and path.is_file()
        for line in path.read_text(errors="ignore").splitlines()
        if advice.search(line)
    ]
    assert told == []
