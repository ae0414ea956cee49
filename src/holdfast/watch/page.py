"""The page that shows a run while it goes on."""

from __future__ import annotations

from holdfast.report.gallery.page import digest
from holdfast.report.templating import TEMPLATES, environment


def watch_page(name: str) -> bytes:
    """A page that asks for `state.json` again and again, until the run has ended."""
    script = (TEMPLATES / "watch.js").read_text(encoding="utf-8")
    content = {"name": name, "script": script, "digest": digest(script)}
    made: bytes = environment().get_template("watch.html.j2").render(content).encode("utf-8", "replace")
    return made
