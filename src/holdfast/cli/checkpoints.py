"""`holdfast evaluate` and `holdfast check`: examine a checkpoint, compare two."""

from __future__ import annotations

import inspect
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.console import err, out, show_table
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.checkpoints.evaluation import Answers
    from holdfast.checkpoints.exam import Exam, OnStep, Subject
    from holdfast.policy.settings import ModelSettings

LINE_SECONDS = 30.0  # between two plain lines about a task that goes well
FORGOTTEN = 3  # exit code

Tasks = Annotated[
    str, typer.Option("--tasks", metavar="NAME,NAME", help="Tasks, as 'holdfast tasks' lists them.")
]
Data = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILE.jsonl[:SCORER]", help="Your own data as one more task (repeat it)."),
]
Style = Annotated[str, typer.Option(help="cot: reason, then \\boxed{answer}; direct: the bare answer.")]
Prompts = Annotated[str, typer.Option(help="Instructions: standard, or embedded for the embedded model.")]
Scoring = Annotated[str, typer.Option(help="Rule for benchmarks: official or study.")]
Examples = Annotated[int | None, typer.Option(min=1, help="At most so many of each task; normally all.")]
Split = Annotated[str, typer.Option(help="train, validation or test.")]
Batch = Annotated[int, typer.Option(min=1, help="Examples that are answered together.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest response.")]
Temperature = Annotated[float, typer.Option(min=0.0, help="0 is greedy.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="KEY=VALUE",
        help="How to load it, such as dtype=bfloat16 (repeat it).",
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Ask everything again, also what is done.")]
Url = Annotated[
    str | None, typer.Option("--endpoint", metavar="URL", help="An OpenAI-compatible server that generates.")
]
Served = Annotated[
    str | None, typer.Option("--served-model", metavar="NAME", help="What the server calls the model.")
]
KeyVariable = Annotated[
    str | None, typer.Option("--api-key-env", metavar="VAR", help="Variable that holds the server's key.")
]
Concurrency = Annotated[int, typer.Option(min=1, max=1024, help="Requests under way at the same time.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds without a sign of the server.")]
Retries = Annotated[int, typer.Option(min=0, max=20, help="Attempts after one that failed.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show where in the code an error came from.")]


def evaluate(
    model: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="A model's folder, a hub id, or 'embedded'.")
    ] = None,
    tasks: Tasks = "",
    data: Data = None,
    style: Style = "cot",
    prompts: Prompts = "standard",
    scoring: Scoring = "official",
    examples: Examples = None,
    split: Split = "test",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the records; normally runs/evaluate/MODEL.")
    ] = None,
    batch: Batch = 64,
    max_tokens: MaxTokens = 1024,
    temperature: Temperature = 0.0,
    settings: Settings = None,
    again: Again = False,
    endpoint: Url = None,
    served_model: Served = None,
    api_key_env: KeyVariable = None,
    concurrency: Concurrency = 8,
    timeout: Timeout = 60,
    retries: Retries = 5,
    debug: Debug = False,
) -> None:
    """Let a checkpoint answer tasks: a record a sample, and accuracies with intervals.

    Tasks that were done with the same inputs are not asked again. The model may be on this machine,
    or behind a server: --endpoint URL --served-model NAME in place of MODEL.
    """
    from holdfast.checkpoints.evaluation import summary
    from holdfast.report.table import to_json

    _prepare(debug)
    if (model is None) == (endpoint is None):
        raise InputError("Give either MODEL, or --endpoint and --served-model.")
    exam = _exam(tasks, data, split, scoring, examples, style, prompts, max_tokens, temperature)
    subject = (
        _served(endpoint, served_model, api_key_env, concurrency, timeout, retries, settings)
        if endpoint is not None
        else _local(model or "", settings, batch)
    )
    target = folder or Path("runs/evaluate") / _slug(subject.name)
    answers = _examine(subject, exam, target, again)
    show_table(to_json(summary(answers)))
    out.print(f"\nRecords: {target / 'records'}", soft_wrap=True, highlight=False)


def check(
    before: Annotated[
        str, typer.Argument(metavar="BASE", help="The old model, or a folder of 'holdfast evaluate'.")
    ],
    after: Annotated[
        str | None, typer.Argument(metavar="[NEW]", help="The new one; or the server of --endpoint.")
    ] = None,
    max_drop: Annotated[float, typer.Option(min=0.0, max=100.0, help="Points that accuracy may fall.")] = 1.0,
    level: Annotated[
        float,
        typer.Option(min=0.5, max=0.9999, help="Of intervals; 1 − it is the chance of a false alarm."),
    ] = 0.95,
    strict: Annotated[
        bool, typer.Option("--strict", help="Unclear fails, too: pass only what was shown to be kept.")
    ] = False,
    tasks: Tasks = "",
    data: Data = None,
    style: Style = "cot",
    prompts: Prompts = "standard",
    scoring: Scoring = "official",
    examples: Examples = None,
    split: Split = "test",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the comparison; normally runs/check/BASE-NEW.")
    ] = None,
    batch: Batch = 64,
    max_tokens: MaxTokens = 1024,
    temperature: Temperature = 0.0,
    settings: Settings = None,
    again: Again = False,
    endpoint: Url = None,
    served_model: Served = None,
    api_key_env: KeyVariable = None,
    concurrency: Concurrency = 8,
    timeout: Timeout = 60,
    retries: Retries = 5,
    debug: Debug = False,
) -> None:
    """Compare two checkpoints sample by sample; exit code 3 when something was forgotten.

    A task is FORGOTTEN when its accuracy fell by more than --max-drop points and the fall is no chance:
    McNemar's exact test over the items lost and gained, adjusted for the number of tasks, gives at most
    1 − level. It is KEPT when the interval of the change lies above −max-drop. Otherwise it is UNCLEAR:
    too few items to tell.

    Exit codes: 0 nothing was shown to be forgotten (with --strict: everything was shown to be kept),
    3 forgotten (with --strict: or unclear), 2 wrong input, 1 another failure.

    BASE and NEW are models, or folders that 'holdfast evaluate' wrote; with --endpoint URL
    --served-model NAME the server is NEW. Every item whose answer turned is in flips.jsonl.
    """
    from holdfast.checkpoints import comparison as comparisons
    from holdfast.checkpoints.evaluation import RECORDS, read_answers
    from holdfast.checkpoints.local import LocalModel
    from holdfast.report.table import to_json

    _prepare(debug)
    if (after is None) == (endpoint is None):
        raise InputError("Give either NEW, or --endpoint and --served-model.")
    sides: list[Subject | Path] = [_side(before, settings, batch)]
    if endpoint is not None:
        sides.append(_served(endpoint, served_model, api_key_env, concurrency, timeout, retries, settings))
    else:
        sides.append(_side(after or "", settings, batch))
    target = folder or Path("runs/check") / "-".join(_slug(_name(side)) for side in sides)
    names = list(dict.fromkeys(_names(tasks)))
    exam = None
    if not all(isinstance(side, Path) for side in sides):
        exam = _exam(tasks, data, split, scoring, examples, style, prompts, max_tokens, temperature)
        names = [task.name for task in exam.tasks]
        for side in sides:
            if isinstance(side, Path):  # a difference shows before any work
                comparisons.check_asked(read_answers(side, names), exam)
    for side, part in zip(sides, ("before", "after"), strict=True):
        if isinstance(side, LocalModel) and not (target / part / RECORDS).is_dir():
            side.check_ready()
    old = _answers_of(sides[0], exam, names, target / "before", again)
    new = _answers_of(sides[1], exam, [one.task for one in old], target / "after", again)
    compared = comparisons.compare(old, new, max_drop=max_drop / 100, level=level)
    checkpoints = (old[0].checkpoint, new[0].checkpoint)
    show_table(to_json(comparisons.write(compared, checkpoints, target)))
    forgotten, unclear = compared.named("forgotten"), compared.named("unclear")
    if forgotten:
        verdict = f"Forgotten: {', '.join(forgotten)}."
    else:
        verdict = "Nothing was shown to be forgotten."
    if unclear:
        verdict += f" Unclear: {', '.join(unclear)}; more examples would tell."
    out.print(f"\n{verdict}", soft_wrap=True, highlight=False)
    out.print(f"Items whose answer turned: {target / 'flips.jsonl'}", soft_wrap=True, highlight=False)
    if forgotten or (strict and unclear):
        raise typer.Exit(FORGOTTEN)


def help_text(command: Callable[..., None]) -> str:
    """A command's docstring with its paragraphs unwrapped, for the terminal to wrap."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


def _prepare(debug: bool) -> None:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning" if debug else "error")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as cleanly as on Ctrl-C


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _exam(
    tasks: str,
    data: Sequence[str] | None,
    split: str,
    scoring: str,
    examples: int | None,
    style: str,
    prompts: str,
    max_tokens: int,
    temperature: float,
) -> Exam:
    from holdfast.checkpoints.exam import Exam, find_tasks
    from holdfast.policy.settings import Sampling
    from holdfast.tasks.prompts import TEMPLATES

    for option, value, known in (
        ("--style", style, ("cot", "direct")),
        ("--prompts", prompts, tuple(TEMPLATES)),
        ("--scoring", scoring, ("official", "study")),
        ("--split", split, ("train", "validation", "test")),
    ):
        if value not in known:
            raise InputError(f"{option} must be {' or '.join(known)}, not '{value}'.")
    found = find_tasks(_names(tasks), data or (), split, scoring)  # type: ignore[arg-type]
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    return Exam(found, split, examples, style, TEMPLATES[prompts], sampling)  # type: ignore[arg-type]


def _side(text: str, settings: Sequence[str] | None, batch: int) -> Subject | Path:
    """A folder of records, or a model that is still to be asked."""
    from holdfast.checkpoints.evaluation import RECORDS

    folder = Path(text)
    return folder if (folder / RECORDS).is_dir() else _local(text, settings, batch)


def _local(source: str, settings: Sequence[str] | None, batch: int) -> Subject:
    from holdfast.checkpoints.local import LocalModel

    return LocalModel(source, model_settings(settings), batch)


def _served(
    url: str,
    name: str | None,
    key_variable: str | None,
    concurrency: int,
    timeout: float,
    retries: int,
    settings: Sequence[str] | None,
) -> Subject:
    from holdfast.checkpoints.endpoint import Endpoint
    from holdfast.checkpoints.served import ServedModel

    if not name:
        raise InputError("Say with --served-model what the server calls the model.")
    key = None
    if key_variable is not None:
        key = os.environ.get(key_variable)
        if not key:
            raise InputError(f"The variable {key_variable} of --api-key-env is not set; put the key in it.")
    server = Endpoint(url, key=key, timeout=timeout, retries=retries)
    return ServedModel(server, name, concurrency, model_settings(settings).system_prompt)


def model_settings(settings: Sequence[str] | None) -> ModelSettings:
    from pydantic import ValidationError

    from holdfast.policy.settings import ModelSettings
    from holdfast.yamlfile import parse_value

    values: dict[str, Any] = {}
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals or key not in ModelSettings.model_fields:
            known = ", ".join(ModelSettings.model_fields)
            raise InputError(f"--model {setting} must be KEY=VALUE with a key of {known}.")
        values[key] = parse_value(value)
    try:
        return ModelSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"--model {'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _answers_of(
    side: Subject | Path, exam: Exam | None, names: Sequence[str], folder: Path, again: bool
) -> list[Answers]:
    """What a side has answered, or answers now; `folder` is where the latter goes."""
    from holdfast.checkpoints.evaluation import read_answers

    if isinstance(side, Path):
        return read_answers(side, names)
    assert exam is not None, "made where a side is no folder"
    return _examine(side, exam, folder, again)


def _name(side: Subject | Path) -> str:
    return str(side) if isinstance(side, Path) else side.name


def _slug(name: str) -> str:
    """A folder's name for a checkpoint: the last two parts of where it lies."""
    last = "-".join(part for part in re.split(r"[/ ]+", name.removesuffix("/chat/completions"))[-2:] if part)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-") or "model"


def _examine(subject: Subject, exam: Exam, folder: Path, again: bool) -> list[Answers]:
    """Ask a checkpoint, telling how it goes."""
    from holdfast.checkpoints.evaluation import examine

    out.print(f"{subject.name}", soft_wrap=True, highlight=False, markup=False)

    def done(answers: Answers) -> None:
        mean = sum(record["score"] for record in answers.records) / len(answers.records)
        how = f"done {answers.made}" if answers.reused else f"{answers.seconds:.1f} s"
        line = f"  {answers.task}: {100 * mean:.1f} of 100 on {len(answers.records):,} examples ({how})"
        out.print(line, soft_wrap=True, highlight=False)

    try:
        with err.status("") as status:

            def on_step(task: str) -> OnStep:
                return _steps(task, status.update if err.is_terminal else None)

            answers = examine(subject, exam, folder, again=again, on_step=on_step, on_task=done)
    except KeyboardInterrupt:
        err.print("Stopped. Tasks that are done stay; the same command goes on from here.")
        raise typer.Exit(130) from None
    finally:
        subject.close()
    if subject.repeated:
        out.print(f"  {subject.repeated} requests had to be repeated", highlight=False)
    return answers


def _steps(task: str, show: Callable[[str], None] | None) -> OnStep:
    """Tells the progress of a task: in the live line, or now and then in a line of its own."""

    last = time.monotonic()

    def step(done: int, total: int, numbers: dict[str, float]) -> None:
        nonlocal last
        text = f"{task}: {done:,} of {total:,}, accuracy {100 * numbers['accuracy']:.1f}"
        if show is not None:
            show(text)
        elif time.monotonic() - last > LINE_SECONDS:
            last = time.monotonic()
            out.print(f"  {text}", soft_wrap=True, highlight=False)

    return step
