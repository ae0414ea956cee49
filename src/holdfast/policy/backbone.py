"""The parts of a transformers model that the group-wise pass drives itself.

What they are, its family says (`families/`). A model of a family that is not known works through the
plain pass.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from holdfast.errors import reason
from holdfast.policy.attention import NAME, Layout, windows_of
from holdfast.policy.batch import Prompts
from holdfast.policy.cache import ByteCache
from holdfast.policy.families import Family, ImageFeatures
from holdfast.policy.groups import GroupLayout
from holdfast.policy.head import Head
from holdfast.policy.lean import Lean, Step
from holdfast.policy.processed import check_features
from holdfast.policy.recurrent import Scan, take_over
from holdfast.policy.states import KIND

log = logging.getLogger(__name__)

FAILS = (AttributeError, IndexError, RuntimeError, TypeError, ValueError)  # of a model that does not fit
FEATURE_BYTES = 1 << 30  # of frozen image features that are kept


@dataclass
class Embedded:
    """Packed input embeddings of the text model.

    Attributes:
        rows_ND: one row per token.
        extra: further arguments for the text model (DeepStack features, say).
    """

    rows_ND: torch.Tensor
    extra: dict[str, Any] = field(default_factory=dict)


def _attention_of(config: Any) -> Any:
    """The attention function of a configuration, and those of the ones within it."""
    parts = {name: part for name in config.sub_configs if (part := getattr(config, name, None)) is not None}
    return {"": config._attn_implementation} | {name: _attention_of(part) for name, part in parts.items()}


class _Asked(GroupLayout):
    """A layout that knows which attention modules asked it, by id, and for what windows."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.asked: dict[int, list[int | None]] = {}

    def attend(self, module: nn.Module, *arguments: Any) -> torch.Tensor:
        self.asked.setdefault(id(module), []).append(arguments[-1])
        return super().attend(module, *arguments)

    def scan(self, module: nn.Module, scan: Scan, rows_NC: torch.Tensor) -> torch.Tensor:
        self.asked.setdefault(id(module), []).append(None)
        return super().scan(module, scan, rows_NC)


class Backbone:
    """Embeddings, text model and head of a known architecture, and the features of images.

    Attributes:
        text: the layers over embeddings; `head` makes logits of what they return.
        axes: of rotary positions.
        replays: whether decoding steps are replayed (`stretches.py`).
        recurrent: whether some layers carry a state instead of attending (`recurrent.py`).
        lean: the layers of `text` in fewer operations; None where transformers' own are called.

    Raises:
        ValueError: the architecture is not known; the message says why.
    """

    def __init__(self, model: Any, family: Family):
        self.model, self.family, self.axes = model, family, family.axes
        self.text = family.text_model(model)
        self.windows = windows_of(self.text)
        self._own_attention = _attention_of(model.config)
        model.set_attn_implementation(NAME)
        try:
            self._take(model)
        except ValueError:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Leave the model its own attention: what is no layout's is not ours to compute."""
        self.model.set_attn_implementation(self._own_attention)

    def _take(self, model: Any) -> None:
        """Lead the model's layers from now on.

        Raises:
            ValueError: they are not what a layout gives attention to.
        """
        if self.text.config._attn_implementation != NAME:
            raise ValueError(f"{type(model).__name__} does not take other attention functions")
        self.head = Head(model, self.text)
        read = {id(parameter) for part in (self.text, self.head.module) for parameter in part.parameters()}
        # All else that is trained makes features, whether its family names it or not.
        self._sees = [parameter for parameter in model.parameters() if id(parameter) not in read]
        self.recurrent = take_over(self.text)
        self.replays = model.device.type == "cuda"
        self.lean: Lean | None = None
        self._features: ByteCache[ImageFeatures] = ByteCache(FEATURE_BYTES)
        self._try_layers()
        if model.device.type == "cpu":
            with suppress(ValueError):  # layers that nobody has written out stay transformers' own
                self.lean = Lean(self.text, self.windows)
                self._try_lean()

    @torch.no_grad()
    def _try_layers(self) -> None:
        """Have a token go through transformers' own: nobody may ask a layout.

        Raises:
            ValueError: not every layer attends by a layout, and by it alone.
        """
        try:
            asked = self._asked()
        except FAILS as error:
            raise ValueError(f"{type(self.model).__name__} fails in it ({reason(error)})") from error
        if asked != [[window] for window in self.windows]:
            raise ValueError(f"{type(self.model).__name__} does not attend once in every layer, as it says")

    @torch.no_grad()
    def _try_lean(self) -> None:
        """Have a token go through the layers as they are written out: they may not fit after all."""
        try:
            self._asked()
        except FAILS as error:
            self.leave_to_transformers(f"written out they fail ({reason(error)})")

    def _asked(self) -> list[list[int | None]]:
        """The windows for which each layer asks the layout of one token."""
        token = torch.zeros(1, dtype=torch.long, device=self.model.device)
        layout = _Asked(torch.ones_like(token), dtype=self.dtype)
        self.hidden(self.embed(token), token.expand(self.axes, -1), layout)
        return list(layout.asked.values())

    @property
    def dtype(self) -> torch.dtype:
        return self.text.dtype

    def embed(self, tokens_N: torch.Tensor, prompts: Prompts | None = None) -> Embedded:
        """Embeddings of packed tokens, of which the first part is all of `prompts`, images filled in.

        Each distinct image is encoded once, however many prompts show it; once and for all where
        nothing in the vision tower is trained.
        """
        rows_ND, extra = self.text.embed_tokens(tokens_N), self.family.beside_tokens(self.text, tokens_N)
        if prompts is None or not prompts.image_keys:
            return Embedded(rows_ND, extra)
        if any(parameter.requires_grad for parameter in self._sees):
            features = self.family.features(self.model, prompts.each_image())
        else:
            features = self._frozen_features(prompts)
        is_image_N = torch.eq(tokens_N, self.family.image_token)
        shown = [features[image] for row in prompts.images for image in row]
        places = is_image_N.nonzero().squeeze(1)
        rows_TD = torch.cat([image.rows_TD for image in shown])
        if len(places) != len(rows_TD):
            counts = [len(image.rows_TD) for image in features]
            check_features(prompts, self.family.image_token, counts)
        rows_ND = rows_ND.index_copy(0, places, rows_TD.to(rows_ND.dtype))
        return Embedded(rows_ND, extra | self.family.beside_images(is_image_N, shown))

    def hidden(
        self,
        embedded: Embedded,
        positions_KN: torch.Tensor,
        layout: Layout,
        read: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Last hidden states of packed tokens that attend as `layout` says.

        Args:
            read: indices of the tokens that are asked for; None for all.
        """
        if self.lean is not None and self.lean.takes(embedded.extra):
            return self.lean.hidden(embedded.rows_ND, positions_KN, layout, read, **embedded.extra)
        rows_ND = self.text(
            inputs_embeds=embedded.rows_ND[None],
            position_ids=positions_KN[:, None] if self.axes > 1 else positions_KN,
            attention_mask=self._mask(positions_KN.device),
            use_cache=False,
            layout=layout,
            **embedded.extra,
        ).last_hidden_state[0]
        return rows_ND if read is None else rows_ND.index_select(0, read)

    def _mask(self, device: torch.device) -> Any:
        """What transformers takes for finished masks, and passes on; layouts do not read them."""
        four_axes = torch.empty(1, 1, 1, 1, dtype=torch.bool, device=device)
        return {"full_attention": four_axes, KIND: None} if self.recurrent else four_axes

    def stepper(self, end: int) -> Step:
        """What takes decoding steps: of tokens [N], their positions [N], all below `end`, and a layout.

        It gives last hidden states, and is good for as long as the weights stay as they are.
        """
        if self.lean is not None and self.lean.takes({}):
            return self.lean.stepper(self.axes, end)

        def step(tokens_N: torch.Tensor, positions_N: torch.Tensor, layout: Layout) -> torch.Tensor:
            return self.hidden(self.embed(tokens_N), positions_N.expand(self.axes, -1), layout)

        return step

    def leave_to_transformers(self, reason: str) -> None:
        """Have transformers' own layers called from now on, after a warning."""
        self.lean = None
        log.warning("The layers of %s are left to transformers, which is slower: %s.",
                    type(self.text).__name__, reason)  # fmt: skip

    @torch.no_grad()
    def _frozen_features(self, prompts: Prompts) -> list[ImageFeatures]:
        """Features of each distinct image from a tower whose weights do not change.

        New images are encoded one by one: in a batch their last bits would depend on its other
        images, and a run that was resumed would differ from one that was not.
        """
        features = []
        for key, inputs in zip(prompts.image_keys, prompts.each_image(), strict=True):
            image = self._features.get(key)
            if image is None:
                image = self.family.features(self.model, [inputs])[0]
                self._features.put(key, image, image.nbytes)
            features.append(image)
        return features
