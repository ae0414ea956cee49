"""Gradients of log-probabilities, one per completion, and the Fisher information made of them.

A gradient is one vector over the trained parameters (with LoRA: the adapters) in at least float32.
Axes: N trained parameters, B prompts, G completions of one prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import torch

from holdfast.policy.batch import Completions, Prompts, group_tokens

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


def trained_weights(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """All that is trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def trained_parameters(policy: Policy) -> list[torch.nn.Parameter]:
    """What gradients are taken of, in the order of the flat vectors."""
    return list(trained_weights(policy.model).values())


def trained_matrices(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The trained weights [O, I] of linear layers, by name; not the head, which makes the vocabulary."""
    head = model.get_output_embeddings().weight  # type: ignore[operator]
    return {
        f"{name}.weight": module.weight  # type: ignore[misc]  # torch calls it a tensor
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.weight.requires_grad and module.weight is not head
    }


def completion_gradients(
    policy: Policy, prompt: Prompts, completions: Completions, temperature: float
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """∇ log p(y | x) of each completion of one prompt, summed over its tokens.

    The group is computed once, and one backward pass is taken for each *distinct* completion: groups of
    short answers repeat themselves. One gradient is in memory at a time, beside the graph of the group.

    Args:
        prompt: a single one.
        completions: a group of G.

    Yields:
        Members of the group that are this completion, and the gradient [N].

    Raises:
        NotFiniteError: a log-probability is not finite.
    """
    group = torch.arange(completions.tokens_BGR.shape[1])
    distinct, places_BG = completions.distinct() or (completions, group[None])
    parameters = trained_parameters(policy)
    with torch.enable_grad():
        sums = policy.group_logprobs(prompt, distinct, temperature).logprobs_BGR[0].sum(-1).unbind()
    for place, logprob in enumerate(sums):
        members = group[places_BG[0].cpu() == place].tolist()
        yield members, flat(logprob, parameters, keep=place + 1 < len(sums))


def mean_gradient(
    policy: Policy, prompts: Prompts, completions: Completions, temperature: float, most_rows: int | None
) -> torch.Tensor:
    """∇ of the mean over prompts of log p(y | x), [N], with one completion for each prompt.

    Args:
        most_rows: prompts that are computed together; None: as many as the token budget allows.

    Raises:
        NotFiniteError: a log-probability is not finite.
    """
    parameters = trained_parameters(policy)

    @torch.enable_grad()
    def gradient(part: range) -> torch.Tensor:
        out = policy.group_logprobs(prompts.select(part), completions.select(part), temperature)
        return flat(out.logprobs_BGR.sum() / len(prompts), parameters)

    def whole() -> torch.Tensor:
        parts = policy.budget.split(group_tokens(prompts, completions), most_rows)
        return reduce(torch.Tensor.add_, map(gradient, parts))

    return policy.budget.attempt(whole)


def flat(value: torch.Tensor, parameters: Sequence[torch.nn.Parameter], keep: bool = False) -> torch.Tensor:
    """The gradient [N] of a scalar; zero where it does not depend on a parameter.

    It is returned and not accumulated: `.grad` stays as it is.

    Args:
        keep: the graph will be used again.
    """
    gradients = torch.autograd.grad(value, parameters, retain_graph=keep, allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(parameter) if gradient is None else gradient)
            .flatten()
            .to(torch.promote_types(parameter.dtype, torch.float32))
            for gradient, parameter in zip(gradients, parameters, strict=True)
        ]
    )


def fisher_diagonal(
    policy: Policy, prompts: Prompts, completions: Completions, temperature: float
) -> torch.Tensor:
    """The diagonal of the Fisher information of the policy on some prompts, [N].

        F = mean over x of E_{y ~ p(. | x)} (∇ log p(y | x))²,

    the expectation by Monte Carlo over completions that the policy itself has drawn (at this
    temperature, without top-p): the Fisher information proper. With reference answers in their
    place it would be the "empirical Fisher", which is another matrix (arXiv 1905.12558).

    Gradients are those of whole completions, one backward pass each; squares of a batch's gradient
    would measure something else.

    Raises:
        NotFiniteError: a log-probability is not finite.
    """
    weight = 1 / completions.tokens_BGR[:, :, 0].numel()
    groups = ((prompts.select([row]), completions.select([row])) for row in range(len(prompts)))
    squares = (
        gradient.square_().mul_(weight * len(members))
        for group in groups
        for members, gradient in completion_gradients(policy, *group, temperature)
    )
    return reduce(torch.Tensor.add_, squares)


def forgetting_risk(gradient_N: torch.Tensor, fisher_N: torch.Tensor) -> float:
    """R(g) = gᵀ F g with a diagonal F (arXiv 2507.05386, v1–v4): what a step along g costs old tasks."""
    return float(torch.dot(gradient_N * fisher_N, gradient_N))
