"""What a policy and a training run do with input and output that cannot be used."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from holdfast.errors import HoldfastError, InputError
from holdfast.files import read_jsonl
from holdfast.learning.groups import item_name
from holdfast.learning.likelihood import Likelihood
from holdfast.learning.loop import learn, pick
from holdfast.learning.methods import Method, make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.learning.stage import Stage
from holdfast.learning.step import step
from holdfast.policy.batch import Completions, NotFiniteError
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.rng import stream
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.prompts import TEMPLATES
from policy_helpers import make_folder, make_policy, random_image

METHODS = {
    "sft": make_method(objective="sft", learning_rate=1e-3, batch=4, micro_batch=1),
    "grpo": make_method(
        objective="grpo", learning_rate=1e-3, batch=4, group_size=3, sampling=Sampling(max_tokens=8)
    ),
}
SEEN = [(TASKS["photos"], example) for example in TASKS["photos"].examples("train", 8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def policy(folder):
    return make_policy(folder)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights(policy: Policy) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


class Poisoned:
    """Encodes like the policy, but in some calls the pixels of the last prompt are NaN."""

    def __init__(self, policy: Policy, calls: set[int]):
        self.encode, self.calls, self.seen = policy.encode, calls, -1

    def __call__(self, prompts, images):
        self.seen += 1
        encoded = self.encode(prompts, images)
        if self.seen in self.calls:
            patches = int(encoded.image_grid_thw[encoded.images[-1][0]].prod())
            encoded.pixel_values[-patches:] = torch.nan
        return encoded


def train(policy: Policy, method: Method, folder, iterations: int):
    stage = Stage(policy, SEEN, method, iterations, TEMPLATES["embedded"], ("test",), lambda: policy)
    return learn(stage, folder=folder, checkpoint_every=100, on_step=lambda *_: None)[0]


@pytest.mark.parametrize("objective", METHODS)
def test_training_goes_on_after_an_output_that_is_not_finite(objective, tmp_path, monkeypatch, caplog):
    policy = Policy.load("embedded", ModelSettings())
    before = weights(policy)
    monkeypatch.setattr(policy, "encode", Poisoned(policy, {0, 2}))
    totals = train(policy, METHODS[objective], tmp_path, 4)
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert [row["skipped"] for row in rows] == [1, 0, 1, 0]
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert totals["skipped"] == 2
    assert caplog.text.count("is skipped for photos ") == 2
    assert "plain pass is slower" not in caplog.text
    after = weights(policy)
    assert not same(before, after)
    assert all(torch.isfinite(tensor).all() for tensor in after.values())


def test_a_refill_that_is_not_finite_names_its_own_example(tmp_path, monkeypatch, caplog):
    """Answers of one token are never right, so that all prompts of the batch leave it."""
    policy = Policy.load("embedded", ModelSettings())
    monkeypatch.setattr(policy, "encode", Poisoned(policy, {1}))
    method = make_method(
        objective="dapo",
        learning_rate=1e-3,
        batch=2,
        group_size=2,
        refills=1,
        sampling=Sampling(max_tokens=1),
    )
    train(policy, method, tmp_path, 1)
    own = stream("test", 0, "refill", 1).sample(SEEN, 2)[-1]
    assert own != pick(SEEN, 2, 0, ("test",))[-1]
    assert f"An iteration is skipped for {item_name(own)}." in caplog.text


@pytest.mark.parametrize("objective", METHODS)
def test_training_ends_when_nothing_is_finite_any_more(objective, tmp_path, monkeypatch):
    policy = Policy.load("embedded", ModelSettings())
    before = weights(policy)
    monkeypatch.setattr(policy, "encode", Poisoned(policy, {1, 2, 3}))
    with pytest.raises(HoldfastError, match=r"not finite in 3 iterations in a row \(last: 3\)"):
        train(policy, METHODS[objective], tmp_path, 9)
    assert not same(before, weights(policy))  # the first iteration counted


def test_a_step_names_the_example_and_leaves_the_weights_alone(monkeypatch, caplog):
    policy = Policy.load("embedded", ModelSettings())
    before, method = weights(policy), METHODS["sft"]
    monkeypatch.setattr(policy, "encode", Poisoned(policy, {0}))
    groups = Likelihood(method, TEMPLATES["embedded"]).collect(policy, SEEN[:3], ())
    row = step(
        policy, Likelihood(method, {}), make_optimizer(policy.model, method), groups, method, rate=1e-3
    )
    assert row["skipped"] == 1 and row["loss"] == 0 and row["grad_norm"] == 0
    assert f"A step is skipped for {item_name(SEEN[2])}." in caplog.text
    assert same(before, weights(policy))


def test_a_first_group_that_is_not_finite_does_not_end_the_packed_pass(policy):
    picture = random_image(random.Random(0))
    prompts, targets = policy.encode(["w1"], [[picture]]), policy.encode_completions(["w2"])
    broken = policy.encode(["w1"], [[picture]])
    broken.pixel_values.fill_(torch.inf)
    with pytest.raises(NotFiniteError):
        policy.group_logprobs(broken, targets)
    assert policy.way == "packed"
    assert torch.isfinite(policy.group_logprobs(prompts, targets).logprobs_BGR).all()
    assert policy.way == "packed"


@pytest.mark.parametrize("way", ["packed", "plain"])
def test_infinite_weights_are_named_while_sampling(policy, way):
    policy.way = way
    with torch.no_grad():
        policy.model.get_input_embeddings().weight[9] = torch.inf
    word = policy.tokenizer.convert_ids_to_tokens(9)
    prompts = policy.encode(["w3", word], [[], []])
    with pytest.raises(NotFiniteError, match="example"):
        policy.sample(prompts, 2, Sampling(max_tokens=2), generator())


@pytest.mark.parametrize("way", ["packed", "plain"])
@pytest.mark.parametrize("longest", [0, 3])
def test_completions_without_a_token(policy, way, longest):
    policy.way = way
    prompts = policy.encode(["w1", "w2 w3"], [[Image.new("RGB", (32, 32), "red")], []])
    shape = (2, 3, longest)
    empty = Completions(
        torch.zeros(shape, dtype=torch.long),
        torch.zeros(shape, dtype=torch.bool),
        torch.zeros(shape[:2], dtype=torch.bool),
    )
    found = policy.logprobs_by(way, prompts, empty, 1.0)
    assert found.logprobs_BGR.shape == shape and not found.logprobs_BGR.any()
    assert policy.decode(empty) == [["", "", ""]] * 2


def test_completions_that_end_at_once(policy):
    policy.draw.ends = torch.arange(len(policy.draw.banned_V))
    prompts = policy.encode(["w1", "w2 w3"], [[], []])
    completions = policy.sample(prompts, 3, Sampling(max_tokens=9), generator())
    assert completions.tokens_BGR.shape == (2, 3, 1) and completions.finished_BG.all()
    assert torch.isfinite(policy.group_logprobs(prompts, completions).logprobs_BGR).all()


@pytest.mark.parametrize("way", ["packed", "plain"])
def test_completions_that_never_end(policy, way):
    policy.way = way
    policy.draw.ends = torch.tensor([policy.end])
    policy.draw.banned_V[policy.end] = True
    completions = policy.sample(
        policy.encode(["w1", "w2 w3"], [[], []]), 3, Sampling(max_tokens=9), generator()
    )
    assert completions.tokens_BGR.shape == (2, 3, 9)
    assert completions.mask_BGR.all() and not completions.finished_BG.any()


def test_images_without_pixels(policy):
    with pytest.raises(InputError, match=r"image of prompt 1 cannot be used: it has no pixels \(0 x 5\)"):
        policy.encode(["w1", "w2"], [[], [Image.new("RGB", (0, 5))]])


def test_small_images_are_enlarged_as_the_processor_does(policy):
    assert policy.encode(["w1"], [[Image.new("RGB", (1, 1))]]).image_grid_thw.tolist() == [[1, 2, 2]]


def test_small_images_without_resizing(policy):
    policy.encoder.patches.resize = False
    with pytest.raises(InputError, match=r"image of prompt 0 .* 10 x 10 pixels are no multiple of 16"):
        policy.encode(["w1"], [[Image.new("RGB", (10, 10))]])


@pytest.mark.parametrize("way", ["packed", "plain"])
def test_qwen_image_tokens_and_features_that_differ(policy, way):
    policy.way = way
    patches = policy.encoder.patches
    policy.encoder.patches = SimpleNamespace(picture=patches.picture, patches=patches.patches, merge=1)
    prompts = policy.encode(["w1", "w2"], [[], [Image.new("RGB", (32, 32), "red")]])
    with pytest.raises(InputError, match="puts 16 image tokens into prompt 1, but the model makes 4"):
        policy.sample(prompts, 2, Sampling(max_tokens=2), generator())


def test_weights_that_diverge_in_the_last_step_are_no_result(policy, tmp_path):
    method = make_method(objective="sft", learning_rate=1e300, batch=4, clip_grad=1.0)
    with pytest.raises(
        HoldfastError, match=r"The weights have diverged: .* is not finite; lower learning_rate"
    ):
        train(policy, method, tmp_path, iterations=1)


def test_a_curve_holds_numbers_alone(policy, tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.learning.loop.step", lambda *_: {"entropy": float("nan"), "skipped": 0.0})
    with pytest.raises(HoldfastError, match="'entropy' is not finite in iteration 0; lower learning_rate"):
        train(policy, METHODS["sft"], tmp_path, iterations=2)
    assert not read_jsonl(tmp_path / "metrics.jsonl")
