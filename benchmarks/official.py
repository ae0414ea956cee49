"""How far the scorers agree with the official scripts they stand for.

    python benchmarks/official.py FOLDER

FOLDER holds what nobody may redistribute here; what is missing is left out and said:

    mathruler/grader.py                     of the package mathruler 0.1.0 (or installed)    study
    MMLU-Pro/evaluate_from_local.py         TIGER-AI-Lab/MMLU-Pro          mmlu_pro, mmlu_pro_script
    MMMU/mmmu-pro/evaluate.py               MMMU-Benchmark/MMMU                              mmmu
    lmms_eval/tasks/                        of the package lmms-eval, unpacked           options, vqa, mmmu
    outputs/SCORER.jsonl                    model outputs, if any: response, answer, choices, references

The scripts are run as they are, function by function, but for their random guesses, which count as none.
Without outputs the answers are made by rule from a few golds: each is put in the forms that models use, and
answers that are wrong are put in the same forms. The table says how often both gave the same score, and how
often each was right; below it stand the disagreements by form, with an example of each.
"""

from __future__ import annotations

import ast
import itertools
import json
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

from holdfast.tasks.example import Example
from holdfast.tasks.scorers import SCORERS, latex, study

TOLERANCE = 1e-6
Judge = Callable[["Row"], float]


class Row(NamedTuple):
    """An answer to score.

    Attributes:
        form: what kind of answer it is.
        right: the score that it deserves, by how it was made; None for a model's output.
    """

    form: str
    answer: str
    reference: str
    choices: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    right: float | None = None


def definitions(path: Path) -> dict[str, Any]:
    """The functions, classes and constants of a script, without running it; no random guesses."""
    made: dict[str, Any] = {"__name__": path.stem}
    kinds = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, kinds):
            try:
                exec(compile(ast.Module([node], []), str(path), "exec"), made)
            except Exception:  # an import that is not at hand; what needs it fails when it is called
                continue
    return made | {"random": SimpleNamespace(choice=lambda options: None)}


def functions(path: Path, *names: str) -> list[Callable[..., Any]]:
    """These functions of a script.

    Raises:
        LookupError: it has none of that name.
    """
    made = definitions(path)
    for name in names:
        if name not in made:
            raise LookupError(f"{path} has no {name}")
        if hasattr(made[name], "__globals__"):
            made[name].__globals__["random"] = made["random"]
    return [made[name] for name in names]


def mathruler(folder: Path) -> Judge:
    if (folder / "mathruler" / "grader.py").exists():
        sys.path.insert(0, str(folder))
    from mathruler.grader import grade_answer

    def hung(*_: object) -> None:
        raise TimeoutError

    def judge(row: Row) -> float:
        signal.signal(signal.SIGALRM, hung)
        signal.alarm(5)
        try:
            return float(grade_answer(row.answer, row.reference))
        except TimeoutError:
            return 0.0
        finally:
            signal.alarm(0)

    return judge


def mmlu_pro(folder: Path) -> Judge:
    script = folder / "MMLU-Pro" / "evaluate_from_local.py"
    (extract,) = functions(script, "extract_answer")
    return lambda row: float(extract(row.answer) == row.reference)


def mmmu_pro(folder: Path) -> Judge:
    (parse,) = functions(folder / "MMMU" / "mmmu-pro" / "evaluate.py", "parse_multi_choice_response")
    return lambda row: float(parse(row.answer, *_lettered(row.choices)) == row.reference)


def mmmu_choice(folder: Path) -> Judge:
    script = folder / "lmms_eval" / "tasks" / "_task_utils" / "mmmu_mcq_utils.py"
    (parse,) = functions(script, "parse_mmmu_multi_choice_response")
    return lambda row: float(parse(row.answer, *_lettered(row.choices)) == row.reference)


def mmmu_open(folder: Path) -> Judge:
    script = folder / "lmms_eval" / "tasks" / "mmmu" / "utils.py"
    parse, score = functions(script, "parse_open_response", "eval_open")
    return lambda row: float(score(list(row.references or (row.reference,)), parse(row.answer)))


def scienceqa(folder: Path) -> Judge:
    (process,) = functions(folder / "lmms_eval" / "tasks" / "scienceqa" / "utils.py", "sqa_process_results")

    def judge(row: Row) -> float:
        document = {"choices": row.choices, "answer": ord(row.reference) - ord("A")}
        return float(process(document, [row.answer])["exact_match"])

    return judge


def vqa(folder: Path) -> Judge:
    script = folder / "lmms_eval" / "tasks" / "_task_utils" / "vqa_eval_metric.py"
    (processor,) = functions(script, "EvalAIAnswerProcessor")
    normal = processor()

    def judge(row: Row) -> float:
        given, accepted = normal(row.answer), [normal(one) for one in row.references]
        others = [accepted[:place] + accepted[place + 1 :] for place in range(len(accepted))]
        return sum(min(1.0, nine.count(given) / 3) for nine in others) / len(accepted)

    return judge


def _lettered(choices: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    letters = [chr(ord("A") + place) for place in range(len(choices))]
    return letters, dict(zip(letters, choices, strict=True))


QUESTIONS = (
    ("Vitamin D", "Vitamin C", "iron", "zinc"),
    ("carbon dioxide", "oxygen", "a noble gas", "nitrogen", "none of these"),
    ("12 m", "15 m", "1.9 m", "21 m", "24 m", "27 m", "30 m", "33 m", "36 m", "39 m"),
    ("the cat", "the dog"),
)
STATED = {
    "letter": "{L}", "letter.": "{L}.", "(letter)": "({L})", "letter. text": "{L}. {T}",
    "(letter) text": "({L}) {T}",
    "The answer is X.": "The answer is {L}.", "The answer is (X).": "The answer is ({L}).",
    "Answer: X": "Some thought on it first.\nAnswer: {L}", "**X**": "**{L}**",
    "LaTeX": r"The answer is $\text{{{L}}}$.",
    "text": "{T}", "sentence": "I think that it must be option {L}, as the others do not fit.",
    "corrected": "The answer is ({W}). No, wait: the answer is ({L}).",
    "ruled out": "{W} is wrong, so the answer is {L}.",
    "bracketed": "We look at ({W}) and at ({L}).\nAnswer: {L}",
    "final": "Therefore, the final answer is: {L}",
}  # fmt: skip


def choice_rows() -> Iterator[Row]:
    for choices in QUESTIONS:
        letters, texts = _lettered(choices)
        for gold, said in itertools.product(letters, repeat=2):
            other = letters[(letters.index(said) + 1) % len(letters)]
            for form, template in STATED.items():
                answer = template.format(L=said, T=texts[said], W=other)
                yield Row(form, answer, gold, choices, right=float(said == gold))


WORDS = (
    "dog", "2", "two", "red and white", "coca-cola", "yes", "don't walk", "3:15", "1,000", "a bus", "$5.99",
    "unanswerable", "left side", "U.S.", "jack daniel's",
)  # fmt: skip
WRITTEN = (
    "{}",
    "{}.",
    "{}!",
    "the {}",
    "{},",
    " {} ",
    '"{}"',
    "({})",
    "it is {}",
    "{}\n",
    "{}?",
    "A {}",
    "{} .",
)


def vqa_rows() -> Iterator[Row]:
    for (place, gold), said, (form, agreeing) in itertools.product(
        enumerate(WORDS), WORDS, itertools.product(WRITTEN, (1, 2, 3, 10))
    ):
        references = (gold,) * agreeing + (WORDS[(place + 1) % len(WORDS)],) * (10 - agreeing)
        for written in {form.format(said), form.format(said).upper()}:
            yield Row(f"as {form!r}", written, gold, references=references)


OPEN = ("12.5", "1200", "mitosis", "-5", "0.3", "3.14", "$6", "cell wall", "6.02e23")
SAID_OPEN = (
    "{}",
    "{}.",
    "The answer is {}.",
    "x = {}",
    "First 7, so it is {}.",
    "Therefore, {}",
    "about {} units",
)


def open_rows() -> Iterator[Row]:
    for gold, said, form in itertools.product(OPEN, OPEN, SAID_OPEN):
        yield Row(f"as {form!r}", form.format(said), gold, references=(gold,), right=float(said == gold))


GOLDS = (
    "B", "E", "128", "311.5", "0.5", "1,200", "-3", "8 \\sqrt { 3 }", "32 \\pi", "\\frac { 4 } { 3 }",
    "2 : 3", "65",
    "4 \\frac { 4 } { 11 }", "x + 1", "a + b = 90", "(1,2)", "\\overline { A C }", "A D and B E", "10%",
    "30^\\circ",
    "dakota", "red and white", "yes", "no", "unanswerable", "coca cola", "left", "a bus", "true",
    "blue and brown",
    "The bicycle is blue and brown", "4; 1:1", "12:15", "u.s.", "second part", "lymphocytes", "none", "3/4",
    "x^2-1",
    "jack daniel's", "answering does not require reading text in the image", "yard", "football", "one way",
    "7up",
)  # fmt: skip
FORMS = (
    "{}", "{}.", "({})", "${}$", "\\({}\\)", "AC = {}", "x = {}", "x={}", "{} units", "{} m", "{} cm",
    "{} in.", "{}%",
    "{} \\text{{ cm}}^2", "{}^\\circ", "{}\\degree", "\\text{{{}}}", "\\textbf{{{}}}", "\\mathrm{{{}}}",
    "-{}", "{}, 3",
    "{} miles", "{} MILES", "the {}", "**{}**", "{} and {}", "{} or {}", "{},{}", "\\frac{{{}}}{{2}}",
    "\\sqrt{{{}}}",
    "{} \\approx 13.86", "{}.0", "0{}", "+{}", " {} ", "It is {}.", "{}!", "{}?", "'{}'", "{}-{}",
    "2 \\times {}",
)  # fmt: skip


def study_rows() -> Iterator[Row]:
    for gold in GOLDS:
        for form in FORMS:
            for said in dict.fromkeys((gold, gold.upper(), gold.capitalize(), gold.replace(" ", ""))):
                yield Row(f"as {form!r}", form.format(said, said), gold)
        for other in GOLDS:
            yield Row("another gold", other, gold)


class Comparison(NamedTuple):
    """A scorer and the script it stands for.

    Attributes:
        rule: what is compared, where it is not the scorer.
    """

    scorer: str
    script: str
    judge: Callable[[Path], Judge]
    made: Callable[[], Iterator[Row]]
    rule: Judge | None = None


COMPARISONS = (
    Comparison("study", "mathruler 0.1.0, but for exceptions", mathruler, study_rows),
    Comparison(
        "study", "mathruler 0.1.0", mathruler, study_rows, lambda row: study.same(row.answer, row.reference)
    ),
    Comparison("mmlu_pro", "MMLU-Pro", mmlu_pro, choice_rows),
    Comparison("mmlu_pro_script", "MMLU-Pro", mmlu_pro, choice_rows),
    Comparison("options", "lmms-eval, ScienceQA", scienceqa, choice_rows),
    Comparison("mmmu", "MMMU-Pro", mmmu_pro, choice_rows),
    Comparison("mmmu", "lmms-eval, MMMU", mmmu_choice, choice_rows),
    Comparison("mmmu", "lmms-eval, MMMU open", mmmu_open, open_rows),
    Comparison("vqa", "lmms-eval, EvalAI", vqa, vqa_rows),
)


def outputs(file: Path) -> Iterator[Row]:
    """Rows of real outputs; their form is whether they offer options."""
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        choices, references = (tuple(row.get(key) or ()) for key in ("choices", "references"))
        yield Row("choice" if choices else "open", row["response"], row["answer"], choices, references)


def ours(scorer: str, row: Row) -> float:
    example = Example("", "", row.reference, choices=row.choices, references=row.references)
    return SCORERS[scorer](row.answer, example)


def compare(one: Comparison, folder: Path) -> tuple[str, list[str]]:
    """A line of the table, and the disagreements by form.

    Raises:
        LookupError, OSError, ImportError: the script is not at hand, or has not what is wanted.
    """
    judge = one.judge(folder)
    file = folder / "outputs" / f"{one.scorer.removesuffix('_script')}.jsonl"
    made = list(one.made())
    given = outputs(file) if file.exists() else ()
    rows = [row for row in given if bool(row.choices) == bool(made[0].choices)] or made
    with redirect_stdout(StringIO()):  # scripts print the answers that they cannot read
        scores = [(row, one.rule(row) if one.rule else ours(one.scorer, row), judge(row)) for row in rows]
    same = [abs(mine - theirs) <= TOLERANCE for _, mine, theirs in scores]

    def right(place: int) -> str:
        known = [row.right == pair[place] for row, *pair in scores if row.right is not None]
        return f"{100 * sum(known) / len(known):.1f} %" if known else "–"

    agreement = f"{100 * sum(same) / len(same):.2f} %"
    line = f"| {one.scorer} | {one.script} | {len(same):,} | {agreement} | {right(0)} | {right(1)} |"
    apart = defaultdict(list)
    for (row, mine, theirs), agree in zip(scores, same, strict=True):
        if not agree:
            apart[row.form, mine > theirs].append(row)
    found = [
        f"  {len(some):5d}  {'ours' if laxer else 'official'} higher  {form}: "
        f"{some[0].answer[-80:]!r} for {some[0].reference!r}"
        for (form, laxer), some in sorted(apart.items(), key=lambda item: -len(item[1]))
    ]
    return line, found


def main(folder: Path) -> None:
    print("| scorer | official script | answers | same score | ours right | official right |")
    print("|---|---|---:|---:|---:|---:|")
    details: list[str] = []
    with patch.object(
        latex, "mathruler_version", lambda: None
    ):  # of `study`, our own code is what is compared
        for one in COMPARISONS:
            try:
                line, apart = compare(one, folder)
            except (LookupError, OSError, ImportError) as error:
                line, apart = f"| {one.scorer} | {one.script} | not at hand | | | |", [f"  {error}"]
            print(line, flush=True)
            details += [f"\n{one.scorer}, {one.script}", *apart]
    print("\n".join(details))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("."))
