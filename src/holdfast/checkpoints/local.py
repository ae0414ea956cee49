"""A checkpoint that generates in this process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.analysis.results import Record
from holdfast.checkpoints.exam import Exam, OnStep
from holdfast.errors import InputError
from holdfast.experiment.identity import model_identity
from holdfast.policy.settings import ModelSettings
from holdfast.rowlog import RowLog
from holdfast.tasks.example import Example
from holdfast.tasks.task import Task
from holdfast.weights import count_parameters

if TYPE_CHECKING:
    from holdfast.policy.policy import Policy


class LocalModel:
    """A model folder, a hub id or `embedded`; or a folder of adapters on `settings.path`.

    The model is loaded when the first task is asked, so that a rerun which has nothing to do is quick.

    Args:
        settings: how to load it; `path` counts for adapters only.

    Raises:
        InputError: there is no such model.
    """

    repeated = 0

    def __init__(self, source: str, settings: ModelSettings, batch: int) -> None:
        adapters = (Path(source) / "adapter_config.json").is_file()
        if adapters and "path" not in settings.model_fields_set:
            raise InputError(f"{source} holds adapters; say of which model with --model path=MODEL.")
        for path in (source, settings.path) if adapters else (source,):
            _check_files(path)
        self.source, self.batch = source, batch
        self.settings = settings if adapters else settings.model_copy(update={"path": source})
        self._policy: Policy | None = None

    @property
    def name(self) -> str:
        folder = Path(self.source)
        return str(folder.resolve()) if folder.is_dir() else self.source

    def identity(self, folder: Path) -> dict[str, Any]:
        from holdfast.forgetting.evaluate import EVALUATION_VERSION

        memory = folder / "model-hashes.json"
        models = [self.settings]
        if self.settings.path != self.source:
            models.append(ModelSettings(path=self.source))
        identities = [model_identity(model, memory) for model in models]
        return {"models": identities, "batch": self.batch, "version": EVALUATION_VERSION}

    def answer(
        self, task: Task, examples: Sequence[Example], exam: Exam, part: Path, on_step: OnStep
    ) -> list[Record]:
        from holdfast.forgetting.evaluate import evaluate
        from holdfast.policy.policy import Policy

        if self._policy is None:
            self._policy = Policy.load(self.source, self.settings)
        seed = 0 if exam.sampling.temperature > 0 else None  # names the stream as in an experiment
        return evaluate(
            self._policy,
            task,
            examples,
            style=exam.style,
            templates=exam.templates,
            sampling=exam.sampling,
            stream=("evaluate", seed, task.name),
            batch=self.batch,
            on_step=on_step,
            kept=RowLog(part),
        )

    def close(self) -> None:
        self._policy = None


def _check_files(path: str) -> None:
    """What can be seen of a model without loading it, so that a slip shows before any work."""
    folder = Path(path)
    if path == "embedded" or (not folder.exists() and re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", path)):
        return
    if not folder.is_dir():
        raise InputError(
            f"There is no model '{path}': it is neither 'embedded' nor a folder nor a hub id (owner/name)."
        )
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise InputError(
            f"{folder} is neither a model's folder (it has no config.json) nor one that "
            "'holdfast evaluate' wrote (it has no records)."
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise InputError(f"The model folder {folder} has no weights (*.safetensors).")
    for file in weights:
        count_parameters(file)
