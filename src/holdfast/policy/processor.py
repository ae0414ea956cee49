"""The Qwen-VL processor for images alone, for environments without torchvision.

transformers builds its Qwen2.5-VL and Qwen3-VL processors around a video processor, which needs
torchvision, even when only images are used (transformers#48558). Where torchvision is missing,
importing this module puts image-only subclasses of the same names in their place, so that
`AutoProcessor.from_pretrained` works, and folders saved here load with the stock classes elsewhere.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoProcessor, AutoTokenizer
from transformers.models import qwen2_5_vl, qwen3_vl
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor as _StockQwen25
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor as _StockQwen3
from transformers.processing_utils import ProcessorMixin

from holdfast.errors import InputError


def torchvision_works() -> bool:
    """Whether torchvision is installed.

    Raises:
        InputError: it is installed but cannot be imported; transformers then fails obscurely.
    """
    if importlib.util.find_spec("torchvision") is None:
        return False
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # a build for another torch fails in many ways
        raise InputError(
            f"torchvision is installed but does not work with torch ({type(error).__name__}: {error}). "
            "Install the build that matches torch, or remove it (pip uninstall torchvision): "
            "Holdfast does not need it."
        ) from error
    return True


class _ImageOnly:
    """Mixed into a stock processor: the constructor asks for no video processor.

    transformers reads the parts that a processor saves and loads from this signature.
    """

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None):
        self.image_token = "<|image_pad|>"
        self.video_token = "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        for part in ("vision_start", "vision_end"):  # named by Qwen3-VL's processor alone
            token = f"<|{part}|>"
            setattr(self, f"{part}_token", token)
            setattr(self, f"{part}_token_id", tokenizer.convert_tokens_to_ids(token))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


class Qwen2_5_VLProcessor(_ImageOnly, _StockQwen25):
    """Stands in for the class of the same name; the name is what a saved folder records."""


class Qwen3VLProcessor(_ImageOnly, _StockQwen3):
    """Stands in for the class of the same name; the name is what a saved folder records."""


def _register() -> None:
    """AutoProcessor looks classes up by name in these modules."""
    for module, processor in ((qwen2_5_vl, Qwen2_5_VLProcessor), (qwen3_vl, Qwen3VLProcessor)):
        setattr(module, processor.__name__, processor)
        setattr(transformers, processor.__name__, processor)


if not torchvision_works():
    _register()


def build_processor(image_processor: Any, tokenizer: Any, chat_template: str) -> Any:
    """A Qwen2.5-VL processor for images from its parts, in any environment."""
    return Qwen2_5_VLProcessor(image_processor, tokenizer, chat_template)


def load_processor(folder: str | Path, text_only: bool, **options: Any) -> Any:
    """The processor of a checkpoint, or its tokenizer if the model takes text alone.

    Args:
        folder: a model folder or hub id.
        options: `revision`, `local_files_only`, as `from_pretrained` takes them.

    Raises:
        InputError: it cannot be loaded.
    """
    torchvision_works()
    auto = AutoTokenizer if text_only else AutoProcessor
    try:
        return auto.from_pretrained(folder, trust_remote_code=False, **options)
    except Exception as error:  # a broken or missing file shows in as many ways as there are formats
        part = "tokenizer" if text_only else "processor"
        raise InputError(f"The {part} of {folder} cannot be loaded: {error}") from error


__all__ = ["Qwen2VLImageProcessorPil", "build_processor", "load_processor", "torchvision_works"]
