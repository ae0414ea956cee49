"""Releases of other papers' streams in miniature: rows made here, in the forms that their code reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.tasks.benchmarks.visulogic import STREAMS
from hub_fixtures import picture, save

ROWS = 4


def turns(image: str | None, question: str, answer: str, **more: Any) -> dict[str, Any]:
    said = [{"from": "human", "value": f"<image>\n{question}" if image else question}]
    row = {"id": "0", "conversations": [*said, {"from": "gpt", "value": answer}], **more}
    return row | ({"image": image} if image else {})


def judged(image: str, question: str, answer: str, key: str = "answer") -> dict[str, Any]:
    return {"question_id": 0, "image": image, "text": question, key: answer}


def pictures(folder: Path) -> None:
    for number in range(2 * ROWS):
        save(folder / f"{number}.jpg", picture(number))


def mrcl(folder: Path) -> None:
    answers = {
        "MedBookVQA": ["B", "C"], "Navigation": ["up; left; up", "down"],
        "We-Math2": [r"\frac{1}{2}", "3 cm"], "Puzzle": ["12", "First"], "FinMME": ["A,C", "12.5"],
    }  # fmt: skip
    for task, given in answers.items():
        pictures(folder / task / "images")
        for place, split in enumerate(("train", "test")):
            rows = [
                turns(f"{ROWS * place + n}.jpg", f"question {n} ?", given[n % 2]) for n in range(ROWS)
            ]  # fmt: skip
            if task == "FinMME":
                rows[1]["tolerance"] = 0.1
            save(folder / task / "jsons" / split / "data.json", rows)


def mllm_cl(folder: Path) -> None:
    answers = {"RS": "urban area", "Med": "yes", "AD": "Going ahead.", "Sci": "Ohio,Iowa", "Fin": "A"}
    for task, answer in answers.items():
        pictures(folder / task / "images")
        rows = [turns(f"images/{n}.jpg", f"question {n} ?", answer) for n in range(ROWS)]
        save(folder / task / "train.json", rows)
        rows = [judged(f"images/{ROWS + n}.jpg", f"question {n} ?", answer) for n in range(ROWS)]
        save(folder / task / "test.json", rows)


def coin(folder: Path) -> None:
    answers = {
        "ScienceQA": "B", "ImageNet": "tench", "GQA": "the left", "VizWiz": "unanswerable",
        "Grounding": "[0.1, 0.2, 0.5, 0.6]", "VQAv2": "2", "OCRVQA": "Jane Doe",
    }  # fmt: skip
    for task, answer in answers.items():
        pictures(folder / "cl_dataset" / task)
        rows = [turns(f"./{task}/{n}.jpg", f"question {n} ?", answer) for n in range(ROWS)]
        if task == "ScienceQA":
            rows[0] = turns(None, "a question without an image ?", answer)
        instructions = folder / "Instructions_Original" / task
        save(instructions / "train.json", rows)
        key = "answer_bbox" if task == "Grounding" else "answer"
        rows = [judged(f"./{task}/{ROWS + n}.jpg", f"question {n} ?", answer, key) for n in range(ROWS)]
        save(instructions / ("val.json" if task in ("VizWiz", "VQAv2") else "test.json"), rows)


def visulogic(folder: Path) -> None:
    lines, kinds = [], {stream: [] for stream in STREAMS}
    number = 0
    for stream, stages in STREAMS.items():
        for stage in stages:
            for _ in range(24):
                name = f"{number:05d}"
                content = [
                    {"type": "image", "image": f"images/{number % 8}.jpg"},
                    {"type": "text", "text": f"<image>\nWhich fits ({number}) ?\nA: A\nB: B\nC: C\nD: D"},
                ]
                message = json.dumps([{"role": "user", "content": content}])
                lines.append({"id": name, "tag": stream, "message": message, "answer": "ABCD"[number % 4]})
                kinds[stream].append({"id": name, "subcategory": stage.replace("_", " ").title()})
                number += 1
    pictures(folder / "images")
    save(folder / "visulogic_train_qwen.jsonl", _lines(lines))
    for stream, rows in kinds.items():
        save(folder / f"{stream}.jsonl", _lines(rows))


def _lines(rows: Sequence[Any]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


RELEASES = {"mrcl": mrcl, "visulogic": visulogic, "mllm_cl": mllm_cl, "coin": coin}
