"""The faster ways of a policy, compared with the plain one on the first groups that they are used for."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image

from holdfast.errors import HoldfastError
from holdfast.policy import fused, products, unlisted
from holdfast.policy.batch import Completions, Prompts
from holdfast.policy.encode import Unfit
from holdfast.policy.plain import ALONE, UNCACHED

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy

log = logging.getLogger(__name__)

# Largest difference in log-probability that rounding explains, at a temperature of 1.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}


@dataclass
class Tried:
    """What was compared on first use, and how the plain pass samples since.

    Attributes:
        packed: whether the packed pass was compared with the plain one.
        replays: whether what replayed decoding steps drew was compared with the pass.
        drawn: which samples of the plain pass were compared with itself: of padded prompts (True), of others.
        care: how the plain pass samples: 0, or `plain.ALONE` or `plain.UNCACHED`.
    """

    packed: bool = False
    replays: bool = False
    drawn: frozenset[bool] = frozenset()
    care: int = 0


@torch.no_grad()
def try_pictures(policy: Policy) -> None:
    """Show the vision tower a picture, as some wrong sizes in a configuration show only then; and an unknown
    model some of several shapes, which must reach its text model as the packed pass has them."""
    backbone = policy.backbone
    if backbone is None or not policy.encoder.shows_images:
        return
    if policy.family.is_known:
        with suppress(Unfit):  # a context for text alone
            prompts = policy.encode(["?"], [[Image.new("RGB", (64, 64))]])
            policy.family.features(policy.model, prompts.each_image())
        return
    if differs := unlisted.differs(policy, backbone):
        backbone.give_back()
        policy.backbone = None
        fused.disable()
        policy.fall_back(f"it is not among the architectures it knows, and {differs}")


@torch.no_grad()
def try_packed(
    policy: Policy, prompts: Prompts, completions: Completions, temperature: float, new: bool
) -> bool:
    """Compare both passes on the first group; do without what makes them differ for the rest of the run.

    What `new` completions were drawn with is compared, too, where steps are not replayed.

    Returns:
        Whether the policy computes otherwise from now on.
    """
    # Two members show what one would not: completions that see each other.
    first = _FirstGroup(
        policy, prompts.select([0]), completions.select([0]).columns(slice(0, 2)), temperature
    )
    backbone, shards = policy.backbone, policy.shards
    if new and backbone is not None and not backbone.replays:
        first.drawn_BGR = first.completions.logprobs_BGR
    difference = shards.agreed(first.packed_is_off)
    if difference is None:
        return False  # nothing to compare with: the next group will show
    policy.tried.packed, most = True, _most(policy, temperature)
    if difference <= most:
        return False
    first.drawn_BGR = None  # they are drawn anew
    if not (off := shards.agreed(first.products_are_off)) <= most:
        products.leave_to_pytorch(f"log-probabilities are off by {off:.2g}")
        difference = shards.agreed(first.packed_is_off) or 0.0
    if policy.lean is not None and backbone is not None and not difference <= most:
        backbone.leave_to_transformers(f"their log-probabilities are off by {difference:.2g}")
        difference = shards.agreed(first.packed_is_off) or 0.0
    if not difference <= most:
        fused.disable()
        policy.fall_back(f"its log-probabilities differ from the plain pass by up to {difference:.2g}")
    return True


@dataclass
class _FirstGroup:
    """A prompt and two of its completions, whose log-probabilities are computed in several ways.

    Attributes:
        drawn_BGR: log-probabilities that they were drawn with, where these are to be compared, too.
    """

    policy: Policy
    prompts: Prompts
    completions: Completions
    temperature: float
    drawn_BGR: torch.Tensor | None = None

    def packed_is_off(self) -> float | None:
        """The largest difference from the plain pass; None where that is not finite itself."""
        with fused.unfused(), products.by_pytorch():
            plain_BGR = self._by("plain")
        if not bool(torch.isfinite(plain_BGR).all()):
            return None
        found = [self._by("packed")] + ([] if self.drawn_BGR is None else [self.drawn_BGR])
        return max(float((logprobs_BGR - plain_BGR).abs().max()) for logprobs_BGR in found)

    def products_are_off(self) -> float:
        """The largest difference that oneDNN's products make, in the plain pass."""
        with fused.unfused():
            ours_BGR = self._by("plain")
            with products.by_pytorch():
                return float((ours_BGR - self._by("plain")).abs().max())

    def _by(self, way: str) -> torch.Tensor:
        """Log-probabilities [1, 2, R]."""
        return self.policy.logprobs_by(way, self.prompts, self.completions, self.temperature).logprobs_BGR


@torch.no_grad()
def replays_are_wrong(policy: Policy, prompts: Prompts, completions: Completions, temperature: float) -> bool:
    """Whether the first group that replayed steps drew is another when recomputed; that ends replays."""
    backbone = policy.backbone
    if policy.tried.replays or policy.way != "packed" or backbone is None or not backbone.replays:
        return False
    difference = _off(policy, "packed", prompts.select([0]), completions.select([0]), temperature)
    policy.tried.replays = True
    backbone.replays = difference <= _most(policy, temperature)
    if not backbone.replays:
        log.warning("Replayed decoding steps are not used: their log-probabilities are off by %.2g on "
                    "average. Sampling is slower.", difference)  # fmt: skip
    return not backbone.replays


@torch.no_grad()
def drawn_wrongly(policy: Policy, prompts: Prompts, completions: Completions, temperature: float) -> bool:
    """Whether what the plain pass drew is to be drawn again: prompts one by one, as padding changes replies,
    or without a cache, as that does.

    What it drew with is compared with its own pass once, and once where prompts are padded.

    Raises:
        HoldfastError: the model says otherwise while it writes than when it reads what it wrote.
    """
    tried, lengths_B = policy.tried, prompts.lengths_B
    padded = tried.care < ALONE and len(prompts) > 1 and bool(lengths_B.min() < lengths_B.max())
    if policy.way != "plain" or padded in tried.drawn or not len(prompts):
        return False
    ends = sorted({int(lengths_B.argmin()), int(lengths_B.argmax())})  # most padding, and most pictures
    shown = prompts.select(ends), completions.select(ends).columns(slice(0, 2))
    difference, kind = _off(policy, "plain", *shown, temperature), type(policy.model).__name__
    tried.drawn |= {padded}
    if not difference > _most(policy, temperature):
        return False
    if tried.care == UNCACHED:
        raise HoldfastError(
            f"{kind} cannot be sampled from: the log-probabilities with which its transformers code draws "
            f"tokens are off by {difference:.2g} on average from those that it then gives to them."
        )
    tried.care, how = (ALONE, "where prompts are padded") if padded else (UNCACHED, "with its cache")
    tried.drawn -= {False}
    log.warning("%s draws otherwise %s (log-probabilities are off by %.2g on average): prompts are sampled "
                "one by one%s, which is slower.", kind, how, difference,
                " and without it" * (tried.care == UNCACHED))  # fmt: skip
    return True


def _most(policy: Policy, temperature: float) -> float:
    """The largest difference that rounding explains, which a temperature below 1 makes larger."""
    return TOLERANCE[next(policy.model.parameters()).dtype] / min(1, temperature)


def _off(policy: Policy, way: str, prompts: Prompts, drawn: Completions, temperature: float) -> float:
    """By how much log-probabilities that completions were drawn with differ from a pass's, on average."""
    drawn_BGR, tokens = drawn.logprobs_BGR, drawn.mask_BGR.sum().clamp_min(1)
    assert drawn_BGR is not None

    def compared() -> float:
        again_BGR = policy.logprobs_by(way, prompts, drawn, temperature).logprobs_BGR
        return float((again_BGR - drawn_BGR).abs().sum() / tokens)

    return policy.shards.agreed(compared)


@dataclass(frozen=True)
class _Findings:
    """What a policy has found out about its model and this machine, on which its numbers depend.

    Attributes:
        replays: whether decoding steps are replayed.
        lean: whether layers are written out.
        onednn: whether products are oneDNN's.
        tokens: of the token budget.
    """

    way: str
    tried: Tried
    replays: bool
    lean: bool
    onednn: bool
    tokens: int | None

    @classmethod
    def of(cls, policy: Policy) -> _Findings:
        return cls(
            way=policy.way,
            tried=policy.tried,
            replays=policy.backbone is not None and policy.backbone.replays,
            lean=policy.lean is not None,
            onednn=products.used(),
            tokens=policy.budget.tokens,
        )


def agree(policy: Policy) -> None:
    """Have all ranks take over what the leading one has found out about the model."""
    found = policy.shards.team.agreed(lambda: _Findings.of(policy))
    if products.used() and not found.onednn:
        products.leave_to_pytorch("the leading rank does without them")
    if found.way == "plain" and policy.way != found.way:
        fused.disable()
    policy.way, policy.tried, policy.budget.tokens = found.way, found.tried, found.tokens
    if policy.backbone is not None:
        policy.backbone.replays = found.replays
        if not found.lean:
            policy.backbone.lean = None
