"""MMMU: college exam questions with one to seven images; options, or an open answer.

The test answers are hidden: `test` is the official validation split, `validation` the official
dev split. The prompt is the official one for LLaVA-1.5. Images come before the text, in the order
of their numbers, which the markers `<image 1>` in the text refer to.
"""

from __future__ import annotations

from contextlib import suppress

from holdfast.tasks.benchmarks.benchmark import BadRow, Benchmark, Record
from holdfast.tasks.benchmarks.fields import LETTER, SHORT, answer_texts, images_of, lettered, text, text_list
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split

_IMAGES = tuple(f"image_{number}" for number in range(1, 8))


def example(record: Record, split: Split) -> Example:
    images = images_of(*map(record.get, _IMAGES))
    id, question = text(record["id"], "id"), text(record["question"], "question")
    choices = text_list(record["options"], "options")
    subject = "_".join(id.split("_")[1:-1])
    meta = {"subject": subject, "kind": record["question_type"]}
    if record["question_type"] == "open" or not choices:
        answers = answer_texts(_alternatives(record["answer"]))
        prompt = f"{question}\n\n{SHORT}"
        return Example(id, prompt, answers[0], images, references=answers, meta=meta)
    letter = text(record["answer"], "answer")
    if len(letter) != 1 or not 0 <= ord(letter) - ord("A") < len(choices):
        raise BadRow(f"answer {letter!r} is none of {len(choices)} options")
    prompt = f"{question}\n\n{lettered(choices, '({letter}) {choice}')}\n\n{LETTER}"
    return Example(id, prompt, letter, images, choices=choices, meta=meta)


def _alternatives(answer: object) -> object:
    """Several accepted answers are written as a Python list in a text."""
    if isinstance(answer, str) and answer.strip().startswith("["):
        with suppress(BadRow):
            return list(text_list(answer, "answer"))
    return answer


BENCHMARK = Benchmark(
    name="mmmu",
    version=2,
    description="college exams with images, options or open (MMMU; test = official validation)",
    licence="Apache-2.0",
    hub=("MMMU/MMMU", "lmms-lab-encoder/MMMU", "lmms-lab/MMMU"),
    tables={"validation": ("*/dev",), "test": ("*/validation",)},
    columns=("id", "question", "options", "answer", "question_type", "image_1"),
    optional=_IMAGES[1:],
    example=example,
    scorer="mmmu",
    sizes={"validation": 150, "test": 900},
)
