"""Models for text alone, whose layers are not all what the packed pass expects of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from family_helpers import TEMPLATE, family_tokenizer, text_sizes
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}

GEMMA4 = {"head_dim": 8, "global_head_dim": 16, "sliding_window": 4, "num_hidden_layers": 4,
          "num_kv_shared_layers": 2, "layer_types": ["sliding_attention", "full_attention"] * 2,
          "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300,
          "final_logit_softcapping": 2.0}  # fmt: skip


def make_folder(folder: Path, kind: str, **settings: Any) -> Path:
    torch.manual_seed(0)
    tokenizer = family_tokenizer()
    tokenizer.chat_template = TEMPLATE
    config = AutoConfig.for_model(kind, **text_sizes(tokenizer) | settings)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "settings", "way", "lean"),
    [
        ("qwen2", {}, "packed", True),
        ("qwen3_moe", EXPERTS, "packed", True),  # experts take batches
        ("glm", {"head_dim": 8}, "packed", False),  # half of a head turns
        ("olmoe", {"num_experts": 4, "num_experts_per_tok": 2}, "packed", False),  # norms over all heads
        ("granite", {"logits_scaling": 4.0}, "packed", True),
        ("cohere", {"logit_scale": 0.5}, "packed", False),
        ("nanochat", {"final_logit_softcapping": 2.0}, "packed", False),
        ("gemma4_text", GEMMA4, "packed", False),
        ("stablelm", {}, "plain", False),  # calls no other attention, though it says that it takes one
        ("diffllama", {}, "plain", False),  # attends twice in a layer
    ],
)
def test_what_is_drawn_is_what_the_model_says(
    tmp_path: Path, kind: str, settings: dict[str, Any], way: str, lean: bool
) -> None:
    policy = Policy.load(make_folder(tmp_path, kind, **settings), ModelSettings(device="cpu"))
    assert policy.way == way and (getattr(policy.backbone, "lean", None) is not None) == lean
    prompts = policy.encode(["w1 w2 w3 w4 w5", "w7 w9", "w3 " * 12], [(), (), ()])
    drawn = policy.sample(
        prompts, 4, Sampling(temperature=0.3, max_tokens=8), torch.Generator().manual_seed(0)
    )
    assert policy.way == way
    with torch.no_grad():
        found = policy.group_logprobs(prompts, drawn, 0.3).logprobs_BGR
        plain = policy.logprobs_by("plain", prompts, drawn, 0.3).logprobs_BGR
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-4)
    torch.testing.assert_close(drawn.logprobs_BGR, plain, rtol=0, atol=1e-4)
