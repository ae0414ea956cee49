"""Super-CLEVR as converted in MathV360K, which the study used: free text, noisy, with no split of its own.

The study took 642 of 8642 rows for test; which ones is unknown. Here about as many are drawn, by
image, so that no image is in both splits.
"""

from __future__ import annotations

from holdfast.tasks.benchmarks.benchmark import BadRow, Benchmark, Record
from holdfast.tasks.benchmarks.fields import (
    SHORT,
    answer_texts,
    is_for_test,
    question_and_answer,
    stored,
    text,
    without_markers,
)
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split

_TEST_SHARE = 642 / 8642


def example(record: Record, split: Split) -> Example | None:
    image = stored(record["image"])
    if not isinstance(image, bytes):
        raise BadRow("no image")
    if is_for_test(image, _TEST_SHARE) != (split == "test"):
        return None
    question, answer = question_and_answer(record["conversations"])
    prompt = without_markers(text(question, "question"), 1)
    return Example(
        id=f"row-{record['row']}",  # the set's own ids may repeat
        prompt=prompt if prompt.endswith(SHORT) else f"{prompt}\n{SHORT}",
        answer=answer_texts(answer)[0],
        images=(image,),
    )


BENCHMARK = Benchmark(
    name="superclevr_mathv360k",
    version=2,
    description="rendered vehicles, free-text answers (Super-CLEVR as converted in MathV360K)",
    licence="not stated for the conversion; see superclevr",
    hub=("lmms-lab-encoder/LLaVA-OneVision-Data", "lmms-lab/LLaVA-OneVision-Data"),
    tables=dict.fromkeys(("train", "test"), ("Super-CLEVR(MathV360K)/train", "train")),
    columns=("image", "conversations"),
    example=example,
    scorer="superclevr",
    about={"train": 8000, "test": 642},
)
