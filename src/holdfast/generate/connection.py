"""How servers are reached: their addresses, what the environment says of the way, a thread for requests."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx2

from holdfast.errors import InputError, reason, without_password


def connected(headers: Mapping[str, str]) -> httpx2.AsyncClient:
    """What requests go through.

    Raises:
        InputError: the environment names certificates or a proxy that cannot be used.
    """
    try:
        trust = trusted()
    except OSError as error:  # also where no certificate is in the file
        cause = "there is none in it" if isinstance(error, ssl.SSLError) else reason(error)
        raise InputError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read ({cause}). Correct "
            "it, or unset it."
        ) from None
    try:
        return httpx2.AsyncClient(headers=headers, timeout=None, verify=trust)
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        cause = reason(error)
        if isinstance(error, ImportError):
            cause = "SOCKS needs a package: pip install socksio"
        elif "port" in cause:  # which is said, and may be the beginning of a password
            cause = "its port is no number; write # and / of a password as %23 and %2F"
        raise InputError(
            f"The proxy that ALL_PROXY, HTTP_PROXY or HTTPS_PROXY names cannot be used ({cause}). Correct "
            "it, or unset it where the server needs none."
        ) from None


@contextmanager
def beside(work: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Do something in a thread with a loop of its own, until the block ends."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)
    thread = threading.Thread(target=loop.run_until_complete, args=(asyncio.wait({task}),), daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


@cache
def trusted() -> ssl.SSLContext:
    """Whom connections trust. Reading all certificates takes longer than a request, so once a process."""
    return httpx2.create_ssl_context()


def chat_address(url: str) -> str:
    """Where chat completions are asked for, from a server's base address.

    Raises:
        InputError: it is not an http(s) address.
    """
    usable = False
    with suppress(ValueError, httpx2.InvalidURL):  # of the port, the host, a character
        httpx2.URL(url)
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    if not usable or parts.query or parts.fragment or parts.username:
        keyed = " A key is not for it: name the variable that holds it (key_variable)."
        raise InputError(
            f"{without_password(url)} is not a server's address, such as http://localhost:8000/v1."
            + (keyed if "@" in url or "?" in url else "")
        )
    path = parts.path.rstrip("/") or "/v1"
    if not path.endswith("/chat/completions"):
        path += "/chat/completions"
    return f"{parts.scheme}://{parts.netloc}{path}"
