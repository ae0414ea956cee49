"""Answers from a server: the same as from the model itself, whatever goes wrong on the way."""

from __future__ import annotations

import base64
import json
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from chat_server import NAME, ChatServer, serving
from cli_helpers import Call
from holdfast import files
from holdfast.checkpoints.examine import examine
from holdfast.checkpoints.folder import Examined
from holdfast.checkpoints.subject import Subject, find_subject
from holdfast.config.exam import Exam
from holdfast.config.load import load_exam
from holdfast.errors import HoldfastError, InputError
from holdfast.generate import connection
from holdfast.generate.connection import chat_address
from holdfast.generate.generator import Answers, Question
from holdfast.generate.server import ServerGenerator, data_url
from holdfast.generate.settings import ServerSettings
from holdfast.policy.settings import Sampling
from holdfast.tasks.example import Example
from processes import start

OK = {
    "choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}],
    "usage": {"completion_tokens": 3},
}
QUESTION = Question(Example(id="a", prompt="?", answer="1"), "?", "sums")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as server:
        yield server


def connect(server: ChatServer, **options: Any) -> ServerGenerator:
    settings = {"model": NAME, "pause": 0.01, "timeout": 10, "retries": 2} | options
    return ServerGenerator(server.url, ServerSettings.model_validate(settings))


def complete(generator: ServerGenerator, group: int = 1) -> Answers:
    (answers,) = generator.generate([QUESTION], group, Sampling(temperature=0, max_tokens=16), ("test",))
    return answers


def make_exam(store: Path, count: int, *names: str, **options: Any) -> Exam:
    settings = {"prompts": "embedded", "test_examples": count, "evaluation.max_tokens": 32, "store": store}
    settings |= {f"server.{key}": value for key, value in ({"model": NAME, "pause": 0.01} | options).items()}
    overrides = [f"{key}={value}" for key, value in settings.items()] + ["evaluation.batch=1"]
    return load_exam(overrides, tasks=names or ("measures",))


def served(server: ChatServer, exam: Exam) -> Subject:
    return find_subject(server.url, exam)


def records(examined: list[Examined]) -> list[Any]:
    return [one.records for one in examined]


@pytest.mark.slow
def test_same_records_as_from_the_model_itself(server: ChatServer, tmp_path: Path) -> None:
    exam = make_exam(tmp_path / "store", 10, "measures", "knowledge", concurrency=4)
    here = examine(find_subject("embedded", exam), exam)
    there = examine(served(server, exam), exam)
    assert records(there) == records(here)
    assert not any(one.reused for one in here + there)
    assert 1 < server.most <= 4
    assert not list((tmp_path / "store" / "work").glob("*"))

    asked = len(server.requests)
    again = examine(served(server, exam), exam)
    assert all(one.reused for one in again)
    assert len(server.requests) == asked
    examine(served(server, exam), exam, again=True)
    assert len(server.requests) == 2 * asked
    # How the work is divided among requests changes no answer of a server.
    batches = exam.model_copy(update={"evaluation": exam.evaluation.model_copy(update={"batch": 64})})
    assert all(one.reused for one in examine(served(server, batches), batches))


def test_every_sampling_setting_is_sent(server: ChatServer) -> None:
    """Else those of the checkpoint's own generation_config.json would count."""
    server.troubles = [OK]
    complete(connect(server))
    body, authorization = server.requests[0]
    assert authorization is None
    assert body | {
        "temperature": 0, "top_p": 1, "max_tokens": 16, "top_k": -1, "min_p": 0, "repetition_penalty": 1,
        "presence_penalty": 0, "frequency_penalty": 0,
    } == body  # fmt: skip
    assert "seed" not in body and "n" not in body
    # Drawn answers are the same on every run, and each question has its own.
    asked = [QUESTION, Question(Example(id="b", prompt="?", answer="1"), "?", "sums")] * 2
    server.troubles = [OK] * 4
    list(connect(server, concurrency=1).generate(asked, 1, Sampling(temperature=0.5), ("test",)))
    drawn = [body for body, _ in server.requests[1:]]
    assert {body["temperature"] for body in drawn} == {0.5}
    seeds = [body["seed"] for body in drawn]
    assert seeds[:2] == seeds[2:] and seeds[0] != seeds[1]


def test_a_setting_that_the_server_does_not_know_is_left_out(server: ChatServer) -> None:
    server.troubles = [
        (400, {}, {"error": {"message": "Unrecognized request argument supplied: top_k"}}),
        (422, {}, {"detail": "min_p, repetition_penalty: extra fields not permitted"}),
        OK,
        OK,
    ]
    generator = connect(server, concurrency=1)
    assert complete(generator).texts == complete(generator).texts == [["fine"]]
    assert generator.left_out == {"top_k", "min_p", "repetition_penalty"}
    assert not generator.left_out & set(server.requests[3][0])
    assert (len(server.requests), generator.repeated) == (4, 0)


def test_what_a_server_left_to_itself_is_kept_with_its_answers(
    server: ChatServer, tmp_path: Path, call: Call
) -> None:
    common = ["--tasks", "measures", "prompts=embedded", "test_examples=4", "evaluation.max_tokens=32"]
    common += [f"store={tmp_path / 'store'}", f"server.model={NAME}"]
    server.troubles = [(422, {}, b"{\"detail\": \"Unexpected fields in the request: {'top_k', 'min_p'}\"}")]
    for folder in ("asked", "reused"):
        said = call("evaluate", server.url, *common, "--out", tmp_path / folder)
        assert said.out.count("the server does not take min_p, top_k: what it does itself counts") == 1
        manifest = files.read_json(tmp_path / folder / "records" / "measures.json")
        assert manifest["left_out"] == ["min_p", "top_k"]
    assert len(server.requests) == 1 + 4


def test_a_group_is_one_request(server: ChatServer) -> None:
    answers = complete(connect(server), group=3)
    assert len(answers.texts[0]) == len(answers.lengths[0]) == 3
    assert answers.lengths == [[None] * 3]  # the server counts all three together
    assert server.requests[0][0]["n"] == 3
    server.troubles = [OK, OK]
    with pytest.raises(HoldfastError, match="1 choices instead of 2"):
        complete(connect(server, retries=1), group=2)


@pytest.mark.slow
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
        b"[" * 100_000,
        b'{"choices": ' + b"9" * 5000 + b"}",
        {"choices": [{"message": {"content": "The ans"}, "finish_reason": "abort"}]},
        {"choices": [{"message": {"content": ""}, "finish_reason": "error"}]},
        {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]},
        {"choices": [{"message": {"content": None}, "finish_reason": "tool_calls"}]},
        "slow body",
        "slow head",
    ],
)
def test_what_may_go_better_is_tried_again(server: ChatServer, trouble: Any) -> None:
    server.troubles = [trouble, OK]
    generator = connect(server, timeout=0.3)
    assert complete(generator) == Answers([0], [["fine"]], [[3]], [[True]])
    assert generator.repeated == 1
    server.troubles = [trouble] * 3
    start = time.monotonic()
    with pytest.raises(HoldfastError, match="failed in 3 attempts, last: "):
        complete(generator)
    assert time.monotonic() - start < 3


def test_all_answers_together_have_a_limit(server: ChatServer) -> None:
    server.troubles = ["slow body"] * 99
    start = time.monotonic()
    with pytest.raises(HoldfastError, match=r"took longer than server\.run_limit"):
        complete(connect(server, run_limit=0.5, retries=20))
    assert time.monotonic() - start < 3
    with pytest.raises(HoldfastError, match=r"took longer than server\.run_limit"):  # in the last attempt
        complete(connect(server, run_limit=0.3, retries=0))


def test_half_a_character_can_be_written(server: ChatServer) -> None:
    server.troubles = [b'{"choices": [{"message": {"content": "a\\ud800"}, "finish_reason": "stop"}]}']
    assert complete(connect(server)).texts == [["a?"]]


def test_pauses_double(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    server.troubles = [(500, {}, b"")] * 3 + [OK]
    complete(connect(server, pause=0.1, retries=3))
    first, second, third = (later - before for before, later in pairwise(server.times))
    assert first >= 0.1 and second >= 0.2 and third >= 0.4


def test_retry_after_is_waited_for(server: ChatServer) -> None:
    server.troubles = [(429, {"Retry-After": "0.4"}, b""), OK]
    complete(connect(server))
    assert server.times[1] - server.times[0] >= 0.4


@pytest.mark.parametrize(
    ("status", "advice"), [(400, "evaluation.max_tokens"), (401, "server.key_variable"), (307, "redirects")]
)
def test_a_refusal_is_not_tried_again(server: ChatServer, status: int, advice: str) -> None:
    server.troubles = [(status, {"Location": server.url}, {"error": {"message": "no, because of this."}})]
    with pytest.raises(InputError, match="because of this") as told:
        complete(connect(server))
    assert advice in str(told.value)
    assert len(server.requests) == 1


def test_no_server() -> None:
    with serving() as server:
        generator = connect(server, retries=0)
    with pytest.raises(HoldfastError, match="is the server running"):
        complete(generator)


def test_reasoning_belongs_to_the_response(server: ChatServer) -> None:
    def reply(message: dict[str, Any], reason: str) -> Any:
        return {"choices": [{"message": message, "finish_reason": reason}]}

    server.troubles = [
        reply({"content": "\\boxed{1}", "reasoning_content": "so"}, "stop"),
        reply({"content": None, "reasoning": "so"}, "length"),
    ]
    generator = connect(server)
    assert complete(generator) == Answers([0], [["<think>so</think>\\boxed{1}"]], [[None]], [[True]])
    assert complete(generator) == Answers([0], [["<think>so</think>"]], [[None]], [[False]])


def test_addresses() -> None:
    assert chat_address("http://host:8000") == "http://host:8000/v1/chat/completions"
    assert chat_address("https://host/openai/v1/") == "https://host/openai/v1/chat/completions"
    assert chat_address("http://host/v1/chat/completions") == "http://host/v1/chat/completions"
    for bad in ("localhost:8000", "ftp://host", "http://", "http://host:port"):
        with pytest.raises(InputError, match="is not a server's address"):
            chat_address(bad)
    for user in ("u:secret", "u:se/secret", "u:secret#x/y", "u:?secret", "secret"):
        for address in (f"http://{user}@host/v1", f"{user}@host:80", "http://host/v1?key=secret"):
            with pytest.raises(InputError, match="name the variable that holds it") as told:
                chat_address(address)
            assert "secret" not in str(told.value) and "u:" not in str(told.value).partition("host")[0][8:]


@pytest.mark.parametrize(
    "bad", ["http://[::1/v1", "http://[zz]/v1", "http://x/\x1b[31m", "http://xn--\udcff/v1"]
)
def test_addresses_that_cannot_be_read(bad: str) -> None:
    with pytest.raises(InputError, match="is not a server's address"):
        chat_address(bad)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1", r"^The proxy that ALL_PROXY, .*: pip install socksio\)"),
        ("HTTP_PROXY", "ftp://127.0.0.1:1", r"^The proxy that .* cannot be used \(Unknown scheme"),
        ("HTTPS_PROXY", "http://[::", r"^The proxy that .* cannot be used \(its port is no number"),
        (
            "ALL_PROXY",
            "http://user:se#cret@host:80",
            r"^The proxy (?!.*'se').*write # and / of a password as %23",
        ),
        ("SSL_CERT_FILE", "/nowhere/at/all", r"^The certificates that SSL_CERT_FILE .*\(no such file"),
        ("SSL_CERT_FILE", __file__, r"^The certificates that SSL_CERT_FILE .*\(there is none in it"),
    ],
)
def test_what_the_environment_says_of_the_way_is_checked(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    if "CERT" in variable:
        monkeypatch.setattr(connection, "trusted", httpx2.create_ssl_context)  # as nothing were remembered
    elif "socks" in value:
        monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(InputError, match=said):
        complete(connect(server))
    assert not server.requests


@pytest.mark.parametrize("spaces", ["\n", "\r\n", " "])
def test_a_key_read_from_a_file(server: ChatServer, monkeypatch: pytest.MonkeyPatch, spaces: str) -> None:
    monkeypatch.setenv("SERVER_KEY", f"sk-secret-1{spaces}")
    server.troubles[:] = [OK]
    complete(connect(server, key_variable="SERVER_KEY"))
    assert server.requests[0][1] == "Bearer sk-secret-1"


@pytest.mark.parametrize("key", ["sk-sec\nret", "sk-secret\u00e9", "sk-secret\x1b", "sk-\ttab", "sk-\udcff"])
def test_a_key_that_cannot_be_sent_is_not_shown(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("SERVER_KEY", key)
    with pytest.raises(InputError, match=r"SERVER_KEY .* holds a character that no key has") as told:
        connect(server, key_variable="SERVER_KEY")
    assert "sk-" not in str(told.value)


def test_a_key_that_the_server_repeats_is_not_shown(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", "sk-secret-1")
    server.troubles[:] = [(401, {}, {"error": {"message": "Incorrect key: sk-secret-1"}})]
    with pytest.raises(InputError, match=r"Incorrect key: \(the key\)"):
        complete(connect(server, key_variable="SERVER_KEY"))

    for reply, said in (
        ({"error": "Incorrect key: sk-secret-1"}, "not a chat completion"),
        (b"Incorrect key: sk-secret-1", "not JSON"),
    ):
        server.troubles[:] = [reply]
        with pytest.raises(HoldfastError, match=rf"{said}: .*Incorrect key: \(the key\)"):
            complete(connect(server, key_variable="SERVER_KEY", retries=0))

    monkeypatch.setenv("SERVER_KEY", "sk-A+b/secret")  # which some write in JSON with escapes
    written = b"sk-A\\u002Bb\\/secret"
    for answer in (
        (401, {}, b'{"error": {"message": "No key: ' + written + b'"}}'),
        (401, {}, b'{"detail": "No key: ' + written + b'"}'),
        (401, {}, {"error": {"message": "No key: sk-A+b/secret"}}),
    ):
        server.troubles[:] = [answer]
        with pytest.raises(InputError, match=r"No key: \(the key\)") as told:
            complete(connect(server, key_variable="SERVER_KEY"))
        assert "secret" not in str(told.value)


def test_what_a_server_says_in_several_lines_is_told_in_one(server: ChatServer) -> None:
    server.troubles[:] = [(400, {}, {"error": {"message": "Too long.\n\tBy much.\n"}})]
    with pytest.raises(InputError, match=r"refuses the request: 400 Bad Request \(Too long\. By much\)\. "):
        complete(connect(server))


def test_a_count_of_tokens_beyond_all_sense_is_none(server: ChatServer) -> None:
    server.troubles[:] = [OK | {"usage": {"completion_tokens": 10**400}}]
    assert complete(connect(server)).lengths == [[None]]


def test_images_go_without_loss() -> None:
    picture = Image.effect_noise((20, 30), 90).convert("RGB")
    picture.putpixel((3, 4), (1, 2, 3))
    head, data = data_url(picture).split(",")
    assert head == "data:image/png;base64"
    back = Image.open(BytesIO(base64.b64decode(data)))
    assert back.tobytes() == picture.tobytes()


@pytest.mark.slow
def test_goes_on_where_it_failed(server: ChatServer, tmp_path: Path) -> None:
    exam = make_exam(tmp_path / "whole", 12)
    whole = records(examine(served(server, exam), exam))
    server.requests.clear()
    server.troubles = [None] * 5 + [(500, {}, b"")]
    exam, store = make_exam(tmp_path / "store", 12, retries=0, concurrency=2), tmp_path / "store"
    with pytest.raises(HoldfastError, match="What was answered is kept"):
        examine(served(server, exam), exam)
    assert not list((store / "evaluate").glob("[!.]*"))
    (log,) = (store / "work").glob("*/rows.jsonl")
    kept = len(log.read_text().splitlines())
    assert kept >= 5
    with log.open("a") as file:
        file.write('{"rows": [{"position": 11, "te')  # killed while it wrote
    server.requests.clear()
    assert records(examine(served(server, exam), exam)) == whole
    assert len(server.requests) == 12 - kept


@pytest.mark.slow
def test_on_the_command_line(
    server: ChatServer, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", "secret-key")
    store = tmp_path / "store"
    common = ["--tasks", "measures", "prompts=embedded", "test_examples=40", "evaluation.max_tokens=32"]
    common += [f"store={store}", f"server.model={NAME}", "server.key_variable=SERVER_KEY"]
    base = tmp_path / "base"
    said = call("evaluate", server.url, *common, "--out", base)
    assert said.code == 0, said.err
    assert "measures" in said.out
    assert {authorization for _, authorization in server.requests} == {"Bearer secret-key"}
    written = [path for folder in (base, store) for path in folder.rglob("*") if path.is_file()]
    assert written and not any("secret-key" in path.read_text() for path in written)

    same = call("check", base, server.url, *common, "--out", tmp_path / "same")
    assert same.code == 0, same.err
    server.forgets = True
    worse = call("check", base, server.url, *common, "--again", "--out", tmp_path / "worse")
    assert worse.code == 3
    assert "Forgotten: measures" in worse.out
    flips = files.read_jsonl(tmp_path / "worse" / "flips.jsonl")
    assert flips
    assert {flip["flip"] for flip in flips} == {"1→0"}
    assert json.loads((tmp_path / "worse" / "comparison.json").read_text())["forgotten"] == ["measures"]

    wrong = call("evaluate", server.url, *common, "server.model=other", "--out", tmp_path / "o")
    assert wrong.code == 2
    assert "does not exist" in wrong.err and "server.model" in wrong.err
    assert "server.model=NAME" in call("evaluate", server.url, *common, "server.model=''").err
    server.troubles = [b"garbage"] * 99
    garbage = call("evaluate", server.url, *common, "--again", "--out", tmp_path / "g", "server.retries=0")
    assert garbage.code == 1
    assert "not JSON" in garbage.err
    assert "Task measures: Example " in garbage.err
    monkeypatch.delenv("SERVER_KEY")
    assert "SERVER_KEY" in call("evaluate", server.url, *common).err


def test_stopped_in_the_background(server: ChatServer, tmp_path: Path) -> None:
    """A shell starts background commands with Ctrl-C ignored; a plain kill ends them all the same."""
    server.troubles = ["slow"] * 99
    command = ["evaluate", server.url, f"server.model={NAME}", "--tasks", "presence"]
    command += ["prompts=embedded", "test_examples=40", "--out", str(tmp_path / "out")]
    command += [f"store={tmp_path / 'store'}"]
    ignoring = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    process = start(tmp_path / "said", *command, first=ignoring)
    deadline = time.monotonic() + 60
    while not server.requests and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    process.join(30)
    assert process.exitcode == 130
    assert "the same command goes on from here" in (tmp_path / "said").read_text()
