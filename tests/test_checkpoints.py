"""`holdfast evaluate` and `holdfast check` on models of this machine."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from cli_helpers import Call
from experiment_helpers import make_experiment, run_here, write_config
from holdfast import files
from holdfast.checkpoints import folder
from holdfast.checkpoints.comparison import ALL
from holdfast.checkpoints.examine import examine
from holdfast.checkpoints.subject import Subject, find_subject
from holdfast.config.exam import Exam
from holdfast.config.load import load_exam
from holdfast.experiment.plan import evaluation_plan, make_plan
from holdfast.experiment.schedule import pending
from holdfast.experiment.store import Store
from holdfast.generate.evaluate import Enough
from holdfast.generate.local import LocalGenerator
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ADAPTERS, EMBEDDED, Lora, ModelSettings
from test_inputs import change_weights
from test_own_samplers import Parrot

OPTIONS = ("prompts=embedded", "evaluation.max_tokens=32", "test_examples=40")


pytestmark = pytest.mark.usefixtures("own_store")


def test_what_is_told_on_the_way_is_rounded_as_the_table_is(call: Call, tmp_path: Path) -> None:
    (tmp_path / "rules.py").write_text("def score(answer, example):\n    return 0.8125\n")
    (tmp_path / "mine.jsonl").write_text(
        json.dumps({"prompt": "find the perimeter of the figure", "answer": "12"}) + "\n"
    )
    mine = f"tasks.mine={{test: {tmp_path / 'mine.jsonl'}, scorer: {tmp_path / 'rules.py'}:score}}"
    said = call("evaluate", "embedded", "--tasks", "mine", mine, *OPTIONS, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert "mine: 81.3 of 100 on 1 example (" in said.out
    assert "| mine | 1 | 81.3" in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.slow
def test_evaluate(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": "find the perimeter of the figure", "answer": "12"} for _ in range(3)]
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    mine = f"tasks.mine={{test: {data}, scorer: number}}"
    command = ("evaluate", "embedded", "--tasks", "presence", "--tasks", "mine", mine, *OPTIONS)
    said = call(*command, "--out", out)
    assert said.code == 0, said.err
    assert "presence: 100.0 of 100 on 40 examples" in said.out
    records = files.read_jsonl(out / "records" / "presence.jsonl")
    assert len(records) == 40
    assert {"id", "prompt", "response", "answer", "reference", "score", "format", "tokens"} <= set(records[0])
    assert "| presence | 40 | 100.0" in (out / "summary.md").read_text()
    said_of_it = files.read_json(out / "records" / "presence.json")
    assert set(said_of_it) == {
        "format", "checkpoint", "fingerprint", "sha256", "seconds", "made",
        "inputs", "setting", "setting_sha256", "asked", "weights",
    }  # fmt: skip
    assert set(said_of_it["inputs"]) == {
        "task", "version", "data", "scorer", "split", "examples", "style", "template", "sampling"
    }  # fmt: skip
    summary = files.read_json(out / "summary.json")
    assert [row["items"] for row in summary["rows"]] == [40, 3]
    assert summary["rows"][0]["accuracy"]["low"] < 1

    # Again: nothing is asked, the model is not even loaded; a folder that is gone is written again.
    path = out / "records" / "presence.jsonl"
    whole = path.read_bytes()
    with monkeypatch.context() as context:
        context.setattr(Policy, "load", None)
        path.write_bytes(whole[:-5])
        again = call(*command, "--out", out)
    assert again.code == 0, again.err
    assert again.out.count("(done ") == 2
    assert path.read_bytes() == whole

    # Changed data and damaged results are asked again, and nothing else.
    data.write_text(data.read_text().replace("12", "13"))
    changed = call(*command, "--out", out)
    assert changed.out.count("(done ") == 1
    for stored in Path("runs/store/evaluate").glob("*/records.jsonl"):
        if stored.read_bytes() == whole:
            stored.write_bytes(whole[:-5] + b"12345")
    repaired = call(*command, "--out", out)
    assert repaired.out.count("(done ") == 1
    assert path.read_bytes() == whole
    assert len(list(Path("runs/store/damaged").iterdir())) == 1
    assert call(*command, "--out", out, "--again").out.count("(done ") == 0

    # The folder belongs to this model.
    other = tmp_path / "other"
    Policy.load("embedded", ModelSettings()).save(other)
    refused = call("evaluate", other, "--tasks", "presence", *OPTIONS, "--out", out)
    assert refused.code == 2
    assert "choose another folder with --out" in refused.err


@pytest.mark.slow
def test_answers_of_other_weights_are_not_compared_as_one_checkpoint(call: Call, tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(EMBEDDED, model)
    assert call("evaluate", model, "--tasks", "presence,counting", *OPTIONS, "--out", out).code == 0
    change_weights(model)
    assert call("evaluate", model, "--tasks", "presence", *OPTIONS, "--out", out).code == 0
    mixed = call("check", out, out)
    assert mixed.code == 2 and "other weights gave those on counting from those on presence" in mixed.err
    assert call("check", out, out, "--tasks", "presence").code == 0
    assert call("evaluate", model, "--tasks", "counting", *OPTIONS, "--out", out).code == 0
    assert call("check", out, out).code == 0


def to_do(exam: Exam, subject: Subject) -> int:
    plan = evaluation_plan(exam, subject.identity, subject.name, subject.here)
    return len(pending(plan, Store(exam.store), lambda *_: None))


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"evaluation": {"max_tokens": 16, "batch": 3, "temperature": 0.7}}])
def test_what_an_experiment_has_is_not_asked_again(
    call: Call, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = changes | {
        "methods": {"sft": {"objective": "sft"}},
        "seeds": [3],
        "model": {"max_context": 200},
    }
    experiment = make_experiment(tmp_path, **changes)
    run_here(experiment)
    config, plan = tmp_path / "tiny.yaml", make_plan(experiment)
    policies = {"embedded": 0, str(Store(experiment.store).weights(plan.jobs[plan.chains[0].learn[-1]])): 2}
    copy = tmp_path / "copy"
    shutil.copytree(list(policies)[1], copy)
    exam = load_exam(like=config)
    for source, stage in (policies | {str(copy): 2}).items():
        subject = find_subject(source, exam)
        assert to_do(exam, subject) == 0
        for one in examine(subject, exam):
            cell = plan.jobs[plan.chains[0].cells[stage, one.task]]
            assert one.reused and one.records == Store(exam.store).rows(cell, "records.jsonl")
    with monkeypatch.context() as context:
        context.setattr(Policy, "load", None)
        said = call("evaluate", copy, "--like", config, "--tasks", "counting", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    # Loaded or asked in another way it is something else; so are other weights.
    for different in (["model.max_context=100"], ["evaluation.max_tokens=17"], ["style=direct"]):
        other = load_exam(different, config)
        assert to_do(other, find_subject(str(copy), other)) == 3, different
    (copy / "generation_config.json").rename(tmp_path / "ends")  # which says how replies end
    assert to_do(exam, find_subject(str(copy), exam)) == 3
    (tmp_path / "ends").rename(copy / "generation_config.json")
    assert to_do(exam, find_subject(str(copy), exam)) == 0
    policy = Policy.load(copy, ModelSettings())
    next(policy.model.parameters()).data += 1
    policy.save(copy)
    assert to_do(exam, find_subject(str(copy), exam)) == 3


def test_what_was_evaluated_is_not_asked_again_by_an_experiment(call: Call, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    said = call("evaluate", "embedded", "--like", config, "--tasks", "reading,presence")
    assert said.code == 0, said.err
    experiment = make_experiment(tmp_path)
    plan = make_plan(experiment)
    todo = pending(plan, Store(experiment.store), lambda *_: None)
    assert {job.label for name, job in plan.jobs.items() if name not in todo} == {
        "base: evaluate reading",
        "base: evaluate presence",
    }


@pytest.mark.slow
def test_adapters_of_an_experiment(tmp_path: Path) -> None:
    """They are loaded on its base, as it loads them."""
    pytest.importorskip("peft")
    settings = {"model": {"lora": {"rank": 2}}, "methods": {"sft": {"objective": "sft"}}}
    experiment = make_experiment(tmp_path, **settings)
    run_here(experiment)
    plan = make_plan(experiment)
    adapters = str(Store(experiment.store).weights(plan.jobs[plan.chains[0].learn[-1]]))
    exam = load_exam(["model.path=embedded"], tmp_path / "tiny.yaml")
    assert to_do(exam, find_subject(adapters, exam)) == 0
    # On another base they are another policy.
    base = Policy.load("embedded", ModelSettings())
    next(base.model.parameters()).data += 1
    base.save(tmp_path / "base")
    exam = load_exam([f"model.path={tmp_path / 'base'}"], tmp_path / "tiny.yaml")
    assert to_do(exam, find_subject(adapters, exam)) == 3


def test_tasks_of_ones_own(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": "say a", "answer": "a"}) + "\n")
    own = {name: {"train": f"{name}.jsonl", "test": f"{name}.jsonl"} for name in ("one", "two")}
    changes = {
        "tasks": own,
        "sequence": ["one"],
        "train_examples": None,
        "test_examples": None,
        "general": [],
    }
    config = write_config(
        tmp_path, changes | {"defaults": {"batch": 1, "iterations": 1, "learning_rate": 1e-3}}
    )
    assert load_exam(like=config).general == ("one",)
    three = f"tasks.three.test={tmp_path / 'three.jsonl'}"
    assert load_exam([three], config).general == ("one", "three")
    assert load_exam([three], config, ["two"]).general == ("two", "three")
    assert load_exam([three], config, ["three", "two"]).general == ("three", "two")


def test_soft_scores_keep_their_bits(tmp_path: Path) -> None:
    """Records of experiments hold scores in single precision: two of ten people agree, 0.6."""
    data = tmp_path / "soft.jsonl"
    references = ["a", "a"] + ["b"] * 8
    data.write_text(json.dumps({"prompt": "say a", "answer": "b", "references": references}) + "\n")
    exam = load_exam([f"tasks.soft={{test: {data}, scorer: vqa}}", "prompts={cot: '{prompt} please'}"])
    (one,) = examine(Subject("a parrot", {"sampler": "parrot"}, Parrot), exam)
    assert one.records[0]["score"] == float(np.float32(0.6))


def test_benchmarks_show_what_they_report(call: Call, tmp_path: Path) -> None:
    data = tmp_path / "there.jsonl"
    rows = [
        {"prompt": f"is there {word}", "answer": answer, "category": category}
        for word, answer, category in [
            ("yes", "yes", "random"), ("yes", "no", "random"),
            ("no", "no", "popular"), ("no", "yes", "popular"),
        ]
    ]  # fmt: skip
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    exam = load_exam([f"tasks.there={{test: {data}, scorer: yes_no}}", "prompts={cot: '{prompt} please'}"])
    examined = examine(Subject("a parrot", {"sampler": "parrot"}, Parrot), exam, tmp_path / "out")
    _, table = folder.tables(examined)
    assert [(row["group"], row["count"], row["f1"], row["yes_ratio"]) for row in table.rows] == [
        ("all", 4, 0.5, 0.5), ("random", 2, pytest.approx(2 / 3), 1.0), ("popular", 2, 0.0, 0.0)
    ]  # fmt: skip
    assert files.read_json(tmp_path / "out" / "summary.json")["benchmarks"]["rows"][0]["f1"] == 0.5
    assert "| there | random | 2 |" in (tmp_path / "out" / "summary.md").read_text()
    said = call(
        "evaluate", "embedded", "--tasks", "", f"tasks.there={{test: {data}, scorer: yes_no}}", *OPTIONS
    )
    assert said.code == 0, said.err
    assert "What benchmarks report" in said.out and "popular" in said.out


@pytest.mark.slow
def test_a_task_goes_on_after_its_last_batch(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = LocalGenerator.generate, []

    def generate(self: Any, questions: Any, group: int, sampling: Any, stream: Any) -> Any:
        asked.append(questions[0].example.id)
        if len(asked) == stop:
            raise KeyboardInterrupt
        return real(self, questions, group, sampling, stream)

    monkeypatch.setattr(LocalGenerator, "generate", generate)
    command = ("evaluate", "embedded", "--tasks", "presence", *OPTIONS)
    command += ("evaluation.batch=8", "evaluation.temperature=1", "--out", "out")
    stop = 0
    assert call(*command, "store=whole").code == 0
    whole = Path("out/records/presence.jsonl").read_bytes()
    batches = asked.copy()
    assert len(batches) == 5
    asked.clear()
    stop = 4
    stopped = call(*command)
    assert stopped.code == 130
    assert "goes on from here" in stopped.err
    asked.clear()
    stop = 0
    assert call(*command).code == 0
    assert asked == batches[3:]
    assert Path("out/records/presence.jsonl").read_bytes() == whole
    assert not list(Path("runs/store/work").iterdir())


def test_a_checkpoint_that_another_process_asks_is_waited_for_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    exam = load_exam((*OPTIONS, "test_examples=4"), None, ["presence"])
    subject = find_subject("embedded", exam)
    (job,) = subject.plan(exam).jobs.values()
    with ExitStack() as held:
        assert held.enter_context(Store(exam.store_folder).lock(job))
        pauses = iter([lambda: None, held.close])
        clock = SimpleNamespace(
            time=time.time, perf_counter=time.perf_counter, sleep=lambda seconds: next(pauses)()
        )
        monkeypatch.setattr("holdfast.checkpoints.examine.time", clock)
        assert len(examine(subject, exam)[0].records) == 4
    assert [text for text in caplog.messages if "is at" in text] == [
        f"Another process is at {job.label}. What it finds is taken; with nothing else to do, this one waits "
        "for it."
    ]


def test_a_clock_that_is_set_back_makes_no_time_negative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(records: Mapping[int, Any]) -> None:
        if records:
            raise Enough([*records.values()])

    exam = load_exam((*OPTIONS, "test_examples=4"), None, ["presence"])
    hours = iter(range(9, 0, -1))
    clock = SimpleNamespace(time=lambda: 3600.0 * next(hours), perf_counter=time.perf_counter)
    monkeypatch.setattr("holdfast.checkpoints.examine.time", clock)
    (one,) = examine(find_subject("embedded", exam), exam, watch=lambda task: end)
    assert len(one.records) == 4 and 0 < one.seconds < 3600


def test_a_task_that_fails_leaves_those_before_it(call: Call, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "say red", "answer": "red"}) + "\n")
    (tmp_path / "rules.py").write_text("def score(answer, example):\n    raise OSError('no line')\n")
    own = f"{{test: {tmp_path / 'rows.jsonl'}, scorer: '{tmp_path / 'rules.py'}:score'}}"
    said = call("evaluate", "embedded", "--tasks", "presence", f"tasks.own={own}", *OPTIONS, "--out", "out")
    assert said.code == 1
    assert "Task own: " in said.err and "no line" in said.err
    assert {path.name for path in Path("out/records").iterdir()} == {"presence.json", "presence.jsonl"}


def test_a_model_whose_output_is_not_finite_is_told_once(call: Call, tmp_path: Path) -> None:
    weights = load_file(EMBEDDED / "model.safetensors")
    shutil.copytree(EMBEDDED, tmp_path / "damaged")
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, tmp_path / "damaged" / "model.safetensors", metadata={"format": "pt"})
    said = call("evaluate", tmp_path / "damaged", "--tasks", "presence", *OPTIONS, "--out", "out")
    assert said.code == 1
    assert "Error: Task presence: The model's output for presence presence/" in said.err
    assert said.err.count("is not finite") == said.err.count("The model's output") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("embedded",), "Say which tasks"),
        (("modle/",), "There is no model 'modle/': it is neither"),
        (("embedded", "--tasks", "measures"), "say with test_examples how many"),
        (("embedded", "--tasks", "raeding", *OPTIONS), "did you mean 'reading'"),
        (("embedded", "--tasks", "measures,measures", *OPTIONS), "more than once"),
        (("embedded", "--tasks", "measures", *OPTIONS, "style=cto"), "style: must be 'cot' or 'direct'"),
        (
            ("embedded", "--tasks", "measures", *OPTIONS, "prompts={cot: '{prompt}'}", "style=direct"),
            "direct",
        ),
        (("embedded", "--tasks", "measures", *OPTIONS, "model.dtpye=x"), "did you mean 'dtype'"),
        (("embedded", "--tasks", "measures", *OPTIONS, "model.dtype=int8"), "model.dtype: must be"),
        (("embedded", "--tasks", "measures", *OPTIONS, "server.retires=1"), "did you mean 'retries'"),
        (("embedded", "--tasks", "measures", *OPTIONS, "methods.sft.batch=1"), "methods: unknown key"),
        (("embedded", "--tasks", "measures", *OPTIONS, "general=[facts]"), "general: unknown key"),
        (("embedded", "--tasks", "measures", *OPTIONS, "measures"), "write key=value"),
        (("embedded", "tasks.x.test=nowhere.jsonl", *OPTIONS), "nowhere.jsonl does not exist"),
        (
            ("embedded", "tasks.x.test=x", "tasks.x.scorer=exakt", *OPTIONS),
            "or FILE.py:NAME; did you mean 'exact'?",
        ),
        (("embedded", "tasks={a/b: {test: nowhere.jsonl}}", *OPTIONS), "may hold only letters"),
        (("nowhere", "--tasks", "measures", *OPTIONS), "There is no model 'nowhere'"),
        (("http://127.0.0.1:1", "--tasks", "measures", *OPTIONS), "server.model=NAME"),
    ],
)
def test_evaluate_refuses(call: Call, tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    said = call("evaluate", *arguments, "--out", tmp_path / "out")
    assert said.code == 2
    assert message in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [("evaluate", "embedded"), ("check", "embedded", "embedded")])
def test_a_row_that_a_checkpoint_cannot_take_is_named_before_any_work(
    call: Call, tmp_path: Path, command: tuple[str, ...]
) -> None:
    rows = tmp_path / "mine.jsonl"
    rows.write_text("".join(json.dumps({"prompt": text, "answer": "a"}) + "\n" for text in ("?", "? " * 600)))
    said = call(*command, f"tasks.mine.test={rows}", *OPTIONS, "--out", tmp_path / "out")
    assert said.code == 2
    assert "The prompt of mine test-2" in said.err.replace("\n", " ")
    assert "line 2" in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_adapters(call: Call, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    adapters = tmp_path / "adapters"
    Policy.load("embedded", ModelSettings(lora=Lora())).save(adapters)
    command = ("evaluate", adapters, "--tasks", "presence", *OPTIONS, "--out", tmp_path / "out")
    said = call(*command)
    assert said.code == 0, said.err
    assert "presence: 100.0 of 100" in said.out
    assert f"The adapters are of {EMBEDDED}, says {adapters / ADAPTERS}." in said.out
    named = call(*command, "model.path=embedded")
    assert "(done " in named.out and "The adapters" not in named.out

    copy = tmp_path / "copy"
    shutil.copytree(EMBEDDED, copy)
    said = call(*command, f"model.path={copy}")
    assert f"put on {copy}, and {adapters / ADAPTERS} says that they are of {EMBEDDED}" in said.out
    config = files.read_json(adapters / ADAPTERS)
    shutil.copy(EMBEDDED / "config.json", adapters)
    for other in ("owner/name", str(adapters)):
        files.write_json(adapters / ADAPTERS, config | {"base_model_name_or_path": other})
        refused = call(*command)
        assert refused.code == 2
        assert f"model.path=MODEL ({adapters / ADAPTERS} names {other}, which is no model" in refused.err
    for text, expected in (
        ("{nope", f"{adapters / ADAPTERS} is damaged (it is no JSON object)"),
        ("[]", "is damaged (it is no JSON object)"),
        ('{"peft_type": "IA3"}', f"The adapters in {adapters} are not LoRA ('peft_type' in "),
    ):
        (adapters / ADAPTERS).write_text(text)
        refused = call(*command, "model.path=embedded")
        assert refused.code == 2
        assert expected in refused.err


@pytest.mark.slow
def test_check(call: Call, tmp_path: Path, hurt: Path) -> None:
    out = tmp_path / "out"
    command = ("check", "embedded", hurt, "--tasks", "presence,measures", *OPTIONS, "--out", out)
    said = call(*command)
    assert said.code == 3, said.err
    assert "Forgotten: presence, measures, all tasks." in said.out
    flips = files.read_jsonl(out / "flips.jsonl")
    facts = files.read_json(out / "comparison.json")
    assert facts["forgotten"] == ["presence", "measures", ALL]
    assert len(flips) == facts["rows"][2]["lost"] + facts["rows"][2]["gained"]
    first = flips[0]
    assert (first["task"], first["flip"]) == ("presence", "1→0")
    assert first["before"]["score"] > first["after"]["score"]
    assert "| presence | 40 | 100.0 |" in (out / "comparison.md").read_text()
    assert call(*command).out.count("(done ") == 4

    # The folders that were written are compared like the models; the same one forgot nothing.
    before, after = out / "before", out / "after"
    assert call("check", before, after, "--out", tmp_path / "folders").code == 3
    same = call("check", before, before, "--out", tmp_path / "same")
    assert same.code == 0
    assert "Nothing was shown to be forgotten. Unclear: measures, presence" in same.out
    assert "more items would tell (--power 0.8 says how many)." in same.out
    # 40 items cannot show that no more than a point was lost; they can for 20 points.
    strict = ("check", before, "embedded", "--tasks", "presence", *OPTIONS, "--strict", "--out", out / "s")
    assert call(*strict).code == 3
    assert call(*strict, "--max-drop", 20).code == 0
    # The tasks of a folder are those that are asked.
    assert "presence" in call("check", before, "embedded", *OPTIONS, "--out", out / "t").out
    # A fall that is allowed is none.
    assert call("check", before, after, "--max-drop", 100, "--out", tmp_path / "any").code == 0

    for wrong, message in (
        (("check", before, after, "--tasks", "facts"), "no records of facts; it has measures, presence"),
        (("check", before, tmp_path, *OPTIONS), "neither a model's folder"),
        (("check", before), "Missing argument 'NEW'"),
        (("check", before, "embedded", "--tasks", "presence", *OPTIONS, "test_examples=20"),
         "examples is 40 in the folder and 20 now"),
    ):  # fmt: skip
        refused = call(*wrong, "--out", tmp_path / "wrong")
        assert refused.code == 2, refused
        assert message in refused.err
    assert not (tmp_path / "wrong").exists()
    path = before / "records" / "presence.jsonl"
    path.write_text(path.read_text().replace('"score": 1.0', '"score": 0.0', 1))
    assert "not what was written" in call("check", before, after, "--out", tmp_path / "wrong").err
