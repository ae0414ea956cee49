"""A model in parts (`shard: full`): the bits of a whole one, less memory, and nobody waits in vain."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from holdfast.errors import InputError
from holdfast.learning import loop, step
from holdfast.learning.likelihood import Likelihood
from holdfast.learning.methods import Shard, make_method
from holdfast.policy.batch import NotFiniteError
from holdfast.policy.blocks import Recomputed, blocks_of
from holdfast.policy.budget import TokenBudget
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from holdfast.policy.sharding import Sharded
from holdfast.policy.team import Team
from policy_helpers import make_policy
from team_helpers import METHODS, alone, check_same, learned, together
from test_group_pass import random_batch
from test_text_models import make_folder

QUICK = ("kl, two updates", "some without pictures")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        one if one in QUICK else pytest.param(one, marks=pytest.mark.cluster)
        for one in METHODS
        if one not in ("self-distillation", "strategies")
    ],
)
def test_a_model_in_parts_learns_the_bits_of_a_whole_one(name: str, tmp_path: Path) -> None:
    expected = alone(name)
    assert all(row["skipped"] == 0 and row["grad_norm"] > 0 for row in expected[1])
    if name == "kl, two updates":  # the reference is another policy: the second update is off the start
        first, last = (row["kl"] for row in expected[1])
        assert 0 < first < last
    for size in (2, 4):
        check_same(together(size, learned, name, tmp_path / str(size), 4, None, "full"), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "size"),
    [("full", 2), pytest.param("none", 1, marks=pytest.mark.cluster)],
)
def test_a_stage_killed_with_four_parts_is_ended_by_fewer(then: Shard, size: int, tmp_path: Path) -> None:
    assert together(4, learned, "kl, two updates", tmp_path / "cut", 4, 1, "full") == [None] * 4
    assert (tmp_path / "cut/checkpoint/weights-3.safetensors").exists()
    check_same(
        together(size, learned, "kl, two updates", tmp_path / "cut", 4, None, then), alone("kl, two updates")
    )


@pytest.mark.cluster
def test_a_stage_killed_whole_is_ended_in_parts(tmp_path: Path) -> None:
    together(1, learned, "own answers", tmp_path / "cut", 4, 1)
    check_same(together(4, learned, "own answers", tmp_path / "cut", 4, None, "full"), alone("own answers"))


def size_of(tensors: Iterable[torch.Tensor | None]) -> int:
    """Bytes of the memory behind tensors."""
    memories = [one.untyped_storage() for one in tensors if one is not None]
    return sum({memory.data_ptr(): memory.nbytes() for memory in memories}.values())


def bytes_at_most(team: Team, folder: Path, shard: Shard) -> dict[str, int]:
    """What a rank has of a model: most of all at once while a shard is computed, and when a step is made."""
    most = dict.fromkeys(["weights", "gradients", "kept weights", "kept gradients", "moments"], 0)
    model: nn.Module
    real_clip, real_optimizer, real_leave = step.clip, loop.make_optimizer, Sharded._leave

    def note(kept: str = "", others: Iterable[torch.Tensor | None] = ()) -> None:
        parameters = list(model.parameters())
        for name, tensors in (
            ("weights", [one.data for one in parameters]),
            ("gradients", [*(one.grad for one in parameters), *others]),
        ):
            most[kept + name] = max(most[kept + name], size_of(tensors))

    def optimizer(of: nn.Module, *rest: Any) -> torch.optim.Optimizer:
        nonlocal model
        model, made = of, real_optimizer(of, *rest)

        def stepped(one: torch.optim.Optimizer, *_: Any) -> None:
            most["moments"] = size_of(tensor for state in one.state.values() for tensor in state.values())

        made.register_step_post_hook(stepped)
        return made

    def leave(shards: Sharded, number: int) -> None:
        note("", [*(one for some in shards._unsent.values() for one in some), *shards._sums.values()])
        real_leave(shards, number)

    def clip(*arguments: Any) -> float:
        note("kept ")
        return real_clip(*arguments)

    step.clip, loop.make_optimizer, Sharded._leave = clip, optimizer, leave  # type: ignore[assignment]
    learned(team, "sft", folder, 4, None, shard)
    return most


@pytest.mark.slow
def test_each_rank_has_its_part_of_the_memory(tmp_path: Path) -> None:
    (whole, *_), parts = (together(4, bytes_at_most, tmp_path / shard, shard) for shard in ("none", "full"))
    for name in ("kept weights", "kept gradients", "moments"):
        sizes = [part[name] for part in parts]
        assert sum(sizes) < 1.01 * whole[name], name
        assert max(sizes) < 1.15 * whole[name] / 4, name
    for part in parts:  # besides: embeddings, merger and patches, and one layer at a time
        assert part["weights"] < 0.55 * whole["kept weights"]
        assert part["gradients"] < 0.55 * whole["kept gradients"]


def not_finite_on_one(team: Team, folder: Path, size: int) -> Any:
    real = Likelihood.loss
    failed: list[int] = []

    def loss(self: Any, policy: Policy, groups: Any) -> Any:
        made = real(self, policy, groups)
        if team.rank == size - 1 and not failed:  # the last shard, after its forward pass
            failed.append(1)
            raise NotFiniteError(0)
        return made

    Likelihood.loss = loss  # type: ignore[method-assign]
    return learned(team, "sft", folder, 2, None, "full")


@pytest.mark.slow
def test_what_is_not_finite_in_a_part_is_skipped_by_all(tmp_path: Path) -> None:
    given = together(2, not_finite_on_one, tmp_path, 2)
    assert [row["skipped"] for row in given[0][1]] == [1.0, 0.0]
    check_same(given[1:], given[0])


def short_of_memory(team: Team, folder: Path) -> Any:
    """Rank 1 runs out of it in the midst of its first backward pass, when some gradients have left."""
    real = Sharded.gathered
    backward: list[int] = []

    def gathered(shards: Sharded, number: int) -> Any:
        backward.append(number)
        if team.rank == 1 and backward[-3:] == [4, 3, 2] and len(backward) < 20:
            raise torch.OutOfMemoryError("no room")
        return real(shards, number)

    Sharded.gathered = gathered  # type: ignore[method-assign]
    made = learned(team, "sft", folder, 2, None, "full")
    return *made, len(backward)


@pytest.mark.slow
def test_memory_that_runs_out_in_a_backward_pass_costs_no_gradient(tmp_path: Path) -> None:
    (expected,) = together(1, learned, "sft", tmp_path / "1", 2)
    given = together(2, short_of_memory, tmp_path / "2")
    for weights, rows, _ in given:
        assert rows[0]["grad_norm"] == pytest.approx(expected[1][0]["grad_norm"], rel=1e-5)
        check_same([(weights, rows)], (given[0][0], rows))
    assert given[1][2] > given[0][2]  # it began again


def fails_within(team: Team, folder: Path, how: str) -> Any:
    real = Sharded.gathered

    def gathered(shards: Sharded, number: int) -> Any:
        if team.rank == 1 and number == 3:
            if how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            raise InputError("no")
        return real(shards, number)

    Sharded.gathered = gathered  # type: ignore[method-assign]
    said = ""
    try:
        learned(team, "sft", folder, 2, None, "full")
    except InputError as error:
        said = str(error)
    return team.together(lambda: said, "after it")


@pytest.mark.slow
def test_an_error_in_a_layer_is_that_of_all_and_a_death_is_named(tmp_path: Path) -> None:
    assert together(2, fails_within, tmp_path, "says") == [["no"] * 2] * 2
    (told, _) = together(2, fails_within, tmp_path, "dies", ranks=(0,))
    assert told.startswith("TeamLost: Lost rank 1 of 2 (process "), told


def before_and_after(team: Team) -> list[Any]:
    policy = Policy.load("embedded", ModelSettings(device="cpu"))
    before = {name: weight.clone() for name, weight in policy.model.state_dict().items()}
    policy.share(2, team, full=True)
    here = [bool(torch.isfinite(one).all()) for one in policy.model.parameters()]
    shapes = all(one.shape == before[name].shape for name, one in policy.model.named_parameters())
    with policy.shards.whole():
        sampled_with = [torch.equal(one, before[name]) for name, one in policy.model.named_parameters()]
    policy.share()
    after = policy.model.state_dict()
    called = [module for module in blocks_of(policy.model) if "forward" in vars(module)]
    same = all(torch.equal(after[name], weight) for name, weight in before.items())
    return [here, shapes, all(sampled_with), same, called, policy.shards.team.size]


def test_weights_of_other_ranks_are_no_numbers_until_they_are_gathered() -> None:
    (first, *one), (second, *other) = together(2, before_and_after)
    assert one == other == [True, True, True, [], 1]
    assert all(a != b for a, b in zip(first, second, strict=True))


def test_a_model_without_layers_that_are_known_is_refused() -> None:
    class Two(Team):
        size = 2

    with pytest.raises(InputError, match=r"^shard: full gathers a model layer by layer, and Linear has none"):
        Sharded(2, Two(), TokenBudget(None), nn.Linear(2, 2))


def test_a_teacher_within_the_step_is_refused() -> None:
    method = make_method(objective="sdft", learning_rate=1e-3, batch=8, shards=2)
    assert "its teacher is asked within a step" in str(method.not_sharded("full"))
    assert method.not_sharded("optimizer") is None


def passed_in_parts(team: Team, folder: Path) -> None:
    policy = make_policy(folder)
    policy.share(2, team, full=True)
    prompts, completions = random_batch(policy, 1, (0, 0), 1, 3)

    def work(rows: range) -> list[None]:
        some = [*rows]
        chosen = prompts.select(some), completions.select(some)
        policy.logprobs_by("plain", *chosen, 1.0).logprobs_BGR.sum().backward()
        return [None for _ in some]

    policy.shards.gradients(list(policy.model.parameters()), [1, 1], work)


def test_a_gradient_that_leaves_a_block_is_laid_out_as_in_a_whole_model() -> None:
    """Sums over it are other bits otherwise: of the biases of Gemma 3's vision tower, say."""

    def block(rows_BND: torch.Tensor) -> torch.Tensor:
        return rows_BND + torch.tanh(rows_BND)

    quiet = SimpleNamespace(gathered=nullcontext, begun=lambda _: None, ended=lambda _: None)
    found = []
    for again in (False, True):
        rows_BND = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        given, anchor = rows_BND * 1, torch.zeros(0, requires_grad=True)
        given.register_hook(found.append)
        made = Recomputed.apply(quiet, 0, block, anchor, given) if again else block(given)
        made.transpose(1, 2).contiguous().square().sum().backward()
    assert torch.equal(*found) and not found[0].is_contiguous()
    assert found[0].stride() == found[1].stride()


@pytest.mark.slow
def test_layers_that_share_keys_are_not_taken_apart(tmp_path: Path) -> None:
    """Gradients of those keys would be lost: they come to a layer beside its input."""
    sizes = {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "layer_types": ["full_attention"] * 4}
    more = {"head_dim": 8, "hidden_size_per_layer_input": 8, "laurel_rank": 4, "intermediate_size": 64}
    folder = make_folder(tmp_path, "gemma3n_text", **sizes, **more, activation_sparsity_pattern=[0.0] * 4)
    for said in together(2, passed_in_parts, folder):
        assert isinstance(said, str) and "InputError" in said and "take shard: optimizer" in said
