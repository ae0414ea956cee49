"""How a server is asked."""

from __future__ import annotations

from pydantic import Field

from holdfast.settings import Settings


class ServerSettings(Settings):
    """What must be known of an OpenAI-compatible server besides its address."""

    model: str = ""  # what the server calls the model
    key_variable: str | None = None  # the environment variable that holds its key
    concurrency: int = Field(8, ge=1, le=1024)  # requests under way at the same time
    timeout: float = Field(60, ge=0.1)  # seconds for one whole answer
    run_limit: float = Field(86_400, gt=0)  # seconds for all answers together
    retries: int = Field(5, ge=0, le=20)  # attempts after one that failed
    pause: float = Field(1.0, ge=0)  # seconds before the second attempt; doubles with each
