"""Passes that strategies take besides those of learning; what they take is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import torch

from holdfast.generate.rollouts import Item, encode_items
from holdfast.learning.groups import Groups
from holdfast.learning.methods import RFT, Method
from holdfast.learning.stage import Stage
from holdfast.policy.batch import Completions, NotFiniteError, Prompts
from holdfast.policy.gradients import flat, trained_parameters
from holdfast.policy.settings import Sampling
from holdfast.rng import stream as named_stream
from holdfast.rng import torch_stream

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy
    from holdfast.policy.reference import Reference


def mean_over_answers(
    stage: Stage,
    purpose: str,
    items: Sequence[Item],
    examples: int,
    max_tokens: int,
    measure: Callable[[Prompts, Completions], torch.Tensor],
) -> torch.Tensor:
    """The mean of a vector over examples with answers of the policy's own (`drawn_answers`).

    Args:
        measure: the vector of one prompt and its answer.
    """
    count = min(examples, len(items))
    pairs = drawn_answers(stage, purpose, items, examples, max_tokens)
    return reduce(torch.Tensor.add_, (measure(prompt, answer) / count for prompt, answer in pairs))


def drawn_answers(
    stage: Stage, purpose: str, items: Sequence[Item], examples: int, max_tokens: int
) -> Iterator[tuple[Prompts, Completions]]:
    """Some of the items, each a prompt with one answer that the policy draws at temperature 1.

    What is done with each is counted as a training pass.

    Args:
        purpose: names the random stream.
        examples: how many are drawn; all, where there are fewer.
        max_tokens: of an answer.
    """
    policy, names = stage.policy, (*stage.stream, purpose)
    sampling, operations = Sampling(temperature=1.0, max_tokens=max_tokens), policy.operations
    chosen = named_stream(*names).sample(list(items), min(examples, len(items)))
    for number, item in enumerate(chosen):
        prompt = encode_items(policy, [item], stage.method.style, stage.templates)
        generator = torch_stream(*names, number, device=str(policy.device))
        answer = policy.sample(prompt, 1, sampling, generator)
        stage.spent["flops"] += operations.forward(prompt, answer) + operations.training(prompt, answer)
        yield prompt, answer


def objective_gradient(
    stage: Stage, items: Sequence[Item], stream: tuple[object, ...]
) -> torch.Tensor | None:
    """∇ of what a step of the stage's method would learn from some examples [N].

    RFT answers them anew, once, averaged as its `loss_mean` says. No divergence from a reference is in it.
    The others learn as in the iteration under way: from its writer, by its share of what a teacher knows.

    Returns:
        None where nothing is left to learn from, or the output is not finite.
    """
    policy, method, objective = stage.policy, stage.method, stage.objective
    if isinstance(method, RFT):
        method = method.model_copy(update={"kl_coef": 0.0, "refills": 0})  # which are the stage's examples
        objective = None
    objective = objective or method.make(replace(stage, method=method))
    try:
        groups = objective.chosen(objective.collect(policy, items, stream))
        tokens = int(groups.completions.mask_BGR.sum())
        training = policy.operations.training(groups.prompts, groups.completions)
        stage.spent["flops"] += groups.spent.flops + training
        if not tokens:
            return None
        groups, parameters = objective.weighed(groups), trained_parameters(policy)

        def gradient(rows: range) -> torch.Tensor:
            return flat(objective.loss(policy, groups.rows(rows)).loss / tokens, parameters)

        def whole() -> torch.Tensor:
            return reduce(torch.Tensor.add_, map(gradient, groups.within(policy.budget, method.micro_batch)))

        return policy.budget.attempt(whole)
    except NotFiniteError:
        return None


def gradient_version(method: Method) -> int:
    """Of strategies by `objective_gradient`, which was a mean over tokens whatever `loss_mean` said, took
    refills from the stage's own task, and went by the writer and the share of a stage's first iteration."""
    averaged = getattr(method, "loss_mean", "tokens") != "tokens"
    rewrites = (getattr(method, "resample_every", None) or 1) > 1
    ramps = getattr(method, "rho_start", None) not in (None, getattr(method, "rho", None))
    return 3 if getattr(method, "refills", 0) else 2 if averaged or rewrites or ramps else 1


def own_logprobs(stage: Stage, groups: Groups) -> torch.Tensor:
    """Log-probabilities of sampled answers by the policy that learns, [B, G, R]: another engine's, where one
    drew them, are off by its rounding."""
    known = groups.completions.logprobs_BGR if stage.sampler is None else groups.old_logprobs_BGR
    assert known is not None, "it samples"
    return known


@torch.no_grad()
def logprobs_under(policy: Policy | Reference, stage: Stage, groups: Groups) -> torch.Tensor:
    """Log-probabilities of sampled answers by a policy, at the temperature of sampling, [B, G, R]."""
    method = stage.method
    assert isinstance(method, RFT), "it samples"
    stage.spent["flops"] += stage.policy.operations.forward(groups.prompts, groups.completions)
    return policy.group_logprobs(groups.prompts, groups.completions, method.sampling.temperature).logprobs_BGR
