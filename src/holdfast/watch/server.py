"""A run's page on this machine alone: loopback address, GET, and nothing outside the run's report.

A page elsewhere on the web cannot read it by pointing a name of its own here (DNS rebinding): the Host
header must be ours.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from urllib.parse import unquote, urlsplit

from holdfast.errors import HoldfastError, InputError
from holdfast.files import real

ADDRESS = "127.0.0.1"
TYPES = {
    ".html": "text/html; charset=utf-8", ".json": "application/json", ".csv": "text/csv; charset=utf-8",
    ".md": "text/plain; charset=utf-8", ".tex": "text/plain; charset=utf-8", ".png": "image/png",
    ".pdf": "application/pdf",
}  # fmt: skip

Made = Callable[[], bytes]  # what stands under an address, made when it is asked for


class Server(ThreadingMixIn, TCPServer):
    """Answers until `shutdown`.

    Args:
        port: 0 for any that is free.
        pages: address -> what stands there, such as `/`.
        folder: whose files stand under `/report/`.

    Raises:
        InputError: the port is taken.
    """

    daemon_threads = allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, port: int, pages: dict[str, Made], folder: Path) -> None:
        self.pages = pages
        self.folder = real(folder)
        self.lock = threading.Lock()  # pages are made one at a time
        try:
            super().__init__((ADDRESS, port), _Handler)
        except OSError as error:
            raise InputError(
                f"Port {port} of this machine cannot be used: {error.strerror}. Choose another with --port."
            ) from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that is closed, or loads a page anew, does not wait for its answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "holdfast"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        port = self.server.port
        if self.headers.get("Host") not in (f"{ADDRESS}:{port}", f"localhost:{port}"):
            self.send_error(403, "This page is for the machine it runs on")
            return
        try:
            path = unquote(urlsplit(self.path).path)
        except ValueError:
            self.send_error(400, "This is no address")
            return
        try:
            found = self._found(path)
        except (HoldfastError, OSError) as error:
            self.send_error(500, "It cannot be read now", str(error))
        else:
            self._send(*found) if found else self.send_error(404)

    def _found(self, path: str) -> tuple[bytes, str] | None:
        """What stands under an address, and its type."""
        if made := self.server.pages.get(path):
            with self.server.lock:
                return made(), TYPES[Path(path).suffix or ".html"]
        file = self._file(path)
        return (file.read_bytes(), TYPES[file.suffix]) if file else None

    def _file(self, path: str) -> Path | None:
        """A file of the run's report; links lead nowhere else."""
        if not path.startswith("/report/") or "\0" in path:
            return None
        found = real(self.server.folder / path.removeprefix("/report/"))
        inside = found.is_relative_to(self.server.folder) and found.suffix in TYPES
        return found if inside and found.is_file() else None

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store"}
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: the terminal is the user's."""


def as_json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
