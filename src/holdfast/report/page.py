"""The report: `index.html` in one piece, `report.md`, the gallery, tables, findings and figures."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from holdfast.analysis.results import Results
from holdfast.analysis.views import Analysis, analyse
from holdfast.files import read_if_there, write_bytes, write_json, write_text
from holdfast.report.gallery.page import NAME, gallery
from holdfast.report.gallery.thumbnails import MOST_PICTURES, Album, Examples, Shelf
from holdfast.report.latex import to_latex
from holdfast.report.section import Drawing, MakeSection, Part, Sample, Samples, Section
from holdfast.report.sections import SECTIONS
from holdfast.report.style import RC, Looks, css, data_colours, looks_of, save
from holdfast.report.table import Table, to_csv, to_json
from holdfast.report.templating import environment

FINDINGS, PIECES = "findings.json", "pieces.json"
_PIECE = re.compile(r"(tables|figures)/[^/]+")
_TAG = re.compile("<(?=[A-Za-z/!?])")  # `<class 'int'>` of a message would be gone where Markdown is shown


def build(
    results: Results, folder: Path, sections: Sequence[MakeSection] = SECTIONS, *,
    examples: Examples | None = None, pictures: int = MOST_PICTURES,
) -> Path:  # fmt: skip
    """Write the whole report to `folder` and return its `index.html`.

    A running experiment can be reported too: what is missing is shown as missing. A section of one's own
    joins the others by `sections=[*SECTIONS, mine]`.

    Args:
        examples: a task's test examples, for their pictures; without it there are none.
        pictures: how many there may be in the gallery; 0 for none in the whole report.

    Raises:
        HoldfastError: cells of one task hold different items.
    """
    analysis = analyse(results)
    looks = looks_of(analysis.methods)
    shelf = Shelf(examples if pictures else None)
    pieces: list[str] = []
    made = [_filled(make(analysis), analysis, looks, folder, shelf, pieces) for make in sections]
    findings = [finding for section in made for finding in section.findings]
    colours = {name: css(look.colour) for name, look in looks.items()}
    content = {
        "name": results.name,
        "analysis": analysis,
        "sections": [section for section in made if section.parts or section.empty],
        "findings": findings,
        "cautions": [caution for section in made for caution in section.cautions],
        "again": f"holdfast report {shlex.quote(str(_output(results)))}",
        "colours": colours | {method.label: colours[method.name] for method in analysis.methods},
        "data_colours": data_colours(looks),
        "gallery": NAME,
    }
    templates = environment()
    page, text = (
        templates.get_template(f"{name}.j2").render(content) for name in ("index.html", "report.md")
    )
    write_text(folder / "index.html", page)
    write_text(folder / "report.md", _TAG.sub(r"\\<", text))
    write_json(folder / FINDINGS, [asdict(finding) for finding in findings])
    write_bytes(folder / NAME, gallery([results], shelf, Album(pictures)))
    _remove_others(folder, pieces)
    return folder / "index.html"


def _remove_others(folder: Path, pieces: Sequence[str]) -> None:
    """Remove tables and figures of the report before that this one has not; nothing that others put there."""
    before = read_if_there(folder / PIECES)
    for name in before if isinstance(before, list) else ():
        if isinstance(name, str) and _PIECE.fullmatch(name) and name not in pieces:
            (folder / name).unlink(missing_ok=True)
    write_json(folder / PIECES, pieces)


def _filled(
    section: Section, analysis: Analysis, looks: Looks, folder: Path, shelf: Shelf, pieces: list[str]
) -> Section:
    """The section with its figures drawn, its tables written, and without what has nothing to show.

    Args:
        pieces: the names of its files are added to them.
    """
    import matplotlib

    parts: list[Part] = []
    for part in section.parts:
        if isinstance(part, Drawing):
            with matplotlib.rc_context(RC):
                figure = part.draw(analysis, looks)
                if figure is not None:
                    parts.append(replace(part, svg=save(figure, folder / "figures", part.name, looks)))
                    pieces += [f"figures/{part.name}.{form}" for form in ("png", "pdf")]
        elif isinstance(part, Table):
            if part.rows:
                write_text(folder / "tables" / f"{part.name}.csv", to_csv(part))
                write_text(folder / "tables" / f"{part.name}.tex", to_latex(part))
                write_json(folder / "tables" / f"{part.name}.json", to_json(part))
                pieces += [f"tables/{part.name}.{form}" for form in ("csv", "tex", "json")]
                parts += [part] if part.shown else []
        elif isinstance(part, Samples):
            parts.append(_pictured(part, shelf))
        else:
            parts.append(part)
    return replace(section, parts=parts)


def _pictured(part: Samples, shelf: Shelf) -> Samples:
    """The samples with what their items show, as far as that is at hand."""
    album = Album()

    def shown(task: str, sample: Sample) -> Sample:
        example = shelf.find(task, sample.id)
        numbers = album.add(example) if example else []
        return replace(sample, pictures=[album.pictures[number] for number in numbers])

    tasks = {task: [shown(task, sample) for sample in samples] for task, samples in part.tasks.items()}
    return replace(part, tasks=tasks)


def _output(results: Results) -> Path:
    """The run's folder, from the current folder where it lies in it."""
    output = Path(results.settings.get("output", f"runs/{results.name}"))
    return output.relative_to(Path.cwd()) if output.is_relative_to(Path.cwd()) else output
