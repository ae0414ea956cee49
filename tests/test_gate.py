"""What `holdfast check` does besides comparing: noise, power, looks, settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chat_server import NAME, ChatServer, serving
from cli_helpers import Call
from holdfast import files
from holdfast.analysis import paired
from holdfast.analysis.power import items_needed, power
from holdfast.analysis.sequential import Look, looks_at, p_value, spent
from holdfast.checkpoints import comparison
from holdfast.checkpoints.comparable import served_remarks
from holdfast.checkpoints.folder import Examined, export, read_folder
from holdfast.checkpoints.looks import Looks, alike
from holdfast.checkpoints.needs import check_power
from holdfast.checkpoints.noise import Noise
from holdfast.errors import InputError
from holdfast.generate.evaluate import Enough
from holdfast.generate.local import LocalGenerator

OPTIONS = ("prompts=embedded", "evaluation.max_tokens=32", "test_examples=40")
SETTING: dict[str, Any] = {
    "machine": "a machine",
    "mode": {"engine": "here", "dtype": "float32"},
    "versions": {"holdfast": "1"},
}


@pytest.fixture(autouse=True)
def _no_proxy(own_store: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as server:
        yield server


def answers(scores: Any, task: str = "t", setting: dict[str, Any] | None = SETTING) -> Examined:
    records = [
        {"id": str(i), "prompt": "?", "reference": "1", "response": "", "answer": "1", "score": float(score),
         "lenient": 1.0, "format": 1.0, "tokens": None, "finished": True, "meta": {}}
        for i, score in enumerate(scores)
    ]  # fmt: skip
    asked = {"style": "cot", "template": "{prompt}", "sampling": {"temperature": 0.0}}
    inputs = {"task": task, "scorer": "exact", "examples": len(records), **asked}
    return Examined(task, "model", inputs, records, 0.0, 0.0, "", setting=setting)


# Looks


def test_the_last_of_one_look_is_mcnemars_test() -> None:
    for lost, gained in ((12, 3), (30, 20), (8, 0), (3, 12), (0, 0)):
        exact = min(1.0, paired.mcnemar(lost, gained)) if lost > gained else 1.0
        found = p_value([Look(100, lost, gained)], 100)
        assert exact <= found <= min(1.0, exact * 1.07), (lost, gained)  # levels are tried in steps of 6 %


def test_error_is_spent_as_lan_and_demets_say() -> None:
    # O'Brien and Fleming's spending at 5 %, quarter by quarter, as tables have it (two-sided).
    assert [round(spent(0.05, share), 5) for share in (0.25, 0.5, 0.75, 1)] == [9e-5, 0.00557, 0.02363, 0.05]
    assert looks_at(500) == [125, 250, 375, 500]
    assert looks_at(3) == [1, 2, 3]


def test_an_alarm_at_a_look_by_hand() -> None:
    # Half of the items, all of 9 flips lost: 2 / 2⁹ = 0.0039, and 0.00557 may be spent; with 8 it is 0.0078.
    assert p_value([Look(50, 9, 0)], 100) <= 0.05
    assert p_value([Look(50, 8, 0)], 100) > 0.05
    # What was found at a look stays found, whatever comes after.
    assert p_value([Look(50, 9, 0), Look(100, 9, 9)], 100) <= 0.05


def test_looking_does_not_raise_false_alarms() -> None:
    """Two equally good checkpoints that disagree on a fifth of 400 items, looked at four times."""
    generator = np.random.default_rng(7)
    alarms = 0
    for _ in range(600):
        flip_N = generator.choice(3, size=400, p=[0.8, 0.1, 0.1])
        looks = [
            Look(count, int((flip_N[:count] == 1).sum()), int((flip_N[:count] == 2).sum()))
            for count in looks_at(400)
        ]
        alarms += p_value(looks, 400) <= 0.2
    assert alarms <= 600 * 0.1 + 3 * (600 * 0.1 * 0.9) ** 0.5  # one side of 20 %


def test_a_task_that_is_forgotten_ends_at_the_look_that_shows_it() -> None:
    before, bad, good = answers(np.ones(400)), np.zeros(400), np.ones(400)
    looks = Looks([before], max_drop=0.01, level=0.95)
    records = answers(bad).records
    watch = looks.watch("t")
    watch({place: records[place] for place in range(99)})  # no look yet
    watch({place: records[place] for place in range(1, 400)})  # the first item is still under way
    with pytest.raises(Enough) as enough:
        watch(dict(enumerate(records)))
    assert len(enough.value.records) == 100
    after = replace(answers(bad[:100]))
    old = alike([before], [after])
    found = comparison.compare(old, [after], max_drop=0.01, level=0.95, looks=looks)
    assert [(row.name, row.verdict, row.change.items) for row in found.rows] == [("t", "forgotten", 100)]
    table = comparison.to_table(found)
    (p,) = [column for column in table.columns if column.key == "p"]
    assert "group-sequential" in table.note and "group-sequential" in p.help
    looks.watch("t")(dict(enumerate(answers(good).records)))  # nothing to end


def test_a_fall_of_just_what_is_allowed_ends_no_task() -> None:
    """0.8 − 0.6 is a little more than 0.2."""
    place_N = np.arange(400)
    before, after = answers(place_N % 100 < 80), answers(place_N % 100 < 60)
    Looks([before], max_drop=0.2, level=0.95).watch("t")(dict(enumerate(after.records)))


def test_scores_in_between_end_a_task_where_their_mean_shows_a_loss() -> None:
    """All items lose a hundredth, which a count of flips takes for a collapse; or all lose a half."""
    before, fell = answers(np.ones(400)), answers(np.full(400, 0.5))
    little = answers(np.full(400, 0.99))
    little.records[0]["score"] = 0.0
    looks = Looks([before], max_drop=0.01, level=0.95)
    looks.watch("t")(dict(enumerate(little.records[:100])))
    with pytest.raises(Enough) as enough:
        looks.watch("t")(dict(enumerate(fell.records)))
    assert len(enough.value.records) == 200


@pytest.mark.slow
def test_check_ends_tasks_early(call: Call, hurt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = LocalGenerator.generate, []

    def generate(self: Any, questions: Any, *arguments: Any) -> Any:
        asked.append(len(questions))
        return real(self, questions, *arguments)

    options = (*OPTIONS, "evaluation.batch=10", "--tasks", "presence", "--out", "out")
    assert call("evaluate", "embedded", *options[:-2]).code == 0
    monkeypatch.setattr(LocalGenerator, "generate", generate)
    for _ in range(2):  # again, from what an ended task keeps
        said = call("check", "embedded", hurt, *options, "--sequential")
        assert said.code == 3, said.err
        assert asked == [10, 10]
    assert files.read_json(Path("out/comparison.json"))["rows"][0]["items"] == 20
    assert call("check", "embedded", hurt, *options).code == 3  # in full, from there
    assert asked == [10] * 4
    # What is there in full is looked at in the same way.
    assert call("check", "embedded", hurt, *options, "--sequential").code == 3
    assert files.read_json(Path("out/comparison.json"))["rows"][0]["items"] == 20
    refused = call("check", "out/before", "out/before", "--sequential")
    assert refused.code == 2 and "--sequential" in refused.err


# Power


def test_power_is_that_of_the_verdict() -> None:
    generator = np.random.default_rng(3)
    items, loss, churn = 400, 0.08, 0.2
    lost, gained = generator.multinomial(
        items, [(churn + loss) / 2, (churn - loss) / 2, 1 - churn], size=4000
    ).T[:2]
    found = np.mean(
        [
            paired.mcnemar(a, b) <= 0.05 and a - b > 0.01 * items
            for a, b in zip(lost.tolist(), gained.tolist(), strict=True)
        ]
    )
    assert power(items, loss=loss, churn=churn, alpha=0.05, max_drop=0.01) == pytest.approx(found, abs=0.02)


def test_items_needed() -> None:
    alone = items_needed(0.9, loss=0.05)
    # The normal approximation: ((1.96 + 1.2816) / 0.05)² · 0.2 = 841, a little less than exact tests.
    assert 841 <= alone <= 900
    assert power(alone, loss=0.05, churn=0.2, alpha=0.05, max_drop=0.01) >= 0.9
    assert (
        alone < items_needed(0.9, loss=0.05, rows=6) < items_needed(0.9, loss=0.05, rows=6, sequential=True)
    )
    assert items_needed(0.9, loss=0.05, churn=0.05) < alone
    with pytest.raises(InputError, match="raise --loss"):
        items_needed(0.9, loss=0.01)
    with pytest.raises(InputError, match=r"More than 2,000,000 items"):
        items_needed(0.9, loss=0.0101)


def test_looks_cost_items_and_save_the_row_of_all_tasks(tmp_path: Path) -> None:
    """As docs/checkpoints.md has it, of five skills."""
    asked: dict[str, Any] = {"power": 0.9, "loss": 0.05, "churn": None, "max_drop": 0.01, "level": 0.95}
    for sequential, needed in ((False, "1,255"), (True, "1,273")):
        said = check_power(dict.fromkeys("abcde", 2000), tmp_path, sequential=sequential, **asked)
        assert f"in 90 % of cases with {needed} items of it" in said


@pytest.mark.slow
def test_too_few_items_are_told_before_any_work(call: Call, tmp_path: Path) -> None:
    options = ("embedded", "embedded", "--tasks", "presence", *OPTIONS, "--out", "out")
    said = call("check", *options, "--power", "0.9")
    assert said.code == 2
    assert "presence has 40. Say test_examples=" in said.err
    assert not Path("out").exists()
    enough = call("check", *options, "--power", "0.9", "--loss", "60", "--churn", "60")
    assert enough.code == 0, enough.err
    assert "if 60 % of them turn (as said)" in enough.out
    # The next time it is known how many turn: none, of which a hundredth is taken.
    seen = call("check", *options, "--power", "0.9", "--loss", "60")
    assert seen.code == 0, seen.err
    assert "as in out" in seen.out


# Settings


def test_answers_of_different_settings_are_not_compared() -> None:
    def compare(before: Examined, after: Examined, *allowed: str) -> None:
        comparison.compare([before], [after], max_drop=0.01, level=0.95, allowed=allowed)

    ours = answers([1])
    other = answers([1], setting=SETTING | {"machine": "another"})
    half = answers([1], setting=SETTING | {"mode": {"engine": "here", "dtype": "bfloat16"}})
    with pytest.raises(
        InputError, match=r"machine is 'a machine' before and 'another' after.*--allow machine"
    ):
        compare(ours, other)
    with pytest.raises(InputError, match="mode is dtype 'float32' before and 'bfloat16' after"):
        compare(ours, half, "machine")
    both = answers([1], setting=SETTING | {"machine": None, "mode": {"engine": "there"}})
    with pytest.raises(
        InputError, match=r"machine is .* and not known after; mode is .*--allow machine,mode\."
    ):
        compare(ours, both)
    compare(ours, other, "machine")
    compare(ours, half, "mode")
    unknown = answers([1], setting=None)
    with pytest.raises(InputError, match=r"answers before were not noted.*--again, or say --allow unknown"):
        compare(unknown, ours)
    compare(unknown, ours, "unknown")
    warm = replace(ours, inputs=ours.inputs | {"sampling": {"temperature": 1.0}})
    with pytest.raises(InputError, match=r"sampling is .* or say --allow sampling"):
        compare(ours, warm)
    compare(ours, warm, "sampling")
    prompted = replace(ours, inputs=ours.inputs | {"template": "{prompt}!"})
    with pytest.raises(InputError, match="--allow prompt"):
        compare(ours, prompted, "sampling")
    compare(ours, prompted, "prompt")
    marks = {one.asked_in for one in (ours, other, half, warm, prompted)}
    assert len(marks) == 5
    assert replace(ours, records=[]).asked_in == ours.asked_in


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
def test_a_setting_that_does_not_compare_is_refused_before_the_first_question(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Whichever side has answered; and of answers in the store, before other tasks are asked."""
    first = call("evaluate", "embedded", *OPTIONS, "--tasks", "presence", "--out", "mine")
    assert first.code == 0, first.err
    path = Path("mine/records/presence.json")
    noted = files.read_json(path)
    files.write_json(path, noted | {"setting": noted["setting"] | {"machine": "another"}})
    asked: list[object] = []
    generate = LocalGenerator.generate

    def counted(self: LocalGenerator, questions: Any, *rest: Any) -> Any:
        asked.extend(questions)
        return generate(self, questions, *rest)

    monkeypatch.setattr(LocalGenerator, "generate", counted)
    sides = ("mine", "embedded") if before else ("embedded", "mine")
    for again in ([], ["--again"]):  # from the store, and anew
        refused = call("check", *sides, *OPTIONS, "--out", "out", *again)
        assert refused.code == 2 and asked == []
        assert "Task presence: It is answered in different settings" in refused.err
        assert ("machine is 'another' before and" in refused.err) == before
    assert call("check", *sides, *OPTIONS, "--out", "out", "--again", "--allow", "machine").code == 0
    assert len(asked) == 40


def test_record_files_of_other_versions(call: Call, tmp_path: Path) -> None:
    export([answers([1, 0])], tmp_path / "mine")
    path = tmp_path / "mine" / "records" / "t.json"
    said = files.read_json(path)
    assert said["setting"] == SETTING and len(said["setting_sha256"]) == 64
    (again,) = read_folder(tmp_path / "mine")
    assert again.setting == SETTING
    for later in (3, "x", [2]):
        files.write_json(path, said | {"format": later})
        with pytest.raises(InputError, match=r"of format .* reads up to 2"):
            read_folder(tmp_path / "mine")
    for key, value in (("made", "x"), ("made", 3), ("inputs", None), ("left_out", 3), ("setting", 3)):
        files.write_json(path, said | {key: value})
        with pytest.raises(InputError, match="not what was written"):
            read_folder(tmp_path / "mine")
    del said["format"], said["setting"], said["setting_sha256"]  # as the first version wrote it
    files.write_json(path, said)
    assert read_folder(tmp_path / "mine")[0].setting is None
    folder = tmp_path / "mine"
    refused = call("check", folder, folder, "--out", tmp_path / "out")
    assert refused.code == 2 and "--allow unknown" in refused.err
    twice = ("--allow", "unknown", "--allow", "mode")
    assert call("check", folder, folder, "--out", tmp_path / "out", "--allow", "unknown").code == 0
    assert call("check", folder, folder, "--out", tmp_path / "out", *twice).code == 0
    for ignored in ("--again", "test_examples=3", "--like=x.yaml", "--suite=core"):
        refused = call("check", folder, folder, ignored)
        assert refused.code == 2 and "is for asking a checkpoint, and two folders have" in refused.err
    assert "--churn is for --power" in call("check", folder, folder, "--churn", "4").err
    with path.with_suffix(".jsonl").open("a") as records:
        records.write("{")
    refused = call("check", folder, folder)
    assert refused.code == 2 and "not what was written" in refused.err
    typo = call("check", folder, folder, "--allow", "machin")
    assert typo.code == 2 and "did you mean 'machine'" in typo.err


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda rows: rows[1].update(score=float("nan")), r"number 2 has the score nan, not one from 0 to 1"),
        (lambda rows: rows[0].update(score=2), r"number 1 has the score 2, not"),
        (lambda rows: rows[0].update(lenient="1"), r"number 1 has the lenient '1', not"),
        (lambda rows: rows[1].update(id=3), r"number 2 has no text 'id'"),
        (lambda rows: rows[1].__delitem__("answer"), r"number 2 has no text 'answer'"),
        (lambda rows: rows[1].pop("finished"), r"number 2 does not say .* whether it finished"),
        (lambda rows: rows.insert(0, [1]), r"number 1 is no record"),
        (lambda rows: rows.append(rows[0]), r"they are 3 instead of 2"),
        (lambda rows: rows.clear(), r"they are 0 instead of 2"),
        (lambda rows: "{", r""),
        (lambda rows: "[" * 100_000, r"nested too deeply"),
    ],
)
def test_records_that_another_program_wrote_are_looked_at(tmp_path: Path, change: Any, wrong: str) -> None:
    export([answers([1, 0])], tmp_path)
    path = tmp_path / "records" / "t.jsonl"
    rows = files.read_jsonl(path)
    text = change(rows)
    path.write_text(text if isinstance(text, str) else "".join(f"{json.dumps(row)}\n" for row in rows))
    said = files.read_json(path.with_suffix(".json"))
    files.write_json(path.with_suffix(".json"), said | {"sha256": files.file_digest(path)})
    with pytest.raises(InputError, match=rf"The records .*t\.jsonl cannot be used: .*{wrong}.*mends"):
        read_folder(tmp_path)


# Servers


def test_a_server_that_changes_its_model_is_noticed(call: Call, server: ChatServer) -> None:
    def reply(model: str, mark: str = "") -> dict[str, Any]:
        message = {"content": "<think> x </think> \\boxed{ yes }"}
        return {
            "model": model,
            "system_fingerprint": mark,
            "choices": [{"message": message, "finish_reason": "stop"}],
        }

    rows = Path("rows.jsonl")
    rows.write_text("".join(json.dumps({"prompt": "?", "answer": "yes"}) + "\n" for _ in range(4)))
    options = (f"tasks.rows.test={rows}", f"server.model={NAME}", "server.concurrency=1", "server.pause=0.01")
    server.troubles = [reply("a"), reply("a"), reply("b")]
    said = call("evaluate", server.url, *options, "--out", "old")
    assert said.code == 1
    assert "changed its model while it was asked: a answered, now b does" in said.err
    server.troubles = [reply("b")] * 4
    rest = call("evaluate", server.url, *options, "--out", "old")
    assert rest.code == 1 and "changed its model while it was asked: a answered, now b does" in rest.err
    server.troubles = [reply("a", "f0"), (400, {}, {})]
    assert call("evaluate", server.url, *options, "--again", "--out", "old").code == 2
    server.troubles = [reply("a", "f1")] * 3
    assert call("evaluate", server.url, *options, "--out", "old").code == 0
    served = files.read_json(Path("old/records/rows.json"))["setting"]["served"]
    assert served == {"model": "a", "fingerprints": ["f0", "f1"]}
    server.troubles = [reply("b")] * 4
    more = call("evaluate", server.url, *options, f"tasks.more.test={rows}", "--out", "old")
    assert more.code == 1 and "Task more: " in more.err and "changed its model" in more.err
    server.troubles = [reply("a", "f1")] * 4
    assert call("evaluate", server.url, *options, "--again", "--out", "old").code == 0
    served = files.read_json(Path("old/records/rows.json"))["setting"]["served"]
    assert served == {"model": "a", "fingerprints": ["f1"]}
    server.troubles = [reply("b", "f2")] * 4
    changed = call("check", "old", server.url, *options, "--again", "--out", "out")
    assert changed.code == 0, changed.err
    assert "the server says that a (f1) answered before and b (f2) after" in Path("out/card.md").read_text()
    same = call("check", "old", "old", "--out", "out")
    assert same.code == 0, same.err
    assert "the same model answered on both sides (a)" in Path("out/card.md").read_text()


def test_one_side_of_two_models_is_refused() -> None:
    sides = [
        answers([1], task, SETTING | {"served": {"model": model, "fingerprints": []}})
        for task, model in (("one", "a"), ("two", "b"))
    ]
    with pytest.raises(InputError, match="changed its model between tasks: a and b gave the answers before"):
        served_remarks(sides, sides)


# Noise


def test_the_share_that_turned_is_rounded_as_tables_are() -> None:
    said = Noise("t", 16, turned=(4,), worded=1).text
    assert said == "t: 1 of 16 judgements turned (6.3 points), 1 response differs"


@pytest.mark.slow
def test_drawn_answers_are_too_noisy_and_the_setting_is_named(call: Call) -> None:
    options = ("embedded", "embedded", "--tasks", "measures", *OPTIONS, "--out", "out")
    said = call("check", *options, "evaluation.temperature=1", "--noise-floor", "5")
    assert said.code == 1
    assert "measures: " in said.err and "judgements turned" in said.err
    assert "It is the setting evaluation.temperature=0: so asked, two answers agree." in said.err
    quiet = call("check", *options, "--noise-floor", "0")
    assert quiet.code == 0, quiet.err
    assert "measures: 0 of 40 judgements turned (0.0 points), 0 responses differ" in quiet.out
    folder = call("check", "out/before", "embedded", *options[2:], "--noise-floor", "0")
    assert folder.code == 0, folder.err
    refused = call("check", "out/before", "out/after", "--noise-floor", "0")
    assert refused.code == 2 and "both are folders" in refused.err


@pytest.mark.slow
def test_a_noisy_server_and_its_setting(
    call: Call, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time round it answers otherwise, and never again."""

    def generate(self: ChatServer, body: dict[str, Any]) -> dict[str, Any]:
        answer = "no" if 24 < len(self.requests) <= 48 else "yes"
        message = {"content": f"<think> x </think> \\boxed{{ {answer} }}"}
        return {"choices": [{"message": message, "finish_reason": "stop"}]}

    rows = Path("rows.jsonl")
    rows.write_text("".join(json.dumps({"prompt": f"{i} ?", "answer": "yes"}) + "\n" for i in range(24)))
    monkeypatch.setattr(ChatServer, "generate", generate)
    options = (f"tasks.rows.test={rows}", f"server.model={NAME}", "server.pause=0.01", "--out", "out")
    said = call("check", server.url, server.url, *options, "--noise-floor", "0")
    assert said.code == 1, said.out
    assert "It is the setting server.concurrency=1: so asked, two answers agree." in said.err
