"""Vision-language models that nobody has described: packed where their own forward pass allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.llava.modeling_llava import LlavaModel

from family_helpers import (
    make_gemma3_folder,
    make_idefics3_folder,
    make_internvl_folder,
    make_llava_folder,
    make_llava_next_folder,
    make_smolvlm_folder,
)
from family_processors import make_mistral3_folder, make_onevision_folder
from holdfast.policy.families import FAMILIES
from holdfast.policy.settings import Sampling
from newer_families import make_gemma4_folder, make_glm4v_folder, make_qwen3_5_folder
from policy_helpers import make_folder, make_policy, make_qwen3_folder
from test_group_pass import assert_equal_passes, assert_samples_as_plain, random_batch
from unknown_families import make_aya_folder, make_deepseek_folder, make_vipllava_folder

PLAIN_TEXT = {  # their text models are given embeddings and no more
    "aya_vision": make_aya_folder,
    "deepseek_vl": make_deepseek_folder,
    "llava_next": make_llava_next_folder,
    "vipllava": make_vipllava_folder,
    "idefics3": make_idefics3_folder,  # from here on, as if they were not known
    "internvl": make_internvl_folder,
    "llava": make_llava_folder,
    "llava_onevision": make_onevision_folder,
    "mistral3": make_mistral3_folder,
    "smolvlm": make_smolvlm_folder,
}
MORE = {
    "gemma3": (make_gemma3_folder, "its text model is given masks"),
    "gemma4": (make_gemma4_folder, "its text model is given masks"),
    "glm4v": (make_glm4v_folder, "its positions are not those of a text"),
    "qwen2_5_vl": (make_folder, "its positions are not those of a text"),
    "qwen3_vl": (make_qwen3_folder, "its positions are not those of a text"),
    "qwen3_5": (make_qwen3_5_folder, "its positions are not those of a text"),
}


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(FAMILIES):
        monkeypatch.delitem(FAMILIES, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN_TEXT)
def test_what_adds_nothing_to_embeddings_gets_the_packed_pass(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = make_policy(PLAIN_TEXT[name](tmp_path))
    assert policy.way == "packed"
    for seed, images in enumerate([(1, 1), (2, 0, 1)]):
        assert_equal_passes(policy, *random_batch(policy, seed, images, 3, 6))
    assert_samples_as_plain(policy)
    assert policy.way == "packed" and "plain pass" not in caplog.text
    said = "sampling.temperature 2 makes up for it" in caplog.text  # for a logit_scale of 0.5
    assert said == (name == "aya_vision")


@pytest.mark.parametrize("name", MORE)
def test_what_hands_its_text_model_more_goes_by_the_plain_pass(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, why = MORE[name]
    policy = make_policy(make(tmp_path))
    assert policy.way == "plain" and policy.backbone is None
    assert f"not among the architectures it knows, and {why}" in caplog.text
    assert policy.model.config._attn_implementation == "sdpa"


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llava_folder(tmp_path_factory.mktemp("llava"))


def brighter(given: dict[str, Any]) -> None:
    given["inputs_embeds"] = given["inputs_embeds"] * 1.01


def late(given: dict[str, Any]) -> None:
    given["position_ids"] = torch.arange(given["inputs_embeds"].shape[1])[None] + 1


def seen_by_all(given: dict[str, Any]) -> None:
    length = given["inputs_embeds"].shape[1]
    given["attention_mask"] = torch.ones(1, 1, length, length, dtype=torch.bool)


def more(given: dict[str, Any]) -> None:
    given["per_layer_inputs"] = given["inputs_embeds"]


def of_two_pictures(given: dict[str, Any]) -> None:
    """Only with two of them, of 16 features each."""
    if given["inputs_embeds"].shape[1] > 32:
        brighter(given)


@pytest.mark.parametrize(
    ("does", "why"),
    [
        (brighter, "its text model is given other embeddings"),
        (late, "its positions are not those of a text"),
        (seen_by_all, "its text model is given masks"),
        (more, "its text model is also given per_layer_inputs"),
        (of_two_pictures, "its text model is given other embeddings"),
    ],
)
def test_whatever_a_forward_pass_adds_is_seen(
    llava: Path, does: Any, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = LlavaModel.forward

    def changed(_: Any, arguments: Any, named: dict[str, Any]) -> Any:
        does(named)
        return arguments, named

    def forward(self: Any, *given: Any, **named: Any) -> Any:
        hook = self.language_model.register_forward_pre_hook(changed, with_kwargs=True, prepend=True)
        try:
            return real(self, *given, **named)
        finally:
            hook.remove()

    monkeypatch.setattr(LlavaModel, "forward", forward)
    assert make_policy(llava).way == "plain"
    assert why in caplog.text


def test_a_tower_that_cannot_be_asked_leaves_the_model_to_transformers(
    llava: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(LlavaModel, "get_image_features", None)
    policy = make_policy(llava)
    assert policy.way == "plain" and "it fails with a picture" in caplog.text
    prompts = random_batch(policy, 1, (0, 0), 2, 4)[0]
    completions = policy.sample(prompts, 2, Sampling(max_tokens=4), torch.Generator())
    assert completions.tokens_BGR.shape[:2] == (2, 2)


def test_pictures_that_do_not_fit_the_context_are_not_asked_about(
    llava: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert make_policy(llava, max_context=30).way == "packed"
    assert make_policy(llava, max_context=18).way == "plain"
    assert "no picture could be tried" in caplog.text
