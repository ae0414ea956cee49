"""One stage on several ranks: the same bits for every number of them, and no rank waits in vain."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast.errors import InputError
from holdfast.learning import policygradient
from holdfast.learning.likelihood import Likelihood
from holdfast.learning.methods import GRPO, Shard, make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.partition import Partition
from holdfast.policy import board, rendezvous
from holdfast.policy.batch import NotFiniteError
from holdfast.policy.budget import TokenBudget
from holdfast.policy.mailbox import ROOM, Mailbox
from holdfast.policy.policy import Policy
from holdfast.policy.rendezvous import join, leave_word, meeting_point, word_of
from holdfast.policy.settings import ModelSettings
from holdfast.policy.shards import Shards, TreeSum
from holdfast.policy.team import PATIENCE, SHORT, Team, TeamLost
from processes import FORKED
from team_helpers import METHODS, alone, check_same, learned, together


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        one
        if one in ("sft", "kl, two updates", "uneven parts", "compact")
        else pytest.param(one, marks=pytest.mark.cluster)
        for one in METHODS
    ],
)
def test_as_many_ranks_as_one_likes_learn_the_same_bits(name: str, tmp_path: Path) -> None:
    expected = alone(name)
    assert all(row["skipped"] == 0 and row["grad_norm"] > 0 for row in expected[1])
    for size in (2, 4):
        check_same(together(size, learned, name, tmp_path / str(size)), expected)


@pytest.mark.slow
def test_shards_change_rounding_alone(tmp_path: Path) -> None:
    (whole,), (cut,) = (together(1, learned, "grpo", tmp_path / str(n), n) for n in (1, 4))
    before = Policy.load("embedded", ModelSettings(device="cpu")).model.state_dict()
    moved = torch.cat([(whole[0][name] - before[name]).flatten() for name in before]).norm()
    apart = torch.cat([(whole[0][name] - cut[0][name]).flatten() for name in before]).norm()
    assert 0 < apart < 1e-4 * moved
    assert [row["reward"] for row in whole[1]] == [row["reward"] for row in cut[1]]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shard"), [("kl, two updates", "none"), ("compact", "optimizer")])
def test_a_stage_killed_with_four_ranks_is_ended_by_two(name: str, shard: Shard, tmp_path: Path) -> None:
    assert together(4, learned, name, tmp_path / "cut", 4, 1, shard) == [None] * 4
    assert (tmp_path / "cut/checkpoint/state.json").exists()
    check_same(together(2, learned, name, tmp_path / "cut", 4, None, shard), alone(name))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_known_to_all_ranks(tmp_path: Path) -> None:
    together(2, learned, "sft", tmp_path / "cut", 4, 1)
    (tmp_path / "cut/checkpoint/optimizer.safetensors").write_bytes(b"")
    check_same(together(2, learned, "sft", tmp_path / "cut"), alone("sft"))


def not_finite_on_one(team: Team, folder: Path) -> Any:
    real, calls = Likelihood.loss, []

    def loss(self: Any, policy: Any, groups: Any) -> Any:
        calls.append(1)
        if team.rank == 1 and len(calls) == 1:
            raise NotFiniteError(0)
        return real(self, policy, groups)

    Likelihood.loss = loss  # type: ignore[method-assign]
    return [row["skipped"] for row in learned(team, "sft", folder)[1][: 2 if team.leads else 0]]


def test_what_is_not_finite_on_one_rank_is_skipped_by_all(tmp_path: Path) -> None:
    assert together(2, not_finite_on_one, tmp_path)[0] == [1.0, 0.0]


def own_advantages(team: Team, folder: Path) -> Any:
    """The advantages of an estimator that draws its own, and then what ranks say of rows that differ."""
    seen, collect = [], policygradient.PolicyGradient.collect

    def drawn(self: Any, rewards_BG: torch.Tensor, greedy_B: torch.Tensor | None) -> torch.Tensor:
        return rewards_BG + torch.randn(
            rewards_BG.shape, generator=torch.Generator().manual_seed(os.getpid())
        )

    def watched(self: Any, *given: Any) -> Any:
        seen.append(groups := collect(self, *given))
        return groups

    GRPO.advantages = drawn  # type: ignore[method-assign]
    policygradient.PolicyGradient.collect = watched  # type: ignore[method-assign]
    learned(team, "grpo", folder)
    try:
        Shards(4, team).gradients([], [1, 1, 1, 1 + team.rank], lambda rows: None)
    except TeamLost as error:
        return [groups.advantages_BG for groups in seen], str(error)


def test_ranks_learn_from_the_advantages_of_the_one_that_leads(tmp_path: Path) -> None:
    (ours, said), (theirs, _) = together(2, own_advantages, tmp_path)
    assert len(ours) == 2 and all(map(torch.equal, ours, theirs))
    assert "on 4 rows of 4 tokens" in said and "on 4 rows of 5 tokens" in said


def out_of_memory_on_one(team: Team, budgets: Path) -> Any:
    budget, failed = TokenBudget(100), []
    shards = Shards(4, team, budget)

    def work(rows: range) -> int:
        def tried() -> int:
            parts = budget.split([40, 40, 40])
            if team.rank == 1 and not failed:
                failed.append(1)
                raise torch.OutOfMemoryError("no room")
            return len(parts)

        return budget.attempt(tried)

    return shards.each([1] * 8, work), budget.tokens


def test_ranks_agree_on_the_budget_after_one_ran_out_of_memory(tmp_path: Path) -> None:
    first, second = together(2, out_of_memory_on_one, tmp_path)
    assert first == second
    assert first[1] < 100


def fails(team: Team, how: str, by: str = "memory") -> Any:
    """Rank 1 is not at the second meeting, or does not get through it."""
    speaking(team, by)
    team.together(lambda: team.rank)
    if team.rank == 1:
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "hangs":
            time.sleep(60)
        if how == "leaves":
            raise team._lost(RuntimeError("something broke here"))  # type: ignore[attr-defined]
        if how == "hangs within":
            team._gathered_rows = lambda *_: time.sleep(60)  # type: ignore[attr-defined]
        if how == "is elsewhere":
            return team.together(lambda: team.rank, "elsewhere")

    def work() -> int:
        if team.rank == 1:
            raise InputError("the file is gone")
        return team.rank

    return team.together(work)


def speaking(team: Team, by: str) -> None:
    """Ranks of one machine tell each other things through memory; have them do so by messages, if asked."""
    assert team._mailbox is not None  # type: ignore[attr-defined]
    if by == "messages":
        team._mailbox = None  # type: ignore[attr-defined]


def error_within(team: Team) -> list[str]:
    """An error deep in one rank's work, and what the ranks say to each other after it."""

    def work() -> None:
        team.agreed(lambda: None)
        if team.rank == 1:
            raise InputError("no")
        team.do(lambda: None)

    try:
        team.do(work)
    except InputError as error:
        said = f"{team.rank}: {error}"
    return team.together(lambda: said, "after it")


def test_ranks_are_together_again_after_an_error() -> None:
    assert together(2, error_within) == [["0: no", "1: no"]] * 2


def sums_without_warnings(team: Team) -> torch.Tensor:
    numbers = torch.arange(5.0) + team.rank
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        team.all_reduce([numbers])
    return numbers


def test_exchanges_use_nothing_that_torch_gives_up() -> None:
    assert [one.tolist() for one in together(2, sums_without_warnings)] == [[1, 3, 5, 7, 9]] * 2


def added_up(team: Team, folder: Path, seen_by: int) -> list[torch.Tensor]:
    """Sums of tensors of several kinds, then of larger ones; so many ranks see the same files."""
    board.FOLDER = folder if team.rank < seen_by else folder / "of another machine"
    given = []
    for count in (3, 1000):
        generator = torch.Generator().manual_seed(team.rank)
        numbers = torch.randn(count, 5, generator=generator)
        tensors = [numbers, numbers.T[1:], numbers.double(), numbers.bfloat16()[:, 0]]
        team.together(lambda: None)
        team.all_reduce(tensors)
        given += tensors
    assert not list(folder.iterdir())
    return [*given, torch.tensor(team._board._may_be)]  # type: ignore[attr-defined]


def test_sums_in_shared_memory_are_those_of_messages(tmp_path: Path) -> None:
    by_memory, by_messages = (together(4, added_up, tmp_path, seen_by) for seen_by in (4, 3))
    for ranks, shared in ((by_memory, True), (by_messages, False)):
        for given in ranks:
            assert given[-1] == shared, given
            assert all(map(torch.equal, given[:-1], by_memory[0][:-1]))
    first, *others = [torch.randn(3, 5, generator=torch.Generator().manual_seed(rank)) for rank in range(4)]
    assert torch.equal(by_memory[0][0], (first + others[0]) + (others[1] + others[2]))


def told(team: Team, by: str, much: int) -> list[Any]:
    """One says little, one much; tensors of several kinds come out as they were."""
    speaking(team, by)
    tensors = [
        torch.ones(2, 3).T,
        torch.tensor(0.1, requires_grad=True) * 3,
        torch.full((2,), 0.3, dtype=torch.bfloat16),
        torch.empty(0, 4, dtype=torch.long),
        torch.tensor([True, False]),
    ]
    said = team.together(lambda: (tensors, "x" * (much * team.rank)))
    for theirs, _ in said:
        assert [one.dtype for one in theirs] == [one.dtype for one in tensors]
        assert all(map(torch.equal, theirs, tensors))
        assert not any(one.requires_grad for one in theirs)
    return [len(text) // much for _, text in said]


@pytest.mark.parametrize(("by", "much"), [("messages", 10 * SHORT), ("memory", 10), ("memory", ROOM)])
def test_whatever_a_rank_says_is_heard_by_all(by: str, much: int) -> None:
    assert together(3, told, by, much) == [[0, 1, 2]] * 3


def many_told(team: Team, folder: Path) -> list[list[list[int]]]:
    """Much said by ranks of which now one, now another is late; those of several machines have no mailbox."""
    late = random.Random(team.rank)
    heard = []
    for number in range(200):
        if late.random() < 0.05:
            time.sleep(0.01)
        heard.append(team.all_gather([team.rank, number]))
    board.FOLDER = folder / str(team.rank)
    board.FOLDER.mkdir()
    assert Mailbox.of(team) is None
    return heard


def test_ranks_that_are_ahead_overwrite_nothing(tmp_path: Path) -> None:
    expected = [[[rank, number] for rank in range(3)] for number in range(200)]
    assert together(3, many_told, tmp_path) == [expected] * 3


def part_of_the_state(team: Team) -> tuple[int, bool]:
    """How many moments a rank has after a step, and whether weights are those of a whole optimiser."""
    models = [torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    team.broadcast(0, [one.data for model in models for one in model.parameters()])
    method = make_method(objective="sft", learning_rate=1e-2)
    whole, shared = (make_optimizer(model, method) for model in models)
    Partition(shared, team, "optimizer")
    for number in range(2):
        for parameter in (*models[0].parameters(), *models[1].parameters()):
            parameter.grad = torch.full_like(parameter, 1.0 + number)
        whole.step()
        shared.step()
    same = all(map(torch.equal, models[0].state_dict().values(), models[1].state_dict().values()))
    return sum(one["exp_avg"].numel() for one in shared.state.values()), same


def test_the_optimisers_state_is_shared_out() -> None:
    assert together(2, part_of_the_state) == [(14, True), (12, True)]  # 12 + 2 and 8 + 4 numbers


def test_an_error_of_one_rank_is_that_of_all() -> None:
    assert together(2, fails, "says") == ["InputError: the file is gone"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "patience", "by"),
    [
        ("dies", 30, "memory"),
        ("dies", 30, "messages"),
        ("leaves", 30, "memory"),
        ("hangs", 2, "memory"),
        ("hangs within", 2, "messages"),
    ],
)
def test_a_rank_that_is_lost_is_named_and_not_waited_for(how: str, patience: float, by: str) -> None:
    start = time.monotonic()
    given = together(3, fails, how, by, patience=patience, ranks=(0, 2))
    assert time.monotonic() - start < 20
    for one in (given[0], given[2]):
        assert one.startswith("TeamLost: Lost rank 1 of 3 (process "), one
    assert given[1] is None or how == "leaves"


def test_ranks_at_different_places_are_told() -> None:
    assert "different places of the program (elsewhere, fails.<locals>.work)" in str(
        together(2, fails, "is elsewhere")
    )


def started(team: Team, versions: list[str]) -> None:
    team.check_started_alike({"Python": "3", "torch": versions[team.rank]})


def test_ranks_that_were_started_otherwise_are_told() -> None:
    said = "HoldfastError: torch is 1 on rank 0 and 2 on rank 1: start all ranks with the same command, files"
    assert all(one.startswith(said) for one in together(2, started, ["1", "2"]))
    assert together(2, started, ["1", "1"]) == [None, None]


def joins_alone(rank: int, said: Connection) -> None:
    """A rank of two whose other one does not come, at a meeting point that a third process keeps."""
    os.environ[PATIENCE] = "1"
    point = meeting_point()
    with pytest.raises(TeamLost) as told:
        join(point.port, rank, 2)
    leave_word(point.port, rank, str(told.value))
    said.send(word_of(point, rank))


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_does_not_come_is_named(rank: int) -> None:
    ours, theirs = FORKED.Pipe()
    process = FORKED.Process(target=joins_alone, args=(rank, theirs), daemon=True)
    process.start()
    assert ours.poll(30)
    lacks = f"rank {1 - rank} of 2 did not come within 1 s (HOLDFAST_PATIENCE)."
    assert ours.recv() == f"The 2 ranks did not find each other: {lacks}"
    process.join()


def test_ranks_of_a_machine_are_reached_from_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ranks are told, they unpickle."""
    point = meeting_point()
    with socket.create_connection(("127.0.0.1", point.port), timeout=5):
        pass
    with pytest.raises(ConnectionRefusedError):  # where all that listens on every interface answers
        socket.create_connection(("127.0.0.2", point.port), timeout=5)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    monkeypatch.setattr(rendezvous, "Ranks", lambda store, rank, size: None)
    join(point.port, 0, 2)
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
    before = os.umask(0)
    try:
        board._make(tmp_path / "memory", 64)
    finally:
        os.umask(before)
    assert (tmp_path / "memory").stat().st_mode & 0o777 == 0o600


def test_a_tree_of_sums_has_the_order_of_its_leaves_alone() -> None:
    """(1 + e) + (e + e), of which the first half is rounded to 1; one by one all of it would be."""
    least = 2.0**-24
    sums = TreeSum()
    for value in (1.0, least, least, least):
        sums.push([torch.tensor([value]), None])
    assert sums.total() == [torch.tensor([1 + 2 * least]), None]


def test_shards_are_as_equal_as_can_be() -> None:
    assert Shards(4).of([5] * 8) == [range(0, 2), range(2, 4), range(4, 6), range(6, 8)]
    assert [len(rows) for rows in Shards(4).of([10, 11, 10, 10])] == [1, 1, 1, 1]
    assert [len(rows) for rows in Shards(4).of([7, 7, 7])] == [1, 0, 1, 1]
    assert Shards(2).of([5, 1]) == [range(0, 1), range(1, 2)]
    assert Shards(2).of([1, 1, 1, 1, 4, 4]) == [range(0, 4), range(4, 6)]  # 4 and 8: a row is whole
    assert Shards(2).of([6, 1, 1, 1, 3]) == [range(0, 1), range(1, 5)]
    assert Shards(4).of([9, 1, 1, 1]) == [range(0), range(0, 1), range(1, 1), range(1, 4)]
    assert Shards(2).of([0, 0, 3, 0]) == [range(0), range(0, 4)]
    assert Shards(4).each([1, 1, 1], list) == [[0], [1], [2]]
    assert Shards().each([1, 1, 1], list) == [[0, 1, 2]]


def test_shards_that_ranks_cannot_share_are_one_line() -> None:
    class Three(Team):
        size = 3

    with pytest.raises(InputError, match=r"^3 ranks cannot share 4 shards evenly"):
        Shards(4, Three())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shards": 3}, "power of two"),
        ({"shards": 8, "updates": 2}, r"of which there are 4 \(batch / updates\)"),
    ],
)
def test_shards_that_cannot_be_are_refused(settings: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_method(objective="sft", learning_rate=1e-3, batch=8, **settings)


def test_one_shard_is_what_a_stage_was_before() -> None:
    methods = [
        make_method(objective="sft", learning_rate=1e-3, **more)
        for more in ({}, {"shards": 1}, {"shards": 2})
    ]
    assert ["shards" in method.determining(["reading"]) for method in methods] == [False, False, True]
