"""Images through the checkpoint's own processor: the way for every family but Qwen-VL.

What stands for an image in the prompt, and which tensors the model takes, is asked of the processor
itself, once per distinct image, and remembered. An image is processed on its own, whatever else its
prompt shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image

from holdfast.errors import InputError
from holdfast.policy.batch import Prompts
from holdfast.policy.cache import ByteCache
from holdfast.policy.encode import Encoder, Tokenised, Uses, check_images
from holdfast.tasks.example import ImageSource, held_bytes, name_of, open_image

PROCESSED_BYTES = 1 << 30  # of processed images that are kept
TEXT_OUTPUTS = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


@dataclass(frozen=True)
class ProcessedImage:
    """What a processor makes of one image.

    Attributes:
        key: digest of the pixels; equal images have equal keys.
        text: what takes the place of the image's token in a prompt.
        inputs: tensors for the model, by argument.
    """

    key: bytes
    text: str
    inputs: Mapping[str, torch.Tensor]


class ProcessorEncoder(Encoder):
    """Tokenises for a model whose processor prepares images in a way of its own.

    Args:
        processor: the checkpoint's.
        max_context: most tokens a prompt may have.

    Raises:
        InputError: the processor does not say how an image stands in a prompt.
    """

    shows_images = True

    def __init__(self, processor: Any, max_context: int, system_prompt: str | None):
        super().__init__(processor, max_context, system_prompt)
        self.placeholder: Any = getattr(processor, "image_token", None)
        if self.placeholder is None or getattr(processor, "image_processor", None) is None:
            raise InputError(
                f"{type(processor).__name__} names no image token or has no image processor, so images "
                "cannot be put into a prompt. Use a checkpoint with a chat model's processor."
            )
        self._tokens: dict[tuple[int, int], int] = {}  # by an image's size
        self._processed: ByteCache[tuple[ImageSource, ProcessedImage]] = ByteCache(PROCESSED_BYTES)

    def _picture(self, image: ImageSource) -> ProcessedImage:
        name = name_of(image)
        known = self._processed.get(name)
        if known is not None:
            return known[1]
        pixels = open_image(image)
        text, inputs = self._process(pixels)
        key = blake2b(f"{pixels.size}".encode() + pixels.tobytes(), digest_size=16).digest()
        made = ProcessedImage(key, text, inputs)
        # The source is kept with it: an id is only unique among objects that live.
        size = held_bytes(image) + sum(tensor.nbytes for tensor in inputs.values())
        self._processed.put(name, (image, made), size)
        return made

    def _image_places(self, rendered: str, ids: list[int]) -> int:
        return rendered.count(self.placeholder)

    def _image_tokens(self, size: tuple[int, int]) -> int:
        """Asked of the processor with a blank image: what stands for an image goes by its size."""
        if size not in self._tokens:
            text, _ = self._process(Image.new("RGB", size))
            self._tokens[size] = len(self._ids([text])[0])
        return self._tokens[size]

    def _process(self, pixels: Image.Image) -> tuple[str, dict[str, torch.Tensor]]:
        """What stands for an image in a prompt, and the model's tensors.

        Raises:
            ValueError: the processor refuses it.
            InputError: it does not tell what stands for an image.
        """
        if not (pixels.width and pixels.height):
            raise ValueError(f"it has no pixels ({pixels.width} x {pixels.height})")
        try:
            output = self.processor(
                images=[pixels],
                text=[self.placeholder],
                return_tensors="pt",
                return_text_replacement_offsets=True,
            )
            replaced = output.pop("text_replacement_offsets", None)
            inputs = {key: torch.as_tensor(output[key]) for key in output if key not in TEXT_OUTPUTS}
        except Exception as error:  # a processor refuses sizes and shapes in ways of its own
            raise ValueError(f"{type(self.processor).__name__} refuses it ({error})") from error
        if not replaced:
            raise InputError(
                f"{type(self.processor).__name__} does not tell what stands for an image in a prompt, so its "
                "family (Mllama and Idefics2, for example) cannot be used."
            )
        return replaced[0][0]["replacement"], inputs

    def _tokenise(self, rendered: list[str], distinct: Sequence[Any], uses: Uses) -> Tokenised:
        texts = []
        for index, (text, used) in enumerate(zip(rendered, uses, strict=True)):
            first, *others = text.split(self.placeholder)
            check_images(index, len(others), len(used))
            texts.append(
                first + "".join(distinct[i].text + rest for i, rest in zip(used, others, strict=True))
            )
        rows, positions, _ = super()._tokenise(texts, distinct, uses)
        return rows, positions, {"image_inputs": tuple(image.inputs for image in distinct)}

    def _prompt_ids(self, rendered: list[str]) -> list[list[int]]:
        """As processors do: tokens such as BOS are added unless the template has written them."""
        start = self.tokenizer.bos_token
        special = not (start is not None and rendered[:1] and rendered[0].startswith(start))
        return self._ids(rendered, special)


def collate(images: Sequence[Mapping[str, torch.Tensor]], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Several images as one batch: first axes one after the other, the others filled up with zeros.

    Args:
        dtype: what floating-point tensors are turned into.
    """
    batch = {}
    for name in images[0]:
        parts = [image[name] for image in images]
        sizes = [max(lengths) for lengths in zip(*(part.shape[1:] for part in parts), strict=True)]
        joined = torch.cat([_fill(part, sizes) for part in parts])
        batch[name] = joined.to(dtype) if joined.is_floating_point() else joined
    return batch


def image_features(model: Any, images: Sequence[Mapping[str, torch.Tensor]]) -> list[torch.Tensor]:
    """For each image, the rows [T, hidden] that the model puts in the place of its tokens, in order."""
    sees = model if hasattr(model, "get_image_features") else model.model
    rows = list(sees.get_image_features(**collate(images, model.dtype), return_dict=True).pooler_output)
    if len(rows) == len(images):
        return rows
    tiles = iter(rows)  # some models give them tile by tile
    return [torch.cat(list(islice(tiles, len(image["pixel_values"])))) for image in images]


def check_features(prompts: Prompts, image_token: int, counts: Sequence[int]) -> None:
    """Every prompt must have as many image tokens as its images have features.

    Args:
        counts: features of each distinct image.

    Raises:
        InputError: one has not; the message names it.
    """
    tokens_B = ((prompts.tokens_BP == image_token) & prompts.mask_BP).sum(-1).tolist()
    for index, (tokens, used) in enumerate(zip(tokens_B, prompts.images, strict=True)):
        features = sum(counts[image] for image in used)
        if tokens != features:
            raise InputError(
                f"The processor puts {tokens} image tokens into prompt {index}, but the model makes "
                f"{features} features of its images. The settings of the two do not belong together "
                "(patch_size, merge_size, image_seq_len and the like); restore the checkpoint's own "
                "processor files."
            )


def _fill(tensor: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """All axes but the first as long as `sizes`, with zeros at their ends."""
    missing = [size - length for size, length in zip(sizes, tensor.shape[1:], strict=True)]
    return F.pad(tensor, [amount for more in reversed(missing) for amount in (0, more)])
