"""Another engine draws: it has the policy's weights, its tokens are learned from, ratios correct for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine_server import EngineServer
from holdfast.errors import HoldfastError, InputError
from holdfast.generate.generator import questions
from holdfast.generate.local import LocalGenerator
from holdfast.generate.rollouts import encode_items
from holdfast.generate.served import ServedGenerator
from holdfast.learning.policygradient import PolicyGradient
from holdfast.learning.surrogates import truncated_ratio
from holdfast.policy.batch import Completions
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings, Sampling
from holdfast.tasks.prompts import TEMPLATES
from test_learning import Scripted, grpo, items_of, scripted_groups, stage_of

SHORT = Sampling(max_tokens=16)


@pytest.fixture
def policy() -> Policy:
    return Policy.load("embedded", ModelSettings())


def generator(policy: Policy, engine: EngineServer, folder: Path, **changes: Any) -> ServedGenerator:
    made = ServedGenerator(engine.served(**changes), policy, folder / "served")
    made.refresh()
    return made


def drawn(made: ServedGenerator, task: str = "counting", count: int = 2, group: int = 3) -> Completions:
    asked = questions(items_of(task, count), "cot", TEMPLATES["embedded"])
    (answers,) = made.generate(asked, group, SHORT, ("test",))
    assert answers.completions is not None
    return answers.completions


def moved(policy: Policy, size: float = 0.05) -> None:
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))


# --- what is drawn ---------------------------------------------------------------------------------------


def test_ratios_are_one_where_the_engine_is_the_learner(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    """Before and after the learner moved: each time the engine is given what the learner has then."""
    objective = PolicyGradient(
        grpo(sampler=engine.sampler()), TEMPLATES["embedded"], None, (),
        ServedGenerator(engine.served(), policy, tmp_path / "served"),
    )  # fmt: skip
    items = items_of("counting", 4)
    for iteration in range(2):
        objective.begin(policy, iteration)
        groups = objective.collect(policy, items, ("test", iteration))
        assert groups.stats["sampler_gap"] < 1e-5
        assert groups.stats["sampler_ratio_max"] == pytest.approx(1.0, abs=1e-4)
        weights = truncated_ratio(groups.old_logprobs_BGR, groups.completions, 2.0)
        assert torch.allclose(weights, torch.ones_like(weights), atol=1e-4)
        moved(policy, 0.005)
    assert all("image_url" in str(body["messages"]) for body in engine.questions)
    assert {body["n"] for body in engine.questions} == {4}
    # Two models with their own draws are different policies: the second was really taken.
    assert engine.paths.count("/collective_rpc") == engine.paths.count("/reset_encoder_cache") == 2
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_step_on_the_engines_draws_is_that_on_the_same_tokens_of_ones_own(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    """Where all ratios are 1, nothing but rounding tells the two apart."""
    method = grpo(sampler=engine.sampler())
    made = ServedGenerator(engine.served(), policy, tmp_path / "served")
    served = PolicyGradient(method, TEMPLATES["embedded"], None, (), made)
    served.begin(policy, 0)
    groups = served.collect(policy, items_of("reading", 4), ("test",))

    def gradient(objective: PolicyGradient) -> torch.Tensor:
        policy.model.zero_grad()
        objective.loss(policy, groups).loss.backward()
        return torch.cat([one.grad.flatten() for one in policy.model.parameters() if one.grad is not None])

    theirs, ours = gradient(served), gradient(PolicyGradient(grpo(), TEMPLATES["embedded"], None))
    assert ours.norm() > 0
    assert torch.allclose(theirs, ours, atol=1e-4 * float(ours.norm()))


def test_a_greedy_member_is_the_likeliest_answer(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    made = generator(policy, engine, tmp_path)
    items = items_of("counting", 2)
    asked = questions(items, "cot", TEMPLATES["embedded"])
    prompts = policy.encode([one.prompt for one in asked], [one.images for one in asked])
    group = made.draw(asked, prompts, 2, SHORT, ("test",), greedy_row=True)
    alone = policy.sample(prompts, 1, SHORT.model_copy(update={"temperature": 0.0}), torch.Generator())
    assert group.tokens_BGR.shape[1] == 3
    length = alone.tokens_BGR.shape[2]
    assert torch.equal(
        group.tokens_BGR[:, -1, :length] * alone.mask_BGR[:, 0], alone.tokens_BGR[:, 0] * alone.mask_BGR[:, 0]
    )


def test_tokens_are_those_drawn_whatever_their_text_would_be_tokenised_to(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    """A control token is none of the text: tokenising that again would be learning from what nobody drew."""
    word, start, end = policy.tokenizer.convert_tokens_to_ids(["a", "<|im_start|>", "<|im_end|>"])
    engine.writes = [word, start, word, end]
    completions = drawn(generator(policy, engine, tmp_path), group=1)
    assert completions.tokens_BGR[:, 0].tolist() == [engine.writes] * 2
    texts = [group[0] for group in policy.decode(completions)]
    assert policy.encode_completions(texts).tokens_BGR[0, 0].tolist() == [word, word, end]
    assert completions.finished_BG.all()


def test_an_answer_is_finished_by_its_end_token_alone(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    word, end = policy.tokenizer.convert_tokens_to_ids(["a", "<|im_end|>"])
    made = generator(policy, engine, tmp_path)
    engine.writes = [word] * SHORT.max_tokens
    assert not drawn(made).finished_BG.any()
    # What comes after the end is no part of the answer.
    engine.writes = [word, end, word, word]
    completions = drawn(made)
    assert completions.lengths_BG.tolist() == [[2] * 3] * 2
    assert completions.finished_BG.all()
    engine.writes = [word] * 3
    with pytest.raises(
        HoldfastError, match=r"ended an answer \(length\) after 3 of 16 tokens without an end"
    ):
        drawn(made)


@pytest.mark.parametrize("which", ["<|image_pad|>", "<|vision_start|>"])
def test_a_token_that_is_never_drawn_is_named(
    policy: Policy, engine: EngineServer, tmp_path: Path, which: str
) -> None:
    token = policy.tokenizer.convert_tokens_to_ids(which)
    assert policy.draw.banned_V[token]
    made = generator(policy, engine, tmp_path)
    engine.writes = [token, int(policy.draw.ends[0])]
    with pytest.raises(HoldfastError) as caught:
        drawn(made)
    assert which in str(caught.value) and f"(id {token})" in str(caught.value)
    assert "never draws" in str(caught.value) and "Example" in str(caught.value)
    # The engine was asked not to.
    assert engine.questions[-1]["logit_bias"][str(token)] == -100


def test_the_draws_of_an_engine_are_those_of_the_generator_itself_in_the_mean(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    """Not the same draws, but of the same distribution: log-probabilities agree within their spread."""
    asked = questions(items_of("counting", 4), "cot", TEMPLATES["embedded"])
    (ours,) = LocalGenerator(policy).generate(asked, 32, SHORT, ("test",))
    (theirs,) = generator(policy, engine, tmp_path).generate(asked, 32, SHORT, ("test",))
    sums = [one.completions.logprobs_BGR.sum(-1) for one in (ours, theirs) if one.completions is not None]
    means, spreads = [one.mean(1) for one in sums], [one.std(1) / math.sqrt(32) for one in sums]
    assert bool(((means[0] - means[1]).abs() <= 4 * (spreads[0] ** 2 + spreads[1] ** 2).sqrt() + 1e-3).all())


# --- who draws -------------------------------------------------------------------------------------------


def test_an_engine_that_kept_its_old_weights_is_noticed(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    made = generator(policy, engine, tmp_path)
    drawn(made)
    moved(policy)
    engine.takes_weights = False  # and says that it did
    made.refresh()
    with pytest.raises(HoldfastError, match=r"does not draw from the policy: log-probabilities are off by"):
        drawn(made)
    engine.takes_weights = True
    made.refresh()
    drawn(made)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["embed_tokens", "layers.2.mlp.down_proj", "visual.patch_embed"])
def test_an_engine_that_keeps_a_part_of_its_old_weights_is_refused(
    part: str, policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    """Small steps of learning would not show it."""
    engine.weight_version, engine.keeps = "default", part
    made = generator(policy, engine, tmp_path)
    before = {name: weight.clone() for name, weight in policy.model.state_dict().items()}
    with pytest.raises(HoldfastError, match=r"does not take all weights: .* off by [\d.]+ on average"):
        drawn(made)
    assert all(torch.equal(weight, before[name]) for name, weight in policy.model.state_dict().items())


@pytest.mark.slow
def test_weights_that_never_change_need_not_be_taken(engine: EngineServer, tmp_path: Path) -> None:
    """Features of pictures from a frozen tower are kept, so those must be of its own weights."""
    frozen = Policy.load("embedded", ModelSettings(freeze=("vision",)))
    expected = drawn(generator(frozen, engine, tmp_path)).tokens_BGR
    engine.weight_version, engine.keeps = "default", "visual.blocks"
    made = generator(frozen, engine, tmp_path)
    assert torch.equal(drawn(made).tokens_BGR, expected)
    engine.weight_version, engine.keeps = "default", "embed_tokens"
    made.refresh()
    with pytest.raises(HoldfastError, match="does not take all weights"):
        drawn(made)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_engine_is_tried_once_since_it_was_started(
    dtype: str, policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    engine.settings = ModelSettings(dtype=dtype)
    expected = drawn(generator(policy, engine, tmp_path)).tokens_BGR
    for began, pushes in (("default", 3), ("tried-before", 1), ("default", 3)):
        engine.weight_version = began
        engine.paths.clear()
        made = generator(policy, engine, tmp_path)
        assert torch.equal(drawn(made).tokens_BGR, expected)
        assert torch.equal(drawn(made).tokens_BGR, expected)
        assert engine.paths.count("/collective_rpc") == pushes


@pytest.mark.slow
def test_adapters_are_given_as_a_part_of_the_model(engine: EngineServer, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    adapted = Policy.load("embedded", ModelSettings(lora=Lora(rank=2)))
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:  # zeros, until something is learned
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    engine.weight_version, engine.keeps = "default", "layers.2.mlp.down_proj"
    with pytest.raises(HoldfastError, match="does not take all weights"):
        drawn(generator(adapted, engine, tmp_path))
    engine.keeps = None
    completions = drawn(generator(adapted, engine, tmp_path))
    assert engine.policy is not None and not engine.policy.adapted
    asked = questions(items_of("counting", 2), "cot", TEMPLATES["embedded"])
    prompts = adapted.encode([one.prompt for one in asked], [one.images for one in asked])
    with adapted.without_adapters().in_place(), torch.no_grad():
        base = adapted.group_logprobs(prompts, completions).logprobs_BGR
    assert (base - completions.logprobs_BGR)[completions.mask_BGR].abs().mean() > 0.1  # and not as a base


def test_weights_that_another_job_gave_are_noticed(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    made = generator(policy, engine, tmp_path)
    engine.weight_version = "somebody else's"
    with pytest.raises(HoldfastError, match=r"has the weights somebody else's, not .* Let one worker alone"):
        drawn(made)


def test_another_precision_is_within_the_bound_and_told(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    engine.settings = ModelSettings(dtype="bfloat16")
    made = generator(policy, engine, tmp_path)
    asked = questions(items_of("counting", 4), "cot", TEMPLATES["embedded"])
    prompts = policy.encode([one.prompt for one in asked], [one.images for one in asked])
    completions = made.draw(asked, prompts, 4, SHORT, ("test",))
    _, said = made.recompute(prompts, completions, 1.0)
    assert 1e-4 < said["sampler_gap"] < 0.05
    with pytest.raises(HoldfastError, match=r"more than sampler\.refuse"):
        generator(policy, engine, tmp_path, refuse=1e-5).draw(asked, prompts, 4, SHORT, ("test",))


def _each(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    return lambda answer: answer | {"choices": [one | change(one) for one in answer["choices"]]}


def _told(logprob: float) -> Any:
    return _each(lambda one: {"logprobs": {"content": [{"logprob": logprob} for _ in one["token_ids"]]}})


def _other_prompt(answer: dict[str, Any]) -> dict[str, Any]:
    return answer | {"prompt_token_ids": answer["prompt_token_ids"][1:]}


def _longer(one: dict[str, Any]) -> dict[str, Any]:
    """The answer of a server that does not obey max_tokens."""
    first, *_ = one["token_ids"]
    return {
        "token_ids": [first] * 17 + one["token_ids"][-1:],
        "logprobs": {"content": [{"logprob": -1.0}] * 18},
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_each(lambda _: {"token_ids": None}), "tells no token ids with log-probabilities"),
        (_each(lambda _: {"logprobs": None}), "tells no token ids with log-probabilities"),
        (
            _each(lambda one: {"token_ids": [-1, *one["token_ids"][1:]]}),
            "tells the token id -1, and the policy has",
        ),
        (_each(lambda one: {"token_ids": [10**30] * len(one["token_ids"])}), "tells the token id 1000000"),
        (
            _each(lambda one: {"token_ids": list(map(float, one["token_ids"]))}),
            r"tells the token id [0-9]+\.0,",
        ),
        (_told(math.nan), "tells the log-probability nan"),
        (_told("high"), "tells no token ids with log-probabilities"),
        (_told(10**400), "tells no token ids with log-probabilities"),
        (_each(_longer), r"wrote an answer of 1[78] tokens, and was to stop after 16"),
        (_other_prompt, "reads the question as other tokens than the policy here"),
    ],
)
def test_answers_that_cannot_be_learned_from_are_refused(
    policy: Policy, engine: EngineServer, tmp_path: Path, change: Any, said: str
) -> None:
    made = generator(policy, engine, tmp_path)
    engine.changes = change
    with pytest.raises(HoldfastError, match=f"^Example .*{said}"):
        drawn(made)


def test_an_engine_of_another_version_or_without_its_endpoints_is_refused(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"runs version 0.33.0, but sampler.version is 0.32.0"):
        generator(policy, engine, tmp_path, version="0.32.0")
    engine.lacks = {"/weight_info"}
    with pytest.raises(
        InputError, match=r"/weight_info refuses the request: 404 .* start vLLM 0.30 or later with VLLM_"
    ):
        generator(policy, engine, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_answers_stay_within_the_context_as_those_of_the_policy_itself(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    most = encode_items(policy, items_of("counting", 2), "cot", TEMPLATES["embedded"]).tokens_BP.shape[1] + 9
    short = Policy.load("embedded", ModelSettings(max_context=most))
    for made in (generator(short, engine, tmp_path), LocalGenerator(short)):
        with pytest.raises(InputError, match=rf"outgrow the context of {most}\. Lower max_tokens"):
            drawn(made)  # type: ignore[arg-type]
    assert not engine.questions


@pytest.mark.parametrize(
    ("path", "trouble"),
    [
        ("/reset_mm_cache", (200, {}, b"null")),
        ("/collective_rpc", (429, {"Retry-After": "0"}, b"slow down")),
        ("/weight_info", (200, {"Content-Encoding": "gzip"}, b"broken")),
    ],
)
def test_endpoints_are_asked_again_as_questions_are(
    policy: Policy, engine: EngineServer, tmp_path: Path, path: str, trouble: Any
) -> None:
    engine.troubles[path] = [trouble]
    generator(policy, engine, tmp_path)
    assert not engine.troubles[path]


def test_a_refused_question_names_the_settings_of_a_sampler(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    made = generator(policy, engine, tmp_path)
    engine.troubles["/v1/chat/completions"] = [(400, {}, b"too long")]
    with pytest.raises(
        InputError, match=r"Check max_tokens \(of sampling for roll-outs, else of evaluation\)"
    ):
        drawn(made, count=1)


def test_weights_that_a_server_says_it_did_not_take_are_pushed_again(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    refused = (200, {}, b'{"error": {"message": "no such file"}}')
    engine.troubles["/collective_rpc"] = [refused]
    made = generator(policy, engine, tmp_path)
    assert engine.paths.count("/collective_rpc") == 2
    engine.troubles["/collective_rpc"] = [refused] * 2
    with pytest.raises(HoldfastError, match=r"/collective_rpc failed in 2 attempts, .*no such file"):
        made.refresh()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b'{"error": {"message": "overloaded"}}', "overloaded"),
        (b'{"choices": [{"message": {}, "finish_reason": "abort"}]}', "finish_reason: abort"),
    ],
)
def test_a_question_that_gets_no_answer_is_asked_again(
    policy: Policy, engine: EngineServer, tmp_path: Path, reply: bytes, said: str
) -> None:
    made = generator(policy, engine, tmp_path)
    asked = questions(items_of("counting", 1), "cot", TEMPLATES["embedded"])
    prompts = policy.encode([one.prompt for one in asked], [one.images for one in asked])
    engine.troubles["/v1/chat/completions"] = [(200, {}, reply)]
    assert len(made.draw(asked, prompts, 1, SHORT, ("test",)).tokens_BGR) == 1
    engine.troubles["/v1/chat/completions"] = [(200, {}, reply)] * 2
    with pytest.raises(HoldfastError, match=f"failed in 2 attempts, last: .*{said}"):
        made.draw(asked, prompts, 1, SHORT, ("test",))


def test_an_endpoint_elsewhere_is_not_followed(policy: Policy, engine: EngineServer, tmp_path: Path) -> None:
    engine.troubles["/version"] = [(307, {"Location": "http://127.0.0.1:9/"}, b"")]
    with pytest.raises(
        InputError, match=r"/version refuses the request: 307 .* Give the address it redirects"
    ):
        generator(policy, engine, tmp_path)


def test_an_engine_has_the_weights_before_a_stage_begins_to_ask_it(
    policy: Policy, engine: EngineServer, tmp_path: Path
) -> None:
    """KeepLoRA's first gradient is of answers that are drawn before the first iteration."""
    method = grpo(batch=2, retention={"kind": "keeplora", "rank": 2}, sampler=engine.sampler())
    sampler = ServedGenerator(engine.served(), policy, tmp_path / "served")
    stage = stage_of(policy, method, items_of("counting", 2), 1, sampler=sampler)
    (keeplora,) = method.retention
    memory: dict[str, torch.Tensor] = {}
    keeplora.begin(stage, memory)
    assert any(name.endswith("/rows") for name in memory)


def test_an_engine_that_is_not_there_is_said_in_one_line(
    engine: EngineServer, tmp_path: Path, policy: Policy
) -> None:
    gone = ServedGenerator(engine.served(url="http://127.0.0.1:9/v1"), policy, tmp_path)
    with pytest.raises(
        HoldfastError, match=r"127.0.0.1:9/version failed in 2 attempts, last: no connection \("
    ):
        gone.refresh()


# --- what it counts --------------------------------------------------------------------------------------


def test_a_token_counts_by_its_truncated_ratio() -> None:
    """Policy over engine 4, 1/2 and, outside the mask, anything: 2, 1/2 and 1 times the plain gradient."""
    groups = scripted_groups([[[1, 1, 0]]], [[3.0]], old=[[[-1.0, -2.0, 9.0]]])
    known = torch.tensor([[[-1.0 - math.log(4), -2.0 + math.log(2), -50.0]]])
    completions = groups.completions
    groups = type(groups)(
        groups.prompts,
        Completions(completions.tokens_BGR, completions.mask_BGR, completions.finished_BG, known),
        groups.advantages_BG,
        groups.old_logprobs_BGR,
    )
    assert truncated_ratio(groups.old_logprobs_BGR, groups.completions, 2.0).flatten().tolist() == (
        pytest.approx([2.0, 0.5, 1.0])
    )

    def gradient(correction: str | None, most: float = 2.0) -> list[float]:
        policy = Scripted([[[-1.0, -2.0, 9.0]]])
        sampler: Any = correction and SimpleNamespace(
            settings=SimpleNamespace(correction=correction, most=most)
        )
        PolicyGradient(grpo(), {}, None, (), sampler or None).loss(policy, groups).loss.backward()
        return policy.logprobs.grad.flatten().tolist()

    assert gradient(None) == pytest.approx([-3.0, -3.0, 0.0])
    assert gradient("token") == pytest.approx([-6.0, -1.5, 0.0])
    assert gradient("token", most=8.0) == pytest.approx([-12.0, -1.5, 0.0])
    assert gradient("none") == gradient(None)


def test_a_stage_without_a_sampler_asks_nobody(policy: Policy) -> None:
    objective = grpo().make(stage_of(policy, grpo(), items_of("counting", 4), 1))
    assert isinstance(objective, PolicyGradient) and objective.sampler is None
    objective.begin(policy, 0)
    groups = objective.collect(policy, items_of("counting", 4), ("test",))
    assert groups.old_logprobs_BGR is None and "sampler_gap" not in groups.stats
