"""The templates of pages, and how values are written in them."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from holdfast.report.table import interval, is_shown, number, tested, to_markdown

TEMPLATES = Path(__file__).parent / "templates"


def environment() -> Any:
    """Templates; what goes into a page is escaped, figures alone are marked as safe there."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "interval": interval, "markdown": to_markdown}
    made.filters |= {"tested": tested, "is_shown": is_shown, "code": _code, "unbroken": _unbroken}
    return made


def scripted(page: str, **content: Any) -> bytes:
    """A page with a script of ours, which its policy names by hash: no other runs in it."""
    script = (TEMPLATES / f"{page}.js").read_text(encoding="utf-8")
    content["digest"] = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    text: str = environment().get_template(f"{page}.html.j2").render(content, script=script)
    return text.encode("utf-8", "replace")  # half a character cannot be written


def _code(text: str) -> Any:
    """A note as HTML: what stands in backticks is code."""
    return _every_other("<code>{}</code>", text.split("`"))


def _unbroken(text: str) -> Any:
    """A text as HTML whose numbers such as 3e-4 no line ends within."""
    return _every_other('<span class="unbroken">{}</span>', re.split(r"(\d(?:\.\d+)?e-\d+)", text))


def _every_other(form: str, parts: list[str]) -> Any:
    from markupsafe import Markup

    return Markup("").join(
        Markup(form if index % 2 else "{}").format(part) for index, part in enumerate(parts)
    )
