"""`gallery.html`: one file that works offline, with one script of ours and no other."""

from __future__ import annotations

import json
from collections.abc import Sequence

from holdfast.analysis.results import Results
from holdfast.report.gallery.items import page_data
from holdfast.report.gallery.thumbnails import Album, Shelf
from holdfast.report.templating import scripted

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
    said = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    said = said.replace("<", "\\u003c")  # so that neither a tag nor a comment can begin in it
    return scripted("gallery", name=data["name"], report=report, data=said)
