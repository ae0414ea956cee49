"""Models for text alone of every make: they work as transformers has them, or are refused in a line."""

from __future__ import annotations

from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3Config, LlamaForCausalLM, Ovis2Config, PreTrainedModel
from transformers.models.olmo2.modeling_olmo2 import Olmo2Attention

from family_helpers import family_tokenizer
from holdfast.errors import HoldfastError, InputError
from holdfast.policy.families import family_of
from holdfast.policy.families.qwen_vl import QwenVL
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Sampling
from newer_families import make_gemma4_folder
from policy_helpers import make_folder as make_vision_folder
from policy_helpers import make_policy, make_text_folder
from test_group_pass import loss_and_gradients, random_batch
from test_text_models import make_folder

FULL = ["full_attention", "full_attention"]
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
ROUTED = {"num_local_experts": 4, "intermediate_size_mlp": 32, "head_dim": 8}
ALTERNATING = {"sliding_window": 8, "num_kv_shared_layers": 0, "layer_types": FULL, "head_dim": 8,
               "hidden_size_per_layer_input": 8, "laurel_rank": 4, "intermediate_size": 64,
               "activation_sparsity_pattern": [0.0, 0.0]}  # fmt: skip
STATES = {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "num_experts": 1}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
          "v_head_dim": 8, "num_key_value_heads": 4, "first_k_dense_replace": 2}  # fmt: skip

LOCAL = {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 8, "head_dim": 8}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings", "others"),
    [
        ("qwen3_moe", EXPERTS, set()),  # in whose adapters' settings peft notes that none are of experts
        ("gemma3n_text", ALTERNATING, set()),  # linear layers in lists, whose names are numbers
        ("llama4_text", ROUTED, {"router"}),  # a linear layer that returns two tensors
        ("jamba", STATES, {"dt_proj"}),  # its weight is read, and it is never called
        ("mamba", {"state_size": 8}, {"dt_proj", "out_proj"}),  # the latter peft refuses
    ],
)
def test_adapters_of_usual_targets_learn_and_are_saved(
    tmp_path: Path, kind: str, settings: dict[str, Any], others: set[str]
) -> None:
    pytest.importorskip("peft")
    folder = make_folder(tmp_path / "model", kind, **settings)
    policy = make_policy(folder, lora={"rank": 2})
    names = {name.partition(".lora_")[0].rpartition(".")[2] for name in policy.trained()}
    assert not names & others
    with torch.no_grad():
        for parameter in policy.trained().values():
            parameter.normal_(std=0.1)
    batch = random_batch(policy, 1, (0, 0), 2, 5)
    found, _, gradients = loss_and_gradients(policy, policy.way, *batch)
    assert gradients.keys() == policy.trained().keys()
    policy.save(tmp_path / "adapters")
    policy.save(tmp_path / "merged", merge=True)
    for again in (make_policy(tmp_path / "adapters", path=str(folder)), make_policy(tmp_path / "merged")):
        with torch.no_grad():
            logprobs = again.group_logprobs(*batch).logprobs_BGR
        torch.testing.assert_close(logprobs, found.logprobs_BGR.detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["opt", "biogpt"])  # which drop numbers in layers, or before them
def test_no_number_is_dropped_where_activations_are_checkpointed(tmp_path: Path, kind: str) -> None:
    more = {"ffn_dim": 64, "word_embed_proj_dim": 32} if kind == "opt" else {}
    folder = make_folder(tmp_path, kind, **more)
    policy, other = make_policy(folder, activation_checkpointing=True), make_policy(folder)
    batch = random_batch(policy, 1, (0, 0), 2, 5)
    wanted, found = (loss_and_gradients(one, "plain", *batch)[2] for one in (other, policy))
    assert policy.model.training and found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-6, msg=name)


def test_a_model_whose_activations_are_all_kept_says_so(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "openai-gpt", n_embd=32, n_layer=2, n_head=4)
    with pytest.raises(InputError, match=r"activation_checkpointing does not fit OpenAIGPTLM.* Remove the"):
        make_policy(folder, activation_checkpointing=True)


def shown(policy: Policy, stock: Any) -> None:
    """That the plain pass is what transformers makes of the model."""
    tokens = torch.arange(8, 20)[None]
    with torch.no_grad():
        found, wanted = (one(input_ids=tokens).logits for one in (policy.model, stock))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("deepseek_v3", LATENT, "its keys and values differ in size"),
        ("gemma2", {"head_dim": 8}, "attention does not support `softcap`"),
    ],
)
def test_what_layouts_do_not_give_is_left_to_the_plain_pass(
    tmp_path: Path, kind: str, settings: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, not by the first group: in half precision it may not show, or later groups alone show it."""
    folder = make_folder(tmp_path, kind, **settings)
    assert make_policy(folder, dtype="bfloat16").way == "plain"
    assert said in caplog.text
    shown(make_policy(folder), AutoModelForCausalLM.from_pretrained(folder).eval())


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("helium", {"head_dim": 8}), ("granite", {"residual_multiplier": 0.9}),
     ("granite", {"embedding_multiplier": 1.1}),
     ("smollm3", {"num_hidden_layers": 4, "use_sliding_window": False, "sliding_window": None})],
)  # fmt: skip
def test_layers_that_compute_otherwise_are_not_written_out(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    policy = make_policy(make_folder(tmp_path, kind, **settings), dtype="bfloat16")
    assert policy.way == "packed" and policy.lean is None


def test_logits_that_are_not_what_its_head_makes_are_left_to_the_plain_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    own = LlamaForCausalLM.forward

    def scaled(self: Any, *arguments: Any, **named: Any) -> Any:
        made = own(self, *arguments, **named)
        made.logits = made.logits * 0.999
        return made

    folder = make_text_folder(tmp_path)
    monkeypatch.setattr(LlamaForCausalLM, "forward", scaled)
    assert make_policy(folder).way == "plain"
    assert "does something else to what its head reads or makes" in caplog.text


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "bert")
    with pytest.raises(InputError, match="BertLMHeadModel looks at tokens that come later"):
        make_policy(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sizes", "said"),
    [
        ("recurrent_gemma", LOCAL, ["where prompts are padded"]),
        ("rwkv", {"num_attention_heads": 4}, ["where prompts are padded", "with its cache"]),
    ],
)
def test_a_model_that_draws_otherwise_than_it_reads_is_sampled_with_care(
    tmp_path: Path, kind: str, sizes: dict[str, Any], said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    policy = make_policy(make_folder(tmp_path, kind, **sizes))
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if parameter.dim() > 1 and "conv" not in name:
                parameter.normal_(std=0.15)
    prompts = policy.encode(["w1 w2 w3 w4 w5", "w7", "w3 " * 12], [(), (), ()])
    draw = (prompts, 3, Sampling(max_tokens=12))
    completions = policy.sample(*draw, torch.Generator().manual_seed(0))
    assert [caplog.text.count(f"draws otherwise {one}") for one in said] == [1] * len(said)
    assert caplog.text.count("draws otherwise") == len(said)
    with torch.no_grad():
        found = policy.group_logprobs(prompts, completions).logprobs_BGR
    torch.testing.assert_close(found, completions.logprobs_BGR, rtol=0, atol=1e-4)
    again = policy.sample(*draw, torch.Generator().manual_seed(0))
    assert torch.equal(again.tokens_BGR, completions.tokens_BGR)


def test_a_model_that_writes_otherwise_than_it_reads_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy(make_folder(tmp_path, "opt", ffn_dim=64, word_embed_proj_dim=32))
    prompts = policy.encode(["w1 w2", "w7 w8"], [(), ()])
    generate = policy.model.generate

    def blind(**named: Any) -> Any:  # to all but the last token of the prompt
        named["attention_mask"][:, :-1] = 0
        return generate(**named)

    monkeypatch.setattr(policy.model, "generate", blind)
    with pytest.raises(HoldfastError, match=r"OPTForCausalLM cannot be sampled from: .* on average"):
        policy.sample(prompts, 2, Sampling(max_tokens=6), torch.Generator().manual_seed(0))


def test_attention_with_more_than_layouts_give_is_left_to_transformers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, real = make_folder(tmp_path, "olmo2"), Olmo2Attention.forward
    monkeypatch.setattr(Olmo2Attention, "forward", partialmethod(real, indices=0))
    policy = make_policy(folder)
    assert policy.way == "plain" and "fails in it (its attention has indices)" in caplog.text
    assert policy.model.config._attn_implementation == "sdpa"


def test_tokens_that_stand_for_media_are_never_drawn(tmp_path) -> None:
    """Ovis2 puts features in the places of a list of ids, wherever they stand while a picture is shown.

    Gemma 4 reads padding where a sound would stand, so a completion could not hold it; Gemma 3 names its
    frames by `index`, and defaults may lie outside a small vocabulary.
    """
    config = Ovis2Config(visual_indicator_token_ids=[201, 202, 203], image_token_id=204)
    assert family_of(config).control_ids(family_tokenizer()) >= {201, 202, 203, 204}
    config = Gemma3Config(boi_token_index=205, eoi_token_index=206, image_token_index=207)
    assert family_of(config).control_ids(family_tokenizer()) >= {205, 206, 207}
    policy = make_policy(make_gemma4_folder(tmp_path))
    config = policy.model.config
    assert config.boa_token_id > len(policy.draw.banned_V)
    for token in (config.audio_token_id, config.video_token_id, config.image_token_id):
        assert policy.draw.banned_V[token]


def test_a_part_that_is_not_known_cannot_be_frozen(tmp_path, monkeypatch):
    monkeypatch.setattr(QwenVL, "projector", ("bridge",))
    with pytest.raises(InputError, match=r"its projector is not known \(looked for: bridge\)"):
        make_policy(make_vision_folder(tmp_path), freeze=("vision", "projector"))


def test_activations_are_checkpointed_by_the_name_that_older_transformers_have(tmp_path, monkeypatch):
    new = PreTrainedModel.activation_checkpointing_enable
    monkeypatch.setattr(PreTrainedModel, "gradient_checkpointing_enable", lambda model: new(model))
    monkeypatch.delattr(PreTrainedModel, "activation_checkpointing_enable")
    policy = make_policy(make_vision_folder(tmp_path), activation_checkpointing=True)
    assert any(getattr(module, "gradient_checkpointing", False) for module in policy.model.modules())


def test_frozen_parts_need_a_vision_tower(tmp_path):
    with pytest.raises(InputError, match=r"model\.freeze: LlamaForCausalLM has no vision tower; remove"):
        make_policy(make_text_folder(tmp_path), freeze=("vision",))
