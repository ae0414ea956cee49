"""The comparison with official scripts, on stand-ins of a few lines: none of the real ones is at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "official.py"
MMLU_PRO = """
import random
import re
import a_package_that_is_not_there

LETTERS = "ABCDEFGHIJ"
print("a script that is run would say this")


def extract_answer(text):
    found = re.search(r"answer is \\(?([A-J])", text)
    if not found:
        print("what a script says of an answer that it cannot read")
    return found[1] if found else random.choice(LETTERS)


if __name__ == "__main__":
    raise SystemExit("nor is this run")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "MMLU-Pro").mkdir()
    (tmp_path / "MMLU-Pro" / "evaluate_from_local.py").write_text(MMLU_PRO)
    return tmp_path


def table(folder: Path) -> tuple[dict[tuple[str, ...], list[str]], str]:
    """Lines of the table by scorer and script, and all that was printed."""
    said = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=True
    )
    lines = [line.strip("| ").split(" | ") for line in said.stdout.splitlines() if line.startswith("| ")]
    return {tuple(cells[:2]): cells for cells in lines[1:]}, said.stdout


def test_outputs_are_scored_by_both_and_disagreements_shown(folder: Path) -> None:
    """Both right, both wrong, none by the script's rule (no guess), and one that only ours reads."""
    (folder / "outputs").mkdir()
    answers = ["The answer is B", "The answer is C", "no idea", "B. a cat"]
    rows = [{"response": text, "answer": "B", "choices": ["a dog", "a cat", "a cow"]} for text in answers]
    (folder / "outputs" / "mmlu_pro.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines, said = table(folder)
    assert lines["mmlu_pro", "MMLU-Pro"][2:4] == ["4", "75.00 %"]
    assert lines["mmlu_pro_script", "MMLU-Pro"][2] == "4"  # the same outputs
    assert "1  ours higher  choice: 'B. a cat' for 'B'" in said
    assert "would say this" not in said
    assert "what a script says" not in said


def test_without_outputs_answers_are_made_and_what_is_not_at_hand_is_said(folder: Path) -> None:
    lines, said = table(folder)
    ours, official = (float(cell.split()[0]) for cell in lines["mmlu_pro", "MMLU-Pro"][4:])
    assert official < ours < 100  # of a corrected statement the first counts, as in the real script
    assert lines["mmmu", "MMMU-Pro"][2] == "not at hand" and "mmmu-pro/evaluate.py" in said


def test_a_script_that_lacks_a_function_is_named(folder: Path) -> None:
    (folder / "MMLU-Pro" / "evaluate_from_local.py").write_text("extract = 1\n")
    lines, said = table(folder)
    assert lines["mmlu_pro", "MMLU-Pro"][2] == "not at hand"
    assert "evaluate_from_local.py has no extract_answer" in said
