"""A headless Chromium that tests open pages in, over its debugging pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium to open pages in")
SECONDS = 60.0  # a busy machine takes long to start it


class Tab:
    """One page, and all that it asked for.

    Attributes:
        requests: addresses it asked for.
        said: errors of the page and its console, and what its policy refused.
    """

    def __init__(self, process: subprocess.Popen[bytes], read: int, write: int) -> None:
        self._process, self._read, self._write = process, read, write
        self._next, self._buffer = 0, b""
        self._session = ""
        self.requests: list[str] = []
        self.said: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        self._loaded = False
        self.send("Page.navigate", url=url)
        while not self._loaded:
            self._receive()

    def ask(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key with a name, or a character."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, "Escape": 27}
        code = codes.get(key, ord(key[0].upper()))
        about = {"key": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def size(self, width: int, height: int, dark: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def send(self, method: str, **params: Any) -> Any:
        """A command of the debugging protocol, and its result."""
        self._next += 1
        session = {"sessionId": self._session} if self._session else {}
        command = {"id": self._next, "method": method, "params": params, **session}
        os.write(self._write, json.dumps(command).encode() + b"\0")
        while True:
            message = self._receive()
            if message.get("id") == self._next:
                assert "error" not in message, message["error"]
                return message["result"]

    def _receive(self) -> Any:
        until = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            assert time.monotonic() < until and self._process.poll() is None, "Chromium does not answer"
            self._buffer += os.read(self._read, 1 << 20)
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.said.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled":
                self.said.append(json.dumps(params["args"]))
            case "Log.entryAdded":
                self.said.append(params["entry"]["text"])
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Tab]:
    """A tab of a new Chromium, which ends with the block."""
    assert PROGRAM
    to_read, write = os.pipe()
    read, to_write = os.pipe()

    def handles() -> None:  # the pipe is at 3 and 4, by the protocol
        first, second = os.dup(to_read), os.dup(to_write)
        os.dup2(first, 3)
        os.dup2(second, 4)

    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions")
    process = subprocess.Popen(
        [PROGRAM, *options, "--remote-debugging-pipe", f"--user-data-dir={profile}"],
        preexec_fn=handles, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(to_read)
    os.close(to_write)
    try:
        yield Tab(process, read, write)
    finally:
        process.terminate()
        process.wait(SECONDS)
        os.close(read)
        os.close(write)
