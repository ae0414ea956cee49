"""What graphics cards can do, as far as a plan for them needs to know."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import Field, ValidationError

from holdfast.errors import InputError, meant, shortened
from holdfast.settings import Settings


class Card(Settings):
    """A card at its best, and the share of that which work reaches.

    An efficiency of 0.4 is a stated guess for transformers of some billion weights; of a card that you
    have, measure it: operations that a stage's result names (`flops`) over its seconds and the card's rate.
    """

    memory: float = Field(gt=0)  # GB
    flops: float = Field(gt=0)  # TFLOP/s of dense bfloat16 matrix products
    flops32: float | None = Field(None, gt=0)  # the same of float32
    bandwidth: float = Field(gt=0)  # GB/s of its memory
    link: float = Field(25.0, gt=0)  # GB/s to another card, each way
    efficiency: float = Field(0.4, gt=0, le=1)  # of `flops`, in training and sampling


# Vendors' data sheets: dense bfloat16 products (without sparsity), float32 outside the tensor cores, HBM or
# GDDR bandwidth; NVLink, or PCIe 4.0 x16 where there is none, each way and less a fifth.
CARDS = {
    "a100-40gb": Card(memory=40, flops=312, flops32=19.5, bandwidth=1555, link=240),
    "a100-80gb": Card(memory=80, flops=312, flops32=19.5, bandwidth=2039, link=240),
    "h100-80gb": Card(memory=80, flops=989, flops32=67, bandwidth=3350, link=360),
    "h200-141gb": Card(memory=141, flops=989, flops32=67, bandwidth=4800, link=360),
    "l4-24gb": Card(memory=24, flops=121, flops32=30, bandwidth=300),
    "l40s-48gb": Card(memory=48, flops=362, flops32=91, bandwidth=864),
    "rtx4090-24gb": Card(memory=24, flops=165, flops32=82, bandwidth=1008),
}


def find_card(text: str, own: Mapping[str, Card]) -> Card:
    """The card that `--card` means: a name, or `memory=80,flops=989,bandwidth=3350`.

    Args:
        own: those of the experiment.

    Raises:
        InputError: there is no such card, or a number is missing or cannot be.
    """
    known = {**CARDS, **own}
    if text in known:
        return known[text]
    if "=" not in text:
        raise InputError(
            f"--card {shortened(text)}: there is no such card{meant(text, known) or '.'} There are "
            f"{', '.join(known)}; or tell what yours can do: --card memory=80,flops=989,bandwidth=3350 (GB, "
            "TFLOP/s in bfloat16, GB/s)."
        )
    pairs = [part.partition("=") for part in re.split(r",\s*", text)]
    keys = [key.strip() for key, _, _ in pairs]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise InputError(f"--card {shortened(text)}: {twice} stands there more than once.")
    try:
        return Card.model_validate({key.strip(): value.strip() for key, _, value in pairs})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"--card {shortened(text)}: {first['loc'][0]}: {first['msg'][0].lower()}{first['msg'][1:]}. "
            f"A card has {', '.join(Card.model_fields)}."
        ) from None
