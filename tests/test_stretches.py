"""Decoding in stretches draws what the ordinary decode draws, by steps that a CUDA graph can hold."""

from __future__ import annotations

import random
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from family_helpers import make_gemma3_folder, make_idefics3_folder, make_llava_folder, make_qwen2_folder
from holdfast.policy import stretches
from holdfast.policy.batch import NotFiniteError
from holdfast.policy.decoding import look_back
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Sampling
from newer_families import (
    make_gemma4_folder,
    make_glm4v_folder,
    make_qwen3_5_folder,
    make_qwen3_vl_moe_folder,
)
from policy_helpers import (
    make_folder,
    make_policy,
    make_qwen3_folder,
    make_text_folder,
    random_image,
    random_text,
)

MAKERS = {
    "qwen2.5-vl": make_folder,
    "qwen2-vl": make_qwen2_folder,
    "qwen3-vl": make_qwen3_folder,
    "qwen3-vl-moe": make_qwen3_vl_moe_folder,
    "qwen3.5": make_qwen3_5_folder,
    "gemma-3": make_gemma3_folder,
    "gemma-4": make_gemma4_folder,
    "glm-4v": make_glm4v_folder,
    "llava": make_llava_folder,
    "idefics3": make_idefics3_folder,
    "text": make_text_folder,
}
WAYS = {
    "plain": Sampling(max_tokens=20),
    "top-p": Sampling(max_tokens=20, temperature=1.3, top_p=0.8),
    "greedy": Sampling(max_tokens=20, temperature=0),
    "one token": Sampling(max_tokens=1),
}
READS_BACK = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "lift_fresh", "equal", "bincount")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


def mixed_prompts(policy: Policy, images: bool):
    rng = random.Random(0)
    shown = [[random_image(rng)], [], [random_image(rng, (70, 30))]] if images else [[], [], []]
    return policy.encode([random_text(rng, 3 + index) for index in range(3)], shown)


def sample(policy: Policy, replays: bool, how: Sampling, images: bool = True, group: int = 4):
    policy.backbone.replays = replays
    prompts = mixed_prompts(policy, images)
    generator = torch.Generator().manual_seed(2)
    return policy.sample(prompts, group, how, generator, greedy_row=True)


@pytest.mark.slow
@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", MAKERS)
def test_equals_the_ordinary_decode(folders, name, how, monkeypatch):
    policy = make_policy(folders[name])
    wanted = sample(policy, False, how, name != "text")
    for length in (1, 3, 64):
        monkeypatch.setattr(stretches, "STRETCH", length)
        found = sample(policy, True, how, name != "text")
        assert policy.backbone.replays
        assert torch.equal(found.tokens_BGR, wanted.tokens_BGR)
        assert torch.equal(found.mask_BGR, wanted.mask_BGR)
        assert torch.equal(found.finished_BG, wanted.finished_BG)
        torch.testing.assert_close(found.logprobs_BGR, wanted.logprobs_BGR, rtol=0, atol=1e-4)


class Operations(TorchDispatchMode):
    """The operations that are carried out, with the shapes they take."""

    def __init__(self):
        super().__init__()
        self.seen: list[tuple] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        shapes = tuple(tuple(x.shape) for x in args if isinstance(x, torch.Tensor))
        self.seen.append((function.overloadpacket.__name__, shapes))
        return function(*args, **(kwargs or {}))


@pytest.mark.slow
@pytest.mark.parametrize("how", [WAYS["plain"], WAYS["top-p"]], ids=["plain", "top-p"])
@pytest.mark.parametrize("name", MAKERS)
def test_the_steps_of_a_stretch_are_alike_and_read_nothing_back(folders, name, how, monkeypatch):
    taken: list[list[tuple]] = []

    def watched(step, count, capture):
        for _ in range(count):
            with Operations() as operations:
                step()
            taken.append(operations.seen)
        return True

    monkeypatch.setattr(stretches, "_repeat", watched)
    sample(make_policy(folders[name]), True, how, name != "text")
    assert len(taken) == 19
    assert all(step == taken[0] for step in taken)
    used = {operation for operation, _ in taken[0]}
    assert "index_copy_" in used
    assert not used.intersection(READS_BACK)


def test_an_error_is_raised_after_the_stretch(folders):
    policy = make_policy(folders["text"])
    prompts = mixed_prompts(policy, False)
    with torch.no_grad():  # only tokens of the prompts can be read: the first drawn one ends it
        weight = policy.model.get_input_embeddings().weight
        read = torch.zeros(len(weight), dtype=torch.bool)
        read[prompts.tokens_BP.flatten()] = True
        weight[~read] = torch.nan
    found = []
    for replays in (False, True):
        policy.backbone.replays = replays
        with pytest.raises(NotFiniteError) as error:
            policy.sample(prompts, 2, Sampling(max_tokens=9), torch.Generator().manual_seed(0))
        found.append(error.value.index)
    assert found[0] == found[1]


def test_wrong_replays_are_noticed_and_done_without(folders, monkeypatch, caplog):
    policy = make_policy(folders["qwen2.5-vl"])
    wanted = sample(policy, False, WAYS["plain"])
    monkeypatch.setattr(stretches, "look_back", lambda *args: look_back(*args[:7]))  # keys to come are seen
    found = sample(policy, True, WAYS["plain"])
    assert not policy.backbone.replays and "Replayed decoding steps are not used" in caplog.text
    assert torch.equal(found.tokens_BGR, wanted.tokens_BGR)


def test_a_graph_is_recorded_on_the_card_that_computes(monkeypatch):
    """As if there were several: torch itself would record what the current one does, and that is nothing."""
    card, seen, steps = torch.device("cuda:1"), [], []

    def context(name):
        def entered(*given, **named):
            seen.append((name, *named.values(), *(one for one in given if isinstance(one, torch.device))))
            return nullcontext()

        return entered

    class Graph:
        def replay(self):
            steps.append("replayed")

    monkeypatch.setattr(torch.cuda, "device", context("current"))
    monkeypatch.setattr(torch.cuda, "graph", context("recorded"))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda one: f"beside {one}")
    waited = SimpleNamespace(synchronize=lambda: seen.append("waited"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda one: seen.append(("stream", one)) or waited)
    assert stretches._repeat(lambda: steps.append("taken"), 9, card)
    assert seen == [("current", card), ("recorded", "beside cuda:1"), ("stream", card), "waited"]
    assert steps == ["taken"] * 2 + ["replayed"] * 8
    stretches._beside.cache_clear()


class Recorded(TorchDispatchMode):
    """Operations that are carried out, and again on the same memory, as a CUDA graph does it."""

    def __init__(self):
        super().__init__()
        self.taken: list[tuple] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.taken.append((function, args, kwargs or {}, made))
        return made

    def replay(self):
        for function, args, kwargs, made in self.taken:
            for old, new in zip(tree_leaves(made), tree_leaves(function(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():  # else it is in place
                    old.copy_(new)


@pytest.mark.slow
@pytest.mark.parametrize("how", [WAYS["plain"], WAYS["top-p"]], ids=["plain", "top-p"])
@pytest.mark.parametrize("name", MAKERS)
def test_replays_without_python_draw_the_same(folders, name, how, monkeypatch):
    """A step's operations, recorded once and replayed on the same memory, as a CUDA graph does it."""
    policy = make_policy(folders[name])
    wanted = sample(policy, False, how, name != "text")
    replays = []

    def recorded(step, count, capture):
        step()
        if count > 1:
            with Recorded() as graph:
                step()
            replays.extend(graph.replay() for _ in range(count - 2))
        return True

    monkeypatch.setattr(stretches, "_repeat", recorded)
    monkeypatch.setattr(stretches, "STRETCH", 10)
    found = sample(policy, True, how, name != "text")
    assert len(replays) > 10 and policy.backbone.replays  # else they were found wrong and done without
    assert torch.equal(found.tokens_BGR, wanted.tokens_BGR)
    assert torch.equal(found.mask_BGR, wanted.mask_BGR)
    torch.testing.assert_close(found.logprobs_BGR, wanted.logprobs_BGR, rtol=0, atol=1e-4)
