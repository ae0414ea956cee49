"""A server with the OpenAI chat completions interface: one request, and when to repeat it.

Repeated, after a pause that doubles: what may go better later (429, 408, 5xx, no connection, no
answer in time, a body that is no chat completion). Not repeated: what would be refused again (any
other 4xx, a redirection, which could carry the key to another host).
"""

from __future__ import annotations

import email.utils
import http.client
import json
import random
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from holdfast.errors import HoldfastError, InputError

LONGEST_BODY = 1 << 24  # bytes of an answer that are read
LONGEST_PAUSE = 60.0  # seconds, whatever Retry-After says
_REPEATED = (408, 425, 429)


@dataclass(frozen=True)
class Reply:
    """What a server generated.

    Attributes:
        text: the whole response, reasoning included.
        tokens: as the server counts them, or None.
        finished: it ended by itself, not at the limit of tokens.
    """

    text: str
    tokens: int | None
    finished: bool


class Stopped(Exception):
    """The work was given up while a request waited for its turn."""


class _Again(Exception):
    """This attempt failed, another may not; `pause` is what the server asks for, in seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Endpoint:
    """Sends chat completions to one server; may be used by several threads.

    Args:
        url: the server's base address, as in OpenAI's clients: `http://host:8000/v1`.
        key: sent as a bearer token.
        timeout: seconds without a sign of the server, for each attempt.
        retries: attempts after the first.
        pause: seconds before the second attempt; doubles with each.

    Raises:
        InputError: the address is not one.
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout: float = 60, retries: int = 5, pause: float = 1.0
    ) -> None:
        self.url = chat_address(url)
        self.timeout, self.retries, self.pause = timeout, retries, pause
        self.repeated = 0  # attempts that were not the first
        self.stop = threading.Event()  # set it to give up all that waits
        self._counting = threading.Lock()
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._opener = urllib.request.build_opener(_NoRedirect)

    def complete(self, body: dict[str, Any]) -> Reply:
        """The reply to one request body.

        Raises:
            InputError: the server refuses the request.
            HoldfastError: all attempts failed.
            Stopped: `stop` was set meanwhile.
        """
        data = json.dumps(body).encode()
        for attempt in range(self.retries + 1):
            if self.stop.is_set():
                raise Stopped
            try:
                return _reply(self._send(data))
            except _Again as failure:
                if attempt == self.retries:
                    count = "1 attempt" if attempt == 0 else f"{attempt + 1} attempts"
                    raise HoldfastError(f"{self.url} failed in {count}, last: {failure}") from None
                # Jitter, so that requests which failed together do not come back together.
                pause = self.pause * 2**attempt * random.uniform(0.5, 1.0)
                self.stop.wait(min(max(pause, failure.pause), LONGEST_PAUSE))
                with self._counting:
                    self.repeated += 1
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _send(self, data: bytes) -> bytes:
        request = urllib.request.Request(self.url, data, self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                body: bytes = response.read(LONGEST_BODY + 1)
        except urllib.error.HTTPError as error:
            with error:
                said = _said(error)
            if error.code in _REPEATED or error.code >= 500:
                raise _Again(said, _retry_after(error.headers.get("Retry-After"))) from None
            raise InputError(f"{self.url} refuses the request: {said}. {_advice(error.code)}") from None
        except TimeoutError:
            raise _Again(f"no answer in {self.timeout:g} s; see --timeout and --concurrency") from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _Again(f"no connection in {self.timeout:g} s") from None
            raise _Again(f"no connection ({error.reason}); is the server running?") from None
        except (OSError, http.client.HTTPException) as error:
            raise _Again(f"the connection broke ({type(error).__name__}: {error})") from None
        if len(body) > LONGEST_BODY:
            raise _Again(f"its answer is longer than {LONGEST_BODY:,} bytes")
        return body


def chat_address(url: str) -> str:
    """Where chat completions are asked for, from a server's base address.

    Raises:
        InputError: it is not an http(s) address.
    """
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port
        usable = False
    if not usable or parts.query or parts.fragment or parts.username:
        raise InputError(f"--endpoint {url} is not a server's address, such as http://localhost:8000/v1.")
    path = parts.path.rstrip("/") or "/v1"
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return f"{parts.scheme}://{parts.netloc}{path}"


def _reply(body: bytes) -> Reply:
    """The first choice of a chat completion."""
    try:
        value = json.loads(body)
    except ValueError:  # also text that is not UTF-8
        raise _Again(f"its answer is not JSON: {_short(body)}") from None
    try:
        choice = value["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        content = message.get("content")
        # Servers with a reasoning parser take the reasoning out of the response; it belongs there.
        reasoning = message.get("reasoning_content") or message.get("reasoning")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _Again(f"its answer is not a chat completion: {_short(body)}") from None
    if content is None and isinstance(reason, str):
        content = ""  # nothing but reasoning, or nothing at all, before the limit
    if not isinstance(content, str):
        raise _Again(f"its answer holds no text: {_short(body)}")
    if isinstance(reasoning, str):
        content = f"<think>{reasoning}</think>{content}"
    usage = value.get("usage")
    tokens = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return Reply(content, tokens if type(tokens) is int else None, reason != "length")


def _said(error: urllib.error.HTTPError) -> str:
    """Status and what the server says about it."""
    try:
        body = error.read(4096)
    except (OSError, http.client.HTTPException):
        body = b""
    try:
        value = json.loads(body)
        message = value["error"]["message"] if isinstance(value["error"], dict) else value["error"]
    except (ValueError, KeyError, TypeError):
        message = _short(body)
    status = f"{error.code} {error.reason}"
    return f"{status} ({str(message).strip().rstrip('.')[:300]})" if message else status


def _short(body: bytes) -> str:
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    return f"{text} …" if len(body) > 200 else text


def _retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks to wait: a number, or a date."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def _advice(code: int) -> str:
    if code in (401, 403):
        return "Give the name of the variable that holds its key with --api-key-env."
    if code == 404:
        return "Check --endpoint (up to /v1) and --served-model (the name the server knows the model by)."
    if code in (301, 302, 303, 307, 308):
        return "Give the address it redirects to."
    return "Check --max-tokens against the server's context, and whether the model takes images."
