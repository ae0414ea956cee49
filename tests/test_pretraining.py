"""Making the embedded model: two cycles of a few steps, from scratch, the same bits again."""

import os
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from holdfast.rng import stream
from pretrain_embedded import train
from pretrain_embedded.card import write_card
from pretrain_embedded.curriculum import caption_drill
from processes import FORKED


@pytest.mark.slow
def test_a_short_pre_training_is_deterministic_and_gives_a_loadable_model(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "BATCH", 8)
    monkeypatch.setattr(train, "VISION_STEPS", 2)
    monkeypatch.setattr(train, "OPTION_STEPS", 2)
    lines = []
    for name in ("one", "two"):
        train.pretrain(tmp_path / name, cycles=(6, 2), processes=1, seed=3, report=lines.append)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)
    assert any("cycle 2" in line for line in lines)

    write_card(tmp_path / "one", "a test", report=lambda line: None, count=4)
    card = (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    assert "| diagrams | cot |" in card and "| presence | direct |" in card


@pytest.mark.slow
def test_the_vision_probe_reads_cells_in_the_order_in_which_they_are_told():
    """A probe on frozen features of the shipped model names most cells at once."""
    policy = Policy.load("embedded", ModelSettings(device="cpu"))
    policy.model.requires_grad_(False)
    rng = stream("probe")
    lessons = [caption_drill(rng) for _ in range(32)]
    torch.manual_seed(0)
    probe = torch.nn.Linear(policy.model.config.text_config.hidden_size, len(train.LABELS))
    optimizer = torch.optim.Adam(probe.parameters(), lr=0.03)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = train.vision_loss(policy, lessons, probe)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 < 2 < losses[0]


def be_tool(said, arguments):
    """Run the tool, whose processes are forked from this one; what they say goes to a file."""
    with said.open("w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
    torch.set_num_threads(1)  # a fork has no other threads, and would wait for theirs
    torch.multiprocessing.spawn = partial(torch.multiprocessing.start_processes, start_method="fork")
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")


@pytest.mark.slow
def test_the_tool_trains_in_two_processes_to_the_end(tmp_path, monkeypatch, capsys):
    tool = Path(__file__).parents[1] / "tools" / "pretrain_embedded"
    steps = ["--steps", "2", "--processes", "2", "--examples", "1"]
    command = [str(tool), "--out", str(tmp_path), *steps]
    process = FORKED.Process(target=be_tool, args=(tmp_path / "said", command))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert "step 1 of 2, cycle 1" in (tmp_path / "said").read_text()
    assert (tmp_path / "model.safetensors").exists()
    assert "--steps 2 --processes 2" in (tmp_path / "README.md").read_text()
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(sys, "argv", [*command, "--processes", "3"])
    with pytest.raises(SystemExit) as refused:
        runpy.run_path(str(tool), run_name="__main__")
    assert refused.value.code == 2 and "must divide 128" in capsys.readouterr().err
