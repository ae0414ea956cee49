"""What a checkpoint is asked, and how: an experiment in which nothing is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny, field_validator

from holdfast.config.experiment import Evaluation, Experiment, MethodName, Name
from holdfast.generate.settings import ServerSettings
from holdfast.learning.methods import Method
from holdfast.tasks.prompts import HINTS, Style

# The keys of an experiment that say how a policy is asked; the others are about learning.
ASKING = (
    "model", "prompts", "tasks", "scoring", "test_examples", "bad_rows", "evaluation", "store", "cache",
    "threads",
)  # fmt: skip


class Exam(Experiment):
    """The tasks that checkpoints answer are its `general` ones; equal for all that are compared."""

    name: Name = "evaluate"
    hint: str = HINTS["standard"]
    sequence: tuple[str, ...] = ()
    methods: dict[MethodName, SerializeAsAny[Method]] = Field(default_factory=dict)
    output: Path = Path("runs/evaluate")
    style: Style = "cot"
    server: ServerSettings = ServerSettings()

    @field_validator("evaluation")
    @classmethod
    def _asks_directly(cls, value: Evaluation) -> Evaluation:
        if value.sampler is not None:
            raise ValueError("sampler: is of experiments; name a server's address in the place of a model")
        return value

    def asking(self, task: str) -> dict[str, Any]:
        """The settings that say how a task is asked, as plain data; where results lie is none of them."""
        keys = {*ASKING, "style", "seeds"} - {"store", "cache"}
        said = self.model_dump(mode="json", include=keys, exclude_unset=True)
        return said | {"tasks": {name: one for name, one in said.get("tasks", {}).items() if name == task}}

    @property
    def styles(self) -> tuple[Style, ...]:
        return (self.style,)
