"""A checkpoint's processor: what turns prompts and images into a model's inputs.

It is the class that the checkpoint names, for images alone (`policy/videos.py`); torchvision is not
needed, and what is saved loads with stock transformers.
"""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoProcessor, AutoTokenizer, Qwen2_5_VLProcessor, Qwen3VLProcessor
from transformers.models import pixtral

from holdfast.errors import InputError
from holdfast.files import read_if_there
from holdfast.policy.environment import MissingPackage, loading, torchvision_works
from holdfast.policy.videos import VideoSettings, video_settings_alone

# How the names of JSON files begin that a processor is made of.
_PARTS = (
    "tokenizer", "vocab", "added_tokens", "special_tokens", "preprocessor", "processor", "chat_template",
)  # fmt: skip
_AS_THE_FILE_SAYS = {"TokenizersBackend", "PreTrainedTokenizerFast"}

log = logging.getLogger(__name__)


def build_processor(
    image_processor: Any, tokenizer: Any, chat_template: str, model_type: str = "qwen2_5_vl"
) -> Any:
    """A Qwen2.5-VL or Qwen3-VL processor from its parts, in any environment."""
    processor = Qwen3VLProcessor if model_type == "qwen3_vl" else Qwen2_5_VLProcessor
    videos = VideoSettings.like_images(image_processor.to_dict(), model_type)
    return processor(image_processor, tokenizer, videos, chat_template=chat_template)


def load_processor(folder: str | Path, text_only: bool, **options: Any) -> Any:
    """The processor of a checkpoint, or its tokenizer if the model takes text alone.

    Args:
        folder: a model folder or hub id.
        options: `revision`, `local_files_only`, as `from_pretrained` takes them.

    Raises:
        InputError: it cannot be loaded; a `MissingPackage` where a package is all that it lacks.
    """
    pixtral_processor()  # makes it loadable by name, and says what is wrong with torchvision
    auto = AutoTokenizer if text_only else AutoProcessor
    part = "tokenizer" if text_only else "processor"
    try:
        with loading(part, folder), video_settings_alone():
            made = auto.from_pretrained(folder, trust_remote_code=False, **options)
        _warn_of_another_tokenizer(Path(folder), getattr(made, "tokenizer", made))
        return made
    except InputError as error:
        if isinstance(error, MissingPackage) or not (wrong := _wrong(Path(folder), text_only)):
            raise
        raise InputError(
            f"The {part} of {folder} cannot be loaded: {wrong}. Copy tokenizer and processor files from the "
            "checkpoint that the weights come from."
        ) from error


def _warn_of_another_tokenizer(folder: Path, tokenizer: Any) -> None:
    """Of some model types transformers makes the tokenizer anew out of its vocabulary, and does not read the
    checkpoint's own normalizer and pre-tokenizer (findings/transformers-tokenizer-rebuilt.sh)."""
    file, text = folder / "tokenizer.json", "HOW Many 1234, naïve?\n\tÉ"
    if type(tokenizer).__name__ in _AS_THE_FILE_SAYS or not file.is_file():
        return
    own = Tokenizer.from_file(str(file))
    own.no_truncation()
    own.no_padding()
    written = own.encode(text, add_special_tokens=False).tokens
    if (read := tokenizer.tokenize(text, add_special_tokens=False)) != written:
        log.warning(
            "The tokenizer of %s is not the one in its tokenizer.json: transformers makes a %s of its "
            "vocabulary, without its own normalizer and pre-tokenizer (%s, and not %s). It is used so.",
            folder, type(tokenizer).__name__, read[:4], written[:4],
        )  # fmt: skip


def _wrong(folder: Path, text_only: bool) -> str | None:
    """What a model folder lacks, without which no processor is, or which of its files is damaged; None where
    that is not it."""
    kinds = [["tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model"]]
    kinds += [] if text_only else [["preprocessor_config.json", "processor_config.json"]]
    for kind in kinds if folder.is_dir() else ():
        if not any((folder / name).is_file() for name in kind):
            return f"there is no {kind[0]}"
    for path in sorted(folder.glob("*.json")):
        if path.name.startswith(_PARTS) and not isinstance(read_if_there(path), dict):
            return f"its {path.name} is damaged (it is no JSON object)"
    return None


def pixtral_processor() -> Any:
    """The class of Pixtral's and Mistral 3's processor, importable without torchvision.

    Its module takes one function from the image processor that needs torchvision; the image processor
    for Pillow has the same function.
    """
    if torchvision_works() or "PixtralProcessor" in vars(pixtral):
        return pixtral.PixtralProcessor
    blocked = f"{pixtral.__name__}.image_processing_pixtral"
    sys.modules[blocked] = importlib.import_module(f"{pixtral.__name__}.image_processing_pil_pixtral")
    try:
        opened = importlib.import_module(f"{pixtral.__name__}.processing_pixtral")
    finally:
        del sys.modules[blocked]
    pixtral.PixtralProcessor = opened.PixtralProcessor  # where AutoProcessor looks it up
    return pixtral.PixtralProcessor
