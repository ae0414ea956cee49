"""The experiment file: what is accepted, and what is said about what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiment_helpers import TINY, make_experiment, write_config
from holdfast.config import messages
from holdfast.config.load import load_experiment
from holdfast.errors import InputError
from holdfast.experiment.plan import make_plan


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load_experiment(path, overrides)
    return str(caught.value)


def test_defaults_go_under_every_method(tmp_path: Path) -> None:
    methods = {
        "a": {"objective": "sft"},
        "b": {"objective": "grpo", "learning_rate": "5e-4", "sampling": {"top_p": 0.9}},
    }
    experiment = make_experiment(tmp_path, methods=methods)
    assert experiment.methods["a"].learning_rate == 1e-3
    assert experiment.methods["b"].learning_rate == 5e-4  # YAML takes 5e-4 for text
    assert experiment.methods["b"].sampling.max_tokens == 16
    assert experiment.methods["b"].sampling.top_p == 0.9


def test_overrides_replace_and_are_parsed_as_yaml(tmp_path: Path) -> None:
    overrides = ["seeds=[3, 4]", "methods.sft.learning_rate=2e-5", "evaluation.other_style=true"]
    experiment = load_experiment(write_config(tmp_path), overrides)
    assert experiment.seeds == (3, 4)
    assert experiment.methods["sft"].learning_rate == 2e-5
    assert experiment.methods["grpo"].learning_rate == 1e-3
    assert experiment.evaluation.other_style


@pytest.mark.parametrize("override", ["seeds", "=3", "name.x=3", "seeds=[1"])
def test_an_override_that_makes_no_sense(tmp_path: Path, override: str) -> None:
    assert override.partition("=")[2] in message(write_config(tmp_path), override)


def test_an_override_of_a_key_without_a_name_is_told_as_such(tmp_path: Path) -> None:
    assert "'.=3' is not an override" in message(write_config(tmp_path), ".=3")


def test_what_a_file_extends_is_not_of_the_command_line(tmp_path: Path) -> None:
    said = message(write_config(tmp_path), "extends=other.yaml")
    assert said == "'extends=other.yaml' cannot be set: a file says itself what it extends."


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("methods.grpo.learning_rate=0", "methods.grpo.learning_rate: must be greater than 0, not 0"),
        (
            "methods.grpo={objective: grpo, batch: 0}",
            "methods.grpo.batch: must be greater than or equal to 1",
        ),
        ("methods.grpo.sampling.top_p=2", "methods.grpo.sampling.top_p: must be less than or equal to 1"),
        ("defaults.batch=0", "defaults.batch: must be greater than or equal to 1"),
        (
            "methods.grpo.loss_mean=x",
            "methods.grpo.loss_mean: must be 'tokens', 'sequences', 'constant' or a",
        ),
        ("methods.grpo.reward={format: 0}", "methods.grpo.reward: weighs nothing"),
        ("output=null", "output: must be text (in quotes), not null"),
        ("measures=null", "measures: must be a mapping (key: value), not null; {} is none"),
        ("general=null", "general: must be a list, not null; [] is none"),
        (
            "methods.sft.sampling.max_tokens=8",
            "methods.sft.sampling: is a setting of sft with target: sampled",
        ),
        ("evaluation.sampelr.url=x", "evaluation.sampelr: unknown key; did you mean 'sampler'?"),
    ],
)
def test_what_an_override_says_is_told_where_it_stands_and_not_of_a_line_in_the_file(
    tmp_path: Path, override: str, told: str
) -> None:
    said = message(write_config(tmp_path), override)
    assert f" has an error:\n  in an override, {told}" in said and "line" not in said


def test_a_default_of_the_command_line_that_no_method_takes_is_an_error(tmp_path: Path) -> None:
    grpo = {"objective": "grpo", "grid": {"learning_rate": [1e-5, 1e-4]}}
    path = write_config(tmp_path, {"methods": {"grpo": grpo | {"sampling": {"top_p": 0.9}}}})
    for key in ("learning_rate=1.0e-3", "sampling.top_p=0.8"):
        name = key.partition("=")[0]
        told = f"defaults.{name}: changes nothing, as every method sets it itself; say methods.grpo.{name}"
        assert told in message(path, f"defaults.{key}")
    both = load_experiment(path, ["methods.more={objective: rloo}", "defaults.learning_rate=1.0e-3"])
    assert both.methods["more"].learning_rate == 1e-3
    assert load_experiment(path, ["defaults.sampling.temperature=0.5"]).seeds == (0,)


def test_a_default_of_the_command_line_that_no_method_has_is_an_error(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    told = "show_answer: changes nothing, as no method has it: it is a setting of sft with target: sampled"
    assert told in message(path, "defaults.show_answer=true")
    grid = ["methods.sft.grid={target: [answer, sampled]}", "defaults.show_answer=true"]
    assert load_experiment(path, grid).methods["sft target=sampled"].determining(["reading"])["show_answer"]
    assert list(load_experiment(path, ["methods.grpo=null"]).methods) == ["sft"]  # what is left of the file's


def test_a_measure_without_a_word_is_none_on_the_command_line_either(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    for override in ("measures.drift=", "measures={drift}"):
        assert "measures.drift: measures nothing like this; write `drift: {}`" in message(path, override)
    assert not load_experiment(path, ["measures.drift=null"]).measures
    path = write_config(tmp_path, {"measures": {"drift": {}}})
    path.write_text(path.read_text().replace("drift: {}", "drift:"))
    assert "line" in message(path) and load_experiment(path, ["measures.drift={}"]).measures


def test_no_true_is_a_number_inside_of_a_setting(tmp_path: Path) -> None:
    for setting in ("reward={accuracy: yes}", "betas=[no, 0.9]", "loss_mean=yes"):
        assert f"methods.grpo.{setting.partition('=')[0]}: must be" in message(
            write_config(tmp_path), f"methods.grpo.{setting}"
        )
    said = message(write_config(tmp_path), "defaults.iterations={reading: yes, counting: 2}")
    assert "defaults.iterations: must be a whole number of at least 1, or one for each task" in said


@pytest.mark.parametrize(
    "same",
    [
        ("evaluation.top_p=0.5", "evaluation.top_p=1"),  # greedy
        ("evaluation.temperature=-0.0", "evaluation.temperature=0"),
        ("methods.grpo.weight_decay=-0.0", "methods.grpo.weight_decay=0"),
        ("model.freeze=[projector, vision, vision]", "model.freeze=[vision, projector]"),
    ],
)
def test_what_means_the_same_is_the_same_work(tmp_path: Path, same: tuple[str, str]) -> None:
    path = write_config(tmp_path)
    first, second = (make_plan(load_experiment(path, [override])).digest() for override in same)
    assert first == second
    if "top_p" in same[0]:
        sampled = [[override, "evaluation.temperature=0.5"] for override in same]
        assert len({make_plan(load_experiment(path, overrides)).digest() for overrides in sampled}) == 2


def test_a_day_may_be_a_name_and_leading_zeros_are_no_eights(tmp_path: Path) -> None:
    made = load_experiment(write_config(tmp_path), ["name=2024-01-02", "seeds=[010, 08]"])
    assert (made.name, made.seeds) == ("2024-01-02", (10, 8))


def test_an_override_says_no_key_twice(tmp_path: Path) -> None:
    said = message(write_config(tmp_path), "methods.grpo.sampling={top_p: 0.9, top_p: 0.8}")
    assert "says a key twice" in said and "top_p" in said


def test_an_override_makes_no_method_by_a_slip(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    assert "there is no method 'grppo', only sft, grpo" in message(path, "methods.grppo.learning_rate=1")
    new = load_experiment(path, ["methods.new={objective: rloo}", "methods.new.batch=8"])
    assert new.methods["new"].batch == 8


def test_what_was_meant_is_guessed_for_as_many_keys_as_are_told(tmp_path: Path, monkeypatch: Any) -> None:
    guessed: list[str] = []
    monkeypatch.setattr(messages, "suggestion", lambda key, known: guessed.append(key) or "; a guess")
    text = message(write_config(tmp_path, {f"key{number}": 1 for number in range(2000)}))
    assert "2000 errors" in text
    assert len(guessed) == text.count("unknown key; a guess") == messages.MOST_ERRORS


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("joint=true", "in an override, joint: unknown key; did you mean defaults.joint?"),
        ("methods.sft.lora={rank: 4}", "methods.sft.lora: unknown key; did you mean model.lora?"),
        ("defaults.dtype=float32", "defaults.dtype: unknown key; did you mean model.dtype?"),
        ("max_tokens=8", "did you mean evaluation.max_tokens or defaults.sampling.max_tokens?"),
        ("methods.sft.bach=8", "methods.sft.bach: unknown key; did you mean 'batch'?"),
    ],
)
def test_a_setting_in_a_wrong_place_is_told_its_place(tmp_path: Path, override: str, said: str) -> None:
    assert said in message(write_config(tmp_path), override)


def test_all_errors_at_once_with_lines_and_suggestions(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: bad\n"
        "prompts: embeded\n"
        "sequense: [reading]\n"
        "sequence: [reading]\n"
        "evaluation: {temprature: 0}\n"
        "defaults:\n"
        "  style: cott\n"
        "  learning_rat: 1\n"
        "  learning_rate: 1e-3\n"
        "methods:\n"
        "  sft: {objective: sft, batch: many}\n"
        "  grpo:\n"
        "    objective: gpro\n"
    )
    text = message(path)
    for part in (
        "7 errors",
        "line 2, prompts: there is no prompt set 'embeded'; did you mean 'embedded'?",
        "line 3, sequense: unknown key; did you mean 'sequence'?",
        "line 5, evaluation.temprature: unknown key; did you mean 'temperature'?",
        "line 7, defaults.style: must be 'cot' or 'direct', not 'cott'; did you mean 'cot'?",
        "line 8, defaults.learning_rat: unknown key; did you mean 'learning_rate'?",
        "line 11, methods.sft.batch: must be a valid integer",
        "line 13, methods.grpo.objective: must be",
        "did you mean 'grpo'?",
    ):
        assert part in text


def test_an_error_set_on_the_command_line_names_no_line(tmp_path: Path) -> None:
    text = message(write_config(tmp_path), "methods.grpo.group_size=1")
    assert "\n  methods.grpo: grpo compares completions" in text or "methods.grpo: grpo compares" in text
    assert "group_size must be at least 2" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sequence": ["raeding"]}, "reading"),
        ({"sequence": []}, "sequence"),
        ({"seeds": [*range(1001)]}, "seeds: must hold at most 1,000, not 1,001"),
        (
            {"methods": {"a": {"objective": "sft", "retention": {"kind": "er", "sise": 3}}}},
            "er: sise: there is no such setting; there is kind,",
        ),
        (
            {"methods": {"a": {"objective": "grpo", "retention": {"kind": "cpr", "least": 0.9}}}},
            "cpr: least (0.9) must not be above most (0.7)",
        ),
        ({"methods": {"a" * 301: {"objective": "sft"}}}, "at most 300 characters"),
        ({"sequence": ["reading", "reading"]}, "more than once"),
        ({"general": ["reading"]}, "trained on"),
        ({"methods": {}}, "methods"),
        ({"methods": {"a b": {"objective": "sft"}}}, "may hold only letters"),
        ({"methods": None}, "methods: is missing"),
        ({"seeds": []}, "seeds: must not be empty"),
        (
            {"test_examples": True},
            "test_examples: must be a whole number from 1 to",
        ),
        ({"seeds": [0, True]}, "seeds: must be a number, not true"),
        (
            {"methods": {"g": {"objective": "grpo", "sampling.temperature": 0.5}}},
            "g.sampling.temperature: unknown key",
        ),
        ({"model": {"revision": "main"}}, "model.revision: is of a hub id, and model.path names a folder"),
        ({"defaults": {"iterations": True, "learning_rate": 1}}, "at least 1, or one for each task"),
        ({"model": {"lora": [8]}}, "model.lora: must be a mapping (key: value)"),
        ({"sequence": "reading"}, "sequence: must be a list, not 'reading'"),
        ({"train_examples": None}, "has no end"),
        ({"train_examples": 2}, "only 2 training examples"),
        ({"prompts": {"cot": "no place"}}, "{prompt}"),
        ({"prompts": {"direct": "{prompt}"}}, "no template for the style cot"),
        ({"prompts": {"cto": "{prompt}"}}, "'cot' or 'direct'"),
        ({"methods": {"j": {"objective": "grpo", "joint": True, "filter": "rif"}}}, "joint"),
        (
            {"methods": {"s": {"objective": "sft", "filter": "rif"}}},
            "s.filter: is a setting of grpo, dr_grpo, dapo, gspo, cispo, rloo, remax, reinforce; leave",
        ),
        (
            {"methods": {"g": {"objective": "grpo", "show_answer": True}}},
            "g.show_answer: is a setting of sft with target: sampled; leave it out",
        ),
        (
            {"methods": {"g": {"objective": "rloo", "resample_every": 2}}},
            "resample_every: is a setting of sft with",
        ),
        (
            {"methods": {"g": {"objective": "grpo", "sampled_by": "base"}}},
            "sampled_by: is a setting of sft with",
        ),
        (
            {"methods": {"g": {"objective": "grpo", "target": "reasoned"}}},
            "target: is a setting of sft; leave",
        ),
        (
            {"methods": {"r": {"objective": "rloo", "normalise_std": False}}},
            "normalise_std: is a setting of grpo, dr_grpo, dapo, gspo, cispo; leave it out",
        ),
        (
            {"methods": {"s": {"objective": "sft", "normalise_std": False}}},
            "normalise_std: is a setting of grpo, dr_grpo, dapo, gspo, cispo; leave it out",
        ),
        ({"methods": {"g": {"objective": "grpo", "filter_shortens": True}}}, "needs a filter"),
        (
            {"methods": {"s": {"objective": "sft", "target": "sampled", "resample_every": 5}}},
            "methods.s.resample_every: is 5, but no stage has more than 2 iterations; lower it",
        ),
        ({"model": {"path": "./nowhere"}}, "no model './nowhere'"),
        ({"model": {"path": "not a hub id"}}, "hub id"),
        ({"model": {"dtype": "float8"}}, "model.dtype"),
        ({"model": {"dtype": "float16"}}, "use bfloat16 or float32, or model.lora"),
        (
            {"methods": {"s": {"objective": "sft", "optimizer_state": "kahan"}}},
            "methods.s.optimizer_state: is about training weights in bfloat16, but model.dtype is float32",
        ),
        (
            {
                "methods": {"s": {"objective": "sft", "optimizer_state": "compact"}},
                "model": {"dtype": "bfloat16", "lora": {"rank": 4}},
            },
            "but adapters are float32; leave it out",
        ),
        ({"defaults": {"iterations": 0, "learning_rate": 1}}, "at least 1, or one for each task"),
        ({"defaults": {"iterations": {"reading": "x"}, "learning_rate": 1}}, "one for each task"),
        ({"defaults": {"iterations": {"reading": 2}, "learning_rate": 1}}, "says nothing about counting"),
        (
            {"defaults": {"iterations": {"reading": 2, "countin": 3, "counting": 1}, "learning_rate": 1}},
            "defaults.iterations.countin: is no task; did you mean 'counting'?",
        ),
        ({"evaluation": {"split": None}}, "split: must be 'test' or 'validation', not null"),
        ({"scoring": "studi"}, "did you mean 'study'?"),
        ({"tasks": {"mine": {"train": "missing.jsonl"}}, "sequence": ["mine"]}, "missing.jsonl"),
        ({"tasks": {"seed": {"train": "x.jsonl"}}}, "tasks.seed: is the name of a column"),
        (
            {"methods": {"g": {"objective": "grpo", "sampling": {"temperature": 0}}}},
            "sampling.temperature must be above 0",
        ),
        ({"defaults": False}, "defaults: must be a mapping of method settings"),
        (
            {
                "tasks": {
                    "mine": {"hub": "a/b", "train": "train", "prompt": "{q}", "answer": "{a}", "images": None}
                }
            },
            "has an error:\n  line 36, tasks.mine.images: must be a column or a list of columns, not null",
        ),
        ({"prompts": {"cot": "{prompt.x} {prompt}"}}, "must hold {prompt} where the question goes"),
        ({"prompts": {"cot": "{prompt[a]}"}}, "must hold {prompt} where the question goes"),
        ({"prompts": {"cot": "{prompt:>1000000000}"}}, "must hold {prompt} where the question goes"),
        ({"hint": "{prompt.x} {answer}"}, "hint: must hold {prompt} and {answer}"),
        ({"hint": "{prompt} {answer:>1000000000}"}, "hint: must hold {prompt} and {answer}"),
        ({"threads": 1_000_000}, "threads: must be less than or equal to 1024, not 1000000"),
        ({"test_examples": 10**12}, "test_examples: must be a whole number from 1 to 10,000,000"),
        ({"max_jobs": 10**400}, "max_jobs: must be a number of at most 1,000,000,000,000"),
        ({"seeds": [10**400]}, "seeds: must be a number of at most"),
        ({"defaults": {"iterations": 10**400, "learning_rate": 1}}, "at least 1, or one for each task"),
        ({"defaults": {"learning_rate": 1, "betas": [0.9, 1.5]}}, "defaults.betas.1: must be less than 1"),
        ({"model": {"min_pixels": 9, "max_pixels": 4}}, "min_pixels (9) is larger than max_pixels (4)"),
        ({"methods": {"s": {"objective": ["sft"]}}}, "s.objective: must be one of sft"),
        ({"store": "~nosuchuser/x"}, "store: ~nosuchuser/x is no path: nobody here is called nosuchuser"),
        ({"tasks": {"a": {"train": "a\0b"}}}, "a.train: 'a\\x00b' is no path: it holds the character NUL"),
        ({"tasks": {"a": {"train": "a" * 999}}}, "aaa … is no path: a name has at most 255 bytes"),
        ({"model": {"path": "~nosuchuser/x"}}, "model.path: ~nosuchuser/x is no path: nobody here is called"),
        ({"extends": "~nosuchuser/x"}, "extends: ~nosuchuser/x is no path"),
        ({"scoring": "x" * 9999}, f"scoring: must be 'official' or 'study', not '{'x' * 200} …'"),
        ({"sequence": ["reading"] * 10_000}, "sequence: reading stands there more than once"),
    ],
)
def test_one_clear_message(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert expected in message(write_config(tmp_path, changes))


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"executor": "zzz"}, "local"),
        ({"methods": {"g": {"objective": "zzz"}}}, "sft"),
        ({"methods": {"g": {"objective": "grpo", "filter": "zzz"}}}, "none"),
        ({"methods": {"g": {"objective": "grpo", "retention": {"kind": "zzz"}}}}, "agem"),
    ],
)
def test_what_there_is_is_listed_once(tmp_path: Path, changes: dict[str, Any], first: str) -> None:
    said = message(write_config(tmp_path, changes))
    assert f"must be one of {first}, " in said and "not 'zzz'" in said and said.count(f" {first}, ") == 1


def test_an_error_of_an_item_is_not_an_empty_list(tmp_path: Path) -> None:
    said = message(write_config(tmp_path, {"seeds": ["a"]}))
    assert "has an error" in said and "seeds.0: must be a valid integer" in said


def test_a_model_folder_without_weights(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    path = write_config(tmp_path, {"model": {"path": "model"}})  # beside the experiment file
    assert "no config.json" in message(path)
    (model / "config.json").write_text("{}")
    assert "no weights" in message(path)
    (model / "model.safetensors").write_bytes(b"0123456789")
    assert "are damaged (it is cut off" in message(path)
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    content = len(header).to_bytes(8, "little") + header + bytes(24)
    (model / "model.safetensors").write_bytes(content[:-4])
    assert f"it has {len(content) - 4} bytes instead of {len(content)}" in message(path)
    (model / "model.safetensors").write_bytes(content)
    assert load_experiment(path).model.path == str(model)


def test_files_that_are_no_experiment(tmp_path: Path) -> None:
    assert "does not exist" in message(tmp_path / "nothing.yaml")
    path = tmp_path / "x.yaml"
    path.write_text("name: [")
    assert "line 1" in message(path)
    path.write_text("- a\n- b\n")
    assert "no settings" in message(path)
    path.write_text("")
    assert "no settings" in message(path)
    path.write_text("name: a\nmethods:\n  sft: {}\n  sft: {}\n")
    assert "line 4: methods.sft stands already in line 3" in message(path)


def test_the_resolved_copy_is_an_experiment_file(tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path)
    path = tmp_path / "elsewhere" / "config.yaml"
    path.parent.mkdir()
    path.write_text(json.dumps(experiment.resolved()))  # JSON is YAML
    assert load_experiment(path) == experiment


def test_own_data_lies_beside_the_file(tmp_path: Path) -> None:
    rows = [{"id": str(i), "prompt": f"what is {i}", "answer": str(i)} for i in range(16)]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = {"train": "mine.jsonl", "test": "mine.jsonl", "scorer": "exact"}
    experiment = make_experiment(tmp_path, tasks={"mine": own}, sequence=["mine"])
    assert experiment.task("mine").examples("train", 2)[1].answer == "1"
    data.write_text(data.read_text() + '{"prompt": "no answer"}\n')
    text = message(tmp_path / "tiny.yaml", "train_examples=null", "test_examples=null")
    assert "mine.jsonl" in text
    assert "17" in text  # the row


def test_the_shipped_experiments_are_valid() -> None:
    folder = Path(__file__).parents[1] / "configs" / "embedded"
    for path in sorted(path for path in folder.glob("*.yaml") if path.stem != "common"):
        experiment = load_experiment(path)
        items, seeds = experiment.test_examples, len(experiment.seeds)
        assert items is not None and items >= 300
        assert experiment.evaluation.split != "test" or items >= 500 or items * seeds >= 1500
    assert TINY["prompts"] == "embedded"


def test_a_reference_is_a_method_that_can_forget(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    assert load_experiment(path, ["reference=grpo"]).reference == "grpo"
    assert "reference: there is no method 'gpro'; did you mean 'grpo'?" in message(path, "reference=gpro")
    assert "name another method" in message(path, "reference=grpo", "methods.grpo.joint=true")
    grid = (
        "reference=grpo",
        "methods.grpo.learning_rate=null",
        "methods.grpo.grid={learning_rate: [1.0e-4, 2.0e-4]}",
    )
    said = "grpo is a grid; name one of its methods: grpo learning_rate=1e-4, grpo learning_rate=2e-4"
    assert said in message(path, *grid)


def test_a_probe_does_not_test_on_what_it_trains_on(tmp_path: Path) -> None:
    rows = [{"id": str(index), "prompt": "colour ?", "answer": "red"} for index in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = {"train": "rows.jsonl", "test": "rows.jsonl"}
    path = write_config(tmp_path, {"tasks": {"mine": own}, "sequence": ["mine", "reading"]})
    assert load_experiment(path).sequence[0] == "mine"
    text = message(path, "measures={probe: {}}")
    assert "measures.probe: would test mine on what it trains on: its train and test are the same" in text
