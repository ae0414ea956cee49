"""The re-alignment probe: it counts what comes back, and puts the policy back."""

from dataclasses import replace

import pytest
import torch

from holdfast.errors import InputError
from holdfast.generate.generator import Asking
from holdfast.measures import realign as module
from holdfast.measures.realign import realign
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings, Sampling
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES
from measures_helpers import assert_untouched, state

TASK = TASKS["measures"]
TRAIN, TEST = TASK.examples("train", 8), TASK.examples("test", 20)


def measure(policy, **changes):
    rows = changes.pop("train", TRAIN), changes.pop("test", TEST)
    steps = {"steps": changes.pop("steps", 5), "learning_rate": changes.pop("learning_rate", 2e-4)}
    asking = Asking(
        "cot", TEMPLATES["embedded"], Sampling(temperature=0, max_tokens=16), ("probe",), batch=64
    )
    return realign(policy, TASK, *rows, replace(asking, **changes), **steps)


@pytest.fixture
def policy():
    return Policy.load("embedded", ModelSettings())


@pytest.mark.slow
def test_a_few_steps_bring_back_what_was_overwritten(policy):
    before = state(policy)
    row = measure(policy)
    assert_untouched(policy, before)
    assert (row["task"], row["examples"], row["steps"], row["items"]) == ("measures", 8, 5, 20)
    assert row["target"] == "reasoned" and row["skipped"] == 0
    assert row["loss_last"] < 0.7 * row["loss_first"]
    assert row["after"] > row["before"] + 0.1
    assert row["recovered"] - row["lost_again"] == round((row["after"] - row["before"]) * 20)
    still = measure(policy, learning_rate=1e-12)
    assert still["before"] == still["after"] == row["before"] and still["recovered"] == 0


def test_the_target_follows_style_and_rationales(policy):
    short = {"steps": 1, "test": TEST[:2]}
    assert measure(policy, style="direct", **short)["target"] == "answer"
    assert measure(policy, train=[replace(TRAIN[0], rationale="")], **short)["target"] == "answer"


@pytest.mark.slow
def test_adapters_are_put_back(tmp_path):
    pytest.importorskip("peft")
    policy = Policy.load("embedded", ModelSettings(lora=Lora(rank=2, alpha=4)))
    before = state(policy)
    row = measure(policy, learning_rate=1e-2, test=TEST[:4])
    assert row["loss_last"] < row["loss_first"]
    assert_untouched(policy, before)


def test_a_failure_leaves_the_policy_as_it_was(policy, monkeypatch):
    before = state(policy)

    def fail(policy, objective, optimizer, groups, method, rate):
        with torch.no_grad():
            for parameter in policy.model.parameters():
                parameter += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "step", fail)
    with pytest.raises(KeyboardInterrupt):
        measure(policy, test=TEST[:2])
    assert_untouched(policy, before)


def test_it_is_not_judged_by_what_it_trains_on(policy):
    with pytest.raises(InputError, match="test on what it trains on"):
        measure(policy, test=TRAIN)
