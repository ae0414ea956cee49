"""Drawing tokens from logits, and keeping what was drawn."""

from __future__ import annotations

import torch

from holdfast.policy.batch import Completions, NotFiniteError
from holdfast.policy.logprobs import sampling_logits
from holdfast.policy.settings import Sampling


class Draw:
    """How the next token is chosen, and which ids are never chosen.

    Args:
        banned_V: True for ids that are never sampled.
        ends: ids that end a completion.
        pad: id that fills what lies after the end.
    """

    def __init__(self, banned_V: torch.Tensor, ends: torch.Tensor, pad: int):
        self.banned_V, self.ends, self.pad = banned_V, ends, pad

    def __call__(
        self,
        logits_NV: torch.Tensor,
        greedy_N: torch.Tensor | bool,
        uniform_N: torch.Tensor,
        sampling: Sampling,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens [N], their log-probabilities [N] and the distributions' entropies [N], before top-p and
        at the sampling temperature (1 if it is 0).

        `uniform_N` holds one number in [0, 1) per row; the token is where the cumulative
        distribution passes it. `greedy_N` marks rows that take the likeliest token; or all do, or none.
        """
        logits_NV = sampling_logits(logits_NV, self.banned_V, sampling.temperature or 1.0)
        logits_NV -= logits_NV.amax(-1, keepdim=True)
        weights_NV = logits_NV.exp()
        if greedy_N is True:
            tokens_N = logits_NV.argmax(-1)
        else:
            tokens_N = _invert(weights_NV, uniform_N, sampling.top_p)
            if greedy_N is not False:
                tokens_N = torch.where(greedy_N, logits_NV.argmax(-1), tokens_N)
        total_N = weights_NV.sum(-1)
        log_total_N = total_N.log()
        logp_N = logits_NV.gather(-1, tokens_N[:, None]).squeeze(-1) - log_total_N
        return tokens_N, logp_N, log_total_N - logits_NV.mul_(weights_NV).sum(-1) / total_N


def _invert(weights_NV: torch.Tensor, uniform_N: torch.Tensor, top_p: float) -> torch.Tensor:
    """The id at which the cumulative distribution, cut to the top-p nucleus, passes `uniform_N`.

    Weights are probabilities, but for a factor.
    """
    order_NV = None
    if top_p < 1:
        weights_NV, order_NV = weights_NV.sort(dim=-1, descending=True, stable=True)
        before_NV = weights_NV.cumsum(-1) - weights_NV
        nucleus_N1 = top_p * weights_NV.sum(-1, keepdim=True)
        weights_NV = weights_NV.masked_fill(before_NV >= nucleus_N1, 0.0)  # the likeliest always stays
    cumulative_NV = weights_NV.cumsum(-1)
    total_N1 = cumulative_NV[:, -1:].contiguous()
    reach_N1 = uniform_N[:, None].to(cumulative_NV.dtype) * total_N1
    index_N1 = torch.searchsorted(cumulative_NV, reach_N1, right=True)
    # Rounding may carry the product to the very end, past the last id that has any probability.
    # NaN stands after everything: whoever records reports it, once the draw is over.
    last_N1 = torch.searchsorted(cumulative_NV, total_N1).clamp_max_(cumulative_NV.shape[-1] - 1)
    index_N1 = torch.minimum(index_N1, last_N1)
    return (index_N1 if order_NV is None else order_NV.gather(-1, index_N1)).squeeze(-1)


class Recorder:
    """Draws tokens for the live rows of a batch, `group` for each prompt, and keeps what was drawn.

    Args:
        greedy_last: the last completion of each group takes the likeliest token at every step.
        uniform_TX: numbers in [0, 1), for each of `max_tokens` steps and each completion; what a
            completion gets depends on no other's.
        first: index of the first prompt in the whole batch, for error messages.

    Attributes:
        finished, infinite: for each completion, whether it has ended, and whether `record` met a logit
            that was not finite.
    """

    def __init__(
        self,
        prompts: int,
        group: int,
        greedy_last: bool,
        sampling: Sampling,
        draw: Draw,
        uniform_TX: torch.Tensor,
        first: int,
    ):
        device = draw.banned_V.device
        self.shape = (prompts, group)
        self.sampling, self.draw, self.uniform_TX, self.first = sampling, draw, uniform_TX, first
        rows = prompts * group
        self.greedy: torch.Tensor | None = None  # which rows; None where all are alike
        self.all_greedy = sampling.temperature == 0 or (greedy_last and group == 1)
        if greedy_last and not self.all_greedy:
            self.greedy = torch.zeros(rows, dtype=torch.bool, device=device)
            self.greedy.view(self.shape)[:, -1] = True
        self.tokens = torch.full((rows, sampling.max_tokens), draw.pad, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(rows, sampling.max_tokens, device=device)
        self.entropies = torch.zeros(rows, sampling.max_tokens, device=device)
        self.mask = torch.zeros(rows, sampling.max_tokens, dtype=torch.bool, device=device)
        self.finished = torch.zeros(rows, dtype=torch.bool, device=device)
        self.infinite = torch.zeros(rows, dtype=torch.bool, device=device)

    def step(self, step: int, live: torch.Tensor, logits_NV: torch.Tensor) -> torch.Tensor:
        """Draw the next token of the rows `live`, [N], of which some may have ended already.

        Returns:
            tokens_N. Whether rows have ended is in `finished`.

        Raises:
            NotFiniteError: a logit is not finite.
        """
        if not bool(torch.isfinite(logits_NV.sum())):
            bad = (~torch.isfinite(logits_NV)).any(-1).nonzero()
            if len(bad):
                raise NotFiniteError(self.first + int(live[bad[0, 0]]) // self.shape[1])
        dtype = torch.promote_types(logits_NV.dtype, torch.float32)  # float64 where the model computes in it
        self.logprobs, self.entropies = self.logprobs.to(dtype), self.entropies.to(dtype)
        return self._draw(step, live, logits_NV)

    def record(self, step_1: torch.Tensor, live: torch.Tensor, logits_NV: torch.Tensor) -> torch.Tensor:
        """As `step`, but nothing is read back: the number of the step is a tensor, [1], too, and an error is
        in `infinite`."""
        self.infinite[live] |= ~torch.isfinite(logits_NV).all(-1)
        return self._draw(step_1, live, logits_NV)

    def _draw(self, step: int | torch.Tensor, live: torch.Tensor, logits_NV: torch.Tensor) -> torch.Tensor:
        greedy_N = self.all_greedy if self.greedy is None else self.greedy[live]
        uniform_N = self.uniform_TX[step, live]
        tokens_N, logprobs_N, entropy_N = self.draw(logits_NV, greedy_N, uniform_N, self.sampling)
        ended_N = self.finished[live]
        self.tokens[live, step] = tokens_N.masked_fill(ended_N, self.draw.pad)
        self.logprobs[live, step] = logprobs_N.masked_fill(ended_N, 0.0)
        self.entropies[live, step] = entropy_N.masked_fill(ended_N, 0.0)
        self.mask[live, step] = ~ended_N
        self.finished[live] = ended_N | torch.isin(tokens_N, self.draw.ends)
        return tokens_N

    def raise_if_infinite(self) -> None:
        """The error that `step` raises at once and `record` puts off."""
        if bool(self.infinite.any()):
            raise NotFiniteError(self.first + int(self.infinite.int().argmax()) // self.shape[1])

    def completions(self) -> Completions:
        longest = max(1, int(self.mask.sum(-1).max()))
        return Completions(
            self.tokens[:, :longest].unflatten(0, self.shape),
            self.mask[:, :longest].unflatten(0, self.shape),
            self.finished.unflatten(0, self.shape),
            self.logprobs[:, :longest].unflatten(0, self.shape),
            self.entropies[:, :longest].unflatten(0, self.shape),
        )
