"""`gallery.html`: one file that works offline, with one script of ours and no other."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from holdfast.analysis.results import Results
from holdfast.report.gallery.items import page_data
from holdfast.report.gallery.thumbnails import Album, Shelf
from holdfast.report.templating import TEMPLATES, environment

NAME = "gallery.html"


def gallery(
    experiments: Sequence[Results], shelf: Shelf, album: Album, report: str | None = "index.html"
) -> bytes:
    """The page of the items of one experiment, or of several side by side.

    Args:
        report: where the report lies, from the page.

    Raises:
        HoldfastError: two experiments know the same item by different prompts.
    """
    data = page_data(experiments, shelf, album)
    script = (TEMPLATES / "gallery.js").read_text(encoding="utf-8")
    content = {"name": data["name"], "report": report, "data": embedded(data), "script": script}
    text = environment().get_template("gallery.html.j2").render(content | {"digest": digest(script)})
    return text.encode("utf-8", "replace")  # half a character cannot be written


def digest(script: str) -> str:
    """What a page's policy names the one script by that it allows."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def embedded(data: Any) -> str:
    """JSON that can stand in a page: no tag can begin in it, nor a comment."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
