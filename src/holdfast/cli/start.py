"""`holdfast demo` and `holdfast init`: an experiment that is at hand, and the first of one's own."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import partial
from itertools import chain, count, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast import files
from holdfast.cli import plan, run
from holdfast.cli.asked import Overrides, Workers
from holdfast.cli.console import Debug, out, tell_left_out, warn
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.start.draft import Draft
    from holdfast.start.look import Data

FILE = Path("experiment.yaml")
ANY_FILE = ("all", "data", "dataset", "examples", "rows", "train")  # names that tell nothing of a task
LONGEST_NAME = 80  # characters of a name that is made here; one may have a hundred
SHOWN = 5  # rows that can never be right
MOST_HELD_OUT = 0.3  # of the rows, where a fifth was meant
LOOKED_AT = 1000  # rows of a task whose words are looked up


def demo(
    overrides: Overrides = None,
    workers: Workers = "1",
    copy: Annotated[
        Path | None, typer.Option("--copy", metavar="FOLDER", help="Copy the experiments there; run nothing.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Run the demonstration: SFT and GRPO over seven tasks with the model in the package, on a CPU."""
    from holdfast.shipped import configs

    shipped = configs()
    if copy is None:
        run.run(shipped / "demo.yaml", overrides, workers, debug=debug)
        return
    places = [(shipped, copy), *((shipped.parent / name, copy / name) for name in ("paper", "streams"))]
    targets = {path: to / path.name for folder, to in places for path in sorted(folder.glob("*.yaml"))}
    if there := [target for target in targets.values() if target.exists()]:
        raise InputError(f"{there[0]} is there already; choose another folder with --copy.")
    for path, target in targets.items():
        files.write_bytes(target, path.read_bytes())
    out.print(
        f"{len(targets)} experiments lie in {copy}, the study's in paper, other papers' in streams; "
        f"'holdfast run {copy / 'demo.yaml'}' runs the demo."
    )


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The experiment file to write.")] = FILE,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="ROWS",
            help="A file (JSONL, JSON, parquet, Arrow, CSV), a folder, or a hub id; once more for each "
            "task that is learned after it.",
        ),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(
            "--test",
            metavar="ROWS",
            help="A file to judge by, one for each --data; else a fifth of the rows is held out.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="A model's folder, a hub id, or 'embedded' to try it all out.")
    ] = "",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    debug: Debug = False,
) -> None:
    """Write an experiment on your own data, with the reasons for what it says; then show its plan.

    What is not said is asked where there is a terminal. The rows are read, a scorer and a prompt style are
    proposed, and what would be cut off or never right is counted. No file is overwritten.
    """
    from holdfast.config.models import require_model
    from holdfast.start.draft import Draft, text_of
    from holdfast.tasks.catalog import taken

    _check_free(file)
    sources = data or [_ask("Your data: a file, a folder or a hub id", "--data")]
    tests = test or []
    if tests and len(tests) != len(sources):
        raise InputError(
            f"--test is there {len(tests)} times and --data {len(sources)} times; give a --test for each "
            "--data, in their order, or none."
        )
    model = model or _ask("The model: a folder, a hub id or 'embedded'", "--model", "embedded")
    require_model(model)
    found = [_look(*pair) for pair in zip_longest(sources, tests)]
    tasks = list[str]()
    for source in sources:
        task = _name(_called(file, source, tested=bool(tests), alone=len(sources) == 1))
        task = f"my-{task}" if taken(task) else task
        others = (f"{task}-{number}" for number in count(len(tasks) + 1))
        tasks.append(next(name for name in chain([task], others) if name not in tasks))
    draft = Draft(file, _name(file.stem), tasks, model, device)
    _check_free(file)  # a look may take a while
    files.write_text(file, text_of(draft, found))
    out.print(f"Wrote {file}.")
    for task, one in zip(tasks, found, strict=True):
        out.print(f"Scorer of {task}: {one.scorer}. Why: {one.why}.")
        if one.unused:
            out.print(f"The model does not see these columns of {task}: {', '.join(one.unused)}.")
    if never_right := [row for one in found for row in one.never_right]:
        first = "\n  ".join(never_right[:SHOWN])
        raise InputError(
            f"{len(never_right):,} rows can never be right as they stand; mend them, then "
            f"'holdfast plan {file}':\n  {first}"
        )
    _tell_misfits(draft, found)
    plan.plan(file)


def _called(file: Path, data: str, tested: bool, alone: bool) -> str:
    """What rows are of: their file's stem, or where that tells nothing the experiment's, or their folder."""
    stem = re.sub(r"[-_.]train$", "", Path(data).stem) if tested else Path(data).stem
    if stem.lower() not in ANY_FILE:
        return stem
    return (file.stem if file != FILE else stem) if alone else Path(data).absolute().parent.name


def _name(stem: str) -> str:
    """A file's stem in the characters that names of tasks and experiments may have."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem)[:LONGEST_NAME].strip("-_") or "mine"


def _check_free(file: Path) -> None:
    if file.exists():
        raise InputError(f"{file} is there already, and nothing is overwritten; name another file.")


def _ask(question: str, option: str, default: str | None = None) -> str:
    if not sys.stdin.isatty():
        if default is not None:
            return default
        raise InputError(f"Say {option}: {question[0].lower()}{question[1:]}.")
    return str(typer.prompt(question, default=default))


def _look(data: str, test: Path | None) -> Data:
    from holdfast.start.look import is_table, look_at_rows, look_at_table
    from holdfast.start.split import count_rows, split_file

    if not data:
        raise InputError("--data is empty; give a file, a folder or a hub id.")
    path = Path(data)
    if not path.is_file():
        if test is not None:
            raise InputError(f"--test goes with a file of rows, and {data} is none.")
        return look_at_table(data, {})
    look = partial(look_at_table, "") if is_table(path) else look_at_rows
    if test is not None:
        return look({"train": path, "test": test})
    splits = split_file(path, lambda: look({"train": path}))
    rows = {split: count_rows(file) for split, file in splits.items()}
    held = f"a fifth of the rows is held out ({rows['test']:,} of {sum(rows.values()):,})"
    if rows["test"] > MOST_HELD_OUT * sum(rows.values()):
        held = (
            f"{rows['test']:,} of {sum(rows.values()):,} rows are held out, as rows of one picture or text "
            "stay together and few are distinct; give a --test file to choose them"
        )
    out.print(f"Wrote {splits['train']} and {splits['test']}: {held}.")
    return look(splits)


def _tell_misfits(draft: Draft, found: Sequence[Data]) -> None:
    """Count what the model cannot take or would not finish; the former is left out of the experiment."""
    from dataclasses import replace

    from holdfast.config.load import load_experiment
    from holdfast.experiment.fitting import look_at_rows
    from holdfast.policy.ready import check_ready, encoder_of
    from holdfast.start.draft import cut_off, text_of, unknown_words
    from holdfast.tasks.prompts import render_target

    experiment = load_experiment(draft.file)
    check_ready(experiment.model.path, experiment.model)
    misfits = [one for one in look_at_rows(experiment) or () if one.problems]
    some_fit = all(len(one.problems) < one.looked_at for one in misfits)  # else the plan says what to change
    if misfits and some_fit:
        tell_left_out(misfits)
        files.write_text(draft.file, text_of(replace(draft, skip=True), found))
    encoder = encoder_of(experiment.model)
    if encoder is None:
        return
    tasks = map(experiment.task, experiment.sequence)
    rows = [one for task in tasks for one in task.examples("train", min(task.sizes["train"] or 0, LOOKED_AT))]
    if text := unknown_words(encoder.tokenizer, rows):
        warn(text)
    answers = [one for data in found for part in data.examples.values() for one in part]
    if not answers:
        return
    style = experiment.styles[0]
    targets = [render_target(one, style, "answer") for one in answers]
    lengths = [length for length in encoder.look_at_targets(targets) if isinstance(length, int)]
    if text := cut_off(lengths, experiment.evaluation.max_tokens):
        warn(text)
