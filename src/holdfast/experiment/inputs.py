"""What jobs read besides the store: it must be what their fingerprints say, when it is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holdfast import files, plugins
from holdfast.config.experiment import Experiment
from holdfast.errors import InputError
from holdfast.experiment.identity import HASHES, check_unchanged, model_folder, model_identity
from holdfast.experiment.plan import Job, Plan, facts
from holdfast.tasks.example import Example
from holdfast.tasks.jsonl import OwnTask
from holdfast.tasks.leftout import without
from holdfast.tasks.task import Split, Task


class Inputs:
    """The data and the base model of a plan's jobs.

    A file that changes between the plan and its use would give a result under the name of another. So
    everything is compared with the plan before it is read and after; pictures, which are opened one by one,
    once more before a result is stored.
    """

    def __init__(self, experiment: Experiment, plan: Plan) -> None:
        self.experiment = experiment
        self._left_out, self._code = plan.left_out, plan.code
        self._known: dict[str, dict[str, Any]] = {}
        for job in plan.jobs.values():
            for data in _data(job):
                self._known.setdefault(data["name"], data)
        starting = (job.inputs["policy"] for job in plan.jobs.values() if job.policy is None)
        self._base = next(starting, None)
        self._pictures: dict[str, dict[Path, tuple[int, int, int]]] = {}

    def task(self, name: str) -> Task:
        """The task of a name.

        Raises:
            InputError: its data are not those of the plan.
        """
        task = self.experiment.task(name)
        known, now = self._known.get(name, {}), plugins.identify(facts(task))
        if any(known.get(key, value) != value for key, value in now.items()):
            plugins.check_unchanged(self._code)  # its scorer's file is part of a task, too
            raise InputError(f"The data of task {name}{self._places(name)} {_CHANGED}")
        return without(task, self._left_out)

    def examples(self, task: Task, split: Split) -> list[Example]:
        """The examples of a split that jobs use.

        Raises:
            InputError: they changed since the plan, or while they were read.
        """
        examples = task.examples(split, self.experiment.count(task, split))
        pictures = {path for one in examples for path in one.images if isinstance(path, Path)}
        self._pictures.setdefault(task.name, {}).update((path, _state(path)) for path in pictures)
        self.task(task.name)
        return examples

    def check_files(self, job: Job) -> None:
        """See that the pictures of a job, and files that its strategies read, are still those of the plan.

        Raises:
            InputError: one is not.
        """
        strategies = job.method.retention if job.kind == "learn" and job.method is not None else ()
        for place, strategy in enumerate(strategies):
            known = job.inputs["method"]["retention"][place]
            for name in strategy.files:
                if strategy.determining()[name] != known[name]:
                    raise InputError(f"The file {getattr(strategy, name)} {_CHANGED}")
        for data in _data(job):
            pictures = self._pictures.get(data["name"], {})
            touched = {path: now for path, state in pictures.items() if (now := _state(path)) != state}
            for path, now in touched.items():
                if now[:2] != pictures[path][:2]:
                    raise InputError(f"The picture {path} {_CHANGED}")
            if touched:  # its mode is another, or it is, with the size and the time that were there before
                self.task(data["name"])
                pictures.update(touched)

    def check_base(self) -> None:
        """See that the base model is that of the plan.

        Raises:
            InputError: it is not.
        """
        model = self.experiment.model
        now = plugins.identify(model_identity(model, self.experiment.store_folder / HASHES))
        check_unchanged(model.path, self._base, now)

    def base_folder(self) -> Path:
        """The folder with the base's weights; of a hub id, where it was downloaded to.

        Raises:
            InputError: it is not on this disk.
        """
        model = self.experiment.model
        if (folder := model_folder(model)) is not None:
            return folder
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(model.path, revision=model.revision, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError):
            raise InputError(
                f"Weight movement is measured on files, and those of {model.path} are not on this disk; "
                f"'hf download {model.path}' brings them."
            ) from None

    def _places(self, name: str) -> str:
        settings = self.experiment.tasks.get(name)
        if not isinstance(settings, OwnTask):
            return ""
        return f" ({', '.join(map(str, settings.splits().values()))}, or a picture there)"


_CHANGED = "changed after the run was planned; run again."


def _data(job: Job) -> Iterator[dict[str, Any]]:
    """What a job's fingerprint says of the data that it reads."""
    for key in ("tasks", "earlier", "train"):
        yield from (data for data in job.inputs.get(key, ()) if isinstance(data, dict))


def _state(path: Path) -> tuple[int, int, int]:
    try:
        return files.state(path)
    except OSError:
        return -1, -1, -1
