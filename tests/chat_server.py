"""A small server with the chat completions schema, which answers with the embedded model or misbehaves."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from PIL import Image

from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.rng import torch_stream

NAME = "embedded-served"


class ChatServer(ThreadingHTTPServer):
    """Attributes:
    troubles: what goes wrong, one entry a request, before requests are answered.
    requests: bodies that came, with the Authorization header.
    most: largest number of requests at the same time.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.troubles: list[Any] = []
        self.requests: list[tuple[dict[str, Any], str | None]] = []
        self.times: list[float] = []
        self.most = self.now = 0
        self.lock = threading.Lock()
        self.generating = threading.Lock()
        self.policy: Policy | None = None
        self.forgets = False  # answers wrongly from now on

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.forgets:
            return _completion(["<think> x </think> \\boxed{ nothing }"], 4)
        if self.policy is None:
            self.policy = Policy.load("embedded", ModelSettings())
        content = body["messages"][-1]["content"]
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        images = [
            Image.open(BytesIO(base64.b64decode(part["image_url"]["url"].partition("base64,")[2])))
            for part in parts
            if part["type"] == "image_url"
        ]
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        sampling = Sampling(temperature=body["temperature"], max_tokens=body["max_tokens"])
        prompts = self.policy.encode([text], [images])
        completions = self.policy.sample(prompts, body.get("n", 1), sampling, torch_stream("server"))
        return _completion(self.policy.decode(completions)[0], int(completions.mask_BGR.sum()))


def _completion(texts: list[str], tokens: int) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "choices": [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for index, text in enumerate(texts)
        ],
        "usage": {"completion_tokens": tokens},
    }


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.requests.append((body, self.headers.get("Authorization")))
            server.times.append(time.monotonic())
            server.now += 1
            server.most = max(server.most, server.now)
            trouble = server.troubles.pop(0) if server.troubles else None
        with suppress(BrokenPipeError, ConnectionResetError):  # the client gave up
            self._answer(body, trouble)

    def _answer(self, body: dict[str, Any], trouble: Any) -> None:
        if self.path != "/v1/chat/completions" or body["model"] != NAME:
            self._send(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
        elif trouble is None:
            with self.server.generating:
                reply = self.server.generate(body)
            self._send(200, reply)
        elif trouble == "slow":
            time.sleep(1.0)
            self._send(200, _completion(["too late"], 2))
        elif trouble in ("slow body", "slow head"):  # a byte now and then, without an end
            self._ready()
            if trouble == "slow body":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            else:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)
        elif trouble == "drop":
            self._ready()
            self.connection.close()
        elif isinstance(trouble, tuple):
            status, headers, content = trouble
            self._send(status, content, headers)
        else:
            self._send(200, trouble)

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self._ready()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _ready(self) -> None:
        """Before the reply goes out: the client may ask again as soon as it has it."""
        with self.server.lock:
            self.server.now -= 1

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[ChatServer]:
    server = ChatServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
