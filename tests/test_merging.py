"""Merging saved models: the rules by hand, and the command on folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cli_helpers import Call
from holdfast import files
from holdfast.checkpoints import merging
from holdfast.checkpoints.merging import write_shards
from holdfast.policy.merging import RULES, by_depth
from holdfast.policy.policy import Policy
from holdfast.policy.settings import EMBEDDED, ModelSettings
from policy_helpers import make_text_folder

ONE, OTHER = torch.tensor([1.0, -4.0, 0.5, 3.0, 2.0]), torch.tensor([-2.0, 1.0, 0.25, 5.0, -1.5])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("average", [-0.5, -1.5, 0.375, 4.0, 0.25]),
        ("sum", [-1.0, -3.0, 0.75, 8.0, 0.5]),
        ("magmax", [-2.0, -4.0, 0.5, 5.0, 2.0]),
        # Of five entries two are kept: -4 and 3, and of the other 5 and -2.
        ("ties", [-2.0, -4.0, 0.0, 4.0, 0.0]),
    ],
)
def test_rules_by_hand(rule: str, expected: list[float]) -> None:
    assert RULES[rule]([ONE, OTHER], 0.4, "weight", ONE).tolist() == expected


@pytest.mark.parametrize("rule", RULES)
def test_a_weight_without_entries_stays_one(rule: str) -> None:
    empty = torch.zeros(0, 4)
    assert RULES[rule]([empty], 0.2, "weight", empty).shape == (0, 4)


def test_ties_takes_the_mean_of_those_with_the_elected_sign() -> None:
    """5 - 3 - 4 is negative: the mean of -3 and -4. And 1 - 1 elects neither."""
    vectors = [torch.tensor([5.0, 1.0]), torch.tensor([-3.0, -1.0]), torch.tensor([-4.0, 0.0])]
    assert RULES["ties"](vectors, 1.0, "weight", vectors[0]).tolist() == [-3.5, 0.0]


def test_what_is_dropped_hangs_on_names_alone() -> None:
    """A quarter stays, four times as large; of each model and tensor another one, and always the same."""
    ones = torch.ones(400, 50)

    def dare(vectors: list[torch.Tensor], share: float, name: str) -> torch.Tensor:
        return RULES["dare"](vectors, share, name, ones)

    one = dare([ones], 0.25, "weight")
    assert set(one.unique().tolist()) == {0.0, 4.0} and float(one.mean()) == pytest.approx(1, abs=0.05)
    assert torch.equal(dare([ones], 0.25, "weight"), one)
    assert not torch.equal(dare([ones], 0.25, "other"), one)
    second = dare([ones, ones], 0.25, "weight") - one
    assert not torch.equal(second, one) and float(second.mean()) == pytest.approx(1, abs=0.05)
    assert torch.equal(dare([ones, ones], 1.0, "weight"), 2 * ones)


def test_intruder_dimensions_are_made_small() -> None:
    """The base's directions are columns with entries of ±0.35; a large change of one entry is beside none."""
    column = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    directions = torch.kron(torch.kron(column, column), column) / 8**0.5
    base = directions @ torch.diag(torch.tensor([4.0**k for k in range(4, -4, -1)])) @ directions.T
    large, small = torch.zeros(8, 8), torch.zeros(8, 8)
    large[0, 0], small[0, 0] = 1e4, 0.01
    left, values, right = torch.linalg.svd(base + large)
    found = RULES["intruders"]([large], 0.75, "weight", base)
    assert float(found[0, 0]) == pytest.approx(0.75 * 1e4, rel=0.01)
    first = values[0] * torch.outer(left[:, 0], right[0])
    torch.testing.assert_close(found, large - 0.25 * first, rtol=1e-4, atol=0.01)
    torch.testing.assert_close(RULES["intruders"]([large], 1.0, "weight", base), large)
    assert torch.equal(RULES["intruders"]([small], 0.0, "weight", base), small)
    assert torch.equal(RULES["intruders"]([large[0]], 0.0, "weight", base[0]), large[0])


def test_an_intruder_is_among_the_ten_largest_and_beside_none_by_half() -> None:
    base, place = 0.1 * torch.eye(40, 12), torch.arange(12)
    change = -base
    change[12 + place, place] = torch.arange(12.0, 0.0, -1.0)  # twelve directions that the base has not
    left = base + RULES["intruders"]([change], 0.0, "weight", base)
    torch.testing.assert_close(torch.linalg.svdvals(left)[:3], torch.tensor([2.0, 1.0, 0.0]))

    base = torch.tensor([[1.0], [0.0]])
    for cosine, stays in ((0.55, True), (0.45, False)):
        learned = torch.tensor([[cosine], [(1 - cosine**2) ** 0.5]])
        found = base + RULES["intruders"]([learned - base], 0.0, "weight", base)
        torch.testing.assert_close(found, learned if stays else torch.zeros(2, 1))


def test_how_much_is_kept_grows_with_the_layer() -> None:
    """Each stack by itself; modules without parts of their own are none, nor is what has no number."""
    text = "language_model.layers"
    kept = {
        "embed.weight": 0.2,
        "visual.blocks.0.attn.qkv.weight": 0.2,
        "visual.blocks.1.attn.qkv.bias": 1.0,
        "visual.merger.mlp.0.weight": 0.2,
        "visual.merger.mlp.2.weight": 0.2,
        f"{text}.0.mlp.experts.7.up.weight": 0.2,
        f"{text}.1.norm.weight": 0.4,
        f"{text}.2.norm.weight": 0.6,
        f"{text}.4.norm.weight": 1.0,
        "one.layers.0.norm.weight": 1.0,
        "norm.weight": 0.2,
    }
    assert by_depth(kept, 0.2) == pytest.approx(kept)
    assert set(by_depth(kept, 1.0).values()) == {1.0}


def moved(folder: Path, by: float) -> Path:
    """The embedded model with all weights moved, saved."""
    policy = Policy.load("embedded", ModelSettings())
    with torch.no_grad():
        for number, parameter in enumerate(policy.model.parameters()):
            parameter += by * (1 + number % 3)
    policy.save(folder)
    return folder


@pytest.mark.slow
def test_the_command_writes_a_whole_model(call: Call, tmp_path: Path) -> None:
    base, one, other = (moved(tmp_path / str(by), by) for by in (0.0, 0.5, -1.0))
    (one / "retention").mkdir()  # what strategies left is no part of a model
    named = {folder: load_file(folder / "model.safetensors") for folder in (base, one, other)}
    cases = (
        (("--method", "wise", "--alpha", "0.25", base, one), 0.25, 0.0),
        (("--method", "wise", base, one), 0.5, 0.0),
        (("--method", "average", base, one, other), 0.5, 0.5),
        (("--method", "sum", "--alpha", "2", base, one, other), 2.0, 2.0),
        (("--method", "magmax", base, one, other), 0.0, 1.0),
        (("--method", "intruders", "--share", "1", base, one), 1.0, 0.0),
        (("--method", "dare", "--share", "1", base, one, other), 1.0, 1.0),
    )
    for number, (arguments, share_one, share_other) in enumerate(cases):
        target = tmp_path / f"merged {number}"
        said = call("merge", *arguments, "--out", target)
        assert said.code == 0, said.err
        assert not (target / "retention").exists()
        weights = load_file(target / "model.safetensors")
        assert weights.keys() == named[base].keys()
        for name, start in named[base].items():
            expected = (
                start + share_one * (named[one][name] - start) + share_other * (named[other][name] - start)
            )
            torch.testing.assert_close(weights[name], expected, rtol=0, atol=1e-5)
        again = Policy.load(target, ModelSettings())
        assert again.way == "packed"


def test_the_command_keeps_less_of_the_first_layers(call: Call, tmp_path: Path) -> None:
    """With any rule; the embedded model has two blocks of vision and four of text."""
    base, one, other = (moved(tmp_path / str(by), by) for by in (0.0, 0.5, -1.0))
    out = tmp_path / "out"
    arguments = ("--method", "sum", "--alpha", "0.5", "--shallow", "0.1", base, one, other)
    assert call("merge", *arguments, "--out", out).code == 0
    start, made, *new = (load_file(f / "model.safetensors") for f in (base, out, one, other))
    shares = {"visual.blocks.0": 0.1, "visual.blocks.1": 1.0, "visual.merger": 0.1, "embed_tokens": 0.1}
    shares |= {f"layers.{layer}": share for layer, share in enumerate((0.1, 0.4, 0.7, 1.0))}
    for part, share in shares.items():
        name = next(name for name in start if part in name)
        expected = start[name] + 0.5 * share * sum(weights[name] - start[name] for weights in new)
        torch.testing.assert_close(made[name], expected, rtol=0, atol=1e-5)


def test_what_comes_there_while_a_model_is_made_stays(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another merge with the same --out, say."""
    out, real = tmp_path / "out", merging.write_shards

    def others_are_faster(*arguments: Any) -> None:
        files.write_text(out / "model.safetensors", "theirs")
        real(*arguments)

    monkeypatch.setattr(merging, "write_shards", others_are_faster)
    said = call("merge", "embedded", "embedded", "--method", "average", "--out", out)
    assert said.code == 1 and said.err == (
        f"Error: This came there while it was made: {out}. Another name may do.\n"
    )
    assert (out / "model.safetensors").read_text() == "theirs" and [*tmp_path.iterdir()] == [out]


def test_a_large_model_is_written_in_several_files(tmp_path: Path) -> None:
    weights = {name: torch.full((10,), float(index)) for index, name in enumerate("abc")}
    write_shards(iter(weights.items()), tmp_path, most=80)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert index == {"metadata": {"total_size": 120}, "weight_map": {"a": first, "b": first, "c": second}}
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {first, second}
    assert load_file(tmp_path / second)["c"].tolist() == [2.0] * 10


def test_what_cannot_be_merged_is_refused_in_one_line(call: Call, tmp_path: Path) -> None:
    one, damaged, cut = moved(tmp_path / "one", 0.1), moved(tmp_path / "damaged", 0.2), tmp_path / "cut"
    weights = load_file(damaged / "model.safetensors")
    next(iter(weights.values())).view(-1)[0] = torch.nan
    save_file(weights, damaged / "model.safetensors", metadata={"format": "pt"})
    packed = moved(tmp_path / "packed", 0.2)
    whole = {name: tensor.to(torch.int8) for name, tensor in weights.items()}
    save_file(whole, packed / "model.safetensors", metadata={"format": "pt"})
    cut.mkdir()
    (cut / "config.json").write_bytes((EMBEDDED / "config.json").read_bytes())
    (cut / "model.safetensors").write_bytes((one / "model.safetensors").read_bytes()[:5000])
    other = tmp_path / "other"
    other.mkdir()
    make_text_folder(other)
    bare, listed = moved(tmp_path / "bare", 0.1), moved(tmp_path / "listed", 0.1)
    (bare / "config.json").unlink()
    (listed / "config.json").write_text("[]")
    out = tmp_path / "out"
    for arguments, message in (
        (("--method", "wise", "embedded"), "name two folders or more"),
        (("--method", "wise", "embedded", one, one), "take average"),
        (("--method", "intruders", "embedded", one, one), "do it with each first"),
        (("--method", "wize", "embedded", one), "--method must be one of"),
        (("--method", "average", "embedded", other), "not of the same model"),
        (("--method", "average", "embedded", tmp_path / "no"), "There is no folder"),
        (("--method", "average", "embedded", tmp_path), "has no weights"),
        (("--method", "average", "embedded", cut), "cannot be read"),
        (("--method", "average", "embedded", bare), "holds no config.json, and the merged model would have"),
        (("--method", "average", "embedded", listed), "config.json cannot be read: it holds no settings"),
        (("--method", "average", "embedded", damaged), "not finite"),
        (("--method", "average", "embedded", packed), "is stored in whole numbers in some only"),
        (("--method", "average", packed, one), "is stored in whole numbers in some only"),
        (("--method", "ties", "--share", "0", "embedded", one), "--share must be above 0"),
        (
            ("--method", "sum", "--share", "0.3", "embedded", one),
            "--share is for --method dare, intruders, ties, not sum",
        ),
        (("--method", "sum", "--alpha", "nan", "embedded", one), "--alpha must be a finite number"),
        (("--method", "sum", "--alpha", "1e300", "embedded", one), "lower --alpha"),
        (("--method", "wise", "--shallow", "1.5", "embedded", one), "--shallow must be between 0 and 1"),
        (("--alpha", "0.5", "embedded", one), "--method"),
        (("--shallow", "0.5", "embedded", one), "--shallow is for models"),
        (("embedded", one), "holds no adapters"),
    ):
        said = call("merge", *arguments, "--out", out)
        assert said.code == 2, (arguments, said)
        assert message in " ".join(said.err.split()), said.err
        assert "Traceback" not in said.err
        assert not out.exists()
    assert call("merge", "--method", "average", "embedded", one, "--out", one).code == 2


def written(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    folder.mkdir()
    files.write_json(folder / "config.json", {"tie_word_embeddings": True})
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_head_that_holds_something_else_is_merged_too(call: Call, tmp_path: Path) -> None:
    """transformers ties no head that differs from the embeddings, whatever config.json says."""
    embeddings, head = "model.embed_tokens.weight", "lm_head.weight"
    base = written(tmp_path / "base", {embeddings: torch.zeros(3, 2), head: torch.ones(3, 2)})
    new = written(tmp_path / "new", {embeddings: torch.ones(3, 2), head: torch.full((3, 2), 5.0)})
    said = call("merge", "--method", "wise", base, new, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert load_file(tmp_path / "out/model.safetensors")[head].unique().tolist() == [3.0]
    tied = written(tmp_path / "tied", {embeddings: torch.ones(3, 2), head: torch.ones(3, 2)})
    said = call("merge", "--method", "wise", tied, new, "--out", tmp_path / "other")
    assert said.code == 2 and f"{head} is in {new} but not in {tied}" in " ".join(said.err.split())


def test_quantised_weights_are_not_merged(call: Call, tmp_path: Path) -> None:
    """Of those in whole numbers the last model's stood for all; floats of 8 bits were a crash."""
    whole = [written(tmp_path / f"{at}", {"w": torch.full((2, 2), at, dtype=torch.int8)}) for at in (1, 2)]
    short = [written(tmp_path / f"f{at}", {"w": torch.ones(2, 2).to(torch.float8_e4m3fn)}) for at in (1, 2)]
    for pair, message in ((whole, "in whole numbers that differ"), (short, "is stored in floats of 8 bits")):
        said = call("merge", "--method", "average", *pair, "--out", tmp_path / "out")
        assert said.code == 2 and message in said.err and not (tmp_path / "out").exists()
    same = call("merge", "--method", "average", whole[0], whole[0], "--out", tmp_path / "out")
    assert same.code == 0 and load_file(tmp_path / "out/model.safetensors")["w"].dtype == torch.int8
