"""Before any work: does the model take every row of an experiment?

Only its processor knows how many tokens a prompt and its pictures have. It is asked once: what fitted is
remembered in the store, under all that determines it. Embedded tasks are made to fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast import files
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment.identity import digest, model_folder
from holdfast.learning.methods import SFT
from holdfast.policy.known import configuration
from holdfast.policy.settings import ModelSettings
from holdfast.tasks.embedded import TASKS
from holdfast.tasks.example import ImageSource, size_seen
from holdfast.tasks.prompts import Style, Target, render_prompt, render_target
from holdfast.tasks.task import Split, Task

if TYPE_CHECKING:
    from holdfast.policy.encode import Encoder, Unfit

FITTING_VERSION = 1  # raise when rows that fitted are to be looked at again
MEMORY = "rows-fit.json"  # in a store
AT_ONCE = 256  # rows
SHOWN = 5  # of the rows that do not fit


def check_rows(experiment: Experiment) -> None:
    """See that the model takes all prompts, pictures and targets, with room for answers, as sizes tell.

    Of a hub id that is not on this disk nothing is known yet.

    Raises:
        InputError: it does not; names the first rows, by task, id and (of own data) file and line.
    """
    memory = experiment.store / MEMORY
    known = _remembered(memory)
    splits = [(found, key) for found in _splits(experiment) if (key := _key(experiment, *found)) not in known]
    if not splits:
        return
    from holdfast.policy.ready import encoder_of

    encoder = encoder_of(experiment.model)
    if encoder is None:
        return
    problems: list[str] = []
    for (task, split), key in splits:
        found = [str(problem) for problem in _unfit(experiment, encoder, task, split)]
        problems += found
        if not found:
            known.append(key)
    with suppress(OSError):  # it only saves time
        files.write_json(memory, {"version": FITTING_VERSION, "fit": known})
    if problems:
        more = f"\n… and {len(problems) - SHOWN} more." if len(problems) > SHOWN else ""
        raise InputError(
            "The model cannot take every row; change or remove these:\n" + "\n".join(problems[:SHOWN]) + more
        )


def _splits(experiment: Experiment) -> Iterator[tuple[Task, Split]]:
    """What the experiment reads of tasks that may not fit."""
    for name in (*experiment.sequence, *experiment.general):
        if name in TASKS:
            continue
        task = experiment.task(name)
        yield task, experiment.evaluation.split
        if name in experiment.sequence and experiment.evaluation.split != "train":
            yield task, "train"


def _targets(experiment: Experiment, split: Split) -> list[tuple[Style, Target]]:
    """What SFT writes; what a policy writes itself is as long as `max_tokens` lets it."""
    methods = experiment.methods.values() if split == "train" else ()
    targets = {(method.style, method.target) for method in methods if isinstance(method, SFT)}
    return sorted(target for target in targets if target[1] != "sampled")


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


def _unfit(experiment: Experiment, encoder: Encoder, task: Task, split: Split) -> Iterator[InputError]:
    """The rows that do not fit, each once."""
    examples = task.examples(split, experiment.count(task, split))
    sizes: dict[ImageSource, tuple[int, int]] = {}
    for start in range(0, len(examples), AT_ONCE):
        part = examples[start : start + AT_ONCE]
        names = [f"{task.name} {example.named}" for example in part]
        shown = [[_size(image, sizes) for image in example.images] for example in part]
        found: dict[int, Unfit] = {}
        for style in experiment.styles:
            prompts = [render_prompt(example, style, experiment.prompts) for example in part]
            problems = encoder.unfit(prompts, shown, _room(experiment, split))
            found |= {problem.index: problem for problem in problems}
        for style, target in _targets(experiment, split):
            texts = [render_target(example, style, target) for example in part]
            found |= {problem.index: problem for problem in encoder.unfit_targets(texts)}
        yield from (found[index].named(names) for index in sorted(found))


def _size(image: ImageSource, known: dict[ImageSource, tuple[int, int]]) -> tuple[int, int]:
    if image not in known:
        known[image] = size_seen(image)
    return known[image]


def _remembered(memory: Path) -> list[str]:
    try:
        content = files.read_json(memory)
        return list(content["fit"]) if content["version"] == FITTING_VERSION else []
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
