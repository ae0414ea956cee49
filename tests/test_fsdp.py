"""Weights come from PyTorch's FSDP2, and go to it, by folders of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForImageTextToText
from transformers.modeling_layers import GradientCheckpointingLayer

from holdfast.policy.policy import Policy
from holdfast.policy.settings import EMBEDDED, ModelSettings
from holdfast.policy.team import Team
from team_helpers import together


def trained_by_fsdp2(team: Team, folder: Path, out: Path) -> dict[str, Any]:
    """A step from the weights of a folder, as FSDP2's users write it; weights before and after."""
    mesh = init_device_mesh("cpu", (team.size,))
    model = AutoModelForImageTextToText.from_pretrained(folder)
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    before = whole(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens = torch.tensor([[5, 6, 7, 8]]) + team.rank
    model(input_ids=tokens, labels=tokens).loss.backward()
    optimizer.step()
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(model, options=options)
    if team.leads:
        model.save_pretrained(out, state_dict=state)
    team.all_gather([0])
    return {
        "before": before,
        "after": whole(model),
        "part": sum(p.to_local().numel() for p in model.parameters()),
    }


def whole(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.full_tensor().detach().clone() for name, one in model.named_parameters()}


@pytest.mark.slow
def test_fsdp2_takes_a_policy_and_gives_one_back(tmp_path: Path) -> None:
    policy = Policy.load(EMBEDDED, ModelSettings(device="cpu"))
    policy.save(tmp_path / "ours")
    told, other = together(2, trained_by_fsdp2, tmp_path / "ours", tmp_path / "theirs")
    assert isinstance(told, dict), told
    own = dict(policy.model.named_parameters())
    assert told["before"].keys() == own.keys()
    assert all(torch.equal(told["before"][name], one) for name, one in own.items())
    assert max(told["part"], other["part"]) < 0.51 * sum(one.numel() for one in own.values())
    policy.processor.save_pretrained(tmp_path / "theirs")
    back = dict(Policy.load(tmp_path / "theirs", ModelSettings(device="cpu")).model.named_parameters())
    assert all(torch.equal(told["after"][name], one) for name, one in back.items())
    assert not any(torch.equal(told["before"][name], one) for name, one in back.items() if "layers" in name)
