"""Choosing strengths: the rule, its bar, and an experiment file that can be run."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

import choose_strengths
from holdfast.config.load import load_experiment
from holdfast.errors import InputError

TUNING = Path(__file__).parents[1] / "configs" / "embedded" / "arena-tune.yaml"
PLAIN = "grpo learning_rate=2e-4"


@pytest.fixture(scope="module")
def tuning():
    return load_experiment(TUNING)


def metrics(experiment, better=()):
    """Every method at 50 points with both seeds; those of `better` as they say."""
    given = dict(better)
    return pd.DataFrame(
        {"method": name, "seed": seed, "avg_acc": given.get(name, 0.5), "learned": 0.2}
        for name in experiment.methods
        for seed in experiment.seeds
    )


def test_the_highest_accuracy_is_chosen_and_of_equal_ones_the_gentlest(tuning):
    better = {
        "er retention.share=0.5": 0.6,
        "mofo retention.share=0.1": 0.55,
        "mofo retention.share=0.03": 0.55,
    }
    chosen = choose_strengths.choose(tuning, metrics(tuning, better.items()))
    assert chosen["er"] == ("er retention.share=0.5", 0.6)
    assert chosen["mofo"][0] == "mofo retention.share=0.1"
    assert chosen["ewc"][0] == "ewc retention.strength=30"
    assert "grpo" not in chosen and "joint" not in chosen


@pytest.mark.parametrize("lacking", ["avg_acc", "learned"])  # the last stage, the base
def test_an_unfinished_tuning_chooses_nothing(tuning, lacking):
    rows = metrics(tuning)
    rows.loc[(rows["method"] == "l2 retention.strength=0.3") & (rows["seed"] == 1), lacking] = float("nan")
    with pytest.raises(InputError, match=r"1 methods are not done, such as l2 retention\.strength=0\.3"):
        choose_strengths.choose(tuning, rows)


@pytest.mark.parametrize(
    ("accuracies", "passes"), [((0.4, 0.9, 0.8), True), ((0.4, 0.9, 0.87), False), ((0.4, 0.48, 0.2), False)]
)
def test_there_must_be_something_to_retain(accuracies, passes):
    cells = pd.DataFrame(
        {"method": PLAIN, "task": "tissue", "stage": stage, "accuracy": accuracy}
        for stage, accuracy in enumerate(accuracies)
    )
    if passes:
        choose_strengths.check_bar(cells, "tissue", PLAIN)
    else:
        with pytest.raises(InputError, match="nothing to retain"):
            choose_strengths.check_bar(cells, "tissue", PLAIN)


def test_the_command_refuses_a_tuning_that_was_not_run(tmp_path, monkeypatch, capsys):
    arguments = [str(TUNING), str(tmp_path / "arena.yaml"), f"store={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["choose_strengths.py", *arguments])
    with pytest.raises(SystemExit) as end:
        choose_strengths.main()
    assert end.value.code == 1 and "87 methods are not done" in capsys.readouterr().err
    assert not (tmp_path / "arena.yaml").exists()


def test_what_judges_can_be_run(tuning, tmp_path):
    better = {f"{name} retention.strength=100": 0.6 for name in ("ewc", "ewc_sum", "cpo")}
    better |= {"er retention.share=0.25": 0.7, "l2 retention.strength=0.1": 0.8}
    chosen = choose_strengths.choose(tuning, metrics(tuning, better.items()))
    settings = choose_strengths.judging(tuning, chosen, str(TUNING), "arena")
    (tmp_path / "arena.yaml").write_text(yaml.safe_dump(settings))
    arena = load_experiment(tmp_path / "arena.yaml")
    assert arena.evaluation.split == "test" and len(arena.seeds) == 5
    assert arena.sequence == tuning.sequence
    assert arena.orders == {"backwards": tuple(reversed(tuning.sequence))}
    assert arena.reference == f"{PLAIN} order=none"
    both = {variant.of for variant in arena.variants.values() if variant.axes.get("order")}
    assert both == {"grpo", "ewc", "ewc_sum", "cpo", "er", "l2"}
    of_er = [variant.axes["retention.share"] for variant in arena.variants.values() if variant.of == "er"]
    assert of_er == [0.25, 0.25]
