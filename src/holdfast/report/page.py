"""The report: `index.html` in one piece, `report.md`, the tables and the figures."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from holdfast.files import write_json, write_text
from holdfast.forgetting.results import Results
from holdfast.report.analysis import Analysis, analyse
from holdfast.report.axes import axis_tables
from holdfast.report.drawings import draw_all
from holdfast.report.drift import divergence, movement, movement_by_group
from holdfast.report.matched import matched_findings, matched_rows, matched_table
from holdfast.report.mechanism import mechanism_tables
from holdfast.report.predictor_views import predictor_tables
from holdfast.report.samples import samples
from holdfast.report.setup import methods_table, setup, tasks_table
from holdfast.report.style import Look, family_looks, looks
from holdfast.report.table import interval, is_shown, number, tested, to_csv, to_json, to_markdown
from holdfast.report.tables import all_tables, label
from holdfast.report.verdicts import cautions, differences, findings

TEMPLATES = Path(__file__).parent / "templates"


def build(results: Results, folder: Path) -> Path:
    """Write the whole report to `folder` and return its `index.html`.

    A running experiment can be reported too: what is missing is shown as missing.

    Raises:
        HoldfastError: cells of one task hold different items.
    """
    analysis = analyse(results)
    matched = matched_rows(analysis)
    further = (methods_table(analysis), tasks_table(analysis), differences(analysis), matched_table(matched))
    tables = all_tables(analysis) | {table.name: table for table in further if table}
    along = axis_tables(analysis)
    why = [divergence(analysis), movement(analysis), movement_by_group(analysis)]
    why += [*predictor_tables(analysis), *mechanism_tables(analysis)]
    tables |= along | {table.name: table for table in why if table.rows}
    for table in tables.values():
        write_text(folder / "tables" / f"{table.name}.csv", to_csv(table))
        write_json(folder / "tables" / f"{table.name}.json", to_json(table))
    content = {
        "name": results.name,
        "analysis": analysis,
        "findings": findings(analysis) + matched_findings(matched),
        "cautions": cautions(analysis),
        "setup": setup(analysis),
        "tables": tables,
        "figures": draw_all(analysis, _looks(analysis), folder / "figures"),
        "along": list(along),
        "again": f"holdfast report {shlex.quote(str(_output(results)))}",
        "samples": samples(analysis),
        "colours": _colours(analysis),
        "config": _yaml(results.settings),
    }
    environment = _environment()
    write_text(folder / "report.md", environment.get_template("report.md.j2").render(content))
    page = folder / "index.html"
    write_text(page, environment.get_template("index.html.j2").render(content))
    return page


def _output(results: Results) -> Path:
    """The run's folder, from the current folder where it lies in it."""
    output = Path(results.settings.get("output", f"runs/{results.name}"))
    return output.relative_to(Path.cwd()) if output.is_relative_to(Path.cwd()) else output


def _looks(analysis: Analysis) -> dict[str, Look]:
    if any(method.axes for method in analysis.methods):
        return family_looks([(method.name, method.family, method.joint) for method in analysis.methods])
    return looks([(method.name, method.joint) for method in analysis.methods])


def _colours(analysis: Analysis) -> dict[str, str]:
    """A method's colour, by its name and by its label in tables."""
    found = {name: look.colour for name, look in _looks(analysis).items()}
    return found | {label(method): found[method.name] for method in analysis.methods}


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
    environment.filters |= {"tested": tested, "is_shown": is_shown}
    return environment


def _yaml(settings: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100)
