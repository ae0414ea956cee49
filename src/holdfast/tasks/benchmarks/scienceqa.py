"""ScienceQA, the questions with an image: school science, 2 to 5 options.

Official: lupantech/ScienceQA. The prompt is lmms-eval's. The study marked the hint with `Context:`
in training rows and not in test rows; here it is marked in both.
"""

from __future__ import annotations

from holdfast.tasks.benchmarks.benchmark import BadRow, Benchmark, Record
from holdfast.tasks.benchmarks.fields import LETTER, letter_at, lettered, stored, text, text_list
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split


def example(record: Record, split: Split) -> Example | None:
    image = stored(record["image"])
    if image is None:
        return None
    choices = text_list(record["choices"], "choices")
    if not 2 <= len(choices) <= 26:
        raise BadRow(f"{len(choices)} choices")
    hint = (record.get("hint") or "").strip()
    parts = [f"Context: {hint}"] if hint else []
    # `lecture` and `solution` give the answer away; they stay out.
    return Example(
        id=f"{split}-{record['row']}",
        prompt="\n".join((*parts, text(record["question"], "question"), lettered(choices), LETTER)),
        answer=letter_at(record["answer"], choices),
        images=(image,),
        choices=choices,
        meta={key: record[key] for key in ("subject", "topic", "grade") if record.get(key)},
    )


BENCHMARK = Benchmark(
    name="scienceqa",
    version=3,
    description="school science with an image, option letters (ScienceQA, image subset)",
    licence="CC BY-NC-SA 4.0 (official repository); the hub's card says CC BY-SA 4.0",
    hub=("derek-thomas/ScienceQA",),
    tables={
        "train": ("train", "ScienceQA-IMG/train"),
        "validation": ("validation", "ScienceQA-IMG/validation"),
        "test": ("test", "ScienceQA-IMG/test"),
    },
    columns=("image", "question", "choices", "answer"),
    optional=("hint", "subject", "topic", "grade"),
    example=example,
    scorer="options",
    sizes={"train": 6218, "validation": 2097, "test": 2017},
)
