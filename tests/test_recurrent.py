"""Layers that carry a state: a group starts from its prompt's, and gets what each completion would alone."""

from __future__ import annotations

import pytest
import torch

from experiment_helpers import make_experiment, run_here
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Sampling
from newer_families import make_qwen3_5_folder, make_qwen3_5_moe_folder, make_qwen3_next_folder
from policy_helpers import make_policy
from test_group_pass import loss_and_gradients, random_batch

MAKERS = {"qwen3_5": make_qwen3_5_folder, "qwen3_5_moe": make_qwen3_5_moe_folder}
SPAN = 2e-3  # transformers computes the states in float32, chunk by chunk from another beginning


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}
    return made | {"qwen3_next": make_qwen3_next_folder(tmp_path_factory.mktemp("qwen3_next"))}


def assert_nearly_equal_passes(policy: Policy, batch: tuple[Prompts, Completions]) -> None:
    wanted, loss, gradients = loss_and_gradients(policy, "plain", *batch)
    found, other_loss, others = loss_and_gradients(policy, "packed", *batch)
    torch.testing.assert_close(found.logprobs_BGR, wanted.logprobs_BGR, rtol=0, atol=SPAN)
    torch.testing.assert_close(found.entropy_BGR, wanted.entropy_BGR, rtol=0, atol=SPAN)
    torch.testing.assert_close(other_loss, loss, rtol=0, atol=SPAN)
    assert others.keys() == gradients.keys()
    for name, gradient in gradients.items():
        scale = gradient.abs().max().item() + 1e-3
        torch.testing.assert_close(others[name], gradient, rtol=0, atol=SPAN * scale, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3_5", "qwen3_5_moe", "qwen3_next"])
@pytest.mark.parametrize("images", [(1, 1), (2, 0, 1), (0, 0)])
def test_equals_plain_pass(folders, family, images):
    if family == "qwen3_next":
        images = (0,) * len(images)
    policy = make_policy(folders[family])
    assert policy.way == "packed" and policy.backbone.recurrent
    for seed, group, longest in ((1, 3, 6), (2, 1, 4), (3, 2, 1), (4, 2, 2), (5, 2, 70)):
        assert_nearly_equal_passes(policy, random_batch(policy, seed, images, group, longest))


def test_texts_begin_with_one_token(folders):
    """Prompts of one token, as `rad` has them: what they leave is what the completions go on from."""
    policy = make_policy(folders["qwen3_5"])
    texts = policy.encoder.texts(["w1 w2 w3 w4", "w5 w6"], 6)
    assert texts[0].lengths_B.tolist() == [1, 1]
    assert_nearly_equal_passes(policy, texts)


def test_every_parameter_has_a_gradient(folders):
    policy = make_policy(folders["qwen3_5"])
    gradients = loss_and_gradients(policy, "packed", *random_batch(policy, 1, (1, 2), 2, 5))[2]
    assert gradients.keys() == {name for name, _ in policy.model.named_parameters()}
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())


@pytest.mark.parametrize("settings", [{"activation_checkpointing": True}, {"token_budget": 60}])
def test_checkpoints_and_parts(folders, settings):
    policy, whole = make_policy(folders["qwen3_5"], **settings), make_policy(folders["qwen3_5"])
    batch = random_batch(policy, 6, (1, 2), 3, 6)
    for found, wanted in zip(
        *(loss_and_gradients(one, "packed", *batch) for one in (policy, whole)), strict=True
    ):
        if isinstance(wanted, dict):
            for name, gradient in wanted.items():
                torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)
    with torch.no_grad():
        first, second = (one.group_logprobs(*batch).logprobs_BGR for one in (policy, whole))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3_5", "qwen3_next"])
@pytest.mark.parametrize("temperature", [0.02, 1.0])  # cold: completions begin alike, and part later
def test_what_was_sampled_is_found_again(folders, family, temperature):
    policy = make_policy(folders[family])
    prompts = random_batch(policy, 7, (0, 0, 0) if family == "qwen3_next" else (1, 0, 2), 1, 1)[0]
    known, generator = policy.prefill(prompts), torch.Generator().manual_seed(3)
    sampling = Sampling(temperature=temperature, max_tokens=12)
    completions = policy.sample(prompts, 4, sampling, generator, greedy_row=True, prefilled=known)
    assert policy.way == "packed"
    for way in ("packed", "plain"):
        found = policy.logprobs_by(way, prompts, completions, temperature).logprobs_BGR
        torch.testing.assert_close(found, completions.logprobs_BGR, rtol=0, atol=SPAN / temperature)
    again = policy.sample(prompts, 4, sampling, torch.Generator().manual_seed(3), greedy_row=True)
    assert torch.equal(again.tokens_BGR, completions.tokens_BGR)

    gradients = []
    for held in (known, None):
        policy.model.zero_grad(set_to_none=True)
        policy.group_logprobs(prompts, completions, prefilled=held).logprobs_BGR.sum().backward()
        gradients.append({name: one.grad.clone() for name, one in policy.model.named_parameters()})
    for name, gradient in gradients[1].items():
        scale = gradient.abs().max().item() + 1e-3
        torch.testing.assert_close(gradients[0][name], gradient, rtol=0, atol=SPAN * scale, msg=name)


def test_a_completion_does_not_depend_on_its_group(folders):
    policy = make_policy(folders["qwen3_5"])
    prompts, completions = random_batch(policy, 8, (1, 0), 3, 6)
    whole = policy.group_logprobs(prompts, completions).logprobs_BGR.detach()
    for row in range(2):
        alone = policy.group_logprobs(prompts.select([row]), completions.select([row])).logprobs_BGR
        torch.testing.assert_close(alone[0], whole[row, :, : alone.shape[-1]], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_an_experiment_with_it(folders, tmp_path, caplog):
    pytest.importorskip("peft")
    model = {"path": str(folders["qwen3_5"]), "lora": {"rank": 2}}
    outcome = run_here(make_experiment(tmp_path, model=model))
    assert not outcome.failed and outcome.done
    assert "plain pass" not in caplog.text  # what the first group's check found
