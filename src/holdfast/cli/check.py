"""`holdfast check`: the gate of a release pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.checkpoints import (
    Again,
    Like,
    Overrides,
    Suite,
    Tasks,
    exam_of,
    examine_aloud,
    names_of,
    slug_of,
    warn_of_prompts,
)
from holdfast.cli.console import Debug, Json, only_json, out, show_json, show_table
from holdfast.errors import InputError

if TYPE_CHECKING:
    from holdfast.checkpoints.comparison import Comparison
    from holdfast.checkpoints.folder import Examined
    from holdfast.checkpoints.looks import Looks
    from holdfast.checkpoints.subject import Subject
    from holdfast.config.exam import Exam

FORGOTTEN = 3  # exit code
LOSS = 5  # points


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
    power: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.9999, help="Tell how many items find --loss so often; stop with fewer."),
    ] = None,
    loss: Annotated[
        float | None,
        typer.Option(min=0.1, max=100.0, help=f"Points of one task that --power finds; normally {LOSS}."),
    ] = None,
    churn: Annotated[
        float | None,
        typer.Option(min=0.1, max=100.0, help="Of 100 items, how many turn; else as seen before, or 20."),
    ] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="End a task as soon as it is shown to be forgotten.")
    ] = False,
    noise: Annotated[
        float | None,
        typer.Option(
            "--noise-floor", min=0.0, max=100.0, help="Judge twice; stop if more points turn by themselves."
        ),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Differences that are meant: machine, mode, versions, unknown, sampling, prompt.",
        ),
    ] = None,
    tasks: Tasks = None,
    suite: Suite = None,
    like: Like = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the comparison; normally runs/check/BASE-NEW.")
    ] = None,
    json: Json = False,
    again: Again = False,
    debug: Debug = False,
) -> None:
    """Compare two checkpoints sample by sample; exit code 3 when something was forgotten.

    A task is FORGOTTEN when its accuracy fell by more than --max-drop points and the fall is no chance:
    McNemar's exact test over the items lost and gained (the resamples of the interval, where scores lie
    between 0 and 1), adjusted for the number of tasks, gives at most 1 − level. It is KEPT when the interval
    of the change lies above −max-drop. Otherwise it is UNCLEAR: too few items to tell.

    Exit codes: 0 nothing was shown to be forgotten (with --strict: everything was shown to be kept),
    3 forgotten (with --strict: or unclear), 2 wrong input, 1 another failure (also: too much noise).

    BASE and NEW are models, servers' addresses, or folders that 'holdfast evaluate' wrote, whose tasks are
    taken where --tasks says nothing. What such a folder, or the run that trained one of them, says of how
    to ask counts, but for what is said here. Every item whose answer turned is in flips.jsonl; card.md
    is for a pull request, junit.xml for a pipeline.
    """
    from holdfast.checkpoints import comparison, outputs
    from holdfast.checkpoints.comparable import parse_allowed, served_remarks
    from holdfast.checkpoints.looks import Looks, alike
    from holdfast.checkpoints.needs import check_power

    for name, value in (("loss", loss), ("churn", churn)):
        if value is not None and power is None:
            raise InputError(f"--{name} is for --power; say that, too, or leave it out.")
    allowed = parse_allowed(names_of(allow))
    only_json(json)
    sides = _sides(before, after, overrides, names_of(tasks), suite, like, again, debug)
    target = folder or Path("runs/check") / "-".join(slug_of(side.name) for side in sides.both)
    sides.check_asked(allowed)
    if sequential and sides.new.subject is None:
        raise InputError("--sequential saves answers of NEW, and a folder has them all; leave it out.")
    remarks = []
    if power is not None:
        remarks.append(
            check_power(
                sides.sizes(),
                target,
                power=power,
                loss=(LOSS if loss is None else loss) / 100,
                churn=None if churn is None else churn / 100,
                max_drop=max_drop / 100,
                level=level,
                sequential=sequential,
            )
        )
        out.print(remarks[-1])
    old = sides.answers(sides.old, target / "before", again, allowed, sides.new.examined)
    if noise is not None:
        remarks.append(_noise_floor(sides, old, noise / 100))
        out.print(remarks[-1])
    looks = Looks(old, max_drop=max_drop / 100, level=level) if sequential else None
    new = sides.answers(sides.new, target / "after", again, allowed, old, looks)
    if looks is not None:
        old = alike(old, new)
    compared = comparison.compare(
        old, new, max_drop=max_drop / 100, level=level, allowed=allowed, looks=looks, strict=strict
    )
    remarks += served_remarks(old, new) + compared.remarks()
    names = (old[0].checkpoint, new[0].checkpoint)
    said = outputs.write(compared, names, target, remarks)
    show_table(said)
    _tell(compared, said["keep"], target)
    if json:
        show_json({**said, "flips": str(target / "flips.jsonl")})
    if compared.fails:
        raise typer.Exit(FORGOTTEN)


@dataclass(frozen=True)
class _Side:
    """One of the two: a folder's answers, or a checkpoint to be asked."""

    source: str
    name: str
    examined: list[Examined] | None = None
    subject: Subject | None = None


@dataclass(frozen=True)
class _Sides:
    """Both, and what they are asked; no exam where both have answered."""

    old: _Side
    new: _Side
    exam: Exam | None

    @property
    def both(self) -> tuple[_Side, _Side]:
        return self.old, self.new

    def check_asked(self, allowed: frozenset[str]) -> None:
        """See that a folder's answers compare with those to come, before any work.

        Raises:
            InputError: they do not.
        """
        from holdfast.checkpoints.comparison import check_asked

        subjects = [side.subject for side in self.both if side.subject is not None]
        for side in self.both:
            if side.examined is not None and subjects and self.exam is not None:
                check_asked(side.examined, self.exam, subjects[0].plan(self.exam), allowed)

    def sizes(self) -> dict[str, int]:
        """Items of each task."""
        for side in self.both:
            if side.examined is not None:
                return {one.task: len(one.records) for one in side.examined}
        assert self.exam is not None, "made where a side is no folder"
        return {name: self.exam.judging(self.exam.task(name)) for name in self.exam.general}

    def answers(
        self,
        side: _Side,
        folder: Path,
        again: bool,
        allowed: frozenset[str],
        others: list[Examined] | None,
        looks: Looks | None = None,
    ) -> list[Examined]:
        """What one side answers; asked only in a setting that compares with that of the other side's answers.

        Raises:
            InputError: the settings are not alike.
        """
        from holdfast.checkpoints.comparable import check_setting

        if side.examined is not None:
            return side.examined
        assert self.exam is not None and side.subject is not None, "made where a side is no folder"
        theirs = {one.task: one.setting for one in others or ()}

        def on_setting(task: str, setting: dict[str, Any] | None) -> None:
            if task in theirs:
                both = (setting, theirs[task]) if side is self.old else (theirs[task], setting)
                check_setting(*both, allowed)

        watch = looks.watch if looks else None
        return examine_aloud(side.subject, self.exam, folder, again, watch, on_setting)


def _sides(
    before: str,
    after: str,
    overrides: Overrides,
    names: Sequence[str],
    suite: str | None,
    like: Path | None,
    again: bool,
    debug: bool,
) -> _Sides:
    from holdfast.checkpoints.folder import RECORDS, read_as_one, read_folder
    from holdfast.checkpoints.subject import find_subject

    folders = [side for side in (before, after) if (Path(side) / RECORDS).is_dir()]
    if folders and not names and suite is None:
        names = [one.task for one in read_folder(Path(folders[0]))]
    if len(folders) == 2:
        asking = {"--suite": suite, "--like": like, "--again": again, "KEY=VALUE": overrides}
        if said := [name for name, value in asking.items() if value]:
            raise InputError(
                f"{said[0]} is for asking a checkpoint, and two folders have answered; leave it out."
            )
    exam = None
    if len(folders) < 2:
        exam = exam_of(overrides, like, names, debug, suite, (after, before))
        warn_of_prompts(exam, before, after)
        names = list(exam.general)

    def side(source: str) -> _Side:
        if source in folders:
            return _Side(source, source, examined=read_as_one(Path(source), names))
        assert exam is not None, "made where a side is no folder"
        subject = find_subject(source, exam)
        return _Side(source, subject.name, subject=subject)

    return _Sides(side(before), side(after), exam)


def _noise_floor(sides: _Sides, old: list[Examined], margin: float) -> str:
    """Judge the base twice, or the new one where the base is a folder."""
    from holdfast.checkpoints.examine import examine
    from holdfast.checkpoints.noise import asked_again, check_noise
    from holdfast.checkpoints.subject import find_subject

    side = sides.old if sides.old.subject is not None else sides.new
    if side.subject is None or sides.exam is None:
        raise InputError("--noise-floor asks a checkpoint twice, and both are folders; leave it out.")
    out.print("Noise floor: the same checkpoint once more")
    first = old if side is sides.old else examine(side.subject, sides.exam)
    second = asked_again(side.subject, sides.exam)
    found = check_noise(first, second, sides.exam, partial(find_subject, side.source), margin)
    return "Noise floor, judged twice: " + "; ".join(noise.text for noise in found) + "."


def _tell(compared: Comparison, keep: str, folder: Path) -> None:
    forgotten, unclear = compared.named("forgotten"), compared.named("unclear")
    verdict = f"Forgotten: {', '.join(forgotten)}." if forgotten else "Nothing was shown to be forgotten."
    if told := [name for name in unclear if name not in compared.nothing_to_lose()]:
        verdict += f" Unclear: {', '.join(told)}; more items would tell (--power 0.8 says how many)."
    for remark in compared.remarks():
        verdict += f" {remark[0].upper()}{remark[1:]}."
    out.print(f"{verdict} Keep {keep}.")
    out.print(f"Items whose answer turned: {folder / 'flips.jsonl'}")
