"""The video part of a processor: its settings are kept as they came, and never used.

transformers builds the processors of Qwen-VL, InternVL, SmolVLM and others around a video processor,
which needs torchvision, even when only images are used (transformers#48558). Holdfast shows images
alone, so it takes of this part the settings. It does so with torchvision, too: processors are built alike
everywhere, and a saved folder says about videos what the base said.
"""

from __future__ import annotations

import copy
import importlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoConfig
from transformers.image_processing_base import ImageProcessingMixin
from transformers.video_processing_utils import VideoProcessorMixin

# Video processors of families whose folders may say nothing about videos, by model type. They take the
# image processor's settings, but that Qwen3-VL bounds the pixels of a whole video, not of a frame.
_LIKE_IMAGES = {
    "qwen2_vl": "Qwen2VLVideoProcessor",
    "qwen2_5_vl": "Qwen2VLVideoProcessor",
    "qwen3_vl": "Qwen3VLVideoProcessor",
    "qwen3_vl_moe": "Qwen3VLVideoProcessor",
    "qwen3_5": "Qwen3VLVideoProcessor",
    "qwen3_5_moe": "Qwen3VLVideoProcessor",
}
_OF_IMAGES = ("image_processor_type", "feature_extractor_type", "processor_class", "auto_map")
_loading = threading.Lock()
_auto: Any = importlib.import_module("transformers.models.auto.video_processing_auto")

# Processors look the class of their parts up by this name, which transformers has with torchvision alone.
if not hasattr(transformers, "VideoProcessorMixin"):
    transformers.VideoProcessorMixin = VideoProcessorMixin


class VideoSettings(VideoProcessorMixin):
    """Stands for a video processor in a processor that is shown no videos.

    Args:
        settings: what the checkpoint's files say about videos; saved unchanged.
    """

    num_frames = fps = None  # SmolVLM's processor looks at them in prompts without videos, too

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.__dict__.update(settings)  # as on a video processor: other parts of a processor may look
        self.settings = settings

    @classmethod
    def like_images(cls, image_settings: Mapping[str, Any], model_type: str) -> VideoSettings:
        """Those that belong to an image processor of the Qwen-VL family."""
        made = {key: value for key, value in image_settings.items() if key not in _OF_IMAGES}
        made["video_processor_type"] = _LIKE_IMAGES[model_type]
        if made["video_processor_type"] == "Qwen3VLVideoProcessor":
            for key in ("size", "min_pixels", "max_pixels"):
                made.pop(key, None)
        return cls(**made)

    @classmethod
    def from_pretrained(cls, folder: str | Path, **options: Any) -> VideoSettings:
        """What a checkpoint says about videos, or what belongs to its image processor.

        Raises:
            OSError: neither can be found.
        """
        try:
            settings, _ = cls.get_video_processor_dict(folder, **options)
            if "video_processor_type" in settings:
                return cls(**settings)
        except OSError:
            settings = None
        model_type = AutoConfig.from_pretrained(folder, **options).model_type
        if model_type in _LIKE_IMAGES:
            images, _ = ImageProcessingMixin.get_image_processor_dict(folder, **options)
            return cls.like_images(images, model_type)
        if settings is None:
            raise OSError("it has a video processor, but no file of the checkpoint has its settings")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        return copy.deepcopy(self.settings)

    def preprocess(self, videos: Any, **options: Any) -> Any:
        raise NotImplementedError("Holdfast shows models no videos")


@contextmanager
def video_settings_alone() -> Iterator[None]:
    """Processors that are loaded inside have `VideoSettings` in the place of a video processor."""
    with _loading:
        stock = _auto.AutoVideoProcessor
        _auto.AutoVideoProcessor = VideoSettings
        try:
            yield
        finally:
            _auto.AutoVideoProcessor = stock
