"""`holdfast watch`: what it reads of a run, whom it answers, and when it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from chromium import browser, needs_chromium
from cli_helpers import Call
from experiment_helpers import TINY, make_experiment, run_here, write_config
from holdfast.analysis.views import analyse
from holdfast.errors import HoldfastError, InputError
from holdfast.experiment.collect import collect
from holdfast.experiment.jobs import Runner
from holdfast.experiment.plan import make_plan
from holdfast.experiment.store import Store
from holdfast.report.sections.learned import cautions
from holdfast.report.templating import scripted
from holdfast.watch.server import Server, as_json
from holdfast.watch.state import Watch
from mirror_helpers import fill
from processes import Process, start

SECONDS = 60


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Watch:
    experiment = make_experiment(tmp_path_factory.mktemp("done"))
    run_here(experiment)
    return Watch(experiment, make_plan(experiment), Store(experiment.store))


@contextmanager
def serving(pages, folder: Path) -> Iterator[Server]:
    server = Server(0, pages, folder)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def _get(server: Server, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_a_run_that_has_not_begun(tmp_path):
    experiment = make_experiment(tmp_path)
    watch = Watch(experiment, make_plan(experiment), Store(experiment.store))
    state = watch.state()
    assert (state["done"], state["total"]) == (0, 17)
    assert not state["at_work"] and not state["ended"] and not state["report"]
    assert state["jobs"] == state["failures"] == state["curves"] == state["answers"] == []
    assert not experiment.store.exists()  # who watches changes nothing


@pytest.mark.slow
def test_a_run_that_is_done(done):
    state = done.state()
    assert (state["done"], state["total"], state["ended"]) == (17, 17, True)
    assert {(one["run"], one["name"]) for one in state["curves"]} == {
        ("sft, seed 0", "loss"), ("grpo, seed 0", "reward"), ("grpo, seed 0", "loss"),
    }  # fmt: skip
    for curve in state["curves"]:
        assert [step for step, _ in curve["points"]] == list(range(4))  # two stages of two steps
        assert curve["starts"] == [0, 2]
    assert len(state["answers"]) == 8 and ": evaluate " in state["answers"][0]["label"]
    assert json.loads(as_json(state)) is not None


def test_what_is_under_way(tmp_path):
    experiment = make_experiment(tmp_path, defaults=TINY["defaults"] | {"iterations": 4})
    plan, store = make_plan(experiment), Store(experiment.store)
    store.prepare()
    store.use(plan.jobs.values())
    learn = plan.jobs[plan.chains[0].learn[0]]
    exam = plan.jobs[plan.chains[0].cells[0, "reading"]]
    for job in (learn, exam):
        store.work(job).mkdir(parents=True)
    steps = [json.dumps({"step": step, "loss": 1.0 / (1 + step)}) for step in (0, 1)]
    (store.work(learn) / "metrics.jsonl").write_text("\n".join([*steps, '{"step": 2, "lo']))  # torn
    row = {"id": "a", "prompt": "p", "response": "r" * 900, "reference": "x", "score": 1.0}
    (store.work(exam) / "rows.jsonl").write_text(json.dumps({"seconds": 1, "rows": [row] * 3}) + "\n")
    state = Watch(experiment, plan, store).state()
    assert state["at_work"] and not state["ended"]
    assert {(job["label"], job["at"], job["of"]) for job in state["jobs"]} == {
        (learn.label, 2, 4), (exam.label, 3, 8),
    }  # fmt: skip
    assert state["curves"] == [
        {"run": "sft, seed 0", "name": "loss", "points": [(0, 1.0), (1, 0.5)], "starts": [0]}
    ]
    assert len(state["answers"]) == 3 and "300 characters left out" in state["answers"][0]["response"]


def test_a_long_curve_ends_with_its_latest_point(tmp_path):
    experiment = make_experiment(tmp_path)
    plan, store = make_plan(experiment), Store(experiment.store)
    work = store.work(plan.jobs[plan.chains[0].learn[0]])
    work.mkdir(parents=True)
    rows = [json.dumps({"step": step, "loss": 0.5 + step}) for step in range(1001)]
    (work / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    (curve,) = Watch(experiment, plan, store).state()["curves"]
    assert len(curve["points"]) <= 400 and curve["points"][-1] == (1000, 1000.5)
    assert curve["points"] == sorted(curve["points"])


def test_what_a_stopped_run_left_is_not_under_way_until_the_next_one_takes_it(tmp_path):
    experiment = make_experiment(tmp_path)
    plan, store = make_plan(experiment), Store(experiment.store)
    store.prepare()
    first, second = (plan.jobs[chain.learn[0]] for chain in plan.chains)
    for job in (first, second):
        store.work(job).mkdir(parents=True)
        (store.work(job) / "metrics.jsonl").write_text('{"step": 0}\n')
    time.sleep(0.02)  # of which disks keep the time
    store.use(plan.jobs.values())
    watch = Watch(experiment, plan, store)
    assert watch.state()["jobs"] == []
    with (store.work(second) / "metrics.jsonl").open("a") as curve:
        curve.write('{"step": 1}\n')
    assert [job["label"] for job in watch.state()["jobs"]] == [second.label]


def test_each_task_has_its_own_number_and_rows_of_another_shape_are_passed_over(tmp_path):
    changes = {"test_examples": {"reading": 5, "counting": 7, "presence": 3}}
    experiment = make_experiment(tmp_path, **changes)
    plan, store = make_plan(experiment), Store(experiment.store)
    store.prepare()
    store.use(plan.jobs.values())
    cells = plan.chains[0].cells
    exams = [plan.jobs[cells[0, task]] for task in ("reading", "counting")]
    learn = plan.jobs[plan.chains[0].learn[0]]
    for job in (*exams, learn):
        store.work(job).mkdir(parents=True)
    (store.work(learn) / "metrics.jsonl").write_text('{"step": "two"}\n{"step": 0}\n')
    row = {"id": "a", "prompt": "p", "response": "r", "reference": "x", "score": 1.0}
    odd = [{"id": "b"}, "row", None, row | {"score": "high"}, row]
    (store.work(exams[1]) / "rows.jsonl").write_text(json.dumps({"rows": odd}) + "\n")
    state = Watch(experiment, plan, store).state()
    told = {(job["label"], job["at"], job["of"]) for job in state["jobs"]}
    assert told == {(exams[0].label, 0, 5), (exams[1].label, 5, 7), (learn.label, 1, 2)}
    assert [answer["id"] for answer in state["answers"]] == ["a"]


@pytest.mark.slow
def test_a_failure_is_shown_until_the_job_is_tried_again(tmp_path, monkeypatch):
    experiment = make_experiment(tmp_path, methods={"sft": {"objective": "sft"}})
    plan, store = make_plan(experiment), Store(experiment.store)
    watch = Watch(experiment, plan, store)

    def reported():
        notes = cautions(analyse(collect(experiment, plan, store)))
        return [note for note in notes if "boat" in note or "goes on" in note]

    def fail(self, job, weights, on_step):
        raise HoldfastError("no room in the boat")

    with monkeypatch.context() as patched:
        patched.setattr(Runner, "run", fail)
        assert run_here(experiment).failed
    failures = watch.state()["failures"]
    assert failures and {one["message"] for one in failures} == {"no room in the boat"}
    cause, again = reported()
    assert re.fullmatch(r"Failed: \S.* and \d+ more: no room in the boat", cause)
    assert again == "The same 'holdfast run' goes on from here; what failed is tried again."
    assert not run_here(experiment).failed
    assert watch.state()["failures"] == reported() == []


def test_the_server_answers_this_machine_alone_and_gives_nothing_outside_the_report(tmp_path):
    report = tmp_path / "run" / "report"
    (report / "figures").mkdir(parents=True)
    (report / "index.html").write_text("the report")
    (report / "notes.txt").write_text("of no kind that it serves")
    (tmp_path / "run" / "config.html").write_text("beside it")
    (report / "link.html").symlink_to(tmp_path / "run" / "config.html")
    (report / "loop.html").symlink_to("loop.html")
    with serving({"/": lambda: b"hello"}, report) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert _get(server, "/") == (200, b"hello")
        assert _get(server, "/report/index.html") == (200, b"the report")
        assert _get(server, "/", host=f"localhost:{server.port}")[0] == 200
        for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1", ""):
            assert _get(server, "/", host=host)[0] == 403
        for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            assert _get(server, "/", method=method)[0] == 501
        for path in (
            "/report/../config.html", "/report/%2e%2e/config.html", "/report//etc/passwd",
            "/report/link.html", "/report/loop.html", "/report/notes.txt", "/report/figures", "/report/",
            "/config.html", "/report/a%00.html", "/x",
        ):  # fmt: skip
            assert _get(server, path)[0] == 404, path


def test_what_cannot_be_read_now_is_an_answer_and_no_end(tmp_path):
    def broken() -> bytes:
        raise HoldfastError("half written")

    with serving({"/": broken}, tmp_path) as server:
        status, said = _get(server, "/")
        assert status == 500 and b"half written" in said
        assert _get(server, "/x")[0] == 404


def test_who_does_not_wait_for_an_answer_or_asks_for_no_address_is_no_news(tmp_path, capsys):
    gone = threading.Event()

    def slow() -> bytes:
        assert gone.wait(SECONDS)
        return b"x" * (1 << 24)

    with serving({"/": slow, "/x": lambda: b"x"}, tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset on close
            client.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
            while not server.lock.locked():
                time.sleep(0.001)
        gone.set()
        assert _get(server, "ftp://[::1")[0] == 400
        assert _get(server, "/x")[0] == 200
        while server.lock.locked():
            time.sleep(0.001)
    assert capsys.readouterr().err == ""


def test_a_port_that_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"Port {port} .* cannot be used: .*--port"):
            Server(port, {}, tmp_path)


def test_a_run_that_has_no_folder_yet(call: Call, tmp_path):
    said = call("watch", tmp_path / "runs" / "soon")
    assert said.code == 2 and "There is no run in" in said.err and "experiment file may be named" in said.err
    assert "soon.yaml does not exist" in call("watch", tmp_path / "soon.yaml").err


@pytest.mark.slow
def test_a_run_that_has_ended_is_said(call: Call, done):
    said = call("watch", done.experiment.output.parent / "tiny.yaml")
    assert said.code == 0
    assert "This run has ended" in said.out


def at_once() -> None:
    """What it says is written, and what it looks for is found, without waiting."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    command = import_module("holdfast.cli.watch")
    command.LOOK_SECONDS = command.LAST_SECONDS = 0.05  # type: ignore[attr-defined]


@contextmanager
def _watching(folder: Path, at_work: bool = True) -> Iterator[tuple[Process, Path, str, Store]]:
    """The command on a run, which this process may be at work on, what it says, and its port."""
    experiment = make_experiment(folder)
    plan, store = make_plan(experiment), Store(experiment.store)
    store.prepare()
    if at_work:
        store.use(plan.jobs.values())
    said, until = folder / "said", time.monotonic() + SECONDS
    process = start(said, "watch", write_config(folder), first=at_once)
    try:
        text = ""
        while process.is_alive() and time.monotonic() < until and "\n" not in text:
            time.sleep(0.01)
            text = said.read_text() if said.exists() else ""
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", text)
        assert found, text
        yield process, said, found[1], store
    finally:
        process.kill()
        process.join()


def test_it_ends_with_the_run(tmp_path):
    with _watching(tmp_path) as (process, said, port, store):
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=SECONDS)
        connection.request("GET", "/state.json")
        assert json.loads(connection.getresponse().read())["at_work"]
        connection.request("GET", "/gallery.html")
        assert b"Holdfast gallery" in connection.getresponse().read()
        store.end_use()
        process.join(SECONDS)
        assert process.exitcode == 0 and "The run has ended." in said.read_text()


def test_it_ends_with_a_run_that_another_machine_does(tmp_path):
    """Whose locks are not seen here, as with a store under a URL: once all results are there."""
    with _watching(tmp_path, at_work=False) as (process, said, _, store):
        plan = make_plan(make_experiment(tmp_path))
        for job in plan.jobs.values():
            assert process.is_alive()
            fill(store, job)
        process.join(SECONDS)
        assert process.exitcode == 0 and "The run has ended." in said.read_text()
        assert "No process of this machine is at work on it now;" in said.read_text()


def test_ctrl_c_ends_it(tmp_path):
    with _watching(tmp_path) as (process, said, _, _store):
        os.kill(process.pid, signal.SIGINT)
        process.join(SECONDS)
        assert process.exitcode == 0 and "Stopped watching." in said.read_text()


@pytest.mark.slow
@needs_chromium
def test_the_page_shows_a_state_as_text(tmp_path):
    attack = "</script><img src=x onerror=window.hit=1>\u202e"
    texts = ("label", "id", "prompt", "response", "reference")
    state = {
        "name": attack, "at_work": True, "ended": True, "done": 3, "total": 4, "report": attack,
        "jobs": [{"label": attack, "at": 1, "of": 4}], "failures": [{"label": attack, "message": attack}],
        "curves": [{"run": attack, "name": "loss", "points": [[0, 1.0], [1, 0.5]], "starts": [0]}],
        "answers": [{"right": True} | dict.fromkeys(texts, attack + " and so on" * 20)],
    }  # fmt: skip
    pages = {"/": lambda: scripted("watch", name=attack), "/state.json": lambda: as_json(state)}
    with serving(pages, tmp_path) as server, browser(tmp_path / "chromium") as tab:
        tab.open(server.url)
        look = "const look = () => $('jobs').children.length ? done(1) : setTimeout(look, 50); look()"
        tab.ask(f"new Promise(done => {{ {look} }})")
        assert "3 of 4 jobs are done." in tab.ask("$('said').textContent")
        assert tab.ask("[...document.querySelectorAll('.job, .curve, #failures dd, .sample')].length") == 4
        assert tab.ask("document.querySelector('#failures dd').textContent") == attack
        assert tab.ask("$('links').textContent") == f"Its report: {attack}"
        assert not tab.ask("document.querySelector('#links a')")  # nobody answers there any more
        tab.size(390, 844)
        assert tab.ask("document.documentElement.scrollWidth") <= 390
        assert tab.ask("window.hit === undefined && !document.querySelector('img')")
        assert {url.removeprefix(server.url) for url in tab.requests if url != "about:blank"} <= {
            "", "state.json", "favicon.ico",
        }  # fmt: skip
