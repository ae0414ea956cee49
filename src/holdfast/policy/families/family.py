"""What a model family is, as the rest of the package asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from holdfast.errors import InputError
from holdfast.policy.encode import Encoder
from holdfast.policy.families.patches import PatchEncoder
from holdfast.policy.images import PatchMaker, supports
from holdfast.policy.processed import ProcessorEncoder, image_features
from holdfast.policy.settings import ModelSettings

CONTROL_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
MEDIA = ("image", "video", "vision", "visual", "boi", "eoi", "audio", "boa", "eoa")  # in names of such ids
ID_NAMES = ("_token_id", "_token_ids", "_token_index")
MERGERS = ("merger", "deepstack_merger_list")  # within Qwen-VL's vision tower, and its kin's

Part = Literal["vision", "projector"]


@dataclass(frozen=True)
class ImageFeatures:
    """What the vision tower makes of one image: a row per image token, and DeepStack rows per layer."""

    rows_TD: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.rows_TD, *self.deep))


class Family:
    """The parts of a model, and how images reach it.

    As it stands, text-only models, and vision-language models that nothing is known of: their images go
    through the checkpoint's own processor, and the packed pass is for them where their own forward pass is
    seen to hand the text model embeddings alone (`policy/unlisted.py`). A known family says at least where
    its text model is.

    Attributes:
        text: where the text model stands in the inner model.
        vision, projector: names of the modules that are the vision tower, and of those between it and
            the text model; the latter may lie within the former.
        axes: of rotary positions (3 for M-RoPE).

    Args:
        config: the model's transformers configuration.
    """

    text: ClassVar[str | None] = None
    vision: ClassVar[tuple[str, ...]] = ("visual", "vision_tower", "vision_model", "vision_encoder")
    projector: ClassVar[tuple[str, ...]] = (
        "multi_modal_projector", "mm_projector", "projector", "connector", "aligner", "embed_vision",
        "vision_projection", "vision_adapter", "image_newline", *MERGERS,
    )  # fmt: skip
    axes: ClassVar[int] = 1

    def __init__(self, config: Any):
        self.config = config

    @property
    def image_token(self) -> int:
        """The id that stands for one feature of an image; -1 where there is none."""
        return getattr(self.config, "image_token_id", -1)

    @property
    def ahead(self) -> frozenset[str]:
        """Kinds of layers (`full_attention`, `sliding_attention`) in which the tokens of an image see one
        another, those that come later, too."""
        return frozenset()

    @property
    def patch(self) -> int | None:
        """Pixels on a side of a patch; None where the configuration does not say."""
        size = getattr(getattr(self.config, "vision_config", None), "patch_size", None)
        return size[-1] if isinstance(size, list | tuple) else size

    @property
    def merge(self) -> int:
        """Patches on a side of the square that becomes one image token."""
        vision = getattr(self.config, "vision_config", None)
        return getattr(vision, "spatial_merge_size", None) or 1

    @classmethod
    def part_of(cls, name: str) -> Part | None:
        """The part that a weight or module belongs to, by its name; None for the text model."""
        places = name.split(".")
        if any(place in cls.projector for place in places):
            return "projector"
        return "vision" if any(place in cls.vision for place in places) else None

    def lacks(self, part: Part, kind: str) -> str:
        """What to say where a model of that class has no weights of a part."""
        what = "vision tower" if part == "vision" else "projector"
        if hasattr(self.config, "vision_config"):
            return (
                f"model.freeze: what of {kind} is its {what} is not known (looked for: "
                f"{', '.join(getattr(self, part))}). Leave {part} out, or say it in a family of its own."
            )
        return f"model.freeze: {kind} has no {what}; remove the setting."

    def parts(self, model: Any) -> Iterator[tuple[Part, torch.nn.Parameter]]:
        """The weights of `vision`, and of the `projector` between it and the text model."""
        for name, parameter in model.named_parameters():
            if (part := self.part_of(name)) is not None:
                yield part, parameter

    def text_model(self, model: Any) -> Any:
        """The stack of layers over embeddings, which the packed pass calls.

        Raises:
            ValueError: it is not known where that is.
        """
        inner = getattr(model, "model", None)
        if self.text is not None:
            return getattr(inner, self.text)
        stack = inner if self.is_known else model.get_decoder()
        if hasattr(stack, "layers") and hasattr(stack, "embed_tokens"):
            return stack
        raise ValueError(f"{type(model).__name__} is not among the architectures it knows")

    @property
    def is_known(self) -> bool:
        """Whether somebody has said how pictures reach the text model, or there are none."""
        return type(self) is not Family or not hasattr(self.config, "vision_config")

    def control_ids(self, processor: Any) -> set[int]:
        """Ids of tokens that frame or stand for images, videos and sounds: no completion may hold them."""
        tokenizer = getattr(processor, "tokenizer", processor)
        vocabulary = tokenizer.get_vocab()
        ids = {vocabulary.get(token) for token in CONTROL_TOKENS}
        for holder in (self.config, processor):  # families name theirs in ways of their own
            for name in (*vars(holder), *getattr(holder, "attribute_map", ())):
                if name.endswith(ID_NAMES) and any(word in name for word in MEDIA):
                    tokens = getattr(holder, name, None)
                    ids.update(tokens if isinstance(tokens, list | tuple) else [tokens])
        return ids - {None, tokenizer.unk_token_id}

    def encoder(self, processor: Any, settings: ModelSettings, device: torch.device) -> Encoder:
        """What turns prompts and images into what the model takes, on its device.

        Raises:
            InputError: the settings are not for this family.
        """
        limit = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        context = min(filter(None, (limit, settings.max_context)), default=2**31)
        given = processor, context, settings.system_prompt
        pixels = settings.min_pixels, settings.max_pixels
        if not hasattr(self.config, "vision_config"):
            if pixels != (None, None):
                raise InputError(
                    f"min_pixels and max_pixels are of pictures, and {self.config.model_type} reads text "
                    "alone. Remove the two settings."
                )
            return Encoder(*given)
        images = getattr(processor, "image_processor", None)
        if supports(images):
            patches = PatchMaker(images, *pixels, device, getattr(torch, settings.dtype))
            return PatchEncoder(patches, self.image_token, *given)
        if pixels != (None, None):
            raise InputError(
                f"min_pixels and max_pixels are for the Qwen-VL image processor; {self.config.model_type} "
                f"uses {type(images).__name__}, whose sizes stand in its preprocessor_config.json. "
                "Remove the two settings."
            )
        return self.encoder_by_processor(*given)

    def encoder_by_processor(self, processor: Any, context: int, system_prompt: str | None) -> Encoder:
        """What hands images to the checkpoint's own processor."""
        return ProcessorEncoder(processor, context, system_prompt)

    def features(self, model: Any, images: Sequence[Mapping[str, torch.Tensor]]) -> list[ImageFeatures]:
        """What the vision tower makes of each image, all encoded together.

        Args:
            images: tensors for the model, by argument, as `Prompts.each_image` has them.
        """
        return [ImageFeatures(rows_TD) for rows_TD in image_features(model, images)]

    def beside_tokens(self, text: Any, tokens_N: torch.Tensor) -> dict[str, Any]:
        """Further arguments for the text model, besides the embeddings of packed tokens."""
        return {}

    def beside_images(self, is_image_N: torch.Tensor, shown: Sequence[ImageFeatures]) -> dict[str, Any]:
        """Further arguments for the text model, besides embeddings with the rows of `shown` filled in."""
        return {}
