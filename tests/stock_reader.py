"""Reads model folders with transformers alone; the tests run it in a process of its own.

Each line of its input is JSON, a list of `[folder, [[question, [image file, ...]], ...]]` pairs. Printed
is, as a line of JSON, a list of what each folder lacks and how its model answers. Where torchvision is
missing, stock processors that have a video part cannot be built. Then every part but that is loaded, and
of that the settings which the stock class would look up.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.auto.processing_auto import processor_class_from_name
from transformers.utils import is_torchvision_available
from transformers.video_processing_utils import VideoProcessorMixin

LONGEST = 24
LOOK_UP = {
    "image_processor": ImageProcessingMixin.get_image_processor_dict,
    "video_processor": VideoProcessorMixin.get_video_processor_dict,
}


def missing_parts(folder: str) -> list[str]:
    """Parts of the folder's stock processor class that its files do not describe, with the reason."""
    settings = json.loads((Path(folder) / "processor_config.json").read_text())
    missing = []
    for part in processor_class_from_name(settings["processor_class"]).get_attributes():
        if part == "tokenizer":
            continue
        try:
            found, _ = LOOK_UP[part](folder, local_files_only=True)
        except OSError as error:
            missing.append(f"{part}: {error}")
            continue
        name = found.get(f"{part}_type", "no class")
        if not hasattr(transformers, name):
            missing.append(f"{part}: transformers has no {name}")
    return missing


def inputs_by_parts(folder: str, text: str, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    """What a Qwen-VL processor makes of a user's turn, from its tokenizer and image processor."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    prompt = tokenizer.apply_chat_template(turn(text, images), add_generation_prompt=True, tokenize=False)
    made: dict[str, Any] = {}
    if images:
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        made = dict(processor(images=images, return_tensors="pt"))
        first, *others = prompt.split("<|image_pad|>")
        tokens = made["image_grid_thw"].prod(-1) // processor.merge_size**2
        shown = ["<|image_pad|>" * count for count in tokens.tolist()]
        prompt = first + "".join(image + rest for image, rest in zip(shown, others, strict=True))
    made |= tokenizer(prompt, return_tensors="pt")
    is_image = made["input_ids"] == tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return made | {"mm_token_type_ids": is_image.int()}


def inputs_by_processor(folder: str, text: str, images: list[Image.Image]) -> dict[str, torch.Tensor]:
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    return processor.apply_chat_template(
        turn(text, images), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )


def turn(text: str, images: list[Image.Image]) -> list[dict[str, Any]]:
    shown = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*shown, {"type": "text", "text": text}]}]


def answers(folder: str, questions: list[tuple[str, list[str]]]) -> list[str]:
    model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    prepare = inputs_by_processor if is_torchvision_available() else inputs_by_parts
    # A random model would write what stands for images, too.
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    stands_for_images = [getattr(model.config, name) for name in names]
    given = []
    for text, files in questions:
        inputs = prepare(folder, text, [Image.open(file) for file in files])
        out = model.generate(
            **inputs, do_sample=False, max_new_tokens=LONGEST, suppress_tokens=stands_for_images
        )
        completion = out[0, inputs["input_ids"].shape[1] :].tolist()
        ends = model.generation_config.eos_token_id
        ends = {ends} if isinstance(ends, int) else set(ends)
        kept = completion[: next((i for i, token in enumerate(completion) if token in ends), None)]
        given.append(tokenizer.decode(kept))
    return given


def read(folder: str, questions: list[tuple[str, list[str]]]) -> dict[str, Any]:
    if is_torchvision_available():
        AutoProcessor.from_pretrained(folder, local_files_only=True)
    return {"missing": missing_parts(folder), "answers": answers(folder, questions) if questions else []}


if __name__ == "__main__":
    for line in sys.stdin:
        found = [read(*each) for each in json.loads(line)]
        assert "holdfast" not in sys.modules
        print(json.dumps(found), flush=True)
