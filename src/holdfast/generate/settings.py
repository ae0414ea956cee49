"""How a server is asked, and what is said of one that samples for a policy."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from holdfast.errors import InputError
from holdfast.settings import Settings

SERVED_VERSION = 1  # raise when a served engine is asked in another way


class ServerSettings(Settings):
    """What must be known of an OpenAI-compatible server besides its address."""

    key: ClassVar[str] = "server"  # what messages call these settings, and that of the longest answer
    most_tokens: ClassVar[str] = "evaluation.max_tokens"

    model: str = ""  # what the server calls the model
    key_variable: str | None = None  # the environment variable that holds its key
    concurrency: int = Field(8, ge=1, le=1024)  # requests under way at the same time
    timeout: float = Field(60, ge=0.1)  # seconds for one whole answer
    run_limit: float = Field(86_400, gt=0)  # seconds for all answers together
    retries: int = Field(5, ge=0, le=20)  # attempts after one that failed
    pause: float = Field(1.0, ge=0)  # seconds before the second attempt; doubles with each


class Served(ServerSettings):
    """Another engine that samples for the policy: a vLLM server beside Holdfast that is given its weights."""

    key: ClassVar[str] = "sampler"
    most_tokens: ClassVar[str] = "max_tokens (of sampling for roll-outs, else of evaluation)"

    kind: Literal["served"]  # the only one so far
    url: str  # of its OpenAI-compatible endpoints: http://localhost:8000/v1
    version: str = Field(min_length=1)  # of the engine, as it reports it; what it draws is its own
    timeout: float = Field(600, ge=0.1)  # seconds for one whole answer, and for taking weights
    # A token counts min(most, policy / sampler) times, by their probabilities of it; or 1 time.
    correction: Literal["token", "none"] = "token"
    most: float = Field(2.0, ge=1)  # times that a token may count
    refuse: float = Field(0.1, gt=0)  # mean difference of log-probabilities from which the run stops

    @field_validator("url")
    @classmethod
    def _usable(cls, value: str) -> str:
        """A key in it would be written into the run's folder and its report."""
        from holdfast.generate.connection import chat_address

        try:
            chat_address(value)
        except InputError as error:
            raise ValueError(str(error).rstrip(".")) from None
        return value

    def determining(self, learns: bool) -> dict[str, Any]:
        """What of it can change a result; where the server is and how long it may take cannot."""
        drawn = {"kind": self.kind, "engine": self.version, "asked": SERVED_VERSION}
        return drawn | {"correction": self.correction, "most": self.most} if learns else drawn
