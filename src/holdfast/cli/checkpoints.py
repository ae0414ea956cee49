"""`holdfast evaluate`: examine a checkpoint; and what `check` shares with it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast import files, libraries
from holdfast.cli.asked import begin, stoppable
from holdfast.cli.console import Debug, Json, err, only_json, out, show_json, show_table, tell_left_out, warn
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.checkpoints.folder import Examined
    from holdfast.checkpoints.subject import Subject
    from holdfast.config.exam import Exam
    from holdfast.experiment.jobs import OnSetting
    from holdfast.generate.evaluate import OnStep, Watch

LINE_SECONDS = 30.0  # between two plain lines about a task that goes well

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="How tasks are asked, as in an experiment: test_examples=500 prompts=embedded style=direct "
        "evaluation.max_tokens=512 model.dtype=bfloat16 store=FOLDER; server.model=NAME of a server.",
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--tasks", metavar="NAME,NAME", help="Tasks, as 'holdfast tasks' lists them."),
]
Suite = Annotated[
    str | None, typer.Option("--suite", metavar="NAME", help="Tasks and how they are asked: core (offline).")
]
Like = Annotated[
    Path | None,
    typer.Option("--like", metavar="CONFIG", help="An experiment, or a run's folder, that says how to ask."),
]
Again = Annotated[bool, typer.Option("--again", help="Ask everything again, also what is in the store.")]


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A folder, a hub id, 'embedded', or a server's address.")
    ],
    overrides: Overrides = None,
    tasks: Tasks = None,
    suite: Suite = None,
    like: Like = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the records; normally runs/evaluate/MODEL.")
    ] = None,
    again: Again = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Let a checkpoint answer tasks: a record a sample, and accuracies with intervals.

    Results lie in the store of experiments: what a run or an earlier call has asked the same checkpoint in
    the same way is not asked again. What 'holdfast run' trained is asked as its run asks it, but for what
    is said here.
    """
    from holdfast.checkpoints.folder import tables
    from holdfast.checkpoints.subject import find_subject
    from holdfast.report.table import to_json

    only_json(json)
    exam = exam_of(overrides, like, names_of(tasks), debug, suite, [model])
    warn_of_prompts(exam, model)
    subject = find_subject(model, exam)
    target = folder or Path("runs/evaluate") / slug_of(subject.name)
    made = [to_json(table) for table in tables(examine_aloud(subject, exam, target, again))]
    for table in made:
        show_table(table)
    out.print(f"Records: {target / 'records'}")
    if json:
        show_json({"checkpoint": subject.name, "records": str(target / "records"), "tables": made})


def names_of(texts: Sequence[str] | None) -> list[str]:
    """The names that an option says, with commas or said once for each."""
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]


def exam_of(
    overrides: Sequence[str] | None,
    like: Path | None,
    tasks: Sequence[str],
    debug: bool,
    suite: str | None = None,
    sources: Sequence[str] = (),
) -> Exam:
    """What is asked; and this process made ready to ask it.

    Args:
        sources: checkpoints and folders of answers; where nothing else says how to ask, what they say counts.
    """
    from holdfast.checkpoints.known import known_of
    from holdfast.config.load import load_exam
    from holdfast.config.models import require_model
    from holdfast.config.suites import suite as find_suite

    begin(debug)
    for source in sources:
        if not files.is_url(source):
            require_model(source)
    overrides = overrides or ()
    known = known_of(sources) if like is None and suite is None else None
    usual, defaults = find_suite(suite) if suite is not None else ((), {})
    if known is not None:
        usual, defaults = known.tasks, known.settings
        if known.trouble:
            warn(f"Not asked as {known.place}: {known.trouble}.")
    exam = load_exam(overrides, like, tasks or usual, defaults)
    if not exam.general:
        raise InputError(
            "Say which tasks: --tasks NAME,NAME, --suite core, --like EXPERIMENT for those of a file or "
            "run, or your own with 'tasks.NAME={test: FILE.jsonl}'."
        )
    if known is not None and not known.trouble and (said := known.taken(tasks, overrides)):
        out.print(said)
    libraries.settle(exam.threads)
    return exam


def warn_of_prompts(exam: Exam, *models: str) -> None:
    """The embedded model knows its own words alone."""
    from holdfast.tasks.prompts import TEMPLATES

    if "embedded" in models and exam.prompts != TEMPLATES["embedded"]:
        warn(
            "The embedded model knows its own prompts alone; without prompts=embedded it is mostly wrong. "
            "Its answers are short: evaluation.max_tokens=32."
        )


def slug_of(name: str) -> str:
    """A folder's name for a checkpoint: the last two parts of where it lies."""
    last = "-".join(part for part in re.split(r"[/ ]+", name.removesuffix("/chat/completions"))[-2:] if part)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-") or "model"


def examine_aloud(
    subject: Subject,
    exam: Exam,
    folder: Path,
    again: bool,
    watch: Callable[[str], Watch] | None = None,
    on_setting: OnSetting = lambda *_: None,
) -> list[Examined]:
    """Ask a checkpoint, telling how it goes."""
    from holdfast.checkpoints.examine import examine
    from holdfast.report.table import number

    out.print(f"{subject.name}")

    def done(one: Examined) -> None:
        how = f"{one.seconds:.1f} s"
        if one.reused:
            how = time.strftime("done %Y-%m-%d %H:%M", time.localtime(one.made))
        count = len(one.records)
        examples = f"{count:,} {'example' if count == 1 else 'examples'}"
        out.print(
            f"  {one.task}: {number(float(one.scores_N.mean()), 'points')} of 100 on {examples} ({how})"
        )

    stopped = "Stopped. What was answered stays; the same command goes on from here."
    with stoppable(stopped), err.status("") as status:
        show = status.update if err.is_terminal else None
        examined = examine(
            subject,
            exam,
            folder,
            again=again,
            on_step=lambda task: _steps(task, show),
            on_task=done,
            on_left_out=tell_left_out,
            watch=watch,
            on_setting=on_setting,
        )
    left_out = sorted({name for one in examined for name in one.left_out})
    refused = [f"the server does not take {', '.join(left_out)}: what it does itself counts"]
    for remark in [*subject.remarks(), *(refused if left_out else ())]:
        out.print(f"  {remark}")
    return examined


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
            out.print(f"  {text}")

    return step
