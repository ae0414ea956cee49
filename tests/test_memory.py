"""Device memory before a run: by hand, against measured tensors, and what is said when it is too much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2_5_VLConfig

from experiment_helpers import make_experiment
from family_helpers import make_gemma3_folder
from holdfast.errors import InputError
from holdfast.experiment import advice, devices, memory, sharing
from holdfast.experiment.architecture import Architecture, Tower, architecture, of_config
from holdfast.experiment.devices import Place, Room
from holdfast.experiment.memory import Pass, activations, assumed, keys, of_measures, of_method
from holdfast.experiment.workers import auto_workers, check_memory
from holdfast.learning.methods import make_method
from holdfast.learning.optimizer import make_optimizer
from holdfast.policy.batch import Completions
from holdfast.policy.operations import Operations
from holdfast.policy.policy import Policy
from holdfast.policy.settings import Lora, ModelSettings
from holdfast.policy.states import States
from holdfast.tasks.embedded import TASKS
from newer_families import make_gemma4_folder, make_qwen3_5_folder
from policy_helpers import PROJECTIONS, make_text_folder

SMALL = Architecture(
    parameters=1000, trained=600, vocabulary=10, vision=None,
    text=Tower(layers=2, hidden=4, query=4, key=2, intermediate=8), sees=False, adapted=None, matrices=0,
    operations=Operations(text=960, vision=0, learned_text=960, learned_vision=0, patch_values=1),
)  # fmt: skip
ROWS = assumed(SMALL, 0)
SEVEN = Qwen2_5_VLConfig(  # the published shape of Qwen2.5-VL-7B
    text_config={
        "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
        "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False,
    },
    vision_config={
        "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584
    },
    tie_word_embeddings=False,
)  # fmt: skip
seven = cache(partial(of_config, SEVEN))
RFT: dict[str, Any] = {"objective": "grpo", "learning_rate": 1e-6, "batch": 4, "group_size": 2}


ONE = [Place("cuda", "0")]


def room(gigabytes: int, taken: int = 0, card: str = "0") -> Room:
    return Room(Place("cuda", card), gigabytes * 10**9, (gigabytes - taken) * 10**9)


def test_activations_by_hand() -> None:
    part = Pass(prompts=3, prompt=5, group=2, completion=4, patches=0)
    assert part.tokens == 3 * (5 + 2 * 4) == 39
    # A token in a layer, bfloat16: 2 * (4 * 8 + 4 * 4 + 3 * 4) + 4 * 2 * 4 = 152 bytes. Keys and values
    # of prompts and of completions with a copy of their prompt: 2 * 2 * 3 * (5 + 2 * 9) = 276 numbers;
    # the mask, for both query heads of a key head: 3 * 4 * 9 * 2 = 216.
    layer = 39 * 152 + 2 * (276 + 216)
    work, logits = 3 * 39 * 8 * 2, 3 * 2 * 4 * 10 * (2 + 20)
    assert activations(SMALL, part, 2, checkpointing=False) == 2 * layer + work + logits
    # With checkpointing: the input of both layers, and one layer.
    assert activations(SMALL, part, 2, checkpointing=True) == 2 * 39 * 4 * 2 + layer + work + logits


def test_sampling_by_hand() -> None:
    part = Pass(prompts=3, prompt=5, group=2, completion=4, patches=0)
    # Keys and values: 2 * 2 layers * 2 wide * 2 bytes = 16 a token; prompts once, own ones with a copy.
    assert keys(SMALL, part, 2) == (3 * 5 + 2 * 6 * 4) * 16 + 6 * 10 * (2 + 36)


STATES = States(layers=1, heads=2, key=3, value=5, channels=7)


def test_layers_that_carry_a_state_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two rows of 20 tokens: a chunk of 24 each. Beside 4 * 7 + 4 * 2 * 5 = 68 numbers a token, in float32 per
    # head 24 * (11 * 3 + 8 * 5 + 6 * 24) + 3 * 3 * 5 = 5253; three rows of 70: two chunks of 64.
    assert STATES.kept([(2, 20)], 2) == 40 * 2 * 68 + 2 * 2 * 4 * 5253
    assert STATES.kept([(3, 70)], 2) == 210 * 2 * 68 + 3 * 2 * 2 * 4 * (64 * (33 + 40 + 384) + 45)
    # Drawing: states of 3 * 5 numbers for both heads in float32, inputs of the convolution, and new ones.
    assert STATES.sampled(9, 2) == 2 * 9 * (4 * 2 * 15 + 4 * 7 * 2)
    part, hybrid = Pass(3, 5, 2, 4, 0), replace(SMALL, states=STATES)
    # Instead of queries, keys, a mask and copies (as in the layer above) one layer keeps its states.
    carried = STATES.kept([(3, 5), (6, 4)], 2)
    attends, recurrent = 39 * 152 + 2 * (276 + 216), 39 * (152 - 2 * 3 * 4) + carried
    rest = 3 * 39 * 8 * 2 + 3 * 2 * 4 * 10 * (2 + 20) + carried // 2
    assert activations(hybrid, part, 2, checkpointing=False) == attends + recurrent + rest
    assert keys(hybrid, part, 2) == (3 * 5 + 2 * 6 * 4) * 8 + STATES.sampled(9, 2) + 6 * 10 * (2 + 36)
    monkeypatch.setattr("holdfast.policy.states.find_spec", lambda name: name)
    assert STATES.kept([(2, 20)], 2) == 40 * 2 * (68 + 2 * (6 + 5 + 64))


def test_layers_that_carry_a_state_are_found(tmp_path: Path) -> None:
    known = architecture(ModelSettings(path=str(make_qwen3_5_folder(tmp_path))))
    assert known is not None and known.states == States(2, 4, 8, 8, 2 * 2 * 8 + 4 * 8)
    assert seven(ModelSettings()).states is None


def test_what_stays_by_hand() -> None:
    model = ModelSettings(dtype="bfloat16")
    sft = of_method(SMALL, model, make_method(objective="sft", learning_rate=1e-6), rows=assumed(SMALL, 0))
    # Two moments in float32 for each of 600 trained numbers, and the lower half of its float32 weight.
    assert sft.parts == {
        "weights": 2000,
        "gradients": 1200,
        "optimiser": 6000,
        "reference": 0,
        "retention": 0,
        "images": 0,
    }
    assert sft.sampling == 0
    assert sft.state == 9200
    for state in ("compact", "kahan"):
        small = make_method(objective="sft", learning_rate=1e-6, optimizer_state=state, micro_batch=4)
        parts = of_method(SMALL, model, small, rows=assumed(SMALL, 0)).parts
        assert parts["optimiser"] == 6 * 600
        assert parts["gradients"] == 4 * 600  # of several parts, added up in float32
    whole = of_method(
        SMALL, ModelSettings(), make_method(objective="sft", learning_rate=1e-6), rows=assumed(SMALL, 0)
    )
    assert whole.parts["gradients"] == 4 * 600 and whole.parts["optimiser"] == 8 * 600
    rft = of_method(SMALL, model, make_method(**RFT, kl_coef=0.01), rows=assumed(SMALL, 0))
    assert rft.parts["reference"] == 1200  # the trained weights as they were
    other = of_method(
        SMALL, model, make_method(**RFT, kl_coef=0.01, kl_reference="base"), rows=assumed(SMALL, 0)
    )
    assert other.parts["reference"] == 2000  # a second model
    assert rft.total == rft.state + max(rft.learning, rft.sampling)


def test_measures_by_hand(tmp_path: Path) -> None:
    asked = {"drift": {"prompts": 5}, "risk": {"instances": 4, "samples": 8, "old": 8}}
    experiment = make_experiment(tmp_path, measures=asked, model={"dtype": "bfloat16"})
    drift, risk = of_measures(SMALL, experiment, rows=assumed(SMALL, 0))
    assert drift.parts == {"weights": 2000, "weights of earlier policies": 4000}  # previous and base
    evaluation = experiment.evaluation
    tokens = evaluation.batch * 3 * evaluation.max_tokens
    assert drift.sampling == 3 * 4 * tokens * SMALL.vocabulary
    assert risk.parts == {"weights": 2000, "gradients and Fisher": 8 * 4 * 600}
    group = Pass(1, 256, 8, evaluation.max_tokens, 0)
    assert risk.learning == activations(SMALL, group, 2, checkpointing=False)
    assert (drift.state, risk.state) == (6000, 2000 + 19200)


@pytest.mark.slow
def test_a_risk_that_does_not_fit_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = make_experiment(tmp_path, measures={"risk": {}}, model={"dtype": "bfloat16"})
    monkeypatch.setattr("holdfast.experiment.workers._SMALL", 0)
    monkeypatch.setattr("holdfast.experiment.architecture.architecture", lambda model, _: seven(model))
    monkeypatch.setattr(devices, "rooms", lambda where: [room(150)])
    with pytest.raises(InputError) as caught:
        check_memory(experiment, 1, ONE)
    assert "gradients and Fisher 265.3 GB" in str(caught.value)
    assert "measures.risk=null" in str(caught.value) and "(fits)" in str(caught.value)
    assert "model.lora" not in str(caught.value)


def test_a_token_budget_bounds_a_part() -> None:
    sizes = {
        tokens: of_method(
            SMALL,
            ModelSettings(token_budget=tokens),
            make_method(**RFT | {"batch": 64}),
            rows=assumed(SMALL, 0),
        ).learning
        for tokens in (None, 65536, 8192)
    }
    assert sizes[None] > sizes[65536] > 4 * sizes[8192]


def test_the_shape_of_a_real_model_without_its_weights() -> None:
    full = of_config(SEVEN, ModelSettings())
    assert full is not None
    assert full.parameters == full.trained == 8_292_166_656  # as the checkpoint's files say
    assert full.text == Tower(28, 3584, 3584, 512, 18944)
    assert full.vision is not None
    assert full.vision.features == 3 * 2 * 14 * 14
    frozen = of_config(SEVEN, ModelSettings(freeze=("vision", "projector")))
    assert frozen is not None
    assert full.trained - frozen.trained == 676_550_144  # the tower with its merger
    adapted = of_config(SEVEN, ModelSettings(lora=Lora(rank=8)))
    tower_too = of_config(SEVEN, ModelSettings(lora=Lora(rank=8, target_modules=PROJECTIONS)))
    assert adapted is not None and tower_too is not None
    # Per layer: q 7168, k and v 4096 each, o 7168, gate, up and down 22528 each.
    assert adapted.trained == 28 * 8 * (2 * 7168 + 2 * 4096 + 3 * 22528)
    assert tower_too.trained - adapted.trained == 32 * 8 * 3 * (1280 + 3420)
    assert tower_too.sees and not adapted.sees
    assert adapted.adapters() == (
        "Modules with adapters: 196 in the text model, none in the vision tower, none in the projector"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lora", "dtype", "state"),
    [
        (None, "float32", "float32"),
        (Lora(rank=4), "float32", "float32"),
        (Lora(rank=4), "bfloat16", "float32"),
        *((None, "bfloat16", state) for state in ("float32", "compact", "kahan")),
    ],
)
def test_weights_gradients_and_optimiser_are_exact(lora: Lora | None, dtype: Any, state: Any) -> None:
    if lora is not None:
        pytest.importorskip("peft")
    settings = ModelSettings(device="cpu", lora=lora, dtype=dtype)
    policy, known = Policy.load("embedded", settings), architecture(settings)
    assert known is not None
    method = make_method(objective="sft", learning_rate=1e-4, optimizer_state=state)
    made = of_method(known, settings, method, rows=assumed(known, 48 * 48))
    optimizer = make_optimizer(policy.model, method)
    sum(parameter.sum() for parameter in policy.model.parameters() if parameter.requires_grad).backward()
    optimizer.step()
    parameters = list(policy.model.parameters())
    assert made.parts["weights"] == sum(one.nbytes for one in parameters)
    assert made.parts["gradients"] == sum(one.grad.nbytes for one in parameters if one.grad is not None)
    kept = [tensor for state in optimizer.state.values() for key, tensor in state.items() if key != "step"]
    assert made.parts["optimiser"] == sum(tensor.nbytes for tensor in kept)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("group", "batch"), [(1, 32), (8, 16)])
def test_activations_are_near_what_autograd_keeps(dtype: Any, group: int, batch: int) -> None:
    """Within a fifth, for the embedded model: what a forward pass leaves for the backward pass."""
    settings = ModelSettings(device="cpu", dtype=dtype)
    policy, known = Policy.load("embedded", settings), architecture(settings)
    assert known is not None
    examples = TASKS["diagrams"].examples("train", batch)
    prompts = policy.encode([f"{one.prompt} think" for one in examples], [one.images for one in examples])
    generator = torch.Generator().manual_seed(0)
    allowed = (~policy.draw.banned_V).nonzero().squeeze(1)  # of samples some are equal, and less is kept
    tokens = allowed[torch.randint(len(allowed), (batch, group, 12), generator=generator)]
    completions = Completions(tokens, tokens >= 0, torch.ones(batch, group, dtype=torch.bool))
    policy.group_logprobs(prompts, completions)  # the first use compares two passes
    measured = saved(policy, lambda: policy.group_logprobs(prompts, completions))
    grids = prompts.image_grid_thw
    assert grids is not None
    part = Pass(
        prompts=batch,
        prompt=prompts.tokens_BP.shape[1],
        group=group,
        completion=completions.tokens_BGR.shape[2],
        patches=int(grids.prod(-1).sum()),
    )
    expected = activations(known, part, memory.BYTES[dtype], checkpointing=False)
    assert 1 <= expected / measured < 1.2


def saved(policy: Policy, work: Callable[[], object]) -> int:
    """Bytes that autograd keeps for the way back of some work, weights aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in policy.model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made = work()  # held: its memory is given to nobody else meanwhile
    assert made is not None
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("make", [make_gemma3_folder, make_gemma4_folder, make_text_folder])
def test_layers_of_another_make_are_shown_a_few_tokens(
    make: Callable[[Path], Path], dtype: Any, tmp_path: Path
) -> None:
    settings = ModelSettings(path=str(make(tmp_path)), dtype=dtype)
    known, policy = architecture(settings), Policy.load(tmp_path, settings)
    if make is make_text_folder:
        assert known is not None and known.kept is None  # Llama's layers are the usual ones
        return
    few, many = (policy.encode(["w1 w2 " * words], [[]]) for words in (10, 30))
    more = int(many.lengths_B - few.lengths_B)
    measured = saved(policy, lambda: policy.prefill(many)) - saved(policy, lambda: policy.prefill(few))
    assert known is not None and known.kept is not None
    assert 0.9 < known.kept * known.text.layers * more / measured < 1.15


def test_a_model_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {"r": RFT | {"kl_coef": 0.01, "kl_reference": "base"}}
    experiment = make_experiment(tmp_path, methods=methods, model={"dtype": "bfloat16"})
    monkeypatch.setattr("holdfast.experiment.workers._SMALL", 0)  # look closely at small models, too
    monkeypatch.setattr("holdfast.experiment.architecture.architecture", lambda model, _: seven(model))
    have = 500
    monkeypatch.setattr(devices, "rooms", lambda where: [room(have)])
    assert check_memory(experiment, 1, ONE) is None
    with pytest.raises(InputError) as caught:
        check_memory(experiment, 6, ONE)
    text = str(caught.value)
    for part in ("6 workers need about", "on cuda, which has 500.0 GB", "optimiser 82.9 GB", "--workers 1:"):
        assert part in text
    have = 80
    with pytest.raises(InputError, match=r"model\.lora=\{rank: 16\}: .* \(fits\)"):
        check_memory(experiment, 1, ONE)


def test_where_no_change_helps_that_is_said(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path)
    made = memory.Estimate({"weights": 200 * 10**9}, 0, 0)
    text = advice.does_not_fit(made, experiment, 1, [room(80)], lambda other: made)
    assert text.endswith("weights 200.0 GB. No single change takes much off; take another model.")


def test_memory_is_that_of_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {"sft": {"objective": "sft", "learning_rate": 1e-6, "batch": 4}}
    experiment = make_experiment(tmp_path, methods=methods, model={"dtype": "bfloat16"})
    monkeypatch.setattr("holdfast.experiment.architecture.architecture", lambda model, _: seven(model))
    monkeypatch.setattr("holdfast.experiment.workers._SMALL", 0)
    two = [Place("cuda", "0"), Place("cuda", "GPU-b")]
    have: list[Room] = []
    monkeypatch.setattr(devices, "rooms", lambda where: have[: len(where)])

    def said(workers: int, *sizes: Room) -> str:
        have[:] = sizes
        with pytest.raises(InputError) as caught:
            check_memory(experiment, workers, two)
        return str(caught.value).splitlines()[0]

    have[:] = [room(200), room(200, card="GPU-b")]
    assert check_memory(experiment, 2, two) is None  # both fit, each on its own
    text = said(4, room(100), room(100, card="GPU-b"))
    assert "2 workers a card need about" in text and "on cuda, of which each has 100.0 GB" in text
    text = said(2, room(200), room(40, card="GPU-b"))
    assert "A worker needs about" in text and "of which card GPU-b has 40.0 GB: optimiser" in text
    text = said(2, room(200), room(200, taken=170, card="GPU-b"))
    assert "of which card GPU-b has 200.0 GB, 170.0 GB of it taken by other programs" in text
    have[:] = [room(200), room(40, card="GPU-b")]
    assert check_memory(experiment, 1, two) is None  # the second card is not used


def test_as_many_workers_as_memory_lets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = make_experiment(tmp_path)
    made = sharing.of_run(experiment)
    assert made is not None
    monkeypatch.setattr(devices, "cores", lambda: 8)
    monkeypatch.setattr("holdfast.experiment.workers._SMALL", 0)
    each = memory.needed(made, "cpu", 1)
    monkeypatch.setattr(devices, "rooms", lambda where: [Room(Place("cpu"), 3 * each + 1, 3 * each + 1)])
    workers, why = auto_workers(experiment, [Place("cpu")])
    assert workers == 3
    assert why is not None and why.startswith("Workers: 3 of 8; each needs up to about")
    monkeypatch.setattr(devices, "rooms", lambda where: [Room(Place("cpu"), 80 * each, 80 * each)])
    assert auto_workers(experiment, [Place("cpu")]) == (8, None)
    assert auto_workers(experiment.model_copy(update={"devices": 2}), [Place("cpu")]) == (4, None)


def test_what_may_not_fit_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images may be smaller than they can be, and completions shorter."""
    experiment = make_experiment(tmp_path)
    monkeypatch.setattr("holdfast.experiment.workers._SMALL", 0)
    made = sharing.of_run(experiment)
    assert made is not None
    monkeypatch.setattr(devices, "rooms", lambda where: [Room(where[0], 2 * made.state, 2 * made.state)])
    warning = check_memory(experiment, 1, [Place("cpu")])
    assert warning is not None
    assert "may not fit" in warning
    assert "activation_checkpointing=true" in warning


def test_a_model_that_is_not_on_this_disk(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, model={"path": "nobody/no-such-model"})
    assert sharing.of_run(experiment) is None
    assert check_memory(experiment, 1, ONE) is None
