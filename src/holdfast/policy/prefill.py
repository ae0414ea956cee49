"""The prompts' part of the packed pass, computed once for everything that goes on from it.

Sampling starts from it, and a training step on what was sampled starts from the same weights, the
same prompts and images: where it is held with its graph, that step computes completions alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from holdfast.policy.attention import KV
from holdfast.policy.backbone import Backbone
from holdfast.policy.batch import Prompts
from holdfast.policy.groups import GroupLayout
from holdfast.policy.recurrent import State


@dataclass
class Prefill:
    """What follows from prompts alone.

    Attributes:
        kv: keys and values of each attention module (by its id), [B, h, P, D].
        ends_BD: last hidden state of each prompt's last token, which predicts the first of a completion.
        states: what recurrent modules carry after the prompts, by the module's id.
        spent: a backward pass went through it, and there is no second.
    """

    kv: dict[int, KV]
    ends_BD: torch.Tensor
    states: dict[int, State] = field(default_factory=dict)
    spent: bool = False

    def release(self) -> None:
        """Let go of it, where no step goes on from it."""
        self.spent = True
        self.kv.clear()
        self.states.clear()
        self.ends_BD = torch.empty(0)


def layout_of(
    backbone: Backbone,
    prompts: Prompts,
    lengths_BG: torch.Tensor | None = None,
    prefilled: Prefill | None = None,
) -> GroupLayout:
    """How prompts and completions of these lengths attend; `prefilled` prompts are not in the row."""
    if prefilled is not None:
        return GroupLayout(prompts.lengths_B, lengths_BG, backbone.dtype, prefilled.kv, prefilled.states)
    ahead, pictures_N = backbone.family.ahead, None
    if ahead and prompts.image_keys:
        is_image_BP = prompts.tokens_BP == backbone.family.image_token
        starts_BP = is_image_BP & ~F.pad(is_image_BP, (1, -1))
        pictures_N = (starts_BP.cumsum(1) * is_image_BP)[prompts.mask_BP]
    return GroupLayout(prompts.lengths_B, lengths_BG, backbone.dtype, pictures_N=pictures_N, ahead=ahead)


def prefill(backbone: Backbone, prompts: Prompts) -> Prefill:
    """Prompts and their images, with gradient if it is enabled."""
    layout = layout_of(backbone, prompts)
    embedded = backbone.embed(prompts.tokens_BP[prompts.mask_BP], prompts)
    positions_KN, ends_B = prompts.positions_KBP[:, prompts.mask_BP], prompts.lengths_B.cumsum(0) - 1
    ends_BD = backbone.hidden(embedded, positions_KN, layout, ends_B)
    return Prefill(layout.kv, ends_BD, layout.states)
