"""How a model is loaded, and how it samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from holdfast.settings import Settings

EMBEDDED = Path(__file__).parent / "embedded" / "model"
ADAPTERS = "adapter_config.json"  # as peft names it


def model_path(source: str | Path) -> Path:
    """The folder that a model's name stands for; of a hub id, one that is not there."""
    return EMBEDDED if str(source) == "embedded" else Path(source)


def holds_adapters(folder: str | Path) -> bool:
    """Whether a folder is one of LoRA adapters, which need their model to be loaded."""
    return (Path(folder) / ADAPTERS).is_file()


class Lora(Settings):
    """Low-rank adapters (arXiv 2106.09685): the model's own weights stay as they are.

    There is no dropout: the policy that learns is exactly the one that samples.
    """

    rank: int = Field(16, ge=1)  # of the adapters
    alpha: int = Field(32, ge=1)  # an adapter's output counts alpha / rank times
    # Ends of the names of linear layers, wherever in the model they stand; None: all of the text model
    # but its head, and none of the vision tower or the projector.
    target_modules: tuple[str, ...] | None = Field(None, min_length=1)


class ModelSettings(Settings):
    """The model an experiment starts from."""

    path: str = "embedded"  # a folder, a hub id, or `embedded`: the tiny model in the package
    revision: str | None = None  # of a hub id: a commit keeps the model as it is; null is what the hub has
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"  # of weights and computation
    device: str = "auto"  # auto: cuda if there is one, else cpu
    activation_checkpointing: bool = False  # activations twice, none kept: less memory
    lora: Lora | None = None  # None: all weights are trained
    # Tokens (prompts and completions) that a forward pass may hold; larger batches are split, with
    # the same results up to rounding. None: whole batches. Out of memory halves it.
    token_budget: int | None = Field(None, ge=1)
    freeze: tuple[Literal["vision", "projector"], ...] = ()  # parts that are not trained
    min_pixels: int | None = Field(None, ge=1)  # None: the image processor's own bound
    max_pixels: int | None = Field(None, ge=1)  # of a picture; larger ones are scaled down
    system_prompt: str | None = None  # stands before every prompt
    max_context: int | None = Field(None, ge=1)  # tokens; None: the model's own limit

    @field_validator("freeze")
    @classmethod
    def _in_one_order(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        """Parts that are frozen are a set, however they are written."""
        return tuple(sorted(set(value), reverse=True))  # vision first

    @model_validator(mode="after")
    def _bounds_in_order(self) -> ModelSettings:
        if self.min_pixels is not None and self.max_pixels is not None and self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels ({self.min_pixels}) is larger than max_pixels ({self.max_pixels})")
        return self

    @property
    def trains_bfloat16(self) -> bool:
        """Whether weights in bfloat16 are trained; adapters are float32."""
        return self.dtype == "bfloat16" and self.lora is None

    @property
    def operations_version(self) -> int:
        """Raised where a stage's operations are counted otherwise: weights that adapters are put on, and a
        tower that is frozen alone, were counted as if they learned."""
        return 2 if self.lora is not None or self.freeze == ("vision",) else 1


class Sampling(Settings):
    """How completions are drawn."""

    temperature: float = Field(1.0, ge=0)  # 0 is greedy
    top_p: float = Field(1.0, gt=0, le=1)  # of the probability that is drawn from
    max_tokens: int = Field(1024, ge=1)  # longest completion
