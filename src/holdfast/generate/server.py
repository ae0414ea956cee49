"""A server with the OpenAI chat completions interface as a generator: vLLM, SGLang, `transformers serve` …

Repeated, after a pause that doubles: what may go better later (429, 408, 5xx, no connection, no whole
answer in time, a body that is no chat completion). Not repeated: what would be refused again (any other
4xx, a redirection, which could carry the key to another host).

Requests run in a thread of their own, so that grading one answer does not keep the others waiting.
"""

from __future__ import annotations

import asyncio
import base64
import email.utils
import os
import queue
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import Any, TypeVar

import httpx2

from holdfast.errors import HoldfastError, InputError, reason, retold
from holdfast.files import parse_json
from holdfast.generate.connection import beside, chat_address, connected
from holdfast.generate.generator import Answers, Question
from holdfast.generate.settings import ServerSettings
from holdfast.policy.settings import Sampling
from holdfast.rng import seed
from holdfast.settings import LARGEST
from holdfast.tasks.example import ImageSource, open_image
from holdfast.tasks.prompts import parts_of

T = TypeVar("T")
REQUEST_VERSION = 2  # raise when the same question is asked in another way
LONGEST_BODY = 1 << 24  # bytes of an answer that are read
LONGEST_PAUSE = 60.0  # seconds, whatever Retry-After says
_REPEATED = (408, 425, 429)
REDIRECTED = (301, 302, 303, 307, 308)
UNKNOWN_CALLER = (401, 403)
# Why an answer ended that the server did not give whole: it was paused, stopped or failed meanwhile, or it
# kept text of the model back.
BROKEN_OFF = ("abort", "content_filter", "error", "function_call", "tool_calls")
# What a server else takes from the checkpoint's own generation settings, switched off. Not all servers
# know all of them: those that one refuses are left out.
NEUTRAL = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


class Again(Exception):
    """This attempt failed, another may not; `pause` is what the server asks for, in seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class ServerGenerator:
    """The model that a server knows by a name; each question is one request, a few are under way at a time.

    Attributes:
        repeated: attempts that were not the first.
        left_out: settings of `NEUTRAL` that the server refuses, so that its own count.
        backends: fingerprints of what answered, where the server gives them.

    Raises:
        InputError: the address is not one, the model's name is missing, or the key's variable is not set.
    """

    def __init__(self, url: str, settings: ServerSettings, system_prompt: str | None = None) -> None:
        self.url, self.settings, self.system_prompt = chat_address(url), settings, system_prompt
        if not settings.model:
            raise InputError(f"Say what {url} calls the model: {settings.key}.model=NAME.")
        self.repeated = 0
        self.left_out: set[str] = set()
        self.answering: str | None = None  # what the server says which model answers
        self.backends: set[str] = set()
        self._headers = {"Accept-Encoding": "identity"}
        self._key = ""
        if settings.key_variable is not None:
            name, said = settings.key_variable, f"{settings.key}.key_variable"
            self._key = key = os.environ.get(name, "").strip()  # read from a file it ends in a line feed
            if not key:
                raise InputError(f"The variable {name} ({said}) is not set; put the key in it.")
            if not (key.isascii() and key.isprintable()):
                raise InputError(
                    f"The key in the variable {name} ({said}) holds a character that no key has, such as a "
                    "line break; copy it again."
                )
            self._headers["Authorization"] = f"Bearer {key}"
        self._deadline = time.monotonic() + settings.run_limit

    def generate(
        self, questions: Sequence[Question], group: int, sampling: Sampling, stream: tuple[object, ...]
    ) -> Iterator[Answers]:
        """The answers as they come. After a failure no more are asked, and those under way are given.

        Raises:
            InputError: the server refuses a request.
            HoldfastError: all attempts failed, or `server.run_limit` is over.
        """
        answered: queue.Queue[Answers | BaseException | None] = queue.Queue()
        waiting, failures, stop = iter(enumerate(questions)), list[Exception](), asyncio.Event()

        async def ask_some(client: httpx2.AsyncClient) -> None:
            for place, question in waiting:
                if stop.is_set():
                    return
                try:
                    body = self.body(question, group, sampling, stream)
                    read = partial(self.read, place, group)
                    answered.put(await self.ask(client, self.url, body, read, stop))
                except HoldfastError as error:
                    failures.append(retold(error, f"Example {question.example.id}: {error}"))
                    stop.set()
                except Exception as error:  # ours: the others end as after any failure
                    failures.append(error)
                    stop.set()

        async def ask_all() -> None:
            try:
                async with self.client() as client:
                    await asyncio.gather(*(ask_some(client) for _ in range(self.settings.concurrency)))
                answered.put(failures[0] if failures else None)
            except BaseException as error:
                answered.put(error)

        with beside(ask_all()):  # which ends with the block, also when nobody wants the rest
            while (answer := answered.get()) is not None:
                if isinstance(answer, BaseException):
                    raise answer
                yield answer

    def client(self) -> httpx2.AsyncClient:
        """What requests go through."""
        return connected(self._headers)

    @property
    def served(self) -> dict[str, Any]:
        """The model that answered and its fingerprints, as the server calls them."""
        return {"model": self.answering, "fingerprints": sorted(self.backends)}

    @property
    def mode(self) -> dict[str, Any]:
        """What of the server's own settings counts, as it takes none from here."""
        return {"left_out": sorted(self.left_out)} if self.left_out else {}

    def recall(self, served: Mapping[str, Any]) -> None:
        """Take note of what gave earlier answers, in another process, that go with those asked for here.

        Raises:
            HoldfastError: another model than has answered here.
        """
        for fingerprint in served["fingerprints"] or [""]:
            self._take_note(served["model"] or "", fingerprint)

    def _take_note(self, model: str, fingerprint: str) -> None:
        """Remember what answered.

        Raises:
            HoldfastError: another model than before; answers of two are no examination of one.
        """
        if model and self.answering not in (None, model):
            raise HoldfastError(
                f"{self.url} changed its model while it was asked: {self.answering} answered, now {model} "
                "does. Evaluate again with --again once it stays the same"
            )
        self.answering = model or self.answering
        self.backends |= {fingerprint} - {""}

    async def ask(
        self,
        client: httpx2.AsyncClient,
        url: str,
        body: dict[str, Any] | None,
        read: Callable[[bytes], T],
        stop: asyncio.Event,
    ) -> T:
        """What is read of an answer, after as many attempts as it takes.

        Args:
            body: that is posted; None: it is a GET.
            stop: no more attempts once it is set.

        Raises:
            InputError: the server refuses the request.
            HoldfastError: all attempts failed, or `run_limit` is over.
        """
        settings = self.settings
        for attempt in range(1, settings.retries + 2):
            try:
                return read(await self._send(client, url, body))
            except Again as again:
                failure = again
            if attempt > settings.retries or stop.is_set():
                break
            # Jitter, so that requests which failed together do not come back together.
            pause = max(settings.pause * 2 ** (attempt - 1) * random.uniform(0.5, 1.0), failure.pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), min(pause, LONGEST_PAUSE))
            self.repeated += 1
        count = "1 attempt" if attempt == 1 else f"{attempt} attempts"
        raise HoldfastError(f"{url} failed in {count}, last: {failure}.")

    async def _send(self, client: httpx2.AsyncClient, url: str, body: dict[str, Any] | None) -> bytes:
        """The body of a good answer.

        Time counts from the first byte sent to the last one read, so that a server which sends a byte now and
        then holds nothing up.

        Raises:
            Again: it may go better later.
            InputError: the server refuses the request.
            HoldfastError: `run_limit` is over.
        """
        left, longest = self._deadline - time.monotonic(), self.settings.timeout
        limit = f"{self.settings.key}.run_limit ({self.settings.run_limit / 3600:g} h)"
        over = HoldfastError(f"{url} took longer than {limit} for everything.")
        if left <= 0:
            raise over
        if body is not None:
            body = {key: value for key, value in body.items() if key not in self.left_out}
        content = bytearray()
        try:
            async with (
                asyncio.timeout(min(longest, left)),
                client.stream("GET" if body is None else "POST", url, json=body) as response,
            ):
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > LONGEST_BODY:
                        raise Again(f"its answer is longer than {LONGEST_BODY:,} bytes")
        except TimeoutError:
            if left < longest:
                raise over from None
            advice = f"see {self.settings.key}.timeout and {self.settings.key}.concurrency"
            raise Again(f"no whole answer in {longest:g} s; {advice}") from None
        except httpx2.ConnectError as error:
            raise Again(f"no connection ({reason(error)}); is the server running?") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise Again(f"the connection broke ({reason(error)})") from None
        if response.is_success:
            return bytes(content)
        code, said = response.status_code, self.said(response, bytes(content))
        if code in _REPEATED or code >= 500:
            raise Again(said, _retry_after(response.headers.get("Retry-After")))
        unknown = {name for name in NEUTRAL if name in said and name in (body or ())}
        if code in (400, 422) and unknown:
            self.left_out |= unknown
            return await self._send(client, url, body)
        raise InputError(f"{url} refuses the request: {said}. {self.advice(url, code)}")

    def advice(self, url: str, code: int) -> str:
        """What to do where the server refuses a request to that address."""
        key = self.settings.key
        if code in UNKNOWN_CALLER:
            return f"Give the name of the variable that holds its key with {key}.key_variable."
        if code in REDIRECTED:
            return "Give the address it redirects to."
        if code == 404:
            return f"Check the address (up to /v1) and {key}.model (the name the server knows the model by)."
        most = self.settings.most_tokens
        return f"Check {most} against the server's context, and whether the model takes images."

    def said(self, response: httpx2.Response, content: bytes) -> str:
        """Status of a refusal and what the server says about it, without the key."""
        try:
            error = parse_json(content)["error"]
            message = error["message"] if isinstance(error, dict) else error
        except (ValueError, KeyError, TypeError):
            message = self.excerpt(content)
        status = self._without_key(f"{response.status_code} {response.reason_phrase}")
        text = " ".join(self._without_key(str(message or "")).split())
        return f"{status} ({text.rstrip('.')[:300]})" if text else status

    def excerpt(self, content: bytes) -> str:
        """The beginning of what it sent, as the end of a line, without the key."""
        said = self._without_key(content.decode("utf-8", "replace"))
        text = " ".join(said[:200].split())
        return f"{text} …" if len(said) > 200 else text

    def _without_key(self, text: str) -> str:
        """Some servers repeat it, in JSON with some of its characters escaped."""
        if len(self._key) < 8:  # no secret
            return text
        escaped = (rf"(?:{re.escape(one)}|\\{re.escape(one)}|\\u{ord(one):04x})" for one in self._key)
        return re.sub("".join(escaped), "(the key)", text, flags=re.IGNORECASE)

    def read(self, place: int, group: int, content: bytes) -> Answers:
        """The answers to the question at `place`, as a good reply holds them.

        Raises:
            Again: it is no chat completion with `group` choices.
        """
        value, choices = self.choices(content, group)
        try:
            texts = [_text(one["message"], one.get("finish_reason")) for one in choices]
        except (KeyError, TypeError, AttributeError):
            raise Again(f"its answer is not a chat completion: {self.excerpt(content)}") from None
        usage = value.get("usage")
        self._take_note(_named(value.get("model")), _named(value.get("system_fingerprint")))
        total = usage.get("completion_tokens") if isinstance(usage, dict) else None
        # Servers count all choices together.
        told = group == 1 and type(total) is int and 0 <= total <= LARGEST
        finished = [one.get("finish_reason") != "length" for one in choices]
        return Answers([place], [texts], [[total if told else None] * group], [finished])

    def choices(self, content: bytes, group: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What a good reply says, and the answers in it.

        Raises:
            Again: it is no chat completion with `group` choices, all of which are whole.
        """
        try:
            value = parse_json(content)
        except ValueError:  # also text that is not UTF-8, or nested too deeply
            raise Again(f"its answer is not JSON: {self.excerpt(content)}") from None
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
            raise Again(f"its answer is not a chat completion: {self.excerpt(content)}")
        if len(choices) != group:
            raise Again(f"its answer holds {len(choices)} choices instead of {group}")
        for one in choices:
            if (ended := one.get("finish_reason")) in BROKEN_OFF:
                raise Again(f"its answer is not whole (finish_reason: {ended})")
        return value, choices

    def body(
        self, question: Question, group: int, sampling: Sampling, stream: tuple[object, ...]
    ) -> dict[str, Any]:
        """The request for one question.

        It holds images and text, and every setting that decides what is sampled, so that the checkpoint's own
        generation settings do not count.

        Raises:
            InputError: the prompt has more or fewer markers than images.
        """
        try:
            parts = parts_of(question.prompt, len(question.images))
        except ValueError as error:
            raise InputError(f"The prompt of {question.named} {error}.") from None
        images = map(data_url, question.images)
        content = [
            {"type": "image_url", "image_url": {"url": next(images)}}
            if part is None
            else {"type": "text", "text": part}
            for part in parts
        ]
        text_only = not question.images  # some servers of text models take no list of parts
        messages: list[dict[str, Any]] = [
            {"role": "user", "content": question.prompt if text_only else content}
        ]
        if self.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": self.system_prompt})
        body = {"model": self.settings.model, "messages": messages, **sampling.model_dump(), **NEUTRAL}
        if sampling.temperature > 0:
            body["seed"] = seed(*stream, question.example.id) % 2**31
        if group > 1:
            body["n"] = group
        return body


def _named(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _text(message: Any, reason: Any) -> str:
    """The whole response: servers with a reasoning parser take the reasoning out, but it belongs there."""
    content, reasoning = message.get("content"), message.get("reasoning_content") or message.get("reasoning")
    if content is None and isinstance(reason, str):
        content = ""  # nothing but reasoning, or nothing at all, before the limit
    if not isinstance(content, str):
        raise TypeError("no text")
    if isinstance(reasoning, str):
        content = f"<think>{reasoning}</think>{content}"
    return content.encode("utf-8", "replace").decode()  # half a character cannot be written to a file


def _retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks to wait: a number, or a date."""
    with suppress(ValueError):
        return max(0.0, float(value or 0))
    with suppress(ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(value or "").timestamp() - time.time())
    return 0.0


def data_url(source: ImageSource) -> str:
    """An image as a data URL: upright RGB as a model here sees it, without loss."""
    file = BytesIO()
    open_image(source).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
