"""A small server as vLLM is one: the embedded model, drawing for real, with weights that it is given."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from holdfast.generate.settings import Served
from holdfast.policy.batch import Completions
from holdfast.policy.policy import Policy
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.rng import torch_stream

NAME, VERSION = "policy", "0.33.0"


class EngineServer(ThreadingHTTPServer):
    """Attributes:
    settings: how the model is loaded; in another dtype it computes otherwise than the learner.
    weight_version: the name of its weights; normally that of a server that was tried before.
    takes_weights: whether `reload_weights` does what it says.
    keeps: the part, by its name, that `reload_weights` leaves as it was.
    writes: token ids that it answers with in the place of drawn ones.
    changes: what is made of an answer before it is sent.
    down: connections are closed without a word.
    dies_after: questions that it answers before it is down; None: it lives.
    troubles: status, headers and content that stand for the next answers of a path.
    paths: of all requests; `questions` the bodies of chat completions.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.settings = ModelSettings()
        self.policy: Policy | None = None
        self.weight_version, self.version = "tried-before", VERSION
        self.takes_weights, self.down = True, False
        self.keeps: str | None = None
        self.dies_after: int | None = None
        self.writes: list[int] | None = None
        self.changes: Any = lambda answer: answer
        self.lacks: set[str] = set()
        self.troubles: dict[str, list[tuple[int, dict[str, str], bytes]]] = {}
        self.paths: list[str] = []
        self.questions: list[dict[str, Any]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def sampler(self, **changes: Any) -> dict[str, Any]:
        """The settings that name it."""
        quick = {"retries": 1, "pause": 0.01, "timeout": 20}
        return {"kind": "served", "url": self.url, "model": NAME, "version": VERSION, **quick, **changes}

    def served(self, **changes: Any) -> Served:
        return Served.model_validate(self.sampler(**changes))

    def model(self) -> Policy:
        if self.policy is None:
            self.policy = Policy.load("embedded", self.settings)
        return self.policy

    def reload(self, folder: str) -> None:
        assert (Path(folder) / "config.json").is_file()
        if not self.takes_weights:
            return
        before = self.model().model.state_dict()
        self.policy = Policy.load(folder, self.settings)
        if self.keeps is not None:
            kept = {name: one for name, one in before.items() if self.keeps in name}
            assert kept
            self.policy.model.load_state_dict(kept, strict=False)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        policy = self.model()
        content = body["messages"][-1]["content"]
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        images = [
            Image.open(BytesIO(base64.b64decode(part["image_url"]["url"].partition("base64,")[2])))
            for part in parts
            if part["type"] == "image_url"
        ]
        text = "".join(part["text"] if part["type"] == "text" else "<image>" for part in parts)
        prompts = policy.encode([text], [images])
        group = body.get("n", 1)
        sampling = Sampling(**{key: body[key] for key in ("temperature", "top_p", "max_tokens")})
        if self.writes is None:
            drawn = policy.sample(prompts, group, sampling, torch_stream("engine", body.get("seed")))
        else:
            drawn = self._writing(policy, prompts, group, sampling)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": "the text is not looked at"},
                "finish_reason": "stop" if drawn.finished_BG[0, index] else "length",
                "token_ids": drawn.tokens_BGR[0, index][drawn.mask_BGR[0, index]].tolist(),
                "logprobs": {
                    "content": [
                        {"token": "?", "logprob": logprob}
                        for logprob in drawn.logprobs_BGR[0, index][drawn.mask_BGR[0, index]].tolist()
                    ]
                },
            }
            for index in range(group)
        ]
        return {"prompt_token_ids": prompts.tokens_BP[0][prompts.mask_BP[0]].tolist(), "choices": choices}

    def _writing(self, policy: Policy, prompts: Any, group: int, sampling: Sampling) -> Completions:
        tokens = torch.tensor(self.writes).expand(1, group, -1).contiguous()
        mask = torch.ones_like(tokens, dtype=torch.bool)
        finished = torch.isin(tokens[..., -1], policy.draw.ends)
        completions = Completions(tokens, mask, finished)
        if policy.draw.banned_V[tokens].any():
            return Completions(tokens, mask, finished, torch.zeros(tokens.shape))
        with torch.no_grad():
            known = policy.group_logprobs(prompts, completions, sampling.temperature or 1.0)
        return Completions(tokens, mask, finished, known.logprobs_BGR)


class _Handler(BaseHTTPRequestHandler):
    server: EngineServer

    def do_GET(self) -> None:
        self._reply(None)

    def do_POST(self) -> None:
        self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _reply(self, body: Any) -> None:
        server = self.server
        with server.lock, suppress(BrokenPipeError, ConnectionResetError):
            server.paths.append(self.path)
            if server.dies_after is not None and len(server.questions) >= server.dies_after:
                server.down = True
            if server.down:
                self.close_connection = True
                return
            if self.path in server.lacks:
                self._send(404, {}, b'{"detail": "Not Found"}')
                return
            if server.troubles.get(self.path):
                self._send(*server.troubles[self.path].pop(0))
                return
            match self.path:
                case "/version":
                    answer: Any = {"version": server.version}
                case "/weight_info":
                    answer = {"weight_version": server.weight_version}
                case "/collective_rpc":
                    assert body["method"] == "reload_weights"
                    server.reload(body["kwargs"]["weights_path"])
                    answer = {"results": [None]}
                case "/update_weight_version":
                    server.weight_version = body["new_version"]
                    answer = {"success": True}
                case "/reset_prefix_cache":
                    answer = {"success": True}
                case "/reset_mm_cache" | "/reset_encoder_cache":
                    answer = None
                case "/v1/chat/completions":
                    assert body["model"] == NAME
                    server.questions.append(body)
                    answer = server.changes(server.answer(body))
            self._send(200, {}, b"" if answer is None else json.dumps(answer).encode())

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def serving() -> Iterator[EngineServer]:
    server = EngineServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
