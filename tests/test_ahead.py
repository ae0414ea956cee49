"""A run on cards that need not be here: its memory, its times, its schedule, and what is said of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, write_config
from holdfast.config.cards import CARDS, find_card
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment import devices, estimate, memory, sharing
from holdfast.experiment.ahead import Asked
from holdfast.experiment.architecture import architecture, of_config
from holdfast.experiment.devices import Place, Room
from holdfast.experiment.plan import Job, Plan, make_plan
from holdfast.experiment.sharing import ALONE, SHARDS, Way, shared
from holdfast.experiment.timeline import simulate
from holdfast.experiment.workers import auto_workers, check_memory
from holdfast.experiment.worktime import Assumed, Lengths, Times, Work, Worker, speed
from holdfast.learning.methods import Shard, make_method
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from holdfast.tasks.catalog import get_task
from holdfast.tasks.prepared import published_sizes
from test_memory import SEVEN, SMALL

H100 = CARDS["h100-80gb"]


def job(name: str, kind: str, policy: str | None = None) -> Job:
    return Job(kind, {}, policy, (), None, "cot", (), name, fingerprint=name)


def asked(experiment: Experiment, cards: int, **changes: Any) -> Asked:
    plan = make_plan(experiment)
    return Asked(experiment, plan, plan.jobs, cards, changes.pop("card", H100), Assumed(**changes))


@pytest.fixture
def seven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever model is asked for has the shape of Qwen2.5-VL-7B."""
    monkeypatch.setattr(
        "holdfast.experiment.architecture.architecture", lambda model, _: of_config(SEVEN, model)
    )


# The schedule


def test_five_jobs_on_two_cards_by_hand() -> None:
    """Two chains: a (3 s) then b (4 s), each judged for 2 s; c (5 s)."""
    jobs = [
        job("a", "learn"), job("judge a", "evaluate", "a"), job("b", "learn", "a"),
        job("judge b", "evaluate", "b"), job("c", "learn"),
    ]  # fmt: skip
    seconds = {"a": 3.0, "judge a": 2.0, "b": 4.0, "judge b": 2.0, "c": 5.0}
    plan = Plan({one.fingerprint: one for one in jobs}, [], len(jobs))
    made = simulate(plan, plan.jobs, lambda one: seconds[one.label], workers=2)
    # a has the longest tail (3 + 4 + 2). At 3 s nobody else trains but c, so the first worker, with as many
    # chains as workers, judges what it holds before it trains on; c's worker has nothing else to do until
    # b is there.
    assert [(one.job.label, one.worker, one.start, one.end) for one in made.shifts] == [
        ("a", 0, 0, 3), ("c", 1, 0, 5), ("judge a", 0, 3, 5), ("b", 0, 5, 9), ("judge b", 0, 9, 11),
    ]  # fmt: skip
    assert (made.seconds, made.chain) == (11, 9)
    assert (made.busy(0), made.busy(1)) == (1, 5 / 11)
    assert made.bar(0, 11) == "LLLeeLLLLee" and made.bar(1, 11) == "LLLLL······"
    assert simulate(plan, plan.jobs, lambda one: seconds[one.label], workers=1).seconds == 16


def test_more_cards_are_never_slower(tmp_path: Path) -> None:
    methods = {name: {"objective": name} for name in ("sft", "grpo", "rloo")}
    made = make_experiment(tmp_path, methods=methods, seeds=[0, 1])
    plan = make_plan(made)
    times = [simulate(plan, plan.jobs, lambda one: estimate.seconds(one, {}), n) for n in (1, 2, 3, 4, 6, 8)]
    walls = [one.seconds for one in times]
    assert walls == sorted(walls, reverse=True) and walls[-1] < walls[0] / 3
    assert all(one.chain <= one.seconds <= walls[0] + 1e-9 for one in times)


def test_every_job_comes_after_those_it_waits_for(tmp_path: Path) -> None:
    plan = make_plan(make_experiment(tmp_path, methods={"r": {"objective": "grpo", "filter": "rif"}}))
    made = simulate(plan, plan.jobs, lambda one: estimate.seconds(one, {}), 3)
    assert {one.job.fingerprint for one in made.shifts} == set(plan.jobs)
    ends = {one.job.fingerprint: one.end for one in made.shifts}
    assert all(ends[name] <= one.start for one in made.shifts for name in one.job.parents)


# Memory


@pytest.mark.parametrize(
    ("shard", "gradients", "state", "total"),
    [
        ("none", 2, 4, 66),
        ("optimizer", 2, 4, 37),
        ("full", 4, 10, 31),
    ],
)
def test_bytes_of_a_card_at_7b(shard: Shard, gradients: int, state: int, total: int) -> None:
    """GB, worked out by hand for 8.3e9 bfloat16 weights on 8 cards: 12 bytes of a float32 master and its
    moments are the weight's own two and ten of state."""
    count = 8_292_166_656
    parts = {"weights": 2 * count, "gradients": gradients * count, "optimiser": state * count}
    parts |= {"reference": 0, "retention": 0, "images": 0}
    assert sum(shared(parts, Way(8, shard)).values()) / 1e9 == pytest.approx(total, abs=0.6)


def test_a_card_alone_is_what_plan_says(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, measures={"drift": {}})
    known = architecture(experiment.model)
    assert known is not None
    rows = memory.largest_rows(known, experiment)
    made = [memory.of_method(known, experiment.model, one, rows) for one in experiment.methods.values()]
    most = max([*made, *memory.of_measures(known, experiment, rows)], key=lambda made: made.total)
    assert sharing.estimate(experiment, known, ALONE) == sharing.of_run(experiment) == most


def test_the_plan_tells_what_a_device_of_a_team_needs(call: Call, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    alone = json.loads(call("plan", config, "--json").out)
    options = ("devices=2", "shard=full", "methods.sft.shards=2", "methods.grpo.shards=2")
    of_team = json.loads(call("plan", config, *options, "--json").out)
    assert of_team["memory_bytes"] < alone["memory_bytes"]
    assert "Tensors on each of a worker's 2 devices need up to about" in call("plan", config, *options).out


def test_teams_are_those_that_share_a_batch(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path)  # 4 prompts a step
    assert [way.devices for way in sharing.ways(experiment, 12)] == [1, *(2,) * 3, *(4,) * 3]
    assert {way.shard for way in sharing.ways(experiment, 12)} == set(SHARDS)
    kept = {"s": {"objective": "sft", "retention": {"kind": "er"}}}  # strategies look at all of the state
    assert [*sharing.ways(make_experiment(tmp_path, methods=kept), 2)] == [ALONE, Way(2, "none")]


def test_sharing_takes_less_and_sharing_all_least(tmp_path: Path, seven: None) -> None:
    experiment = make_experiment(tmp_path, model={"dtype": "bfloat16", "max_pixels": 200704})
    made = sharing.estimates(experiment, 4)
    totals = {shard: made[Way(4, shard)].total for shard in SHARDS}
    assert made[ALONE].total > totals["none"] == max(totals.values())
    assert totals["full"] == min(totals.values()) and len(set(totals.values())) == 3


@pytest.mark.slow
def test_a_run_is_checked_for_what_its_ranks_share(
    tmp_path: Path, seven: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = {"sft": {"objective": "sft", "learning_rate": 1e-6, "batch": 8, "shards": 4}}
    model = {"dtype": "bfloat16", "max_pixels": 200704}
    made = make_experiment(tmp_path, methods=methods, model=model, devices=4, shard="full")
    monkeypatch.setattr("holdfast.experiment.workers._SMALL", 0)
    monkeypatch.setattr(devices, "rooms", lambda where: [Room(one, 80 * 10**9, 80 * 10**9) for one in where])
    cards = [Place("cuda", str(card)) for card in range(4)]
    assert check_memory(made, 1, cards) is None
    with pytest.raises(InputError, match=r"A worker needs about (?s:.)*--shard full: .* \(fits\)"):
        check_memory(made.model_copy(update={"shard": "none"}), 1, cards)
    with pytest.raises(InputError, match=r"2 workers a card need about (?s:.)*\n  --workers 1: "):
        check_memory(made, 2, cards)
    assert auto_workers(made, cards) == (1, None)


def test_gradients_are_whole_where_a_shard_is_in_several_parts(tmp_path: Path, seven: None) -> None:
    methods = {"sft": {"objective": "sft", "learning_rate": 1e-6, "batch": 8, "micro_batch": 1}}
    known, way = of_config(SEVEN, ModelSettings(dtype="bfloat16")), Way(4, "full")
    assert known is not None
    gradients = []
    for shards in (4, 8):  # of two prompts each, and two for each card of one
        methods["sft"]["shards"] = shards
        made = make_experiment(tmp_path, methods=methods, model={"dtype": "bfloat16"})
        gradients.append(sharing.estimate(made, known, way).parts["gradients"])
    assert gradients == [known.trained + 4 * known.trained, 2 * known.trained]


def test_what_fits_nowhere_says_what_would(tmp_path: Path, seven: None) -> None:
    experiment = make_experiment(tmp_path, model={"dtype": "bfloat16", "max_pixels": 200704})
    with pytest.raises(InputError) as caught:
        asked(experiment, 1).ahead()
    text = str(caught.value)
    assert "fits nowhere. With a card a stage" in text and "are missing" in text
    assert "--cards 4: " in text and "4 cards a stage, shard full" in text
    assert "model.lora={rank: 16}" in text
    assert "--cards 2:" not in text and "--card h200-141gb" not in text  # too little, both


@pytest.mark.slow
def test_what_no_single_change_makes_fit_says_where_to_begin(tmp_path: Path, seven: None) -> None:
    experiment = make_experiment(tmp_path, model={"dtype": "float32"}, test_examples=4000)
    methods = {name: one.model_copy(update={"batch": 4096}) for name, one in experiment.methods.items()}
    with pytest.raises(InputError) as caught:
        asked(experiment.model_copy(update={"methods": methods}), 1).ahead()
    text = str(caught.value)
    assert "It would fit" not in text
    assert re.search(
        r"No single change is enough\. \S+ takes most off \([\d.]+ GB left\): begin there\.$", text
    )


# Times


def test_the_work_of_sampling_by_hand() -> None:
    from dataclasses import replace

    from holdfast.policy.operations import Operations

    known = replace(SMALL, operations=Operations(100, 0, 100, 0, 1))
    worker = Worker(known, ModelSettings(dtype="bfloat16", token_budget=60))
    # A prompt of 10 tokens may get 2 * 8: two prompts a part, so 2 parts, of 6 steps each.
    made = worker.sampling(3, 2, Lengths(10, 4, 6, 8, 0), rows=4)
    # Keys: 6 steps read 3 * 10 of prompts, and 6 completions of 4 tokens half of themselves at a step.
    keys = (6 * 30 + 6 * 4 * 4 / 2) * 2 * 2 * 2
    assert made == Work(2 * 100 * (30 + 24), (2 * 6 * 100 + keys) * 2, 2 * (6 * 2 + 2), 0)
    sft = make_method(objective="sft", learning_rate=1e-6, batch=4, updates=2)
    learned = worker.learning(sft, Lengths(10, 4, 4, 4, 0))
    # 4 * 14 tokens, forward and backward; 2 updates of 600 numbers; a part each, three passes of 2 layers.
    assert learned == Work(6 * 100 * 56, 2 * 90 * 600, 2 * 3 * 2, 0)
    team = Worker(known, worker.model, Way(2)).learning(sft, Lengths(10, 4, 4, 4, 0))
    assert team.operations == learned.operations / 2 and team.sent == (1 / 2) * (2 * 4 + 2 * 2) * 600


def test_operations_without_weights_are_those_of_the_loaded_model() -> None:
    settings = ModelSettings(device="cpu", freeze=("vision",))
    known = architecture(settings)
    assert known is not None and known.operations is not None and not known.sees
    whole = architecture(ModelSettings(device="cpu"))
    assert whole is not None
    assert whole.operations == Policy.load("embedded", ModelSettings(device="cpu")).operations


def test_remembered_shapes_are_whole(tmp_path: Path) -> None:
    settings, memory_file = ModelSettings(device="cpu"), tmp_path / "facts.json"
    assert architecture(settings, memory_file) == architecture(settings, memory_file)
    assert "operations" in memory_file.read_text()


def test_seconds_follow_what_a_job_asks_for(tmp_path: Path) -> None:
    experiment = make_experiment(
        tmp_path, measures={"drift": {}}, methods={"r": {"objective": "grpo", "filter": "rif"}}
    )
    known, plan = architecture(experiment.model), make_plan(experiment)
    assert known is not None
    each = speed(H100, "float32")

    def seconds(job: Job, **assumed: float) -> float:
        return Times(experiment, known, each, Assumed(**assumed)).parts(job).total

    assert {one.kind for one in plan.jobs.values()} == {"learn", "filter", "evaluate", "drift"}
    for one in plan.jobs.values():
        assert 0 < seconds(one, completion=4) < seconds(one, completion=16)
        half, whole = seconds(one, judged=0.5), seconds(one)
        assert half < whole if one.kind == "evaluate" else half == whole


def test_a_card_twice_as_fast_takes_half_the_arithmetic() -> None:
    slow, fast = (find_card(f"memory=80,flops={rate},bandwidth=1000", {}) for rate in (100, 200))
    assert speed(slow, "bfloat16").operations == 2 * speed(fast, "bfloat16").operations == 1 / (100e12 * 0.4)
    with pytest.raises(InputError, match="flops32=TFLOP/s"):
        speed(slow, "float32")


# The command line


@pytest.mark.slow
def test_the_plan_for_cards_of_a_kind(call: Call, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    said = call("plan", config, "--cards", 4, "--card", "h100-80gb", "--completion", 8)
    assert said.code == 0, said.err
    assert "17 jobs to do on 4 × h100-80gb, 80 GB each." in said.out
    assert "a card a stage" in said.out and "4 cards a stage, shard full" in said.out
    assert "--devices 4 --shard full defaults.shards=4" in " ".join(said.out.split())
    assert call("plan", config, "devices=4", "shard=full", "defaults.shards=4").code == 0
    shared = call("plan", config, "defaults.shards=4", "--cards", 4, "--card", "h100-80gb")
    assert "--devices 4 --shard full" in " ".join(shared.out.split()) and "defaults.shards" not in shared.out
    own = call("plan", config, "methods.grpo.shards=2", "--cards", 4, "--card", "h100-80gb")
    options = "defaults.shards=4 methods.grpo.shards=4"
    assert f"--devices 4 --shard full {options}" in " ".join(own.out.split())
    assert call("plan", config, "methods.grpo.shards=2", "devices=4", *options.split()).code == 0
    assert "card  4 " in said.out and "Limit: " in said.out and "--cards 8: " in said.out
    assert "8 tokens of a completion" in said.out
    told = call("plan", config, "--cards", 4, "--card", "h100-80gb", "--json")
    facts = json.loads(told.out)
    assert len(facts["jobs"]) == 17 and len(facts["busy"]) == 4 and len(facts["ways"]) == 7
    assert facts["seconds"] == max(one["end"] for one in facts["jobs"]) == facts["ways"][0]["seconds"]
    assert facts["card"]["memory"] == 80 and not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an experiment whose results are there."""
    folder = tmp_path_factory.mktemp("done")
    run_here(make_experiment(folder))
    return folder / "tiny.yaml"


@pytest.mark.slow
def test_the_plan_for_one_worker_here_is_the_plan(call: Call, done: Path) -> None:
    """In sum: with the times of earlier results, of which some jobs are left."""
    more = ("general=[presence, facts]", "seeds=[0, 1]")
    whole = call("plan", done, *more)
    told = json.loads(call("plan", done, *more, "--json").out)
    assert f"{told['to_do']} to do" in whole.out
    assert f"about {told['seconds']:.0f} s in one process" in whole.out
    assert json.loads(call("plan", done, *more, "--cards", 2, "--json").out)["seconds"] < told["seconds"]


@pytest.mark.slow
def test_a_plan_where_nothing_is_to_do_or_known(call: Call, done: Path, tmp_path: Path) -> None:
    for options in (("--cards", 2), ("--card", "h100-80gb")):
        said = call("plan", done, *options)
        assert (said.code, said.out) == (0, "Everything is done already.\n")
    guessed = call("plan", write_config(tmp_path / "other"), "--cards", 20)
    assert "20 workers with the times of a first guess" in guessed.out and "and 4 more" in guessed.out
    unknown = call("plan", done, "--cards", 2, "model.path=some/model")
    assert unknown.code == 2 and "say which --card" in unknown.err
    elsewhere = call("plan", done, "--card", "h100-80gb", "model.path=some/model")
    assert elsewhere.code == 2 and "hf download some/model" in elsewhere.err


def test_a_card_of_ones_own(call: Call, tmp_path: Path) -> None:
    mine = {"memory": 80, "flops": 989, "flops32": 67, "bandwidth": 3350, "link": 360}
    config = write_config(tmp_path, {"cards": {"mine": mine}})
    same = [
        json.loads(call("plan", config, "--cards", 2, "--card", card, "--json").out)["seconds"]
        for card in ("mine", "h100-80gb", "memory=80, flops=989,flops32=67,bandwidth=3350,link=360")
    ]
    assert len(set(same)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--cards", 4, "--card", "h100"),
            "there is no such card; did you mean 'h100-80gb'? There are a100-40gb, ",
        ),
        (("--cards", 4, "--card", "memory=80"), "flops: field required. A card has memory, flops, flops32, "),
        (("--card", "memory=80,flops=-1,bandwidth=1"), "flops: input should be greater than 0"),
        (("--card", "memory=80,flops=9,bandwidth=1,speed=2"), "speed: extra inputs are not permitted"),
        (("--card", "memory=80,memory=9,flops=9,bandwidth=1"), "memory stands there more than once"),
        (("--cards", 0), "should be greater than or equal to 1"),
        (
            ("--card", "memory=0.5,flops=9,flops32=9,bandwidth=1"),
            "are missing. It would fit with --card a100-40gb: ",
        ),
    ],
)
def test_cards_that_cannot_be(call: Call, tmp_path: Path, arguments: tuple[Any, ...], said: str) -> None:
    refused = call("plan", write_config(tmp_path), *arguments)
    assert refused.code == 2
    assert said in " ".join(refused.err.replace("│", " ").split())


@pytest.mark.slow
@pytest.mark.usefixtures("seven")
def test_what_is_not_prepared_counts_with_its_published_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    pytest.importorskip("peft")
    monkeypatch.setenv("HOLDFAST_DATA", str(tmp_path))
    main = Path(__file__).parents[1] / "configs/paper/main.yaml"
    store = f"store={tmp_path / 'store'}"
    lora = ("model.lora={rank: 64}", "defaults.optimizer_state=float32")
    said = call("plan", str(main), store, *lora, "--cards", "8", "--card", "h100-80gb")
    assert said.code == 0, said.err
    assert "Not prepared, so counted with their published sizes: geometry3k, gqa, " in said.err
    assert "506 jobs" in said.out + said.err
    assert "model.token_budget=65536: 4.2 days" in said.out
    assert "activation_checkpointing" not in said.out  # sampling is most of it: without, hardly shorter
    assert call("plan", str(main), store).code == 2  # without cards the rows are wanted
    with published_sizes() as counted, pytest.raises(InputError, match="holdfast data prepare pope"):
        get_task("pope").examples("test", 4)
    assert counted == {"pope"}
    with pytest.raises(InputError, match="is not prepared"):
        get_task("pope")
