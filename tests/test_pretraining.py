"""Making the embedded model: two cycles of a few steps, from scratch, the same bits again."""

from safetensors.torch import load_file

from holdfast.pretraining import card, train
from holdfast.pretraining.card import write_card


def test_a_short_pre_training_is_deterministic_and_gives_a_loadable_model(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "BATCH", 8)
    monkeypatch.setattr(train, "VISION_STEPS", 2)
    monkeypatch.setattr(train, "OPTION_STEPS", 2)
    lines = []
    for name in ("one", "two"):
        train.pretrain(tmp_path / name, cycles=(6, 2), processes=1, seed=3, report=lines.append)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)
    assert any("cycle 2" in line for line in lines)

    write_card(tmp_path / "one", "a test", report=lambda line: None, count=4)
    card = (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    assert "| diagrams | cot |" in card and "| presence | direct |" in card


def test_the_command_trains_in_two_processes(tmp_path, call, monkeypatch):
    monkeypatch.setattr(card, "TASKS", {"facts": card.TASKS["facts"]})  # measure one task, not ten
    folder = tmp_path / "model"
    answer = call(
        "pretrain-embedded", "--out", str(folder), "--steps", "2", "--steps", "1", "--processes", "2"
    )
    assert answer.code == 0, answer
    assert (folder / "model.safetensors").exists() and "--steps 2 --steps 1" in (
        folder / "README.md"
    ).read_text()
