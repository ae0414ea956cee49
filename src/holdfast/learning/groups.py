"""What one iteration learns from: groups of completions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from holdfast.generate.rollouts import Item
from holdfast.learning.spent import Spent
from holdfast.policy.batch import Completions, NotFiniteError, Prompts, group_tokens

if TYPE_CHECKING:
    from holdfast.policy.budget import TokenBudget
    from holdfast.policy.prefill import Prefill


@dataclass(frozen=True)
class Groups:
    """What one iteration learns from: B prompts, G completions each, R tokens at most.

    Attributes:
        advantages_BG: weight of each completion (1 for SFT).
        advantages_BGR: what each token has on top of its completion's, where tokens are judged, too.
        old_logprobs_BGR: of the policy that sampled, where several updates reuse the samples or another
            engine drew them; of SFT, of the earlier policy that its loss asks.
        reference_BGR: of the KL reference, where there is a penalty.
        kl_B: weight of each prompt's divergence from the reference; None: `kl_coef` of the method.
        scores_BG: how right each completion is, where they are graded.
        rewards_BG: what advantages were made of, where they were.
        stats: means over the batch, for the log.
        items: the examples.
        spent: what collecting them took; learning from them is not in it.
        prefill: of all prompts, where sampling left it for the training step.
        token_weights_BG: what a token of each completion counts in a step's mean; None: 1.
    """

    prompts: Prompts
    completions: Completions
    advantages_BG: torch.Tensor
    old_logprobs_BGR: torch.Tensor | None = None
    reference_BGR: torch.Tensor | None = None
    kl_B: torch.Tensor | None = None
    scores_BG: torch.Tensor | None = None
    rewards_BG: torch.Tensor | None = None
    advantages_BGR: torch.Tensor | None = None
    stats: Mapping[str, float] = field(default_factory=dict)
    items: tuple[Item, ...] = ()
    spent: Spent = field(default_factory=Spent)
    prefill: Prefill | None = None
    token_weights_BG: torch.Tensor | None = None

    def name(self, index: int) -> str:
        """What a message calls the prompt at `index`."""
        return item_name(self.items[index]) if self.items else f"example {index}"

    def logged(self, numbers: Mapping[str, float]) -> Groups:
        """With more numbers for the log."""
        return replace(self, stats={**self.stats, **numbers})

    def split(self, size: int) -> Iterator[Groups]:
        """Parts of at most `size` prompts, in order, each made when it is asked for: it copies its images."""
        count = len(self.prompts)
        return (self.rows(range(start, min(start + size, count))) for start in range(0, count, size))

    def within(self, budget: TokenBudget, size: int | None) -> list[range]:
        """Rows of parts of at most `size` prompts and no more tokens than the budget has."""
        return budget.split(group_tokens(self.prompts, self.completions), size)

    def computed(self) -> list[int]:
        """Tokens of each prompt that a pass computes: those of equal completions once."""
        once = self.completions.distinct()
        return group_tokens(self.prompts, once[0] if once else self.completions)

    def rows(self, rows: Sequence[int]) -> Groups:
        """The groups of these prompts, in this order."""
        if len(rows) == len(self.prompts):
            return self
        index_B = torch.as_tensor(rows, dtype=torch.long)  # of no rows, too
        tensors: dict[str, Any] = {
            name: one[index_B.to(one.device)]
            for name, one in vars(self).items()
            if isinstance(one, torch.Tensor)
        }
        return replace(
            self,
            prompts=self.prompts.select(rows),
            completions=self.completions.select(rows),
            items=tuple(self.items[row] for row in rows) if self.items else (),
            prefill=None,
            **tensors,
        )

    def drawn_entropy(self, besides: Sequence[int]) -> float:
        """The sum of the entropies that tokens were drawn with, of all prompts but these."""
        entropy_BGR = self.completions.entropy_BGR
        assert entropy_BGR is not None, "the policy drew them"
        others = sorted(set(range(len(self.prompts))) - set(besides))
        return float(entropy_BGR[others].sum())

    def averaged_over(self, size: int) -> Groups:
        """With weights that make the mean over all tokens one of means, each over `size` completions.

        These follow each other as in the batch, group by group; the last ones may be fewer.
        """
        tokens_N = self.completions.lengths_BG.flatten().float()
        sums_N = torch.cat([part.sum().expand(len(part)) for part in tokens_N.split(size)])
        parts = -(-len(tokens_N) // size)
        weights_N = tokens_N.sum() / (parts * sums_N.clamp(min=1))
        return replace(self, token_weights_BG=weights_N.view(self.completions.mask_BGR.shape[:2]))

    def averaged_as(self, length: int) -> Groups:
        """With weights that make the mean over all tokens one over completions of this length."""
        tokens_BG = self.completions.lengths_BG.float()
        weight = tokens_BG.sum() / (tokens_BG.numel() * length)
        return replace(self, token_weights_BG=weight.expand_as(tokens_BG))


def item_name(item: Item) -> str:
    """What messages call an example."""
    task, example = item
    return f"{task.name} {example.id}"


@contextmanager
def naming(items: Sequence[Item]) -> Iterator[None]:
    """Output that is not finite, of these examples within the block, is told with the one whose it is."""
    try:
        yield
    except NotFiniteError as error:
        raise error if error.name else error.named([item_name(item) for item in items]) from None
