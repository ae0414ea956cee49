"""Distillation on texts that are at hand: its gradient, and the user's file that it reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from experiment_helpers import learn_here, make_experiment
from holdfast.errors import InputError
from holdfast.experiment.jobs import Runner
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.learning.retention.rad import read_texts
from holdfast.policy.gradients import flat, trained_parameters
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings
from replay_helpers import NEW, OLD, gradient, loaded, made, nudge
from test_learning import grpo, sft, stage_of

TEXTS = ["how many circles", "the red square is left of it", "x"]


def written(folder: Path, texts: list[str] = TEXTS) -> Path:
    path = folder / "texts.txt"
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


def test_the_gradient_of_texts_is_that_of_the_divergence_from_the_base(tmp_path: Path) -> None:
    """λ ∇ mean KL(base ‖ π) over the tokens after each text's first, in the first stage, too."""
    policy, base = loaded(), loaded()
    strategy, stage = (
        made("rad", texts=written(tmp_path), strength=3.0, max_tokens=4),
        stage_of(policy, sft(), NEW, 1),
    )
    strategy.begin(stage, {})
    said = strategy.gradient(stage, {}, None)
    assert said["rad_kl"] == pytest.approx(0, abs=1e-6) and gradient(policy).abs().max() < 1e-5
    nudge(policy)
    policy.model.zero_grad()
    said = strategy.gradient(stage, {}, None)
    kl = []
    for text in TEXTS[:2]:
        asked = policy.encoder.texts([text], 4)
        then_TV, now_TV = (one.distributions(*asked) for one in (base, policy))
        kl += (then_TV.detach().exp() * (then_TV.detach() - now_TV)).sum(-1)
    assert len(kl) == 2 + 4  # of 3 and 7 words
    mean = torch.stack(kl).mean()
    wanted = flat(3 * mean, trained_parameters(policy))
    torch.testing.assert_close(gradient(policy), wanted, rtol=1e-3, atol=1e-6)
    assert said["rad_kl"] == pytest.approx(mean.item(), rel=1e-4)
    assert said["rad_share"] == pytest.approx(1, abs=1e-3)


def test_of_texts_no_more_is_looked_at_than_the_context_holds() -> None:
    policy = Policy.load("embedded", ModelSettings(max_context=70))
    prompts, completions = policy.encoder.texts(["a cat " * 100, "a"], 128)
    assert (prompts.lengths_B[:, None] + completions.lengths_BG).amax() == 70


@pytest.mark.parametrize("make", [sft, grpo])
def test_without_texts_the_references_of_earlier_tasks_are_the_text(make: Any) -> None:
    policy, strategy = loaded(), made("rad", to="stage_start", examples=4)
    assert strategy.gradient(stage_of(policy, make(), NEW, 1), {}, None) == {}
    stage = stage_of(policy, make(), NEW, 1, earlier=OLD)
    strategy.begin(stage, {})
    nudge(policy)
    assert strategy.gradient(stage, {}, None)["rad_kl"] > 0


def test_texts_of_a_single_token_teach_nothing(tmp_path: Path) -> None:
    stage = stage_of(loaded(), sft(), NEW, 1)
    assert made("rad", texts=written(tmp_path, ["x"])).gradient(stage, {}, None) == {}


def test_a_text_a_line_or_in_json(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('\ufeff"a b"\n\n{"text": "c\\u2028d", "id": 1}\n', encoding="utf-8")
    assert read_texts(path) == ["a b", "c\u2028d"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", None, r"retention: rad: The file .*/data/a.txt cannot be read: No such file"),
        ("a.txt", b" \n\n", "holds no text; write one a line"),
        ("a.txt", b"\xff\xfe\x00", "is no text in UTF-8"),
        ("a.jsonl", b'"a"\n{"txt": "b"}', r'a.jsonl, line 2: {"txt": "b"} is not a text in JSON'),
        ("a.jsonl", b"not json", "line 1: not json is not a text in JSON"),
        ("a.csv", b"a", r"must be a .txt file with a text a line"),
    ],
)
def test_a_file_without_texts_is_an_error_before_any_work(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    """Its path is relative to the experiment's file."""
    if content is not None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / name).write_bytes(content)
    methods = {
        "a": {
            "objective": "sft",
            "retention": [{"kind": "l2", "strength": 1}, {"kind": "rad", "texts": f"data/{name}"}],
        }
    }
    with pytest.raises(InputError, match=message):
        make_experiment(tmp_path, methods=methods, general=[])


def test_what_the_file_holds_counts_and_not_where_it_lies(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "other")]

    def experiment(folder: Path) -> Any:
        methods = {
            "a": {
                "objective": "sft",
                "iterations": 1,
                "batch": 2,
                "retention": {"kind": "rad", "texts": "texts.txt"},
            }
        }
        return make_experiment(folder, methods=methods, general=[], train_examples=4, test_examples=1)

    for folder, texts in zip(folders, (TEXTS, TEXTS, TEXTS[:2]), strict=True):
        folder.mkdir()
        written(folder, texts)
    one, two, other = (make_plan(experiment(folder)).chains[0].learn for folder in folders)
    assert one == two and not set(one) & set(other)
    made_here = experiment(folders[0])
    plan, store = learn_here(made_here)
    (row,) = store.rows(plan.jobs[one[0]], "metrics.jsonl")
    assert "rad_share" in row
    written(folders[0], ["something else"])
    runner = Runner(made_here, plan, Store(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match=r"texts.txt changed after the run was planned; run again"):
        runner.inputs.check_files(plan.jobs[one[0]])
