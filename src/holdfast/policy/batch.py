"""What a policy works on: prompts with their images, and groups of completions.

Axes: B prompts, G completions of one prompt, P prompt tokens, R completion tokens, K rotary
position axes (3 for M-RoPE: time, height, width; 1 otherwise).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from holdfast.errors import HoldfastError


@dataclass(frozen=True)
class Prompts:
    """Tokenised prompts, padded on the left, and the distinct images they show.

    Attributes:
        tokens_BP: token ids; padding holds the pad id.
        mask_BP: True on tokens.
        positions_KBP: rotary positions; 0 on padding.
        images: for each prompt, the indices of its images, in the order they appear.
        image_keys: digests of the distinct images; equal ones show the same.
        pixel_values: patches of the distinct images, one after the other, or None without images.
        image_grid_thw: [distinct images, 3] patches in time, height and width.
        image_inputs: where a model's own processor prepares images (`processed.py`), the tensors it makes
            of each distinct image; `pixel_values` and `image_grid_thw` are None then.
    """

    tokens_BP: torch.Tensor
    mask_BP: torch.Tensor
    positions_KBP: torch.Tensor
    images: tuple[tuple[int, ...], ...]
    image_keys: tuple[bytes, ...]
    pixel_values: torch.Tensor | None = None
    image_grid_thw: torch.Tensor | None = None
    image_inputs: tuple[Mapping[str, torch.Tensor], ...] = ()

    def __len__(self) -> int:
        return self.tokens_BP.shape[0]

    @property
    def lengths_B(self) -> torch.Tensor:
        return self.mask_BP.sum(-1)

    @property
    def next_positions_B(self) -> torch.Tensor:
        """Rotary position of the first completion token, on every axis."""
        return self.positions_KBP.amax((0, 2)) + 1

    def each_image(self) -> Sequence[Mapping[str, torch.Tensor]]:
        """What the model takes for each distinct image, by argument."""
        if self.pixel_values is None or self.image_grid_thw is None:
            return self.image_inputs
        parts = self.pixel_values.split(self.image_grid_thw.prod(-1).tolist())
        return [
            {"pixel_values": part, "image_grid_thw": grid}
            for part, grid in zip(parts, self.image_grid_thw.split(1), strict=True)
        ]

    def select(self, rows: Sequence[int]) -> Prompts:
        """These rows in this order, with only the images and the padding that they need."""
        index = torch.as_tensor(rows, dtype=torch.long, device=self.tokens_BP.device)
        mask_BP = self.mask_BP[index]
        start = self.mask_BP.shape[1] - int(mask_BP.sum(-1).max()) if len(rows) else 0
        used = list(dict.fromkeys(image for row in rows for image in self.images[row]))
        renamed = {image: position for position, image in enumerate(used)}
        pixels, grids = None, None
        if used and self.image_grid_thw is not None:
            each = self.each_image()
            pixels = torch.cat([each[image]["pixel_values"] for image in used])
            grids = self.image_grid_thw[used]
        return Prompts(
            self.tokens_BP[index, start:],
            mask_BP[:, start:],
            self.positions_KBP[:, index, start:],
            tuple(tuple(renamed[image] for image in self.images[row]) for row in rows),
            tuple(self.image_keys[image] for image in used),
            pixels,
            grids,
            tuple(self.image_inputs[image] for image in used) if self.image_inputs else (),
        )

    def to(self, device: torch.device | str) -> Prompts:
        moved: dict[str, Any] = {
            name: tensor.to(device) for name, tensor in vars(self).items() if isinstance(tensor, torch.Tensor)
        }
        moved["image_inputs"] = tuple(
            {name: tensor.to(device) for name, tensor in image.items()} for image in self.image_inputs
        )
        return replace(self, **moved)


@dataclass(frozen=True)
class Completions:
    """G completions for each of B prompts, padded on the right.

    Attributes:
        tokens_BGR: token ids, the end token included; padding holds the pad id.
        mask_BGR: True on tokens.
        finished_BG: True where the end token was reached within the limit.
        logprobs_BGR: log-probability of each token at the temperature it was drawn with, before
            top-p; 0 on padding. None for encoded targets.
        entropy_BGR: in nats, of the distributions they were drawn from, likewise.
    """

    tokens_BGR: torch.Tensor
    mask_BGR: torch.Tensor
    finished_BG: torch.Tensor
    logprobs_BGR: torch.Tensor | None = None
    entropy_BGR: torch.Tensor | None = None

    def __len__(self) -> int:
        return self.tokens_BGR.shape[0]

    @property
    def lengths_BG(self) -> torch.Tensor:
        return self.mask_BGR.sum(-1)

    def select(self, rows: Sequence[int]) -> Completions:
        """The groups of these prompts, in this order."""
        index = torch.as_tensor(rows, dtype=torch.long, device=self.tokens_BGR.device)
        return self._each(lambda tensor: tensor[index])

    def columns(self, members: slice | list[int]) -> Completions:
        """These members of every group."""
        return self._each(lambda tensor: tensor[:, members])

    def distinct(self) -> tuple[Completions, torch.Tensor] | None:
        """What is left to compute where members of a group are equal; None where none are.

        Returns:
            Each group's distinct members in their order, and empty ones where it has fewer than others
            [B, U, R], without log-probabilities; and the place of each member among them [B, G].
        """
        group = self.tokens_BGR.shape[1]
        if group == 1:
            return None
        tokens_BGR = self.tokens_BGR.masked_fill(~self.mask_BGR, -1)
        members_G = torch.arange(group, device=tokens_BGR.device)
        first_BG = members_G.expand(len(self), -1)  # equal member of each
        for member in reversed(range(group - 1)):
            equal_BG = (tokens_BGR == tokens_BGR[:, member : member + 1]).all(-1)
            first_BG = torch.where(equal_BG, member, first_BG)
        is_first_BG = first_BG == members_G
        if bool(is_first_BG.all()):
            return None
        count_B = is_first_BG.sum(-1)
        chosen_BU = is_first_BG.int().argsort(dim=-1, descending=True, stable=True)[:, : int(count_B.max())]
        rows_B1 = torch.arange(len(self), device=tokens_BGR.device)[:, None]
        there_BU = members_G[: chosen_BU.shape[1]] < count_B[:, None]
        once = Completions(
            self.tokens_BGR[rows_B1, chosen_BU],
            self.mask_BGR[rows_B1, chosen_BU] & there_BU[..., None],
            self.finished_BG[rows_B1, chosen_BU],
        )
        return once, (is_first_BG.cumsum(-1) - 1).gather(-1, first_BG)

    @classmethod
    def join(cls, parts: Sequence[Completions], pad: int, axis: int = 0) -> Completions:
        """The groups of all parts, one after the other; along axis 1, groups of all parts' members."""
        if len(parts) == 1:
            return parts[0]

        def known(values: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
            there = [value for value in values if value is not None]
            return _join(there, 0.0, axis) if len(there) == len(parts) else None

        return cls(
            _join([part.tokens_BGR for part in parts], pad, axis),
            _join([part.mask_BGR for part in parts], False, axis),
            torch.cat([part.finished_BG for part in parts], axis),
            known([part.logprobs_BGR for part in parts]),
            known([part.entropy_BGR for part in parts]),
        )

    def to(self, device: torch.device | str) -> Completions:
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Completions:
        """With every tensor changed."""
        changed: dict[str, Any] = {name: change(one) for name, one in vars(self).items() if one is not None}
        return replace(self, **changed)


def _join(parts: Sequence[torch.Tensor], fill: float, axis: int) -> torch.Tensor:
    """[B, G, R] of all parts, each filled up to the longest R."""
    longest = max(part.shape[2] for part in parts)
    return torch.cat([F.pad(part, (0, longest - part.shape[2]), value=fill) for part in parts], axis)


@dataclass(frozen=True)
class GroupLogprobs:
    """What the policy thinks of given completions.

    Attributes:
        logprobs_BGR: log-probability of each completion token; 0 on padding. Carries the gradient.
        entropy_BGR: entropy in nats of the distribution each token was drawn from; no gradient.
        top_entropy_BGR: the same of its most likely entries alone, where that was asked for.
    """

    logprobs_BGR: torch.Tensor
    entropy_BGR: torch.Tensor
    top_entropy_BGR: torch.Tensor | None = None

    @classmethod
    def join(cls, parts: Sequence[GroupLogprobs]) -> GroupLogprobs:
        """Of all parts, one after the other."""
        if len(parts) == 1:
            return parts[0]
        found = zip(*(part.tensors() for part in parts), strict=True)
        return cls(*map(torch.cat, found))

    def to(self, device: torch.device | str) -> GroupLogprobs:
        return GroupLogprobs(*(tensor.to(device) for tensor in self.tensors()))

    def tensors(self) -> list[torch.Tensor]:
        """Those there are, in their order."""
        return [tensor for tensor in vars(self).values() if tensor is not None]

    def of_members(self, places_BG: torch.Tensor) -> GroupLogprobs:
        """Of all members of groups whose distinct ones these are (`Completions.distinct`)."""
        places_BGR = places_BG[..., None].expand(-1, -1, self.logprobs_BGR.shape[-1])
        logprobs_BGR = _Members.apply(self.logprobs_BGR, places_BGR)
        rest = (tensor.gather(1, places_BGR) for tensor in self.tensors()[1:])
        return GroupLogprobs(logprobs_BGR, *rest)


class _Members(torch.autograd.Function):
    """A gather, whose way back adds up members one after the other: on any device the same bits."""

    @staticmethod
    def forward(ctx: Any, distinct_BUR: torch.Tensor, places_BGR: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places_BGR)
        ctx.shape = distinct_BUR.shape
        return distinct_BUR.gather(1, places_BGR)

    @staticmethod
    def backward(ctx: Any, grad_BGR: torch.Tensor) -> tuple[torch.Tensor, None]:
        (places_BGR,) = ctx.saved_tensors
        grad_BUR = grad_BGR.new_zeros(ctx.shape)
        for grad_B1R, places_B1R in zip(grad_BGR.split(1, 1), places_BGR.split(1, 1), strict=True):
            grad_BUR.scatter_add_(1, places_B1R, grad_B1R)
        return grad_BUR, None


def group_tokens(prompts: Prompts, completions: Completions) -> list[int]:
    """Tokens of each prompt with its group, the prompt counted once."""
    return (prompts.lengths_B + completions.lengths_BG.sum(-1)).tolist()


def some_rows(batch: Any, rows: range) -> Any:
    """These of its rows; itself where that is all."""
    return batch if len(rows) == len(batch) else batch.select(rows)


class NotFiniteError(HoldfastError):
    """A NaN or infinite logit of one example.

    Attributes:
        index: of the example in the batch; `name`, where it is known.
    """

    def __init__(self, index: int, name: str = ""):
        self.index, self.name = index, name
        super().__init__(
            f"The model's output for {name or f'example {index} of the batch'} is not finite (NaN or "
            "infinity). Its weights are damaged or have diverged (in training: lower learning_rate or "
            "clip_grad), or overflow in this dtype (use bfloat16 or float32)."
        )

    def named(self, names: Sequence[str]) -> NotFiniteError:
        """The same about the example of a name."""
        return NotFiniteError(self.index, names[self.index])

    def __reduce__(self) -> tuple[type[NotFiniteError], tuple[int, str]]:
        return NotFiniteError, (self.index, self.name)  # as another process gets it
