"""What a family says is all that the rest of the package knows of it."""

from __future__ import annotations

import importlib.util
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from family_helpers import (
    make_gemma3_folder,
    make_idefics3_folder,
    make_internvl_folder,
    make_llava_folder,
    make_llava_next_folder,
    make_qwen2_folder,
    make_smolvlm_folder,
)
from family_processors import make_mistral3_folder, make_onevision_folder
from holdfast.errors import InputError
from holdfast.experiment.architecture import Tower, architecture, of_config
from holdfast.learning.methods import make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.measures.movement import group_of, movement
from holdfast.policy.families import FAMILIES, Family, family_of, part_of
from holdfast.policy.operations import Operations
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings
from newer_families import (
    make_gemma4_folder,
    make_glm4v_folder,
    make_glm4v_moe_folder,
    make_glm46v_folder,
    make_qwen3_5_folder,
    make_qwen3_5_moe_folder,
    make_qwen3_vl_moe_folder,
)
from policy_helpers import make_folder, make_policy, make_qwen3_folder, make_text_folder
from test_group_pass import assert_equal_passes, assert_samples_as_plain, loss_and_gradients, random_batch

MAKERS = {
    "qwen2_vl": make_qwen2_folder,
    "qwen2_5_vl": make_folder,
    "qwen3_vl": make_qwen3_folder,
    "qwen3_vl_moe": make_qwen3_vl_moe_folder,
    "qwen3_5": make_qwen3_5_folder,
    "qwen3_5_moe": make_qwen3_5_moe_folder,
    "glm4v": make_glm4v_folder,
    "glm4v_moe": make_glm4v_moe_folder,
    "glm46v": make_glm46v_folder,
    "llava_onevision": make_onevision_folder,
    "mistral3": make_mistral3_folder,
    "llava": make_llava_folder,
    "internvl": make_internvl_folder,
    "idefics3": make_idefics3_folder,
    "smolvlm": make_smolvlm_folder,
    "llava_next": make_llava_next_folder,  # which is not known
    "gemma3": make_gemma3_folder,
    "gemma4": make_gemma4_folder,
}
FREEZES = [("vision",), ("projector",), ("vision", "projector")]


class LlavaNext(Family):
    """A family that the package does not list, as somebody else would write it."""

    text = "language_model"
    vision, projector = ("vision_tower",), ("multi_modal_projector", "image_newline")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(params=MAKERS)
def folder(folders, request):
    return folders[request.param]


def test_every_listed_family_is_tested():
    assert FAMILIES.keys() <= {*MAKERS, "gemma4_text"}  # which has no pictures: test_text_models.py


@pytest.mark.slow
def test_a_family_from_outside_gets_the_packed_pass(folders, monkeypatch, caplog):
    monkeypatch.setitem(FAMILIES, "llava_next", LlavaNext)
    policy = make_policy(folders["llava_next"])
    assert policy.way == "packed" and not caplog.text
    for dtype in (torch.float64, torch.float32):
        policy.model.to(dtype)
        for seed, images in enumerate([(1, 1), (2, 0, 1), (0, 0)]):
            assert_equal_passes(policy, *random_batch(policy, seed, images, 3, 6))
    assert_samples_as_plain(policy)
    assert policy.way == "packed" and not caplog.text
    frozen = make_policy(folders["llava_next"], freeze=("projector",))
    assert not frozen.model.model.image_newline.requires_grad
    assert group_of("model.image_newline") == "projector"


def test_features_are_kept_only_where_nothing_that_makes_them_is_trained(folders, monkeypatch):
    """Also what a family does not name: LLaVA-NeXT's row ends, say."""

    class Forgetful(LlavaNext):
        projector = ("multi_modal_projector",)

    monkeypatch.setitem(FAMILIES, "llava_next", Forgetful)
    policy = make_policy(folders["llava_next"], freeze=("vision", "projector"))
    batch = random_batch(policy, 1, (1, 1), 2, 4)
    for way in ("plain", "packed", "packed"):
        gradients = loss_and_gradients(policy, way, *batch)[2]
        assert gradients["model.image_newline"].abs().max() > 0
        assert not any("vision_tower" in name for name in gradients)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", FREEZES)
def test_the_estimate_trains_what_the_policy_trains(folder, freeze):
    """Numbers in trained weights, known before any weight is read."""
    settings = ModelSettings(path=str(folder), freeze=freeze)
    policy, known = Policy.load(folder, settings), architecture(settings)
    trained = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    assert known is not None
    assert known.trained == sum(parameter.numel() for parameter in trained)
    assert known.parameters == sum(parameter.numel() for parameter in policy.model.parameters())
    assert known.trained < known.parameters


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="needs peft")
@pytest.mark.parametrize("freeze", [(), *FREEZES])
def test_the_estimate_of_adapters_leaves_out_frozen_parts(folder, freeze):
    kinds: dict[str, set[type]] = {}
    for name, module in make_policy(folder).model.named_modules():
        kinds.setdefault(name.rpartition(".")[2], set()).add(type(module))
    names = {name for name, types in kinds.items() if types == {torch.nn.Linear}}  # Gemma 4's may clip
    targets = names & {"q_proj", "v_proj", "qkv", "fc1", "up_proj", "linear_1", "linear_fc1"}
    if "experts" in kinds:
        targets -= {"up_proj"}  # peft has those of experts in pairs
    settings = ModelSettings(
        path=str(folder), freeze=freeze, lora=Lora(rank=3, target_modules=tuple(sorted(targets)) or None)
    )
    policy, known = Policy.load(folder, settings), architecture(settings)
    trained = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    assert known is not None
    assert known.trained == sum(parameter.numel() for parameter in trained)


@pytest.mark.slow
def test_weights_have_the_same_parts_in_a_file_and_in_a_model(folder):
    policy = make_policy(folder)
    in_files: Counter[str] = Counter()
    buffers = dict(policy.model.named_buffers())  # Gemma 4 keeps some
    for file in folder.glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            if name not in buffers:
                in_files[part_of(name) or "text"] += tensor.numel()
    in_model = Counter(dict.fromkeys(("text", "vision", "projector"), 0))
    for part, parameter in policy.family.parts(policy.model):
        in_model[part] += parameter.numel()
    in_model["text"] = sum(p.numel() for p in policy.model.parameters()) - in_model.total()
    assert in_files == in_model and all(in_model.values())


@pytest.mark.slow
def test_frozen_parts_do_not_move(folder, tmp_path):
    policy = make_policy(folder, freeze=("vision",))
    prompts = policy.encode(["w1 w2"], [[Image.linear_gradient("L").resize((32, 32)).convert("RGB")]])
    optimizer = make_optimizer(policy.model, make_method(objective="sft", learning_rate=1e-2))
    (-policy.group_logprobs(prompts, policy.encode_completions(["w3 w4"])).logprobs_BGR.sum()).backward()
    optimizer.step()
    policy.save(tmp_path / "after")
    moved = {row["group"]: row["l2"] for row in movement(folder, tmp_path / "after")}
    assert moved["vision"] == 0
    assert moved["projector"] > 0 and moved["block 0"] > 0


@pytest.mark.slow
def test_shapes_of_vision_towers(folders):
    """Patches of 8 pixels, four of which become one token; LLaVA's stay as they are."""
    merges = {"llava": 1, "llava_next": 1, "llava_onevision": 1}
    for name, folder in folders.items():
        known = architecture(ModelSettings(path=str(folder)))
        assert known is not None and known.vision is not None, name
        frames = 2 if name.startswith(("qwen", "glm")) else 1
        assert (known.vision.patch, known.vision.merge) == (8, merges.get(name, 2)), name
        assert known.vision.features == 3 * frames * 8 * 8
        assert known.vision.tower.hidden == 24 and known.vision.tower.query == 24
    qwen2 = architecture(ModelSettings(path=str(folders["qwen2_vl"])))
    assert qwen2 is not None and qwen2.vision is not None
    assert qwen2.vision.tower == Tower(layers=2, hidden=24, query=24, key=24, intermediate=72)


def test_operations_count_patches_and_merged_patches(folders):
    """InternVL: one tile of 32 x 32 pixels is 16 patches, 4 of which pass the projector as one token."""
    policy = make_policy(folders["internvl"])
    prompts = policy.encode(["w1"], [[Image.new("RGB", (32, 32), "red")]])
    completions = policy.encode_completions(["w2"])
    sizes = Counter({None: 0})
    for name, parameter in policy.model.named_parameters():
        sizes[policy.family.part_of(name)] += parameter.numel()
    tokens = int(prompts.lengths_B.sum() + completions.mask_BGR.sum())
    embeddings = policy.model.get_input_embeddings().weight.numel()
    expected = (sizes[None] - embeddings) * tokens + sizes["vision"] * 16 + sizes["projector"] * 4
    assert policy.operations.forward(prompts, completions) == pytest.approx(2 * expected)


@pytest.mark.parametrize("settings", [{"max_pixels": 1024}, {"min_pixels": 1024}])
def test_bounds_of_pictures_act_or_are_refused(folders, tmp_path, settings):
    make_policy(folders["qwen2_5_vl"], **settings)
    with pytest.raises(InputError, match="min_pixels and max_pixels are for the Qwen-VL image processor"):
        make_policy(folders["llava"], **settings)
    with pytest.raises(InputError, match="are of pictures, and llama reads text alone"):
        make_policy(make_text_folder(tmp_path), **settings)


@pytest.mark.parametrize("freeze", FREEZES)
def test_a_frozen_tower_takes_no_backward_pass(folders, freeze):
    operations = make_policy(folders["internvl"], freeze=freeze).operations
    assert (operations.learned_vision > 0) == ("vision" not in freeze)
    assert operations.learned_text == operations.text
    known = architecture(ModelSettings(path=str(folders["internvl"]), freeze=freeze))
    assert known is not None and known.operations == operations


@pytest.mark.parametrize("modules", [None, ("q_proj", "qkv", "mlp.0"), ("mlp.0",)])
def test_what_adapters_are_put_on_takes_no_gradient_of_its_own(folders, modules):
    """A token passes two times through all weights, and a third time through those of the adapters."""
    pytest.importorskip("peft")
    bare = make_policy(folders["qwen2_5_vl"]).operations
    lora = {"rank": 4, "alpha": 8, "target_modules": modules}
    policy = make_policy(folders["qwen2_5_vl"], lora=lora)
    operations, sizes = policy.operations, Counter()
    for name, parameter in policy.trained().items():
        sizes[policy.family.part_of(name)] += parameter.numel()
    vision = sizes["vision"] + sizes["projector"] / 4
    assert (operations.text, operations.vision) == (bare.text + sizes[None], bare.vision + vision)
    text = 2 * 10 * (2 * operations.text + sizes[None])
    patches = 2 * 8 * (2 * operations.vision + vision if sizes["vision"] else operations.vision)
    assert operations.learning(10, 8) == pytest.approx(text + patches)
    assert bare.learning(10, 8) == 3 * bare.passing(10, 8)
    known = architecture(ModelSettings(path=str(folders["qwen2_5_vl"]), lora=lora))
    assert known is not None and known.operations == operations


def test_embeddings_for_each_layer_are_looked_up(folders):
    policy = make_policy(folders["gemma4"])
    text = sum(
        p.numel() for name, p in policy.model.named_parameters() if policy.family.part_of(name) is None
    )
    tables = policy.model.get_input_embeddings(), policy.model.model.language_model.embed_tokens_per_layer
    tied = policy.model.get_output_embeddings().weight is tables[0].weight
    assert policy.operations.text == text - sum(table.weight.numel() for table in tables[tied:])


def test_a_model_type_that_is_not_listed(folders, tmp_path):
    other = family_of(make_policy(folders["llava_next"]).model.config)
    text = make_policy(make_text_folder(tmp_path))
    assert type(other) is Family and other.part_of("model.vision_tower.encoder.weight") == "vision"
    assert text.way == "packed" and not list(text.family.parts(text.model))


def test_a_tower_without_a_patch_size_is_not_estimated(folders, monkeypatch):
    policy = make_policy(folders["gemma3"])
    assert of_config(policy.model.config, ModelSettings()) is not None
    assert Family(SimpleNamespace(vision_config=SimpleNamespace(patch_size=(14, 16)))).patch == 16
    assert Family(SimpleNamespace(vision_config=SimpleNamespace())).patch is None
    monkeypatch.setattr(Family, "patch", None)
    assert Operations.of(policy.model).patch_values == 1
    assert of_config(policy.model.config, ModelSettings()) is None
