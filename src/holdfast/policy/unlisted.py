"""Vision-language models of families that are not listed: may the packed pass compute them?

It may where a model's own forward pass hands its text model embeddings, with the pictures' features in their
places, and no more. The forward pass is gone through that far, and what it hands over is looked at.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from holdfast.errors import InputError, reason
from holdfast.policy.backbone import FAILS, Backbone
from holdfast.policy.batch import Prompts
from holdfast.policy.encode import Unfit
from holdfast.policy.plain import image_inputs

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy

Size = tuple[int, int]
# The pictures that an unknown model is shown: alone and together, wide, high, larger than a tile, and none.
SHOWN: tuple[list[Size], ...] = (
    [(64, 64)], [(120, 40)], [(40, 120)], [(900, 700)], [(64, 64), (120, 40)], []
)  # fmt: skip


class _Given(Exception):
    """What a text model was called with."""


def differs(policy: Policy, backbone: Backbone) -> str:
    """What a model's own forward pass hands its text model otherwise than the packed pass, if anything."""
    try:
        return _differs(policy, backbone)
    except (InputError, *FAILS) as error:
        return f"it fails with a picture ({reason(error)})"


def _differs(policy: Policy, backbone: Backbone) -> str:
    noise, seen = torch.Generator().manual_seed(0), 0
    for sizes in SHOWN:
        pictures = [
            Image.fromarray(torch.randint(256, (height, width, 3), generator=noise).byte().numpy())
            for width, height in sizes
        ]
        try:
            prompts = policy.encode(["What is it?"], [pictures])
        except Unfit:  # a context too short for them, or a template for one picture
            continue
        seen += bool(pictures)
        if found := _differs_for(policy, backbone, prompts):
            return found
    return "" if seen else "no picture could be tried"


def _differs_for(policy: Policy, backbone: Backbone, prompts: Prompts) -> str:
    tokens_1N = prompts.tokens_BP
    ours_ND = backbone.embed(tokens_1N[0], prompts).rows_ND
    given = _given(policy, backbone, prompts)
    theirs_1ND, positions = given.pop("inputs_embeds", None), given.pop("position_ids", None)
    mask, ids = given.pop("attention_mask", None), given.pop("input_ids", None)
    if theirs_1ND is None:
        if ids is None or prompts.image_keys or not torch.equal(ids, tokens_1N):
            return "its text model is given no embeddings"
    elif theirs_1ND.shape[1:] != ours_ND.shape or not _close(theirs_1ND[0], ours_ND):
        return "its text model is given other embeddings"
    if positions is not None and not torch.equal(positions.flatten(), prompts.positions_KBP[0, 0]):
        return "its positions are not those of a text"
    if mask is not None and not (isinstance(mask, torch.Tensor) and mask.dim() == 2 and bool(mask.all())):
        return "its text model is given masks"
    others = [name for name, one in given.items() if isinstance(one, torch.Tensor | list | tuple | dict)]
    return f"its text model is also given {others[0]}" if others else ""


def _close(theirs: torch.Tensor, ours: torch.Tensor) -> bool:
    """Up to rounding: a tower may be shown its pictures together or one by one."""
    most = 1e-3 if ours.dtype in (torch.float32, torch.float64) else 0.05
    return float((theirs.float() - ours.float()).abs().max()) <= most * float(theirs.float().abs().max())


def _given(policy: Policy, backbone: Backbone, prompts: Prompts) -> dict[str, Any]:
    """The arguments, by name, with which a model's own forward pass calls its text model on a prompt."""

    def seen(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        signature = inspect.signature(backbone.text.forward)
        call = dict(signature.bind(*arguments, **named).arguments)
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                call |= call.pop(name, {})
        raise _Given(call)

    hook = backbone.text.register_forward_pre_hook(seen, with_kwargs=True)
    try:
        images = image_inputs(policy.model, prompts, 1, prompts.tokens_BP)
        mask = torch.ones_like(prompts.tokens_BP)
        policy.model(input_ids=prompts.tokens_BP, attention_mask=mask, use_cache=False, **images)
    except _Given as given:
        return dict(given.args[0])
    finally:
        hook.remove()
    raise ValueError("it does not call its text model")
