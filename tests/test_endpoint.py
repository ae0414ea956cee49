"""Answers from a server: the same as from the model itself, whatever goes wrong on the way."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from chat_server import NAME, ChatServer, serving
from cli_helpers import Call
from holdfast import files
from holdfast.checkpoints.endpoint import Endpoint, Reply, chat_address
from holdfast.checkpoints.evaluation import Answers, examine
from holdfast.checkpoints.exam import Exam, Subject, find_tasks
from holdfast.checkpoints.local import LocalModel
from holdfast.checkpoints.served import ServedModel, data_url
from holdfast.errors import HoldfastError, InputError
from holdfast.policy.settings import ModelSettings, Sampling
from holdfast.tasks.prompts import TEMPLATES

OK = {
    "choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}],
    "usage": {"completion_tokens": 3},
}
BODY = {"model": NAME, "messages": []}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as server:
        yield server


def connect(server: ChatServer, **options: Any) -> Endpoint:
    return Endpoint(server.url, **{"pause": 0.01, "timeout": 10, "retries": 2} | options)


def make_exam(count: int, *names: str) -> Exam:
    tasks = find_tasks(names or ("measures",), (), "test", "official")
    return Exam(tasks, "test", count, "cot", TEMPLATES["embedded"], Sampling(temperature=0, max_tokens=32))


def ask(subject: Subject, exam: Exam, folder: Path, **options: Any) -> list[Answers]:
    return examine(
        subject, exam, folder, on_step=lambda _: lambda *_: None, on_task=lambda _: None, **options
    )


def served(endpoint: Endpoint, concurrency: int = 4) -> ServedModel:
    return ServedModel(endpoint, NAME, concurrency, None)


def test_same_records_as_from_the_model_itself(server: ChatServer, tmp_path: Path) -> None:
    exam = make_exam(10, "measures", "knowledge")
    here = ask(LocalModel("embedded", ModelSettings(), 1), exam, tmp_path / "here")
    there = ask(served(connect(server)), exam, tmp_path / "there")
    assert [answers.records for answers in there] == [answers.records for answers in here]
    assert 1 < server.most <= 4
    body, authorization = server.requests[0]
    assert authorization is None
    assert (body["temperature"], body["max_tokens"], "seed" in body) == (0, 32, False)
    assert not list((tmp_path / "there" / "records").glob(".*"))

    asked = len(server.requests)
    again = ask(served(connect(server)), exam, tmp_path / "there")
    assert all(answers.reused for answers in again)
    assert len(server.requests) == asked
    ask(served(connect(server)), exam, tmp_path / "there", again=True)
    assert len(server.requests) == 2 * asked


@pytest.mark.parametrize(
    "trouble",
    [
        (500, {}, b"oh"),
        (503, {}, {"error": "loading"}),
        (429, {"Retry-After": "0"}, {"error": {"message": "slow down"}}),
        "slow",
        "drop",
        b"<html>not json</html>",
        b"\xff\xfe",
        [],
        {"choices": []},
        {"choices": [{"message": {}}]},
        {"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]},
        {"choices": [None]},
    ],
)
def test_what_may_go_better_is_tried_again(server: ChatServer, trouble: Any) -> None:
    server.troubles = [trouble, OK]
    endpoint = connect(server, timeout=0.3)
    assert endpoint.complete(BODY) == Reply("fine", 3, True)
    assert endpoint.repeated == 1
    server.troubles = [trouble] * 3
    with pytest.raises(HoldfastError, match="failed in 3 attempts, last: "):
        endpoint.complete(BODY)


def test_retry_after_is_waited_for(server: ChatServer) -> None:
    server.troubles = [(429, {"Retry-After": "0.4"}, b""), OK]
    connect(server).complete(BODY)
    assert server.times[1] - server.times[0] >= 0.4


@pytest.mark.parametrize(
    ("status", "advice"), [(400, "--max-tokens"), (401, "--api-key-env"), (307, "redirects")]
)
def test_a_refusal_is_not_tried_again(server: ChatServer, status: int, advice: str) -> None:
    server.troubles = [(status, {"Location": server.url}, {"error": {"message": "no, because of this."}})]
    with pytest.raises(InputError, match="because of this") as told:
        connect(server).complete(BODY)
    assert advice in str(told.value)
    assert len(server.requests) == 1


def test_no_server() -> None:
    with serving() as server:
        endpoint = connect(server, retries=0)
    with pytest.raises(HoldfastError, match="is the server running"):
        endpoint.complete(BODY)


def test_reasoning_belongs_to_the_response(server: ChatServer) -> None:
    def reply(message: dict[str, Any], reason: str) -> Any:
        return {"choices": [{"message": message, "finish_reason": reason}]}

    server.troubles = [
        reply({"content": "\\boxed{1}", "reasoning_content": "so"}, "stop"),
        reply({"content": None, "reasoning": "so"}, "length"),
    ]
    endpoint = connect(server)
    first, second = endpoint.complete(BODY), endpoint.complete(BODY)
    assert (first.text, first.finished, first.tokens) == ("<think>so</think>\\boxed{1}", True, None)
    assert (second.text, second.finished) == ("<think>so</think>", False)


def test_addresses() -> None:
    assert chat_address("http://host:8000") == "http://host:8000/v1/chat/completions"
    assert chat_address("https://host/openai/v1/") == "https://host/openai/v1/chat/completions"
    assert chat_address("http://host/v1/chat/completions") == "http://host/v1/chat/completions"
    for bad in ("localhost:8000", "ftp://host", "http://", "http://host:port", "http://u:secret@host/v1"):
        with pytest.raises(InputError, match="is not a server's address"):
            chat_address(bad)


def test_images_go_without_loss() -> None:
    picture = Image.effect_noise((20, 30), 90).convert("RGB")
    picture.putpixel((3, 4), (1, 2, 3))
    head, data = data_url(picture).split(",")
    assert head == "data:image/png;base64"
    back = Image.open(BytesIO(base64.b64decode(data)))
    assert back.tobytes() == picture.tobytes()


def test_goes_on_where_it_failed(server: ChatServer, tmp_path: Path) -> None:
    exam = make_exam(12)
    whole = ask(served(connect(server)), exam, tmp_path / "whole")[0].records
    server.requests.clear()
    server.troubles = [None] * 5 + [(500, {}, b"")]
    with pytest.raises(HoldfastError, match="Replies that came are kept"):
        ask(served(connect(server, retries=0), 2), exam, tmp_path / "lost_again")
    assert not (tmp_path / "lost_again" / "records" / "measures.jsonl").exists()
    (part,) = (tmp_path / "lost_again" / "records").glob(".measures.*.part")
    kept = len(part.read_text().splitlines())
    assert kept >= 5
    with part.open("a") as file:
        file.write('{"index": 11, "te')  # killed while it wrote
    server.requests.clear()
    records = ask(served(connect(server)), exam, tmp_path / "lost_again")[0].records
    assert len(server.requests) == 12 - kept
    assert records == whole


def test_on_the_command_line(
    server: ChatServer, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", "secret-key")
    common = ["--tasks", "measures", "--prompts", "embedded", "--examples", 40, "--max-tokens", 32]
    there = ["--endpoint", server.url, "--served-model", NAME, "--api-key-env", "SERVER_KEY"]
    base = tmp_path / "base"
    said = call("evaluate", *there, *common, "--out", base)
    assert said.code == 0, said.err
    assert "measures" in said.out
    assert {authorization for _, authorization in server.requests} == {"Bearer secret-key"}
    assert not any("secret-key" in path.read_text() for path in base.rglob("*") if path.is_file())

    same = call("check", base, *there, *common, "--out", tmp_path / "same")
    assert same.code == 0, same.err
    server.forgets = True
    worse = call("check", base, *there, *common, "--out", tmp_path / "worse")
    assert worse.code == 3
    assert "Forgotten: measures" in worse.out
    flips = files.read_jsonl(tmp_path / "worse" / "flips.jsonl")
    assert flips
    assert {flip["flip"] for flip in flips} == {"1→0"}
    assert json.loads((tmp_path / "worse" / "comparison.json").read_text())["forgotten"] == ["measures"]

    wrong = call(
        "evaluate", "--endpoint", server.url, "--served-model", "other", *common, "--out", tmp_path / "o"
    )
    assert wrong.code == 2
    assert "does not exist" in wrong.err and "--served-model" in wrong.err
    server.troubles = [b"garbage"] * 99
    garbage = call("evaluate", *there, *common, "--out", tmp_path / "g", "--retries", 0)
    assert garbage.code == 1
    assert "not JSON" in garbage.err
    monkeypatch.delenv("SERVER_KEY")
    assert "SERVER_KEY" in call("evaluate", *there, *common).err
    assert call("evaluate", "embedded", *there, *common).code == 2


def test_stopped_in_the_background(server: ChatServer, tmp_path: Path) -> None:
    """A shell starts background commands with Ctrl-C ignored; a plain kill ends them all the same."""
    server.troubles = ["slow"] * 99
    command = ["evaluate", "--endpoint", server.url, "--served-model", NAME, "--tasks", "presence"]
    command += ["--prompts", "embedded", "--examples", "40", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    deadline = time.monotonic() + 60
    while not server.requests and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on from here" in said
