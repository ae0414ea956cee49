"""Adapters: the packed pass under them, their reference, saving, merging and learning."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiment_helpers import make_experiment, run_here
from family_helpers import make_idefics3_folder, make_llava_folder, make_qwen2_folder
from holdfast.errors import InputError
from holdfast.experiment.architecture import architecture
from holdfast.learning.groups import Groups
from holdfast.learning.methods import make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.policygradient import PolicyGradient
from holdfast.learning.stage import Stage
from holdfast.learning.step import step
from holdfast.policy import lora
from holdfast.policy.policy import Policy
from holdfast.policy.ready import check_ready
from holdfast.policy.settings import ModelSettings, Sampling
from newer_families import make_glm4v_folder, make_qwen3_5_folder, make_qwen3_next_folder
from policy_helpers import PROJECTIONS, make_folder, make_policy, make_qwen3_folder, make_text_folder
from test_group_pass import assert_equal_passes, loss_and_gradients, random_batch

pytest.importorskip("peft")

LORA = {"rank": 3, "alpha": 6}
TARGETS = ("q_proj", "v_proj", "down_proj", "qkv", "attn.proj", "mlp.0", "mlp.2")
EVERYWHERE = LORA | {"target_modules": TARGETS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model"))


def disturb(policy: Policy, scale: float = 0.3) -> None:
    """Adapters that do something, as after some steps."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_" in name:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def adapted(folder, settings: dict | None = None, **other) -> Policy:
    policy = make_policy(folder, path=str(folder), lora=settings or LORA, **other)
    disturb(policy)
    return policy


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("settings", [LORA, EVERYWHERE], ids=["language", "vision too"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_equals_plain_pass(folder, dtype, settings, checkpointing):
    policy = adapted(folder, settings, activation_checkpointing=checkpointing)
    policy.model.to(dtype)
    batch = random_batch(policy, 5, (1, 2, 0), 3, 6)
    assert_equal_passes(policy, *batch)
    gradients = loss_and_gradients(policy, "packed", *batch)[2]
    trained = {name for name, p in policy.model.named_parameters() if p.requires_grad}
    assert gradients.keys() == trained and all("lora_" in name for name in trained)
    assert all(gradient.abs().max() > 0 for gradient in gradients.values())
    assert any("visual" in name for name in trained) == (settings is EVERYWHERE)


@pytest.mark.parametrize("make", [make_qwen2_folder, make_qwen3_folder, make_text_folder])
def test_other_architectures(tmp_path, make):
    policy = adapted(make(tmp_path))
    policy.model.double()
    assert policy.way == "packed"
    images = (0, 0) if make is make_text_folder else (1, 0)
    assert_equal_passes(policy, *random_batch(policy, 5, images, 3, 6))


def test_dropout_of_saved_adapters_is_off_where_activations_are_checkpointed(folder, tmp_path):
    adapted(folder).save(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lora_dropout": 0.5}))
    policy = make_policy(tmp_path, path=str(folder), activation_checkpointing=True)
    policy.model.double()
    batch = random_batch(policy, 5, (1, 0), 3, 6)
    assert_equal_passes(policy, *batch)
    with torch.no_grad():
        wanted = policy.logprobs_by("packed", *batch, 1.0).logprobs_BGR
    found = policy.logprobs_by("packed", *batch, 1.0).logprobs_BGR
    torch.testing.assert_close(found.detach(), wanted, rtol=0, atol=1e-9)


def test_new_adapters_change_nothing_and_are_always_the_same(folder):
    plain, policy = make_policy(folder), make_policy(folder, lora=LORA)
    state = torch.get_rng_state()
    again = make_policy(folder, lora=LORA)
    assert torch.equal(state, torch.get_rng_state())
    weights = dict(again.model.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in policy.model.named_parameters())
    batch = random_batch(plain, 5, (1, 0), 3, 6)
    assert torch.equal(plain.group_logprobs(*batch).logprobs_BGR, policy.group_logprobs(*batch).logprobs_BGR)


def test_reference_is_the_model_under_the_adapters(folder):
    plain, policy = make_policy(folder), adapted(folder)
    batch = random_batch(plain, 5, (1, 0), 3, 6)
    reference = policy.without_adapters().group_logprobs(*batch).logprobs_BGR
    assert torch.equal(reference, plain.group_logprobs(*batch).logprobs_BGR)
    assert not torch.equal(reference, policy.group_logprobs(*batch).logprobs_BGR)


def test_snapshot_holds_adapters_alone(folder):
    policy = adapted(folder)
    batch = random_batch(policy, 5, (1, 0), 3, 6)
    snapshot = policy.snapshot()
    assert all("lora_" in name for name in snapshot.weights)
    before = policy.group_logprobs(*batch).logprobs_BGR.detach()
    disturb(policy, 0.1)
    assert torch.equal(snapshot.group_logprobs(*batch).logprobs_BGR, before)


def test_references_of_a_kl_penalty(folder):
    policy = adapted(folder)

    def fail():
        raise AssertionError("a second model is loaded")

    for kind in ("base", "stage_start"):
        method = make_method(objective="grpo", learning_rate=1e-3, kl_coef=0.1, kl_reference=kind)
        objective = method.make(Stage(policy, [], method, 1, {}, (), fail))
        assert isinstance(objective, PolicyGradient) and objective.reference.policy is policy
    assert any(p.requires_grad for p in policy.model.parameters())


def test_a_step_moves_adapters_alone(folder):
    policy = adapted(folder)
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    method = make_method(objective="grpo", group_size=3, learning_rate=1e-2)
    prompts, completions = random_batch(policy, 5, (1, 0), 3, 6)
    groups = Groups(prompts, completions, torch.tensor([[1.0, -1, 0.5], [1, 0, -1]]))
    step(policy, PolicyGradient(method, {}, None), make_optimizer(policy.model, method), groups, method, 1e-2)
    for name, parameter in policy.model.named_parameters():
        assert torch.equal(before[name], parameter) != ("lora_" in name), name


def test_save_and_load_adapters(folder, tmp_path):
    policy = adapted(folder)
    policy.save(tmp_path / "adapters")
    assert not (tmp_path / "adapters" / "model.safetensors").exists()
    saved = load_file(tmp_path / "adapters" / "adapter_model.safetensors")
    assert all(".lora_" in name for name in saved)
    again = Policy.load(tmp_path / "adapters", policy.settings)
    names = {name: p.requires_grad for name, p in policy.model.named_parameters()}
    assert names == {name: p.requires_grad for name, p in again.model.named_parameters()}
    weights = dict(again.model.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in policy.model.named_parameters())
    batch = random_batch(policy, 5, (1, 0), 3, 6)
    assert torch.equal(policy.group_logprobs(*batch).logprobs_BGR, again.group_logprobs(*batch).logprobs_BGR)


def test_peft_reads_the_adapters(folder, tmp_path):
    from peft import PeftModel

    policy = adapted(folder)
    policy.save(tmp_path / "adapters")
    stock = make_policy(folder)
    stock.model = PeftModel.from_pretrained(stock.model, tmp_path / "adapters").merge_and_unload()
    batch = random_batch(policy, 5, (1, 0), 3, 6)
    theirs = stock.logprobs_by("plain", *batch, 1.0).logprobs_BGR
    torch.testing.assert_close(policy.group_logprobs(*batch).logprobs_BGR, theirs, rtol=0, atol=1e-3)


def test_merged_model_is_an_ordinary_one(folder, tmp_path):
    policy = adapted(folder)
    policy.save(tmp_path / "merged", merge=True)
    merged = Policy.load(tmp_path / "merged", ModelSettings())
    assert not merged.adapted and merged.way == "packed"
    batch = random_batch(policy, 5, (1, 0), 3, 6)
    with torch.no_grad():
        ours, theirs = (each.group_logprobs(*batch).logprobs_BGR for each in (policy, merged))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    assert policy.adapted and any("lora_" in name for name, _ in policy.model.named_parameters())


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_folder, make_text_folder], ids=["tied", "not tied"])
@pytest.mark.parametrize("ends", ["lm_head", "embed_tokens", "lm_head q_proj embed_tokens"])
def test_adapters_of_embeddings(make, ends, tmp_path):
    """Merged here or from their folder, they are an ordinary model; switched off, they are the base."""
    folder, settings = make(tmp_path / "base"), LORA | {"target_modules": tuple(ends.split())}
    base = make_policy(folder)
    tied = base.model.config.tie_word_embeddings
    if tied and ends.endswith("q_proj embed_tokens"):
        with pytest.raises(InputError, match=r"both .*embed_tokens and lm_head, which share") as told:
            make_policy(folder, lora=settings)
        with pytest.raises(InputError) as early:
            check_ready(str(folder), ModelSettings(path=str(folder), lora=settings))
        assert str(early.value) == str(told.value)
        return
    policy = adapted(folder, settings)
    batch = random_batch(policy, 5, (0, 0), 3, 6)

    @torch.no_grad()
    def logprobs(of):
        return of.group_logprobs(*batch).logprobs_BGR

    wanted = logprobs(policy)
    assert torch.equal(policy.without_adapters().group_logprobs(*batch).logprobs_BGR, logprobs(base))
    assert (wanted - logprobs(base)).abs().max() > 1
    policy.save(tmp_path / "adapters")
    again = Policy.load(tmp_path / "adapters", policy.settings)
    assert torch.equal(logprobs(again), wanted)
    for name, each in {"here": policy, "from the folder": again}.items():
        each.save(tmp_path / name, merge=True)
        torch.testing.assert_close(logprobs(make_policy(tmp_path / name)), wanted, rtol=0, atol=1e-4)
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert not any(part.get("tie_word_embeddings") for part in (config, config.get("text_config", {})))
        assert torch.equal(logprobs(each), wanted)  # a copy was merged
    assert policy.model.config.tie_word_embeddings == tied


@pytest.mark.slow
@pytest.mark.parametrize("make", [make_folder, make_text_folder, make_llava_folder, make_idefics3_folder])
def test_no_adapters_outside_the_text_model_unless_asked(make, tmp_path):
    folder = make(tmp_path / "base")
    for settings in (LORA, LORA | {"target_modules": ("q_proj", "up_proj")}):
        policy = make_policy(folder, path=str(folder), lora=settings)
        names = [name for name, _ in policy.model.named_parameters() if ".lora_A." in name]
        parts = Counter(policy.family.part_of(name) or "text" for name in names)
        known = architecture(policy.settings)
        assert known is not None and known.adapted == {"text": 0, "vision": 0, "projector": 0} | parts
        if settings is LORA:
            assert parts == {"text": 2 * 7}
            policy.save(tmp_path / "adapters")
            again = Policy.load(tmp_path / "adapters", policy.settings)
            assert [name for name, _ in again.model.named_parameters() if ".lora_A." in name] == names
        elif make is not make_text_folder:
            assert parts["vision"]


def ends_of_adapted(policy: Policy) -> set[str]:
    names = [name.partition(".lora_")[0] for name, p in policy.model.named_parameters() if p.requires_grad]
    assert names and not any("visual" in name for name in names)
    return {name.rpartition(".")[2] for name in names}


def test_all_linear_layers_of_the_text_model_but_its_head(tmp_path):
    policy = make_policy(make_qwen3_5_folder(tmp_path / "states"), lora=LORA)
    carried = {"in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj"}
    assert ends_of_adapted(policy) == {*PROJECTIONS, *carried}
    glm = make_policy(make_glm4v_folder(tmp_path / "glm"), lora=LORA)
    assert ends_of_adapted(glm) == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"}


def test_a_mixtures_mlps_have_no_adapters(tmp_path, caplog):
    folder = make_qwen3_next_folder(tmp_path)
    attention = {"q_proj", "k_proj", "v_proj", "o_proj", "in_proj_qkvz", "in_proj_ba", "out_proj"}
    assert ends_of_adapted(make_policy(folder, lora=LORA)) == {*attention, "shared_expert_gate"}
    assert "a mixture of experts, get no adapters" in caplog.text
    for ends in (("down_proj",), ("q_proj", "gate_proj", "up_proj")):
        with pytest.raises(InputError, match=r"elsewhere than target_modules says .* leave .*_proj out"):
            make_policy(folder, lora=LORA | {"target_modules": ends})


def test_modules_that_are_not_there_are_told_before_any_work(folder):
    settings = {"target_modules": ("v_proj", "upp_proj")}
    for attempt in (
        lambda: make_policy(folder, lora=settings),
        lambda: check_ready(str(folder), ModelSettings(path=str(folder), lora=settings)),
    ):
        with pytest.raises(InputError, match=r"no module upp_proj .*; did you mean 'up_proj'\? .*gate_proj"):
            attempt()


def test_sampling_and_bfloat16(folder):
    policy = adapted(folder, dtype="bfloat16")
    assert {p.dtype for p in policy.model.parameters() if p.requires_grad} == {torch.float32}
    prompts, _ = random_batch(policy, 5, (1, 0), 3, 6)
    completions = policy.sample(prompts, 3, Sampling(max_tokens=8), torch.Generator().manual_seed(0))
    again = policy.group_logprobs(prompts, completions)
    assert (again.logprobs_BGR - completions.logprobs_BGR).abs().max() < 0.5


def test_frozen_parts_keep_their_adapters_still(folder):
    policy = make_policy(folder, lora=EVERYWHERE, freeze=("vision", "projector"))
    gradients = loss_and_gradients(policy, "packed", *random_batch(policy, 1, (1, 1), 2, 4))[2]
    assert gradients
    assert not any("visual" in name for name in gradients)


def test_wrong_settings_and_files(folder, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"model\.lora does not fit"):
        make_policy(folder, lora={"target_modules": ("nothing",)})
    policy = adapted(folder)
    policy.save(tmp_path / "adapters")
    weights = load_file(tmp_path / "adapters" / "adapter_model.safetensors")
    weights.popitem()
    save_file(weights, tmp_path / "adapters" / "adapter_model.safetensors")
    with pytest.raises(InputError, match="incomplete"):
        Policy.load(tmp_path / "adapters", policy.settings)
    (tmp_path / "adapters" / "adapter_model.safetensors").write_bytes(b"lost_again")
    with pytest.raises(InputError, match=r"^The weights .* are damaged \(it is cut off"):
        Policy.load(tmp_path / "adapters", policy.settings)
    monkeypatch.setattr(lora.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        make_policy(folder, lora=LORA)


@pytest.mark.slow
@pytest.mark.parametrize(
    "beside",
    [
        {"use_dora": True},
        {"modules_to_save": ["norm"]},
        {"trainable_token_indices": [3, 4]},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"init_lora_weights": "pissa"},
        {"init_lora_weights": "pissa_niter_4"},
        {"init_lora_weights": "olora"},
        {"alora_invocation_tokens": [3]},
    ],
    ids=lambda beside: "-".join(map(str, *beside.items())),
)
def test_adapters_that_are_not_lora_alone_are_refused(folder, tmp_path, beside):
    """They would be read without the lengths of DoRA, merged without the other weights, or have no base."""
    from peft import LoraConfig, get_peft_model

    policy = make_policy(folder)
    config = LoraConfig(r=2, target_modules=["q_proj"], base_model_name_or_path=str(folder), **beside)
    get_peft_model(policy.model, config).save_pretrained(tmp_path / "peft")
    settings = policy.settings.model_copy(update={"path": str(folder)})
    with pytest.raises(InputError, match=rf"not LoRA alone \({next(iter(beside))} in .* merge_and_unload"):
        Policy.load(tmp_path / "peft", settings)


def test_adapters_in_whole_numbers_are_refused(folder, tmp_path):
    policy = adapted(folder)
    policy.save(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({name: tensor.to(torch.int8) for name, tensor in load_file(path).items()}, path)
    with pytest.raises(InputError, match=r"are whole numbers \(.+, say\)"):
        Policy.load(tmp_path, policy.settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plain", [{"init_lora_weights": "orthogonal"}, {"use_rslora": True, "lora_dropout": 0.1}]
)
def test_without_adapters_of_pefts_stands_the_base(folder, tmp_path, plain):
    from peft import LoraConfig, get_peft_model

    policy = make_policy(folder)
    prompts, completions = random_batch(policy, 1, (1, 0), 2, 5)
    base = policy.group_logprobs(prompts, completions).logprobs_BGR.detach()
    config = LoraConfig(r=2, target_modules=["q_proj"], base_model_name_or_path=str(folder), **plain)
    model = get_peft_model(policy.model, config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".lora_B." in name:
                weight += 0.5
    model.save_pretrained(tmp_path / "peft")
    loaded = Policy.load(tmp_path / "peft", policy.settings.model_copy(update={"path": str(folder)}))
    without = loaded.without_adapters().group_logprobs(prompts, completions).logprobs_BGR
    assert torch.equal(without, base)
    assert not torch.allclose(loaded.group_logprobs(prompts, completions).logprobs_BGR, base, atol=1e-3)


@pytest.mark.slow
def test_an_experiment_with_adapters(tmp_path):
    """Stages go on from the saved adapters, in parts of a few tokens."""
    model = {"path": "embedded", "lora": {"rank": 2}, "token_budget": 150}
    methods = {"grpo": {"objective": "grpo", "kl_coef": 0.1, "kl_reference": "base"}}
    experiment = make_experiment(tmp_path, model=model, methods=methods, general=None)
    outcome = run_here(experiment)
    assert not outcome.failed
    for folder in (tmp_path / "store" / "learn").glob("*/weights"):
        assert (folder / "adapter_model.safetensors").exists() and not (folder / "config.json").exists()
    stages = (tmp_path / "store" / "learn").glob("*/metrics.jsonl")
    starts = sorted(json.loads(path.read_text().splitlines()[0])["kl"] for path in stages)
    assert starts[0] == 0 < starts[1]  # the first stage starts at the base, the second away from it
