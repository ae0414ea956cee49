"""The report: `index.html` in one piece, `report.md`, the tables and the figures."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from holdfast.analysis.results import Results
from holdfast.analysis.views import Analysis, analyse
from holdfast.files import sweep, write_json, write_text
from holdfast.report.section import Drawing, MakeSection, Part, Section
from holdfast.report.sections import SECTIONS
from holdfast.report.style import RC, Looks, css, data_colours, looks_of, save
from holdfast.report.table import Table, interval, is_shown, number, tested, to_csv, to_json, to_markdown

TEMPLATES = Path(__file__).parent / "templates"


def build(results: Results, folder: Path, sections: Sequence[MakeSection] = SECTIONS) -> Path:
    """Write the whole report to `folder` and return its `index.html`.

    A running experiment can be reported too: what is missing is shown as missing. A section of one's own
    joins the others by `sections=[*SECTIONS, mine]`.

    Raises:
        HoldfastError: cells of one task hold different items.
    """
    sweep(folder)
    analysis = analyse(results)
    looks = looks_of(analysis.methods)
    made = [_filled(make(analysis), analysis, looks, folder) for make in sections]
    colours = {name: css(look.colour) for name, look in looks.items()}
    content = {
        "name": results.name,
        "analysis": analysis,
        "sections": [section for section in made if section.parts or section.empty],
        "findings": [finding for section in made for finding in section.findings],
        "cautions": [caution for section in made for caution in section.cautions],
        "again": f"holdfast report {shlex.quote(str(_output(results)))}",
        "colours": colours | {method.label: colours[method.name] for method in analysis.methods},
        "data_colours": data_colours(looks),
    }
    environment = _environment()
    for name in ("report.md", "index.html"):
        write_text(folder / name, environment.get_template(f"{name}.j2").render(content))
    return folder / "index.html"


def _filled(section: Section, analysis: Analysis, looks: Looks, folder: Path) -> Section:
    """The section with its figures drawn, its tables written, and without what has nothing to show."""
    import matplotlib

    parts: list[Part] = []
    for part in section.parts:
        if isinstance(part, Drawing):
            with matplotlib.rc_context(RC):
                figure = part.draw(analysis, looks)
                if figure is not None:
                    parts.append(replace(part, svg=save(figure, folder / "figures", part.name, looks)))
        elif isinstance(part, Table):
            if part.rows:
                write_text(folder / "tables" / f"{part.name}.csv", to_csv(part))
                write_json(folder / "tables" / f"{part.name}.json", to_json(part))
                parts += [part] if part.shown else []
        else:
            parts.append(part)
    return replace(section, parts=parts)


def _output(results: Results) -> Path:
    """The run's folder, from the current folder where it lies in it."""
    output = Path(results.settings.get("output", f"runs/{results.name}"))
    return output.relative_to(Path.cwd()) if output.is_relative_to(Path.cwd()) else output


def _environment() -> Any:
    """Templates; what goes into a page is escaped, figures alone are marked as safe there."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "interval": interval, "markdown": to_markdown}
    environment.filters |= {"tested": tested, "is_shown": is_shown, "code": _code}
    return environment


def _code(text: str) -> Any:
    """A note as HTML: what stands in backticks is code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )
