"""Muon: its step by hand, what it leaves to AdamW, and where it is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from experiment_helpers import make_experiment
from holdfast.errors import InputError
from holdfast.files import read_jsonl
from holdfast.learning.methods import Method
from holdfast.learning.muon import orthogonalised
from holdfast.learning.optimizer import make_optimizer
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from test_learning import grpo, items_of, sft, train, weights

MUON = {"optimizer": "muon", "learning_rate": 0.1, "weight_decay": 0.5}


class Net(nn.Module):
    """Two matrices, a bias, and an embedding that is the head, too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.one, self.two = nn.Embedding(3, 4), nn.Linear(4, 6), nn.Linear(6, 2, bias=False)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.embed


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "bfloat16"])
def test_matrices_alone_decay(optimizer: str) -> None:
    """Without a gradient a step is decay alone: a twentieth of each matrix, and nothing of the bias."""
    model = Net().bfloat16() if optimizer == "bfloat16" else Net()
    settings = MUON | {"optimizer": optimizer.replace("bfloat16", "adamw")}
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    make_optimizer(model, sft(**settings)).step()
    for name, weight in model.named_parameters():
        left = 1.0 if name == "one.bias" else 0.95
        torch.testing.assert_close(weight.detach(), left * before[name])


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3)])
def test_five_iterations_make_singular_values_about_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalised(matrix)
    inner = left.T @ found @ right.T  # the same singular vectors
    assert (inner - inner.diag().diag()).abs().max() < 1e-4
    assert ((inner.diag() > 0.65) & (inner.diag() < 1.25)).all()
    assert orthogonalised(torch.zeros(shape)).abs().max() == 0


def test_two_steps_by_hand() -> None:
    """Matrices along O(g + 0.95 m), scaled by 0.2 √6, and decayed; all else is AdamW's step."""
    torch.manual_seed(0)
    model, other = Net(), Net()
    other.load_state_dict(model.state_dict())
    optimizer = make_optimizer(model, sft(**MUON))
    adamw = make_optimizer(other, sft(**MUON | {"optimizer": "adamw"}))
    weight = model.one.weight.detach().clone()
    momentum = torch.zeros_like(weight)
    for number in range(2):
        generator = torch.Generator().manual_seed(number)
        for one, same in zip(model.parameters(), other.parameters(), strict=True):
            one.grad = same.grad = torch.randn(one.shape, generator=generator)
        gradient = model.one.weight.grad
        assert gradient is not None
        momentum = 0.95 * momentum + gradient
        direction = orthogonalised(gradient + 0.95 * momentum)
        weight = weight * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 6**0.5 * direction
        optimizer.step()
        adamw.step()
    torch.testing.assert_close(model.one.weight.detach(), weight, rtol=0, atol=1e-5)
    assert torch.equal(model.one.bias, other.one.bias) and torch.equal(model.embed.weight, other.embed.weight)
    assert not torch.equal(model.two.weight, other.two.weight)


@pytest.mark.slow
@pytest.mark.parametrize("make", [sft, grpo])
def test_a_killed_stage_goes_on_to_the_same_bits(
    make: type[Method], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items, method = items_of("photos", 16), make(optimizer="muon")
    whole, resumed = (Policy.load("embedded", ModelSettings()) for _ in range(2))

    def on_step(done: int, total: int, row: object) -> None:
        if done == 3:  # a kill would leave this
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")

    train(whole, method, tmp_path / "whole" / "work", 4, items, on_step=on_step)
    train(resumed, method, tmp_path / "killed" / "work", 4, items)
    assert not caplog.messages  # the checkpoint was taken up
    assert all(torch.equal(one, weights(resumed)[name]) for name, one in weights(whole).items())


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    policy = Policy.load("embedded", ModelSettings())
    train(policy, sft(batch=8, optimizer="muon"), tmp_path, 10, items_of("photos", 16))
    losses = [row["loss"] for row in read_jsonl(tmp_path / "metrics.jsonl")]
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])


def test_it_counts_where_it_is_used_only() -> None:
    """Results that were there before it keep their names."""
    assert "optimizer" not in sft().determining(("photos",))
    assert sft(optimizer="muon").determining(("photos",))["optimizer"] == "muon"


def test_it_is_refused_where_its_steps_would_be_lost(tmp_path: Path) -> None:
    methods = {"sft": {"objective": "sft", "optimizer": "muon"}}
    model = {"path": "embedded", "dtype": "bfloat16"}
    with pytest.raises(InputError, match="muon would lose its steps"):
        make_experiment(tmp_path, methods=methods, general=[], model=model)
    with pytest.raises(InputError, match="muon would lose its steps"):
        make_optimizer(SimpleNamespace(parameters=Net().bfloat16().parameters), sft(**MUON))  # type: ignore[arg-type]
