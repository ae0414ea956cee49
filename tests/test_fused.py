"""Compiled parts of a layer are what they stand in for: results, gradients, and when they are left alone."""

from __future__ import annotations

import importlib
from functools import partial

import pytest
import torch

from family_helpers import make_gemma3_folder
from family_processors import make_mistral3_folder
from holdfast.policy import fused, logprobs, stretches
from holdfast.policy.lean import Lean
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from newer_families import (
    make_gemma4_folder,
    make_glm4v_folder,
    make_qwen3_5_folder,
    make_qwen3_vl_moe_folder,
)
from policy_helpers import make_folder, make_policy, make_qwen3_folder, make_text_folder
from team_helpers import together
from test_group_pass import loss_and_gradients, random_batch
from test_stretches import mixed_prompts

FOLDERS = {
    "qwen2.5-vl": lambda folder: make_folder(folder, windowed=True),
    "qwen3-vl": make_qwen3_folder,
    "qwen3-vl-moe": make_qwen3_vl_moe_folder,
    "qwen3.5": make_qwen3_5_folder,
    "glm-4v": make_glm4v_folder,
    "mistral3": make_mistral3_folder,
    "gemma-3": make_gemma3_folder,
    "gemma-4": make_gemma4_folder,
    "text": make_text_folder,
}
FILES = (
    "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "glm4v", "mistral", "mistral3", "pixtral", "llama",
    "gemma3", "gemma4",
)  # fmt: skip


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Parts are traced and differentiated as the compiler does it, but run by PyTorch; also on the CPU."""
    monkeypatch.setattr(fused, "COMPILE", partial(torch.compile, dynamic=True, backend="aot_eager"))
    monkeypatch.setattr(fused, "available", lambda rows: fused._tried and fused._enabled)
    monkeypatch.setattr(Lean, "takes", lambda lean, extra: False)  # that is for CPUs
    for name, value in (("_tried", False), ("_enabled", True), ("_compiled", {})):
        monkeypatch.setattr(fused, name, value)
    for name in FILES:  # what `fuse` changes is put back
        file = importlib.import_module(f"transformers.models.{name}.modeling_{name}")
        for function in fused.ROTARY:
            if hasattr(file, function):
                monkeypatch.setattr(file, function, getattr(file, function))


def changed(model):
    """Modules that are called otherwise than by their class, the linear maps of a CPU aside."""
    modules = [module for module in model.modules() if "forward" in vars(module)]
    return [module for module in modules if not isinstance(module, torch.nn.Linear)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "dtype", "span"),
    [
        ("qwen2.5-vl", torch.float32, 1e-4),
        ("qwen2.5-vl", torch.bfloat16, 0.1),
        ("qwen3-vl", torch.float32, 1e-4),
        ("qwen3-vl-moe", torch.float32, 1e-4),
        ("qwen3.5", torch.float32, 1e-3),
        ("glm-4v", torch.float32, 1e-4),
        ("mistral3", torch.float32, 1e-4),
        ("gemma-3", torch.float32, 1e-4),
        ("gemma-4", torch.float32, 1e-4),
        ("text", torch.bfloat16, 0.1),
    ],
)
def test_a_fused_model_computes_the_same(family, dtype, span, tmp_path, as_on_a_gpu, monkeypatch):
    policy = make_policy(FOLDERS[family](tmp_path), activation_checkpointing=dtype == torch.float32)
    policy.model.to(dtype)
    batch = random_batch(policy, 4, (0, 0) if family == "text" else (1, 2), 3, 6)
    wanted, loss, wanted_gradients = loss_and_gradients(policy, "packed", *batch, temperature=0.8)
    assert fused.fuse(policy.model)
    monkeypatch.setattr(logprobs, "available", fused.available)
    found, same_loss, gradients = loss_and_gradients(policy, "packed", *batch, temperature=0.8)
    torch.testing.assert_close(found.logprobs_BGR, wanted.logprobs_BGR, rtol=0, atol=5 * span)
    torch.testing.assert_close(found.entropy_BGR, wanted.entropy_BGR, rtol=0, atol=5 * span)
    torch.testing.assert_close(same_loss, loss, rtol=0, atol=span)
    assert gradients.keys() == wanted_gradients.keys()
    for name, gradient in gradients.items():
        scale = float(wanted_gradients[name].norm()) + 1e-3
        if not name.endswith("k_proj.bias"):  # rounding alone: softmax does not see it
            assert float((gradient - wanted_gradients[name]).norm()) < span * scale, name


@pytest.mark.slow
def test_every_norm_gate_and_rotation_is_fused(tmp_path, as_on_a_gpu):
    policy = make_policy(make_folder(tmp_path))
    assert fused.fuse(policy.model)
    kinds = {type(module).__name__ for module in changed(policy.model)}
    assert kinds == {"Qwen2_5_VLRMSNorm", "Qwen2_5_VLMLP", "Qwen2MLP"}
    file = importlib.import_module(type(policy.model).__module__)
    assert all(hasattr(getattr(file, name), "__wrapped__") for name in fused.ROTARY)


@pytest.mark.slow
def test_a_compiled_step_draws_the_same(tmp_path, as_on_a_gpu):
    policy = make_policy(make_folder(tmp_path))
    prompts, how = mixed_prompts(policy, True), Sampling(max_tokens=20)
    draw = lambda: policy.sample(prompts, 4, how, torch.Generator().manual_seed(1), greedy_row=True)  # noqa: E731
    wanted = draw()
    assert fused.fuse(policy.model)
    policy.backbone.replays = True
    found = draw()
    assert stretches.look_back in fused._compiled and policy.backbone.replays and policy.way == "packed"
    assert torch.equal(found.tokens_BGR, wanted.tokens_BGR)
    torch.testing.assert_close(found.logprobs_BGR, wanted.logprobs_BGR, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_plain_pass_stays_as_transformers_has_it(tmp_path, as_on_a_gpu, monkeypatch):
    policy = make_policy(make_folder(tmp_path))
    batch = random_batch(policy, 4, (1, 2), 2, 4)
    assert fused.fuse(policy.model)
    monkeypatch.setattr(torch.nn.functional, "rms_norm", lambda rows, *rest: rows)  # as if it were wrong
    result = policy.group_logprobs(*batch)
    assert policy.way == "plain" and not fused._enabled
    with monkeypatch.context() as patched:
        patched.setattr(fused, "_enabled", False)
        torch.testing.assert_close(result.logprobs_BGR, policy.logprobs_by("plain", *batch, 1.0).logprobs_BGR)


def test_parts_that_fail_or_differ_are_left_alone(tmp_path, as_on_a_gpu, monkeypatch, caplog):
    policy = make_policy(make_text_folder(tmp_path))

    def fails(function):
        raise RuntimeError("no compiler\nsecond line")

    for compiler, said in ((lambda f: lambda *x: fails(f), "cannot be compiled (no compiler);"),
                           (lambda f: lambda x, *rest: f(2 * x, *rest), "they are off by")):  # fmt: skip
        monkeypatch.setattr(fused, "COMPILE", compiler)
        assert not fused.fuse(policy.model) and said in caplog.text
        assert not changed(policy.model)
        assert fused.compiled(fused.gated) is fused.gated


def test_a_cpu_is_never_fused(tmp_path):
    policy = make_policy(make_text_folder(tmp_path))
    assert not changed(policy.model)


def takes_over(team):
    """Where the leading rank found in an earlier stage that the packed pass is wrong."""
    fused._tried = True
    policy = Policy.load("embedded", ModelSettings(device="cpu"))
    policy.way = "plain" if team.leads else "packed"
    if team.leads:
        fused.disable()
    policy.share(2, team)
    return policy.way, fused._enabled


@pytest.mark.slow
def test_ranks_leave_fused_parts_with_the_packed_pass():
    assert together(2, takes_over) == [("plain", False)] * 2
