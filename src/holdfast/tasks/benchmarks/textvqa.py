"""TextVQA: questions about text in photographs, ten answers each.

The prompt is LLaVA's and the study's: the OCR tokens stand in it, parted by commas alone, and their line
stays where there are none. (lmms-eval has `, ` between them, and by default no such line.) The official
test split has no answers, so `test` is the official validation split, as in the study.
"""

from __future__ import annotations

from holdfast.tasks.benchmarks.benchmark import Benchmark, Record
from holdfast.tasks.benchmarks.fields import SHORT, answer_list, images_of, text, text_list
from holdfast.tasks.example import Example
from holdfast.tasks.scorers.vqa import majority
from holdfast.tasks.task import Split


def example(record: Record, split: Split) -> Example:
    answers = answer_list(record["answers"])
    ocr = record.get("ocr_tokens")  # some copies lack the column
    tokens = [] if ocr is None else [f"Reference OCR token:{','.join(text_list(ocr, 'ocr_tokens'))}"]
    return Example(
        id=f"{split}-{record['question_id']}",
        prompt="\n".join((text(record["question"], "question"), *tokens, SHORT)),
        answer=majority(answers),
        images=images_of(record["image"]),
        references=answers,
        meta={"image_id": record["image_id"]},
    )


BENCHMARK = Benchmark(
    name="textvqa",
    version=3,
    description="text in photographs, ten answers (TextVQA; test = official validation)",
    licence="CC BY 4.0 (annotations); images from OpenImages/Flickr have licences of their own",
    hub=("lmms-lab-encoder/textvqa", "lmms-lab/textvqa"),
    tables={"train": ("train",), "test": ("validation", "val")},
    columns=("image", "image_id", "question_id", "question", "answers"),
    optional=("ocr_tokens",),
    example=example,
    scorer="vqa",
    sizes={"train": 34602, "test": 5000},
)
