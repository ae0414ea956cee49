"""The report's figures once more, for a paper: as wide as its columns, with text of its size."""

from __future__ import annotations

from pathlib import Path

from holdfast.analysis.results import Results
from holdfast.analysis.views import analyse
from holdfast.report.section import Drawing
from holdfast.report.sections import SECTIONS
from holdfast.report.style import looks_of, save_pdf, sized


def write_figures(results: Results, folder: Path, width: float, size: float) -> list[str]:
    """Write `NAME.pdf` to `folder` for every figure that the results have something to show in; the names.

    Args:
        width: inches that a figure may be wide; one of few panels may need less.
        size: points of its text. Lines and markers are in proportion.

    Raises:
        HoldfastError: cells of one task hold different items.
    """
    import matplotlib

    analysis = analyse(results)
    looks = looks_of(analysis.methods)
    drawings = [part for make in SECTIONS for part in make(analysis).parts if isinstance(part, Drawing)]
    written = []
    with matplotlib.rc_context(sized(width, size)):
        for drawing in drawings:
            if (figure := drawing.draw(analysis, looks)) is not None:
                save_pdf(figure, folder, drawing.name)
                written.append(drawing.name)
    return written
