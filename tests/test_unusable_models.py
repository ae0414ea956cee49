"""Model folders that cannot be used: one line that says so, before any work where it can be seen."""

from __future__ import annotations

import json
import shutil
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cli_helpers import Call
from holdfast.config.models import check_model
from holdfast.errors import InputError
from holdfast.experiment.architecture import architecture
from holdfast.policy.policy import Policy
from holdfast.policy.ready import check_ready
from holdfast.policy.settings import EMBEDDED, Lora, ModelSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EMBEDDED, tmp_path / "model"))


def change(path: Path, keys: str, value: Any) -> None:
    """Set a value in a JSON file; an inner key stands after a dot."""
    whole = place = json.loads(path.read_text())
    *parents, last = keys.split(".")
    for key in parents:
        place = place[key]
    place[last] = value
    path.write_text(json.dumps(whole))


def one_line(error: InputError) -> str:
    said = str(error)
    assert "\n" not in said and len(said) < 600 and "Error:" not in said
    return said


@pytest.mark.parametrize(
    ("file", "key", "value", "expected"),
    [
        ("config.json", "text_config", [], "The config.json of .* cannot be loaded: .*text_config"),
        ("config.json", "text_config.hidden_size", None, "config.json of .* expected int, got NoneType"),
        ("config.json", "dtype", "float99", "config.json of .*float99"),
        ("config.json", "model_type", [], "config.json of .* a value in it is of the wrong kind"),
        ("processor_config.json", "image_processor.image_mean", [0.5], "mean must have 3 elements"),
        ("processor_config.json", "image_processor.image_std", [0, 0, 0], "not finite; see its image_std"),
        ("processor_config.json", "image_processor.size", {"shortest_edge": 4}, "longest_edge is None"),
        ("processor_config.json", "image_processor.resample", 99, "99 is not a valid Resampling"),
        ("processor_config.json", "image_processor.merge_size", 0, "merge_size is 0"),
        ("tokenizer.json", "model.vocab", {}, "The processor of .* cannot be loaded: .*UNK"),
    ],
)
def test_found_before_any_work(folder: Path, file: str, key: str, value: Any, expected: str) -> None:
    change(folder / file, key, value)
    with pytest.raises(InputError, match=expected) as told:
        check_ready(str(folder), ModelSettings(path=str(folder)))
    one_line(told.value)


@pytest.mark.parametrize("content", ["", "[]", '{"a": ', "version https://git-lfs.github.com/spec/v1"])
@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json", "processor_config.json"])
def test_which_file_of_a_processor_is_damaged(folder: Path, file: str, content: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=rf"its {file} is damaged \(it is no JSON object\)\. Copy") as told:
        check_ready(str(folder), ModelSettings(path=str(folder)))
    one_line(told.value)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (None, "model-00001-of-00002.safetensors, and neither model.safetensors nor model.safetensors.index"),
        ({"metadata": {}, "weight_map": {}}, "it names no weights"),
    ],
)
def test_weights_in_parts_need_an_index(folder: Path, index: Any, expected: str) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    if index is not None:
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    ((_, said),) = check_model(ModelSettings(path=str(folder)))
    assert expected in said


def test_code_beside_a_checkpoint_is_not_run_nor_asked_for(folder: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    change(folder / "config.json", "auto_map", {"AutoConfig": "evil.C"})
    change(folder / "config.json", "model_type", "evil")
    with pytest.raises(
        InputError, match=r"is code that lies beside the checkpoint, and Holdfast runs"
    ) as told:
        check_ready(str(folder), ModelSettings(path=str(folder)))
    assert "trust_remote_code" not in one_line(told.value) and not (folder / "ran").exists()


@pytest.mark.parametrize("name", ["anybody/attention", {"vision_config": "anybody/attention"}])
def test_kernels_of_the_hub_are_not_fetched_for_a_checkpoint(folder: Path, name: Any) -> None:
    """Transformers would, where the package `kernels` is installed, as soon as a model is built."""
    change(folder / "config.json", "_attn_implementation", name)
    settings = ModelSettings(path=str(folder))
    said = r"asks for attention by anybody/attention, code that lies on the hub"
    for look in (
        lambda: check_ready(str(folder), settings),
        lambda: architecture(settings),
        lambda: Policy.load(folder, settings),
    ):
        with pytest.raises(InputError, match=said):
            look()


@pytest.mark.parametrize("link", ["gone", "model.safetensors"])
def test_a_link_that_leads_nowhere_is_said(folder: Path, call: Call, link: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / link)
    settings = ("test_examples=2", "prompts=embedded", "evaluation.max_tokens=4", "--out", folder / "out")
    said = call("evaluate", folder, "--tasks", "reading", *settings)
    assert said.code and "It is a link that leads to no file; copy or download what it stood for" in said.err


@pytest.mark.parametrize("content", ["[" * 100_000, "null", "[]", '{"a": ' + "9" * 5000 + "}"])
@pytest.mark.parametrize("file", ["config.json", "processor_config.json"])
def test_files_that_are_no_settings(folder: Path, file: str, content: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(InputError, match="cannot be loaded") as told:
        check_ready(str(folder), ModelSettings(path=str(folder)))
    one_line(told.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for x in %}", "Expected an expression"),
        ("{{ raise_exception('no way') }}", "The chat template of the model cannot be used: no way"),
        ("{{ nosuch.x }}", "'nosuch' is undefined"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% for a in range(10000000000) %}{% endfor %}", "Range too big"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "more than 2 s"),
        ("{{ 'x' * 1000000 }}", "makes 1,000,0\\d\\d characters"),
        ("{{ '%1000000000d' % 3 }}", "more memory than there is"),
        ("{{ 'x' * 10000000000 }}", "more memory than there is"),
        ("", r"writes '' for every question, without the question; copy the checkpoint's own"),
        ("version https://git-lfs.github.com/spec/v1", "writes 'version https://git-lfs"),
        ("{{ '\\ud800' }}", "what is not UTF-8 text"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "nested too deeply"),
    ],
)
def test_chat_templates_are_tried_within_bounds(folder: Path, template: str, expected: str) -> None:
    (folder / "chat_template.jinja").write_text(template)
    start = time.monotonic()
    with pytest.raises(InputError, match=expected) as told:
        check_ready(str(folder), ModelSettings(path=str(folder)))
    assert time.monotonic() - start < 10
    one_line(told.value)


@pytest.mark.parametrize("place", ["additional_chat_templates", "tokenizer_config.json"])
def test_of_several_chat_templates_the_default_is_taken(folder: Path, place: str) -> None:
    text = (folder / "chat_template.jinja").read_text()
    if place == "tokenizer_config.json":
        (folder / "chat_template.jinja").unlink()
        named = [{"name": "tool_use", "template": "none"}, {"name": "default", "template": text}]
        change(folder / place, "chat_template", named)
    else:
        (folder / place).mkdir()
        (folder / place / "tool_use.jinja").write_text("none")
    questions = ["What is it?"], [()]
    one, other = (Policy.load(str(path), ModelSettings()).encode(*questions) for path in (folder, EMBEDDED))
    assert torch.equal(one.tokens_BP, other.tokens_BP)


def test_several_chat_templates_without_a_default_are_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "none"}, {"name": "rag", "template": "none"}]
    change(folder / "tokenizer_config.json", "chat_template", named)
    with pytest.raises(
        InputError, match=r"several chat templates \(rag, tool_use\) and none is called 'de"
    ) as told:
        check_ready(str(folder), ModelSettings(path=str(folder)))
    one_line(told.value)


def test_a_template_that_takes_no_system_prompt(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        + (folder / "chat_template.jinja").read_text()
    )
    check_ready(str(folder), ModelSettings(path=str(folder)))
    with pytest.raises(InputError, match="no system role"):
        check_ready(str(folder), ModelSettings(path=str(folder), system_prompt="Be brief."))


def test_a_context_that_holds_no_prompt() -> None:
    with pytest.raises(InputError, match=r"shortest prompt has \d+ tokens, and the context is 1"):
        check_ready("embedded", ModelSettings(max_context=1))


@pytest.mark.parametrize(
    ("file", "key", "value", "expected"),
    [
        (
            "config.json",
            "quantization_config",
            {"quant_method": "bitsandbytes", "load_in_4bit": True},
            "bitsandb",
        ),
        ("config.json", "attn_implementation", "flash_attention_2", "FlashAttention2|flash_attn"),
        ("config.json", "text_config.num_attention_heads", 0, "wrong kind or size"),
        ("config.json", "text_config.rope_parameters", {}, "split_sizes"),
        ("config.json", "return_dict", False, "wrong kind or size"),
        ("config.json", "vision_config.depth", 0, "wrong kind or size"),
        ("config.json", "vision_config.num_heads", 7, "shape .* is invalid"),
        ("config.json", "vision_config.window_size", 0, "wrong kind or size"),
        ("config.json", "vision_config.window_size", 10**9, "wants more memory than there is"),
        ("config.json", "vision_config.fullatt_block_indexes", [7], "wrong kind or size"),
        ("generation_config.json", "eos_token_id", "x", "give a token's id"),
        (
            "config.json",
            "text_config.intermediate_size",
            64,
            "do not fit its config.json: .* is .* in the file",
        ),
    ],
)
def test_found_while_loading(folder: Path, file: str, key: str, value: Any, expected: str) -> None:
    change(folder / file, key, value)
    with pytest.raises(InputError, match=expected) as told:
        Policy.load(folder, ModelSettings())
    one_line(told.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "weights .* cannot be used"),
        ("{}", "weights .* cannot be used"),
        ('{"weight_map": []}', "weights .* cannot be used"),
        ('{"weight_map": {"a": "x.bin"}, "metadata": {}}', "names 'x.bin', but weights must be safetensors"),
        ('{"weight_map": {"a": 5}, "metadata": {}}', "names '5', but weights must be safetensors"),
        (
            '{"weight_map": {"a": "x.safetensors"}, "metadata": {}}',
            "names 'x.safetensors', which is not there",
        ),
        ('{"weight_map": {"a": "x\\u0000.safetensors"}}', r"names 'x\\x00.safetensors', which is not there"),
    ],
)
def test_an_index_of_weights_that_is_none(folder: Path, content: str, expected: str) -> None:
    """A pickle beside the weights is not even opened."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "x.bin").write_bytes(b"no weights")
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match=expected) as told:
        Policy.load(folder, ModelSettings())
    one_line(told.value)
    ((_, said),) = check_model(ModelSettings(path=str(folder)))
    assert not said.endswith(".")  # which who tells it adds


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("text_config.hidden_size", 10**9, "hidden_size 1,000,000,000, and there are .* numbers in all"),
        ("text_config.num_hidden_layers", 10**9, "there are .* tensors|must be equal to the number of"),
        ("vision_config.depth", 10**9, "1,000,000,000, and there are .* tensors"),
        ("text_config", None, "do not fit its config.json"),
    ],
)
def test_a_configuration_of_a_far_larger_model_is_not_built(
    folder: Path, key: str, value: Any, expected: str
) -> None:
    """It would take all the memory before a shape could be compared."""
    change(folder / "config.json", key, value)
    for look in (
        lambda: Policy.load(folder, ModelSettings()),
        lambda: check_ready(str(folder), ModelSettings()),
    ):
        with pytest.raises(InputError, match=expected) as told:
            look()
        one_line(told.value)


@pytest.mark.parametrize(
    "header", ["[" * 100_000, '{"a": {"dtype": "F32", "shape": "xx", "data_offsets": [0, 4]}}', "[]"]
)
def test_headers_of_weights_that_are_none(folder: Path, header: str) -> None:
    raw = header.encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(4))
    ((_, said),) = check_model(ModelSettings(path=str(folder)))
    assert "are damaged" in said


def test_packed_weights_are_not_taken_for_numbers(folder: Path) -> None:
    """They would be read as they stand, and every answer be wrong."""
    weights = load_file(folder / "model.safetensors")
    packed = {name: (100 * weight).to(torch.int8) for name, weight in weights.items() if "q_proj" in name}
    save_file(weights | packed, folder / "model.safetensors", metadata={"format": "pt"})
    for look in (
        lambda: Policy.load(folder, ModelSettings()),
        lambda: check_ready(str(folder), ModelSettings()),
    ):
        with pytest.raises(
            InputError, match=r"whole numbers \(.*q_proj.weight, say\).*same checkpoint"
        ) as told:
            look()
        one_line(told.value)


@pytest.mark.parametrize(
    ("file", "said"),
    [("tokenizer.json", "tokenizer.json"), ("processor_config.json", "preprocessor_config.json")],
)
def test_a_file_of_the_processor_that_is_missing(folder: Path, file: str, said: str) -> None:
    (folder / file).unlink()
    with pytest.raises(InputError, match=rf"there is no {said}\. Copy tokenizer and processor files") as told:
        check_ready(str(folder), ModelSettings())
    one_line(told.value)


def test_one_weight_that_is_missing(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if name.endswith("layers.0.input_layernorm.weight"))]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        InputError, match=r"incomplete: .*input_layernorm.weight is missing; copy or download"
    ):
        Policy.load(folder, ModelSettings())


def test_adapters_of_what_the_model_lacks(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    Policy.load("embedded", ModelSettings(lora=Lora(rank=2))).save(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    name = next(name for name in weights if "layers.0" in name)
    weights[name.replace("layers.0", "layers.9")] = weights[name].clone()
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"they hold .*layers\.9.*, which it has no place for") as told:
        Policy.load(tmp_path, ModelSettings())
    one_line(told.value)


def test_adapters_of_another_shape(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    Policy.load("embedded", ModelSettings(lora=Lora(rank=2))).save(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    save_file({name: torch.zeros(1, 1) for name in weights}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InputError, match=r"do not fit this model: .* is \[1, 1\] in the file") as told:
        Policy.load(tmp_path, ModelSettings())
    one_line(told.value)


def test_a_template_is_tried_in_a_thread_too() -> None:
    """There no alarm can be set."""
    failed: list[BaseException] = []

    def ready() -> None:
        try:
            check_ready("embedded", ModelSettings())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=ready)
    thread.start()
    thread.join()
    assert not failed
