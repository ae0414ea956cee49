"""A model that can write two tokens only, and items to ask it: small enough to enumerate."""

from __future__ import annotations

from pathlib import Path

import torch

from holdfast.generate.rollouts import Item
from holdfast.policy.policy import Policy
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.example import Example
from holdfast.tasks.task import Task
from policy_helpers import make_policy, make_text_folder

TEMPLATES = {"direct": "{prompt}", "cot": "{prompt}"}
WORD, END = "w1", "<|im_end|>"


def two_token_policy(folder: Path) -> Policy:
    """A random text model in float64 that may write `WORD` and `END`, in this order of ids [2]."""
    policy = make_policy(make_text_folder(folder))
    policy.model.double()
    policy.draw.banned_V[:] = True
    policy.draw.banned_V[token_ids(policy)] = False
    return policy


def token_ids(policy: Policy) -> list[int]:
    return policy.tokenizer.convert_tokens_to_ids([WORD, END])


def word_items(count: int, answer: str = WORD) -> list[Item]:
    """Items whose right answer is one of the two tokens."""
    task = Task("words", 1, "", lambda split, count: [], {})
    return [(task, Example(str(index), f"w{index} w{7 * index}", answer)) for index in range(count)]


def embedded_items(name: str, count: int, split: str = "train") -> list[Item]:
    return [(TASKS[name], example) for example in TASKS[name].examples(split, count)]


def state(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}


def assert_untouched(policy: Policy, before: dict[str, torch.Tensor]) -> None:
    """Weights to the bit, no gradients, evaluation mode."""
    assert all(torch.equal(before[name], tensor) for name, tensor in policy.model.state_dict().items())
    assert all(parameter.grad is None for parameter in policy.model.parameters())
    assert not policy.model.training


def disturbed(policy: Policy, scale: float, seed: int = 0) -> dict[str, torch.Tensor]:
    """Other weights for a reference, near the policy's own."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: weight + scale * torch.randn(weight.shape, generator=generator).to(weight)
        for name, weight in policy.snapshot().weights.items()
    }
