"""`holdfast evaluate` and `holdfast check`: examine a checkpoint, compare two."""

from __future__ import annotations

import inspect
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.cli.console import Debug, err, out, show_table, tell_left_out
from holdfast.errors import InputError
from holdfast.tasks.prompts import TEMPLATES

if TYPE_CHECKING:
    from holdfast.checkpoints.folder import Examined
    from holdfast.checkpoints.subject import Subject
    from holdfast.config.exam import Exam
    from holdfast.experiment.jobs import OnStep

LINE_SECONDS = 30.0  # between two plain lines about a task that goes well
FORGOTTEN = 3  # exit code

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="How tasks are asked, as in an experiment: test_examples=500 prompts=embedded style=direct "
        "evaluation.max_tokens=512 model.dtype=bfloat16 store=FOLDER; server.model=NAME of a server.",
    ),
]
Tasks = Annotated[
    str, typer.Option("--tasks", metavar="NAME,NAME", help="Tasks, as 'holdfast tasks' lists them.")
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
    tasks: Tasks = "",
    like: Like = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the records; normally runs/evaluate/MODEL.")
    ] = None,
    again: Again = False,
    debug: Debug = False,
) -> None:
    """Let a checkpoint answer tasks: a record a sample, and accuracies with intervals.

    Results lie in the store of experiments: what a run or an earlier call has asked the same checkpoint in
    the same way is not asked again.
    """
    from holdfast.checkpoints.folder import tables
    from holdfast.checkpoints.subject import find_subject
    from holdfast.report.table import to_json

    exam = _exam(overrides, like, _names(tasks), debug)
    _warn_of_prompts(exam, model)
    subject = find_subject(model, exam)
    target = folder or Path("runs/evaluate") / _slug(subject.name)
    for table in tables(_examine(subject, exam, target, again)):
        show_table(to_json(table))
    out.print(f"Records: {target / 'records'}")


def check(
    before: Annotated[
        str, typer.Argument(metavar="BASE", help="The old model, or a folder of 'holdfast evaluate'.")
    ],
    after: Annotated[str, typer.Argument(metavar="NEW", help="The new one, likewise.")],
    overrides: Overrides = None,
    max_drop: Annotated[float, typer.Option(min=0.0, max=100.0, help="Points that accuracy may fall.")] = 1.0,
    level: Annotated[
        float,
        typer.Option(min=0.5, max=0.9999, help="Of intervals; 1 − it is the chance of a false alarm."),
    ] = 0.95,
    strict: Annotated[
        bool, typer.Option("--strict", help="Unclear fails, too: pass only what was shown to be kept.")
    ] = False,
    tasks: Tasks = "",
    like: Like = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the comparison; normally runs/check/BASE-NEW.")
    ] = None,
    again: Again = False,
    debug: Debug = False,
) -> None:
    """Compare two checkpoints sample by sample; exit code 3 when something was forgotten.

    A task is FORGOTTEN when its accuracy fell by more than --max-drop points and the fall is no chance:
    McNemar's exact test over the items lost and gained, adjusted for the number of tasks, gives at most
    1 − level. It is KEPT when the interval of the change lies above −max-drop. Otherwise it is UNCLEAR:
    too few items to tell.

    Exit codes: 0 nothing was shown to be forgotten (with --strict: everything was shown to be kept),
    3 forgotten (with --strict: or unclear), 2 wrong input, 1 another failure.

    BASE and NEW are models, servers' addresses, or folders that 'holdfast evaluate' wrote, whose tasks are
    taken where --tasks says nothing. Every item whose answer turned is in flips.jsonl.
    """
    from holdfast.checkpoints import comparison
    from holdfast.checkpoints.folder import RECORDS, read_folder
    from holdfast.checkpoints.subject import find_subject
    from holdfast.report.table import to_json

    names = _names(tasks)
    folders = [Path(side) for side in (before, after) if (Path(side) / RECORDS).is_dir()]
    if folders and not names:
        names = [one.task for one in read_folder(folders[0])]
    sides: list[Subject | Path] = [*folders]
    exam = None
    if len(folders) < 2:
        exam = _exam(overrides, like, names, debug)
        names = list(exam.general)
        _warn_of_prompts(exam, before, after)
        sides = [
            Path(side) if Path(side) in folders else find_subject(side, exam) for side in (before, after)
        ]
        for one in folders:  # a difference shows before any work
            (other,) = (side for side in sides if not isinstance(side, Path))
            comparison.check_asked(read_folder(one, names), exam, other.plan(exam))
    target = folder or Path("runs/check") / "-".join(
        _slug(str(side) if isinstance(side, Path) else side.name) for side in sides
    )

    def answers(side: Subject | Path, name: str) -> list[Examined]:
        if isinstance(side, Path):
            return read_folder(side, names)
        assert exam is not None, "made where a side is no folder"
        return _examine(side, exam, target / name, again)

    old, new = answers(sides[0], "before"), answers(sides[1], "after")
    compared = comparison.compare(old, new, max_drop=max_drop / 100, level=level)
    show_table(to_json(comparison.write(compared, (old[0].checkpoint, new[0].checkpoint), target)))
    forgotten, unclear = compared.named("forgotten"), compared.named("unclear")
    verdict = f"Forgotten: {', '.join(forgotten)}." if forgotten else "Nothing was shown to be forgotten."
    if unclear:
        verdict += f" Unclear: {', '.join(unclear)}; more examples would tell."
    out.print(verdict)
    out.print(f"Items whose answer turned: {target / 'flips.jsonl'}")
    if forgotten or (strict and unclear):
        raise typer.Exit(FORGOTTEN)


def help_text(command: Callable[..., None]) -> str:
    """A command's docstring with its paragraphs unwrapped, for the terminal to wrap."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _exam(overrides: Sequence[str] | None, like: Path | None, tasks: Sequence[str], debug: bool) -> Exam:
    """What is asked; and this process made ready to ask it."""
    from holdfast.config.load import load_exam

    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning" if debug else "error")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as cleanly as on Ctrl-C
    exam = load_exam(overrides or (), like, tasks)
    if not exam.general:
        raise InputError(
            "Say which tasks: --tasks NAME,NAME, or your own with 'tasks.NAME={test: FILE.jsonl}'."
        )
    os.environ["OMP_NUM_THREADS"] = str(exam.threads)  # read by libraries only when they are loaded
    return exam


def _warn_of_prompts(exam: Exam, *models: str) -> None:
    """The embedded model knows its own words alone."""
    if "embedded" in models and exam.prompts != TEMPLATES["embedded"]:
        err.print(
            "The embedded model knows its own prompts alone; without prompts=embedded it is mostly wrong.",
            style="yellow",
        )


def _slug(name: str) -> str:
    """A folder's name for a checkpoint: the last two parts of where it lies."""
    last = "-".join(part for part in re.split(r"[/ ]+", name.removesuffix("/chat/completions"))[-2:] if part)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip(".-") or "model"


def _examine(subject: Subject, exam: Exam, folder: Path, again: bool) -> list[Examined]:
    """Ask a checkpoint, telling how it goes."""
    from holdfast.checkpoints.examine import examine

    out.print(f"{subject.name}")

    def done(one: Examined) -> None:
        how = f"{one.seconds:.1f} s"
        if one.reused:
            how = time.strftime("done %Y-%m-%d %H:%M", time.localtime(one.made))
        mean = f"{100 * one.scores_N.mean():.1f} of 100 on {len(one.records):,} examples"
        line = f"  {one.task}: {mean} ({how})"
        out.print(line)

    try:
        with err.status("") as status:
            show = status.update if err.is_terminal else None
            examined = examine(
                subject,
                exam,
                folder,
                again=again,
                on_step=lambda task: _steps(task, show),
                on_task=done,
                on_left_out=tell_left_out,
            )
    except KeyboardInterrupt:
        err.print("Stopped. What was answered stays; the same command goes on from here.")
        raise typer.Exit(130) from None
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
