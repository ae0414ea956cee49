"""Before any work: does the model take every row of an experiment?

Only its processor knows how many tokens a prompt and its pictures have. It is asked once: what it found is
remembered in the store, under all that determines it, so that a report needs no model for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from holdfast import files
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment.identity import digest, model_folder
from holdfast.learning.methods import SFT
from holdfast.policy.modelfacts import configuration
from holdfast.policy.settings import ModelSettings
from holdfast.tasks.example import Example, ImageSource, named, size_seen
from holdfast.tasks.leftout import LeftOut, first_of, without
from holdfast.tasks.prompts import Style, Target, render_prompt, render_target
from holdfast.tasks.task import Split, Task

if TYPE_CHECKING:
    from holdfast.policy.encode import Encoder, Unfit

FITTING_VERSION = 3  # raise when rows that were looked at are to be looked at again
MEMORY = "rows-fit.json"  # in a store
AT_ONCE = 256  # rows
MOST_DRAWN = 4  # times as many rows of a task without an end are looked at as are wanted


@dataclass
class Largest:
    """The most tokens that rows have which the model takes: of a prompt, of its images, and of a target."""

    prompt: int = 0
    image: int = 0
    target: int = 0

    def add(self, **tokens: int) -> None:
        """Of another row."""
        for name, number in tokens.items():
            setattr(self, name, max(getattr(self, name), number))


def largest(experiment: Experiment) -> Largest | None:
    """Of the rows that methods learn from, where they were looked at; None where any were not."""
    known, found = _known(experiment), Largest()
    for name in experiment.sequence:
        row = known.get(_key(experiment, experiment.task(name), "train"))
        if row is None:
            return None
        found.add(**row["largest"])
    return found


def check_rows(experiment: Experiment) -> None:
    """See that the model takes all prompts, pictures and targets, with room for answers, as sizes tell.

    With `bad_rows: skip` it need not. Of a hub id that is not on this disk nothing is known yet.

    Raises:
        InputError: it does not; names the first rows, by task, id and (of own data) file and line.
    """
    if experiment.bad_rows == "skip":
        return
    found = look_at_rows(experiment) or []
    if problems := [problem for one in found for problem in one.problems.values()]:
        said = "\n".join([*first_of(problems), *_where_room_is_said(experiment, found)])
        if any(0 < one.looked_at == len(one.problems) for one in found):
            advice = "of some task it takes none, so change settings, such as max_tokens, not rows"
        else:
            advice = "change or remove these (bad_rows: skip leaves them out)"
        raise InputError(f"The model cannot take every row; {advice}:\n{said}")


def _where_room_is_said(experiment: Experiment, found: Sequence[LeftOut]) -> Iterator[str]:
    """Which settings the `max_tokens` are that leave rows no room."""
    splits = {one.split for one in found if any("max_tokens" in text for text in one.problems.values())}
    if experiment.evaluation.split in splits:
        yield f"Of {experiment.evaluation.split} rows, which are judged, max_tokens is evaluation.max_tokens."
    if "train" in splits:
        yield "Of train rows, which RFT samples for, it is sampling.max_tokens of the defaults or a method."


def rows_left_out(experiment: Experiment) -> tuple[LeftOut, ...]:
    """The rows that an experiment goes without: none, unless `bad_rows` is `skip`.

    Raises:
        InputError: too few rows are left, or it cannot be known which.
    """
    if experiment.bad_rows == "stop":
        return ()
    found = look_at_rows(experiment)
    if found is None:
        path = experiment.model.path
        raise InputError(
            f"bad_rows: skip asks the model's processor before any work, and {path} (model.path) is not on "
            f"this disk; 'hf download {path}' brings it."
        )
    for one in found:
        task = without(experiment.task(one.task), [one])
        left = one.looked_at - len(one.problems)
        if not left or left < (experiment.count(task, one.split) or 0):
            key = "train_examples" if one.split == "train" else "test_examples"
            advice = f"lower {key}" if left else "change settings, such as max_tokens, or take other rows"
            raise InputError(
                f"The model can take {left or 'none'} of {one.looked_at:,} {one.split} rows of {one.task}; "
                f"{advice}. {one.first[0]}"
            )
    return tuple(one for one in found if one.problems)


def look_at_rows(experiment: Experiment) -> list[LeftOut] | None:
    """What is wrong with the rows of each split in use; None of a hub id that is not on this disk."""
    known, encoder, found = _known(experiment), None, []
    for task, split in _splits(experiment):
        key = _key(experiment, task, split)
        if key not in known:
            from holdfast.policy.ready import encoder_of

            encoder = encoder or encoder_of(experiment.model)
            if encoder is None:
                return None
            known[key] = _looked_at(experiment, encoder, task, split)
            files.remember(experiment.store_folder / MEMORY, FITTING_VERSION, known)
        row = known[key]
        found.append(LeftOut(task.name, split, row["looked_at"], dict(row["problems"])))
    return found


def _known(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """What was found of rows that were looked at, by their keys."""
    return files.recall(experiment.store_folder / MEMORY, FITTING_VERSION, dict)


def _splits(experiment: Experiment) -> Iterator[tuple[Task, Split]]:
    """What the experiment reads."""
    for name in (*experiment.sequence, *experiment.general):
        task = experiment.task(name)
        yield from ((task, split) for split in experiment.splits(name))


def _targets(experiment: Experiment, split: Split) -> list[tuple[Style, Target]]:
    """What is made of references; what a policy writes itself is as long as `max_tokens` lets it."""
    found: set[tuple[Style, Target]] = set()
    for method in experiment.methods.values() if split == "train" else ():
        of_strategies = (strategy.imitates(method) for strategy in method.retention)
        found |= {(method.style, target) for target in of_strategies if target is not None}
        if isinstance(method, SFT):
            found.add((method.style, method.target))
    return sorted(found)


def _room(experiment: Experiment, split: Split) -> int:
    """The tokens that an answer to a split's prompts may have."""
    if split == experiment.evaluation.split:
        return experiment.evaluation.max_tokens
    return max((method.sampled[1] for method in experiment.methods.values() if method.sampled), default=0)


def _key(experiment: Experiment, task: Task, split: Split) -> str:
    """Names all that determines whether the rows of a split fit."""
    return digest(
        {
            "model": _processor_identity(experiment.model),
            "task": [task.name, task.version, task.source, split, experiment.count(task, split)],
            # Its places are named.
            "own": experiment.model_dump(mode="json", include={"tasks": {task.name}}),
            "prompts": {style: experiment.prompts[style] for style in experiment.styles},
            "targets": _targets(experiment, split),
            "room": _room(experiment, split),
        }
    )


def _processor_identity(model: ModelSettings) -> dict[str, Any]:
    settings = model.model_dump(
        include={"path", "revision", "min_pixels", "max_pixels", "system_prompt", "max_context"}
    )
    folder = model_folder(model)
    return {**settings, "files": configuration(folder) if folder else {}}


def _looked_at(experiment: Experiment, encoder: Encoder, task: Task, split: Split) -> dict[str, Any]:
    """How many rows were looked at until as many fitted as are wanted, or none is left; what is wrong with
    the others, by their positions; and how large those that fit are."""
    count, size = experiment.count(task, split), task.sizes.get(split)
    sizes: dict[ImageSource, tuple[int, int]] = {}
    problems: dict[int, str] = {}
    most_tokens = Largest()
    looked_at, examples = 0, task.examples(split, count)
    while looked_at < len(examples):
        for start in range(looked_at, len(examples), AT_ONCE):
            part = examples[start : start + AT_ONCE]
            names = [f"{task.name} {example.named}" for example in part]
            shown = [_shown(example, sizes) for example in part]
            for index, problem in _problems(experiment, encoder, split, part, shown, most_tokens).items():
                problems[start + index] = str(problem.named(names))
        looked_at = len(examples)
        if count is not None and len(problems) > looked_at - count:  # fewer fit than are wanted
            most = MOST_DRAWN * count if size is None else size
            examples = task.examples(split, min(count + len(problems), most))
    return {"looked_at": looked_at, "problems": [*problems.items()], "largest": vars(most_tokens)}


def _problems(
    experiment: Experiment,
    encoder: Encoder,
    split: Split,
    examples: Sequence[Example],
    shown: Sequence[Sequence[tuple[int, int]]],
    most: Largest,
) -> Mapping[int, Unfit]:
    """The rows that do not fit, each once, in order, from them and the sizes of their pictures.

    Args:
        most: what the others have is added to it.
    """
    found: dict[int, Unfit] = {}
    for style in experiment.styles:
        prompts = [render_prompt(example, style, experiment.prompts) for example in examples]
        for index, row in enumerate(encoder.look_at(prompts, shown, _room(experiment, split))):
            if isinstance(row, tuple):
                most.add(prompt=row[0], image=row[1])
            else:
                found[index] = row
    for style, target in _targets(experiment, split):
        texts = [render_target(example, style, target) for example in examples]
        for index, length in enumerate(encoder.look_at_targets(texts)):
            if isinstance(length, int):
                most.add(target=length)
            else:
                found[index] = length
    return dict(sorted(found.items()))


def _shown(example: Example, known: dict[ImageSource, tuple[int, int]]) -> list[tuple[int, int]]:
    with named(example):
        return [_size(image, known) for image in example.images]


def _size(image: ImageSource, known: dict[ImageSource, tuple[int, int]]) -> tuple[int, int]:
    if isinstance(image, Image):  # which has no hash, and is at hand
        return size_seen(image)
    if image not in known:
        known[image] = size_seen(image)
    return known[image]
