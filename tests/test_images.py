"""Patches cut where they are needed are the same bits, and pictures decoded ahead are found."""

from __future__ import annotations

import os
import random

import pytest
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from holdfast.errors import HoldfastError
from holdfast.policy import images
from holdfast.policy.cache import ByteCache
from holdfast.policy.images import PatchMaker
from policy_helpers import random_image


def make_processor(patch: int) -> Qwen2VLImageProcessorPil:
    unit = (2 * patch) ** 2
    return Qwen2VLImageProcessorPil(patch_size=patch, merge_size=2, min_pixels=unit, max_pixels=64 * unit)


def make(patch: int = 14, device: str = "cpu") -> PatchMaker:
    return PatchMaker(make_processor(patch), device=device)


@pytest.fixture
def remembered(monkeypatch):
    """A memory of pictures of its own."""
    monkeypatch.setattr(images, "PIXELS", ByteCache(1 << 20))
    return images.PIXELS


@pytest.mark.parametrize("patch", [8, 14, 16])
@pytest.mark.parametrize("sizes", [[(90, 60), (60, 90), (90, 60), (200, 31)], [(90, 60), (90, 60)]])
def test_patches_are_the_bits_of_the_image_processor(patch, sizes, remembered):
    maker = make(patch)
    rng = random.Random(0)
    shown = [random_image(rng, size) for size in sizes]
    found, grids = maker.patches([maker.picture(image) for image in shown])
    wanted = make_processor(patch)(images=shown, return_tensors="pt")
    assert torch.equal(found, wanted["pixel_values"]) and found.dtype == torch.float32
    assert torch.equal(grids, wanted["image_grid_thw"])


def test_patches_lie_on_the_device():
    maker = make(device="meta")  # as a GPU: the way that is taken follows from the device
    pixel_values, grids = maker.patches([maker.picture(Image.new("RGB", (56, 28)))])
    assert pixel_values.is_meta and pixel_values.shape == (8, 3 * 2 * 14 * 14)
    assert grids.tolist() == [[1, 2, 4]]


def test_pictures_decoded_ahead_are_found(tmp_path, monkeypatch, remembered):
    random_image(random.Random(0)).save(tmp_path / "a.png")
    maker = make()
    maker.prepare([str(tmp_path / "a.png"), Image.new("RGB", (28, 28))])
    images.AHEAD.submit(lambda: None).result()  # what was asked for before has ended
    assert len(remembered) == 1
    monkeypatch.setattr(images, "open_image", None)
    assert maker.picture(str(tmp_path / "a.png")).pixels_HWC.shape == (56, 56, 3)


def test_a_picture_that_cannot_be_decoded_ahead_is_named_when_it_is_needed(tmp_path, remembered):
    maker = make()
    maker.prepare([str(tmp_path / "missing.png")])
    images.AHEAD.submit(lambda: None).result()
    with pytest.raises(HoldfastError, match=r"missing\.png is missing"):
        maker.picture(str(tmp_path / "missing.png"))


def test_image_objects_have_a_memory_of_their_own(monkeypatch, remembered):
    """They are decoded already, so they push out no picture of a file; what is kept counts the object too."""
    drawn = ByteCache(2 * (4 + 3) * 56 * 56)  # room for two objects with their pixels
    monkeypatch.setattr(images, "OBJECTS", drawn)
    maker = make()
    shown = [Image.new("RGB", (56, 56), (shade, 0, 0)) for shade in range(3)]
    made = [maker.picture(image) for image in shown]
    assert (len(drawn), len(remembered)) == (2, 0)
    assert maker.picture(shown[2]) is made[2]
    assert maker.picture(shown[0]).key == made[0].key  # forgotten, and made again alike


def test_a_file_that_was_replaced_is_another_picture(tmp_path, remembered):
    """Also in a process that has seen the one before, as a notebook."""
    file, maker, seen = tmp_path / "a.bmp", make(), []
    for colour in ("red", "blue"):
        Image.new("RGB", (56, 28), colour).save(file)
        os.utime(file, (0, 0))
        seen.append(maker.picture(file).key)
    assert len(set(seen)) == 2
    assert maker.picture(file).key == seen[1] and len(remembered) == 2
