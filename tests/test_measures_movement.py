"""Weight movement, worked out by hand on small files."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from holdfast.errors import InputError
from holdfast.measures.movement import group_of, movement
from holdfast.policy.policy import Policy
from holdfast.policy.settings import EMBEDDED, Lora, ModelSettings

EMBED, BLOCK, HEAD = "model.embed_tokens.weight", "model.layers.3.mlp.up_proj.weight", "lm_head.weight"


def write(folder, tensors, config=None, name="model.safetensors"):
    folder.mkdir(exist_ok=True)
    save_file({key: torch.as_tensor(value).clone() for key, value in tensors.items()}, folder / name)
    (folder / "config.json").write_text(json.dumps(config or {}))
    return folder


def by_group(rows):
    return {row["group"]: row for row in rows}


def test_by_hand(tmp_path):
    earlier = write(tmp_path / "0", {EMBED: [[3.0, 0.0]], BLOCK: [[0.0, 0.0, 1.0, 1.0]]})
    before = write(tmp_path / "1", {EMBED: [[3.0, 4.0]], BLOCK: [[0.0, 1.0, 1.0, 1.0]]})
    after = write(tmp_path / "2", {EMBED: [[3.0, 4.0]], BLOCK: [[3e-4, 1.0 + 4e-4, 1.0, 1.0 - 5e-6]]})
    rows = by_group(movement(before, after, earlier))
    assert list(rows) == ["embeddings", "block 3", "all"]
    assert rows["embeddings"] == {
        "group": "embeddings", "parameters": 2, "l2": 0.0, "relative": 0.0, "mean_abs": 0.0,
        "share_1e-6": 0.0, "share_1e-5": 0.0, "share_1e-4": 0.0, "share_1e-3": 0.0, "cosine": None,
    }  # fmt: skip
    block = rows["block 3"]
    assert block["l2"] == pytest.approx(5e-4, rel=1e-3)
    assert block["relative"] == pytest.approx(5e-4 / math.sqrt(3), rel=1e-3)
    assert block["mean_abs"] == pytest.approx(7.05e-4 / 4, rel=1e-3)
    assert [block[f"share_1e-{digit}"] for digit in (6, 5, 4, 3)] == [0.75, 0.5, 0.5, 0.0]
    assert block["cosine"] == pytest.approx(0.8, rel=1e-3)  # of (3, 4) with (0, 1)
    assert rows["all"]["parameters"] == 6
    assert rows["all"]["relative"] == pytest.approx(5e-4 / math.sqrt(28), rel=1e-3)
    # the last change was 4 in the embeddings and 1 in the block
    assert rows["all"]["cosine"] == pytest.approx(0.8 / math.sqrt(17), rel=1e-3)
    assert all(row["cosine"] is None for row in movement(before, after))


def test_shares_are_of_numbers_that_moved_further(tmp_path):
    before = write(tmp_path / "1", {BLOCK: torch.zeros(1, 5)})
    after = write(tmp_path / "2", {BLOCK: [[5e-7, -5e-6, 5e-5, -5e-4, 5e-3]]})
    (block, _) = movement(before, after)
    assert [block[f"share_1e-{digit}"] for digit in (6, 5, 4, 3)] == [0.8, 0.6, 0.4, 0.2]


def test_cosine_is_between_two_updates(tmp_path):
    """From (1, 1) by (0, 2), then by (3, 4): 4/5, in one group; all groups together by the sums."""
    weights = ([1.0, 1.0], [1.0, 3.0], [4.0, 7.0])
    folders = [
        write(tmp_path / str(number), {BLOCK: [weight], EMBED: [[number * 1.0]]})
        for number, weight in enumerate(weights)
    ]
    rows = by_group(movement(folders[1], folders[2], folders[0]))
    assert rows["block 3"]["cosine"] == pytest.approx(0.8)
    assert rows["embeddings"]["cosine"] == pytest.approx(1.0)
    assert rows["all"]["cosine"] == pytest.approx((8 + 1) / math.sqrt((4 + 1) * (25 + 1)))


def test_differences_are_taken_in_float32(tmp_path):
    """2^-10 is lost beside 1 in bfloat16 arithmetic, and is there here."""
    before = write(tmp_path / "1", {BLOCK: torch.tensor([[1.0, 2.0]]).bfloat16()})
    after = write(tmp_path / "2", {BLOCK: torch.tensor([[1.0 + 2**-10, 2.0]])})
    assert movement(before, after)[0]["l2"] == pytest.approx(2**-10)


def test_sharded_equals_whole(tmp_path):
    first, second = {EMBED: torch.randn(4, 3), BLOCK: torch.randn(3, 3)}, {EMBED: torch.randn(4, 3)}
    second[BLOCK] = first[BLOCK] + 1
    whole = movement(write(tmp_path / "1", first), write(tmp_path / "2", second))
    shards = tmp_path / "3"
    write(shards, {EMBED: second[EMBED]}, name="model-00001-of-00002.safetensors")
    write(shards, {BLOCK: second[BLOCK]}, name="model-00002-of-00002.safetensors")
    write(shards, {"other": torch.zeros(1)}, name="consolidated.safetensors")  # which the index leaves out
    places = {EMBED: "model-00001-of-00002.safetensors", BLOCK: "model-00002-of-00002.safetensors"}
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert movement(tmp_path / "1", shards) == whole


def test_tied_weights_count_once(tmp_path):
    weight = torch.ones(2, 2)
    tied = {"text_config": {"tie_word_embeddings": True}}
    before = write(tmp_path / "1", {EMBED: weight, HEAD: weight.clone()}, tied)
    after = write(tmp_path / "2", {EMBED: weight + 1}, tied)  # as transformers writes it
    rows = by_group(movement(before, after))
    assert rows["all"]["parameters"] == 4 and rows["all"]["l2"] == 2.0 and "head" not in rows
    untied = write(tmp_path / "3", {EMBED: weight, HEAD: weight + 2})
    rows = by_group(movement(write(tmp_path / "4", {EMBED: weight, HEAD: weight}), untied))
    assert rows["head"]["l2"] == 4.0 and rows["all"]["parameters"] == 8


def test_groups_of_real_names():
    names = {
        "visual.blocks.0.attn.qkv.weight": "vision",
        "model.visual.merger.mlp.0.weight": "projector",
        "model.visual.deepstack_merger_list.0.norm.weight": "projector",
        "model.vision_tower.vision_model.encoder.layers.7.mlp.fc1.weight": "vision",
        "multi_modal_projector.linear_1.weight": "projector",
        "model.connector.modality_projection.proj.weight": "projector",
        "model.language_model.layers.11.self_attn.q_proj.weight": "block 11",
        "model.layers.0.input_layernorm.weight": "block 0",
        "language_model.lm_head.weight": "head",
        "model.norm.weight": "other",
        "base_model.model.model.language_model.layers.1.mlp.up_proj": "block 1",
        "base_model.model.model.visual.blocks.0.attn.qkv": "vision",
    }
    assert {name: group_of(name) for name in names} == names


def test_every_weight_of_the_embedded_model_is_counted_once(tmp_path):
    policy = Policy.load("embedded", ModelSettings())
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter += 0.5
    policy.save(tmp_path / "after")
    rows = by_group(movement(EMBEDDED, tmp_path / "after"))
    count = sum(parameter.numel() for parameter in policy.model.parameters())
    assert rows["all"]["parameters"] == count == sum(row["parameters"] for row in rows.values()) - count
    blocks = [f"block {number}" for number in range(4)]
    assert list(rows) == ["vision", "projector", "embeddings", *blocks, "other", "all"]
    assert all(row["l2"] == pytest.approx(0.5 * row["parameters"] ** 0.5, rel=1e-5) for row in rows.values())


def test_adapters_are_compared_as_what_they_add(tmp_path):
    pytest.importorskip("peft")
    settings = ModelSettings(lora=Lora(rank=2, alpha=6, target_modules=("q_proj", "o_proj")))
    policy = Policy.load("embedded", settings)
    policy.save(tmp_path / "0")
    for number in (1, 2):
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for name, parameter in policy.model.named_parameters():
                if "lora_" in name:
                    parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        policy.save(tmp_path / f"{number}")
        policy.save(tmp_path / f"merged{number}", merge=True)
    path = {name: tmp_path / name for name in ("0", "1", "2", "merged1", "merged2")}

    adapters = by_group(movement(path["1"], path["2"], path["0"]))
    merged = by_group(movement(path["merged1"], path["merged2"], EMBEDDED))
    for group in ("block 0", "block 3", "all"):
        assert adapters[group]["l2"] == pytest.approx(merged[group]["l2"], rel=1e-4)
        assert adapters[group]["cosine"] == pytest.approx(merged[group]["cosine"], rel=1e-3)
    assert set(adapters) == {*(f"block {i}" for i in range(4)), "all"}
    assert adapters["all"]["parameters"] == 4 * 2 * 128 * 128

    # new adapters and the model without any are the same thing
    assert movement(EMBEDDED, path["1"]) == movement(path["0"], path["1"])
    assert movement(path["0"], path["1"])[-1]["relative"] is None
    assert movement(path["1"], path["2"], EMBEDDED) == movement(path["1"], path["2"], path["0"])
    with pytest.raises(InputError, match="LoRA adapters and"):
        movement(path["1"], EMBEDDED)
    with pytest.raises(InputError, match="in this order"):
        movement(EMBEDDED, path["2"], path["1"])


def test_what_cannot_be_measured(tmp_path):
    one = write(tmp_path / "1", {EMBED: [[1.0]], BLOCK: [[1.0]]})
    for number, (tensors, message) in enumerate(
        [
            ({EMBED: [[1.0]]}, f"{BLOCK} is in .*1 but not in"),
            ({EMBED: [[1.0]], BLOCK: [[1.0]], "more": [1.0]}, "more is in .* but not in .*1"),
            ({EMBED: [[1.0]], BLOCK: [[1.0, 2.0]]}, "different shapes"),
            ({EMBED: [[1.0]], BLOCK: torch.tensor([[2]], dtype=torch.uint8)}, "whole numbers"),
        ]
    ):
        with pytest.raises(InputError, match=message):
            movement(one, write(tmp_path / f"other{number}", tensors))
    with pytest.raises(InputError, match="no folder"):
        movement(one, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no weights"):
        movement(tmp_path / "empty", one)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(InputError, match="cannot be read"):
        movement(one, tmp_path / "bad")


def test_tables_of_positions_do_not_matter(tmp_path):
    one = write(tmp_path / "1", {BLOCK: [[1.0]], "position_ids": torch.arange(3)})
    two = write(tmp_path / "2", {BLOCK: [[2.0]], "position_ids": torch.arange(3)})
    assert movement(one, two)[-1]["parameters"] == 1


def test_adapters_of_another_kind_are_refused(tmp_path):
    folder = tmp_path / "dora"
    write(folder, {"m.q_proj.lora_magnitude_vector": [1.0]}, name="adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"lora_alpha": 1}))
    with pytest.raises(InputError, match="lora_magnitude_vector"):
        movement(folder, folder)
