"""MMLU-Pro: questions in text only, up to ten options; asked without worked examples.

The official protocol shows five worked examples. Here the question stands alone, as every task's
does, so figures are comparable before and after post-training, not with the leader board.
"""

from __future__ import annotations

from holdfast.tasks.benchmarks.benchmark import BadRow, Benchmark, Record
from holdfast.tasks.benchmarks.fields import LETTER, letter_at, lettered, text, text_list
from holdfast.tasks.example import Example
from holdfast.tasks.task import Split


def example(record: Record, split: Split) -> Example:
    choices = text_list(record["options"], "options")
    while choices and choices[-1] == "N/A":  # an older revision fills up to ten; within, it is an option
        choices = choices[:-1]
    letter = letter_at(record["answer_index"], choices)
    if record.get("answer") not in (None, letter):
        raise BadRow(f"answer {record['answer']!r} and answer_index {record['answer_index']} disagree")
    return Example(
        id=f"{split}-{record['question_id']}",
        prompt=f"{text(record['question'], 'question')}\n{lettered(choices)}\n{LETTER}",
        answer=letter,
        choices=choices,
        meta={"category": record["category"]},
    )


BENCHMARK = Benchmark(
    name="mmlu_pro",
    version=3,
    description="knowledge and reasoning in text, up to ten options (MMLU-Pro)",
    licence="MIT (card), Apache-2.0 (repository)",
    hub=("TIGER-Lab/MMLU-Pro",),
    tables={"validation": ("validation",), "test": ("test",)},
    columns=("question_id", "question", "options", "answer_index", "category"),
    optional=("answer",),
    example=example,
    scorer="mmlu_pro",
    sizes={"validation": 70, "test": 12032},
)
