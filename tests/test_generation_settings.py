"""A checkpoint's generation_config.json: the ends of a reply are taken from it, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from family_helpers import make_gemma3_folder
from holdfast.errors import InputError
from holdfast.policy.policy import Policy
from holdfast.policy.ready import check_ready
from holdfast.policy.settings import ModelSettings, Sampling
from policy_helpers import make_folder, make_policy

SETTINGS: tuple[dict[str, Any], ...] = (
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram_size": 2},
    {"num_beams": 3},
    {"suppress_tokens": [20, 21]},
    {"begin_suppress_tokens": [20, 21]},
    {"bad_words_ids": [[20]]},
    {"min_length": 50},
    {"min_new_tokens": 6},
    {"forced_bos_token_id": 9},
    {"forced_eos_token_id": 2},
    {"exponential_decay_length_penalty": [2, 1.5]},
    {"max_length": 5, "max_new_tokens": 3},
    {"do_sample": True, "temperature": 0.1, "top_k": 1, "top_p": 0.1, "typical_p": 0.2, "min_p": 0.5},
    {"return_dict_in_generate": True, "output_logits": True},
    {"use_cache": False},
)


@pytest.fixture(scope="module", params=[make_folder, make_gemma3_folder], ids=["packed", "plain"])
def folder(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("model"))


def draws(policy: Policy) -> list[torch.Tensor]:
    """Tokens and log-probabilities of a few completions, and the latter recomputed."""
    prompts = policy.encode(["w1 w2", "w3"], [[], []])
    how, numbers = Sampling(max_tokens=12), torch.Generator().manual_seed(0)
    drawn = policy.sample(prompts, 4, how, numbers, greedy_row=True)
    again = policy.group_logprobs(prompts, drawn)
    return [drawn.tokens_BGR, drawn.mask_BGR, drawn.logprobs_BGR, again.logprobs_BGR.detach()]


@pytest.mark.slow
def test_nothing_but_the_ends_changes_what_is_sampled(folder: Path) -> None:
    file = folder / "generation_config.json"
    stock = json.loads(file.read_text())
    *wanted, recomputed = draws(make_policy(folder))
    torch.testing.assert_close(wanted[2], recomputed, rtol=0, atol=1e-4)
    try:
        for settings in SETTINGS:
            file.write_text(json.dumps(stock | settings))
            *found, _ = draws(make_policy(folder))
            assert all(map(torch.equal, found, wanted)), settings
        file.write_text(json.dumps(stock | {"eos_token_id": 2}))
        assert not torch.equal(draws(make_policy(folder))[1], wanted[1])  # longer completions
    finally:
        file.write_text(json.dumps(stock))


def test_a_policy_keeps_its_settings_for_others(folder: Path, tmp_path: Path) -> None:
    policy = make_policy(folder)
    policy.model.generation_config.repetition_penalty = 1.3
    draws(policy)
    policy.save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert saved["repetition_penalty"] == 1.3 and len(saved["eos_token_id"]) > 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{broken", "cannot be read"),
        ("[]", "cannot be read"),
        ("\xff", "cannot be read"),
        ('{"num_return_sequences": 3}', "cannot be read .*num_return_sequences"),
        ('{"eos_token_id": "abc"}', "eos_token_id 'abc'"),
        ('{"eos_token_id": [2, null]}', "eos_token_id"),
    ],
)
def test_a_damaged_file_is_told_before_any_work(tmp_path: Path, content: str, said: str) -> None:
    folder = make_folder(tmp_path)
    file = folder / "generation_config.json"
    file.write_bytes(content.encode("latin-1"))
    for attempt in (make_policy, lambda path: check_ready(str(path), ModelSettings(path=str(path)))):
        with pytest.raises(InputError, match=said) as told:
            attempt(folder)
        assert str(file) in str(told.value)
    file.unlink()
    assert make_policy(folder).draw.ends.tolist() == [2]  # the tokenizer's end
