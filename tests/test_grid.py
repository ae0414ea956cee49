"""Grids, task orders, and what is measured: which methods and jobs a file stands for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli_helpers import Call
from experiment_helpers import TINY, make_experiment, run_here, snapshot, write_config
from holdfast.config.load import load_experiment
from holdfast.errors import InputError
from holdfast.experiment.collect import collect
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store

GRPO = {"objective": "grpo"}
SHIPPED = Path(__file__).parents[1] / "configs" / "embedded"


def problems(folder: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        make_experiment(folder, **changes)
    return str(caught.value)


def test_a_grid_is_every_combination_by_name(tmp_path: Path) -> None:
    grid = {"kl_coef": [0.01, 0.04], "sampling.top_p": [1.0, 0.9]}
    experiment = make_experiment(tmp_path, methods={"sft": {"objective": "sft"}, "kl": GRPO | {"grid": grid}})
    assert list(experiment.methods) == [
        "sft",
        "kl kl_coef=0.01 sampling.top_p=1",
        "kl kl_coef=0.01 sampling.top_p=0.9",
        "kl kl_coef=0.04 sampling.top_p=1",
        "kl kl_coef=0.04 sampling.top_p=0.9",
    ]
    last = experiment.methods["kl kl_coef=0.04 sampling.top_p=0.9"]
    assert (last.kl_coef, last.sampling.top_p, last.sampling.max_tokens) == (0.04, 0.9, 16)
    variant = experiment.variants["kl kl_coef=0.04 sampling.top_p=0.9"]
    assert (variant.of, variant.axes) == ("kl", {"kl_coef": 0.04, "sampling.top_p": 0.9})
    assert "sft" not in experiment.variants


def test_values_on_the_axes_are_those_of_the_methods(tmp_path: Path) -> None:
    grid = {"learning_rate": ["1e-5", "1e-4"], "sampling.temperature": [1, "5e-1"], "order": [None, "back"]}
    orders = {"back": ["counting", "reading"]}
    experiment = make_experiment(tmp_path, orders=orders, methods={"g": GRPO | {"grid": grid}})
    last = experiment.variants["g learning_rate=1e-4 sampling.temperature=5e-1 order=back"]
    assert last.axes == {"learning_rate": 1e-4, "sampling.temperature": 0.5, "order": "back"}
    assert experiment.variants["g learning_rate=1e-5 sampling.temperature=1 order=none"].axes["order"] is None


def test_a_grid_among_the_defaults_is_every_methods(tmp_path: Path) -> None:
    defaults = TINY["defaults"] | {"grid": {"learning_rate": [1e-3, 1e-4]}}
    experiment = make_experiment(tmp_path, defaults=defaults)
    assert list(experiment.methods) == [
        f"{name} learning_rate={rate}" for name in ("sft", "grpo") for rate in ("1e-3", "1e-4")
    ]


def test_the_resolved_settings_read_back_the_same(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path, methods={"g": GRPO | {"grid": {"kl_coef": [0.0, 0.1]}}})
    path = tmp_path / "resolved.yaml"
    path.write_text(yaml.safe_dump(experiment.resolved(), sort_keys=False))
    again = load_experiment(path)
    assert again == experiment
    assert make_plan(again).digest() == make_plan(experiment).digest()


def test_settings_of_a_grid_that_mean_the_same_are_one_chain(tmp_path: Path) -> None:
    grid = {"kl_coef": [0.0], "kl_reference": ["stage_start", "base"]}  # without a penalty no reference
    plan = make_plan(make_experiment(tmp_path, methods={"plain": GRPO, "g": GRPO | {"grid": grid}}))
    assert len(plan.chains) == 3
    assert Counter(job.kind for job in plan.jobs.values())["learn"] == 2


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({"kl_coeff": [0.1]}, "methods.g.grid.kl_coeff: is no method setting; did you mean 'kl_coef'?"),
        ({"seed": [0, 1]}, "seeds are an axis of every experiment"),
        ({"kl_coef": 0.1}, "must be a list of values, not 0.1"),
        ({"learning_rate": None}, "methods.g.grid.learning_rate: must be a list of values, not null"),
        ({"learning_rate": []}, "must be a list of values, not []"),
        ({"kl_coef": [0.1, 0.1]}, "holds a value more than once"),
        ({"sampling": [{"top_p": 0.9}]}, "name an inner key with a dot (sampling.top_p: [...])"),
        ({"sampling": [{}]}, "name an inner key with a dot (sampling.key: [...])"),
        ({"betas": [[0.9, 0.99]]}, "takes plain values; write one method for each list"),
        ([1], "must be a mapping"),
        ([], "must be a mapping"),
        (0, "must be a mapping"),
        ({"kl_coef": [float("nan")]}, "methods.g.grid.kl_coef: must be a finite number, not nan"),
        ({"learning_rate": [float("inf")]}, "methods.g.grid.learning_rate: must be a finite number, not inf"),
        (
            {"kl_coef": [0.1, 0.10000001]},
            'methods.g.grid {"kl_coef": 0.1} and methods.g.grid {"kl_coef": 0.10000001} would both be called '
            "'g kl_coef=0.1'",
        ),
        ({"kl_coef": ["0.1", 0.1]}, "would both be called 'g kl_coef=0.1'"),
        ({"kl_coef": ["1e-1", 0.1]}, "makes 'g kl_coef=1e-1' and 'g kl_coef=0.1', which are the same"),
        ({"kl_coef": [True, False]}, "methods.g.grid.kl_coef: must be a number, not true"),
        ({"order": [None, "none"]}, '{"order": null} and methods.g.grid {"order": "none"} would both be'),
        ({"kl_coef": [0.1, -1]}, "methods.g.grid.kl_coef: must be greater than or equal to 0, not -1"),
    ],
)
def test_a_bad_grid_is_said_where_it_stands(tmp_path: Path, grid: Any, expected: str) -> None:
    said = problems(tmp_path, methods={"g": GRPO | {"grid": grid}})
    assert expected in said
    assert "line " in said
    assert "is missing" not in said  # the axis is there, and bad


def test_an_error_of_some_methods_of_a_grid_names_them(tmp_path: Path) -> None:
    grid = {"group_size": [1, 2], "kl_coef": [0.0, 0.1]}
    said = problems(tmp_path, methods={"g": GRPO | {"grid": grid}})
    assert "has an error" in said
    assert "group_size must be at least 2 (g group_size=1 kl_coef=0 and 1 more)" in said
    said = problems(tmp_path, methods={"g": GRPO | {"batch": "many", "grid": {"kl_coef": [0.0, 0.1]}}})
    assert "g kl_coef" not in said  # all of them


def test_an_error_on_an_axis_of_the_defaults_is_said_there(tmp_path: Path) -> None:
    defaults = TINY["defaults"] | {"grid": {"sampling.top_p": [1.0, 2.0]}}
    said = problems(tmp_path, defaults=defaults)
    assert "has an error" in said
    assert "defaults.grid.sampling.top_p: must be less than or equal to 1, not 2.0" in said


@pytest.mark.parametrize(
    ("method", "defaults", "expected"),
    [
        (
            {"kl_coef": 0.2, "grid": {"kl_coef": [0.1]}},
            {},
            "methods.g.grid.kl_coef: is set in the method 'g'",
        ),
        ({"kl_coef": 0.2}, {"grid": {"kl_coef": [0.1]}}, "defaults.grid.kl_coef: is set in the method 'g'"),
        (
            {"sampling": {"top_p": 0.9}, "grid": {"sampling.top_p": [1.0]}},
            {},
            "methods.g.grid.sampling.top_p: is set in the method 'g', too; take one of them out",
        ),
    ],
)
def test_a_setting_is_not_set_beside_its_axis(
    tmp_path: Path, method: dict[str, Any], defaults: dict[str, Any], expected: str
) -> None:
    said = problems(tmp_path, methods={"g": GRPO | method}, defaults=TINY["defaults"] | defaults)
    assert "has an error" in said and expected in said


def test_a_method_can_stay_out_of_the_grid_of_the_defaults(tmp_path: Path) -> None:
    methods = {"g": GRPO, "one": GRPO | {"learning_rate": 0.1, "grid": None}}
    defaults = TINY["defaults"] | {"grid": {"learning_rate": [1e-3]}}
    experiment = make_experiment(tmp_path, methods=methods, defaults=defaults)
    assert list(experiment.methods) == ["g learning_rate=1e-3", "one"]


def test_axes_go_over_the_defaults_and_over_the_file_from_the_command_line(tmp_path: Path) -> None:
    method = GRPO | {"sampling": {"top_p": 0.9}, "grid": {"sampling.temperature": [1.0]}}
    path = write_config(tmp_path, {"methods": {"g": method | {"kl_coef": 0.1}}})
    experiment = load_experiment(path, ["methods.g.grid.kl_coef=[0.2, 0.3]"])
    assert [method.kl_coef for method in experiment.methods.values()] == [0.2, 0.3]
    assert {method.sampling.top_p for method in experiment.methods.values()} == {0.9}
    with pytest.raises(InputError, match="is set in the method 'g', too"):
        load_experiment(
            write_config(tmp_path, {"methods": {"g": method}}), ["methods.g.sampling.temperature=2"]
        )


@pytest.mark.parametrize("handwritten_first", [True, False])
def test_a_grid_does_not_replace_a_handwritten_method(tmp_path: Path, handwritten_first: bool) -> None:
    handwritten = {"g kl_coef=0.1": GRPO}
    grid = {"g": GRPO | {"grid": {"kl_coef": [0.1, 0.2]}}}
    methods = handwritten | grid if handwritten_first else grid | handwritten
    said = problems(tmp_path, methods=methods)
    assert "has an error" in said
    assert "methods.g kl_coef=0.1" in said and 'methods.g.grid {"kl_coef": 0.1}' in said


@pytest.mark.parametrize(
    ("name", "expected"), [(1, "the key '1' is no text"), (None, "the key 'null' is no text")]
)
def test_a_family_without_a_proper_name(tmp_path: Path, name: Any, expected: str) -> None:
    assert expected in problems(tmp_path, methods={name: GRPO | {"grid": {"kl_coef": [0.1]}}})


@pytest.mark.parametrize("variants", [[1], "x"])
def test_variants_that_are_no_mapping(tmp_path: Path, variants: Any) -> None:
    said = problems(tmp_path, methods={"g": GRPO | {"grid": {"kl_coef": [0.1]}}}, variants=variants)
    assert "variants: must be a mapping (key: value)" in said


def test_an_enormous_grid_is_refused_before_it_is_multiplied_out(tmp_path: Path) -> None:
    axes = ("learning_rate", "weight_decay", "warmup", "clip_grad", "clip_low", "clip_high", "kl_coef")
    grid = {key: [n / 100 for n in range(1, 11)] for key in axes}
    said = problems(tmp_path, methods={"g": GRPO | {"grid": grid}})
    assert "has an error" in said
    assert "methods.g.grid: makes 10,000,000 methods; an experiment may have 10,000 at most" in said


def test_an_empty_grid_is_the_method_itself(tmp_path: Path) -> None:
    methods = {"a": GRPO | {"grid": {}}, "b": GRPO | {"grid": None}}
    experiment = make_experiment(tmp_path, methods=methods)
    assert list(experiment.methods) == ["a", "b"]
    assert not experiment.variants


def test_orders_change_who_follows_whom(tmp_path: Path) -> None:
    grid = {"order": [None, "back"]}
    experiment = make_experiment(
        tmp_path,
        orders={"back": ["counting", "facts", "reading"]},  # more tasks than the sequence: it was shortened
        methods={"sft": {"objective": "sft", "grid": grid}},
    )
    there, back = make_plan(experiment).chains
    assert (there.order, back.order) == (("reading", "counting"), ("counting", "reading"))
    jobs = make_plan(experiment).jobs
    assert [jobs[name].tasks for name in back.learn] == [("counting",), ("reading",)]
    assert there.method == "sft order=none"


def test_an_order_must_hold_the_sequence(tmp_path: Path) -> None:
    orders = {"o": ["reading", "facts", "reading"], "b": ["counting", "reading", "raeding"]}
    said = problems(tmp_path, orders=orders, methods={"s": {"objective": "sft", "order": "p"}})
    assert "4 errors" in said
    assert "orders.o: must hold every task of the sequence once; it lacks counting" in said
    assert "orders.o: must hold every task of the sequence once; it repeats reading" in said
    assert "orders.b: raeding is not in the sequence and is no task; did you mean 'reading'?" in said
    assert "there is no order 'p'" in said


def test_tasks_to_come_need_not_be_judged(tmp_path: Path) -> None:
    evaluation = TINY["evaluation"] | {"future_tasks": False}
    (chain, _) = make_plan(make_experiment(tmp_path, evaluation=evaluation)).chains
    assert (1, "reading") in chain.cells and (1, "counting") not in chain.cells
    assert {task for stage, task in chain.cells if stage == 0} == {"reading", "counting", "presence"}


MEASURES = {"drift": {"prompts": 4}, "risk": {"instances": 3, "samples": 2, "old": 4}, "probe": {"steps": 2}}


def test_measures_are_jobs_of_their_own_and_training_does_not_know(tmp_path: Path) -> None:
    bare, measured = (make_plan(make_experiment(tmp_path, measures=measures)) for measures in ({}, MEASURES))
    assert set(bare.jobs) < set(measured.jobs)
    more = Counter(job.kind for name, job in measured.jobs.items() if name not in bare.jobs)
    assert more == {"drift": 2 * 2, "risk": 2, "probe": 2}  # risk: from the second stage on
    chain = measured.chains[0]
    second = measured.jobs[chain.measures["drift"][2]]
    assert second.loads == (chain.learn[1], chain.learn[0])
    assert measured.jobs[chain.measures["risk"][2]].loads == (chain.learn[0],)


def test_a_probe_depends_on_how_answers_are_drawn(tmp_path: Path) -> None:
    def probes(**evaluation: Any) -> set[str]:
        changes = {"measures": {"probe": {}}, "evaluation": TINY["evaluation"] | evaluation}
        chains = make_plan(make_experiment(tmp_path, **changes)).chains
        return {chain.measures["probe"][2] for chain in chains}

    assert probes() == probes(top_p=0.5)  # greedy
    ways = [probes(), probes(temperature=0.5), probes(temperature=1.0), probes(temperature=1.0, top_p=0.5)]
    assert len(set.union(*ways)) == 4 * 2


def test_measures_can_be_asked_of_some_methods(tmp_path: Path) -> None:
    methods = {"sft": {"objective": "sft"}, "g": GRPO | {"grid": {"kl_coef": [0.0, 0.1]}}}
    drift = {"drift": {"methods": ["g"]}}
    plan = make_plan(make_experiment(tmp_path, methods=methods, measures=drift))
    assert ["drift" in chain.measures for chain in plan.chains] == [False, True, True]
    said = problems(tmp_path, methods=methods, measures={"risk": {"methods": ["gg"]}})
    assert "has an error" in said and "there is no method 'gg'; did you mean 'g'?" in said


def test_a_measure_measures_something(tmp_path: Path) -> None:
    joint = {"objective": "sft", "joint": True}
    both: dict[str, Any] = {"drift": {}, "risk": {}, "probe": {}}
    nothing: list[dict[str, Any]] = [
        {"sequence": ["reading"]},
        {"methods": {"joint": joint}},
        {
            "methods": {"joint": joint, "sft": {"objective": "sft"}},
            "measures": {key: {"methods": ["joint"]} for key in both},
        },
    ]
    for changes in nothing:
        said = problems(tmp_path, **({"measures": both} | changes))
        assert "2 errors" in said
        assert "measures.risk: looks at earlier tasks" in said and "measures.probe: looks at" in said
    assert "measures.drift.methods: must not be empty" in problems(
        tmp_path, measures={"drift": {"methods": []}}
    )


def test_a_measure_with_nothing_behind_it_is_not_taken_for_none(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    text = path.read_text()
    path.write_text(text + "measures:\n  drift:\n")
    with pytest.raises(InputError, match=r"measures.drift: measures nothing like this; write `drift: {}`"):
        load_experiment(path)
    assert load_experiment(path, ["measures.drift={}"]).measures.keys() == {"drift"}
    path.write_text(text + "measures: {drift: null}\n")
    assert load_experiment(path).measures == {}


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_large_grid_asks_before_it_starts(tmp_path: Path, call: Call) -> None:
    config = write_config(tmp_path, {"max_jobs": 5, "train_examples": 4, "test_examples": 2})
    said = call("run", str(config))
    assert said.code != 0
    assert "17 jobs" in said.err and "--yes" in said.err
    assert not (tmp_path / "store" / "learn").exists()
    assert call("run", str(config), "--yes").code == 0


@pytest.mark.slow
def test_measures_change_nothing_that_is_learned_or_judged(tmp_path: Path) -> None:
    """Every measure runs between the jobs it could disturb, in the process that holds their policy."""
    settings = {"keep_weights": "all", "general_every_stage": True, "test_examples": 4}
    bare, measured = (
        make_experiment(tmp_path / name, measures=measures, **settings)
        for name, measures in (("bare", {}), ("measured", MEASURES))
    )
    for experiment in (bare, measured):
        assert not run_here(experiment).failed
    without, with_measures = snapshot(bare.store), snapshot(measured.store)
    assert without.items() <= with_measures.items()
    results = collect(measured, make_plan(measured), Store(measured.store), lambda *_: None)
    sft = results.runs[0]
    drift, risk, probe = (sft.measured(name) for name in MEASURES)
    assert (list(drift), list(risk), list(probe)) == ([1, 2], [2], [2])
    assert [row["task"] for row in probe[2]["rows"]] == ["reading"]
    assert len(risk[2]["instances"]) == 3
    assert {row["reference"] for row in drift[2]["kl"]} == {"base", "previous"}
    assert {row["task"] for row in drift[2]["kl"]} == {"reading", "counting", "presence"}
    everything = {row["group"]: row for row in drift[2]["movement"]}["all"]
    assert everything["l2"] > 0 and -1 < everything["cosine"] < 1


@pytest.mark.slow
def test_the_shipped_grids_share_every_common_job() -> None:
    """Jobs with one fingerprint run once, whichever experiment asks first."""
    names = ("lr", "kl", "cot", "arms", "order", "rif")
    plans = {name: make_plan(load_experiment(SHIPPED / f"{name}.yaml")) for name in names}
    jobs = {name: {job.fingerprint for job in plan.jobs.values()} for name, plan in plans.items()}
    bases = {
        name: {job.fingerprint for job in plan.jobs.values() if job.kind == "evaluate" and not job.policy}
        for name, plan in plans.items()
    }
    assert {name: len(base) for name, base in bases.items()} == dict.fromkeys(names, 10) | {"cot": 20}
    assert len(set().union(*bases.values())) == 20  # ten tasks under two styles, in all grids together

    def stages(grid: str, method: str) -> list[str]:
        plan = plans[grid]
        chains = [chain for chain in plan.chains if chain.method == method]
        return [plan.jobs[job].fingerprint for chain in chains for job in chain.learn]

    grpo = stages("lr", "grpo learning_rate=1e-4")
    assert len(grpo) == 3 * 7
    same = {"kl": "grpo", "arms": "grpo", "cot": "grpo style=cot", "order": "grpo order=none"}
    for grid, method in same.items():
        assert stages(grid, method) == grpo
    assert sum(map(len, jobs.values())) == 5998 and len(set().union(*jobs.values())) == 4859
