"""Families of methods at matched gain, budget and roll-outs: the table and its sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from holdfast.analysis.families import AMOUNTS, TESTED, Basis, MatchedRow, matched_rows
from holdfast.analysis.matched import TOLERANCE, Match
from holdfast.analysis.views import Analysis
from holdfast.report.rows import Row
from holdfast.report.section import Finding, Section
from holdfast.report.sections.differences import (
    MOST_IN_FULL,
    TESTED_NOTE,
    by_sign,
    listed,
    one_seed_note,
    with_p,
)
from holdfast.report.table import NO_BREAK, Column, Table, rounded, text, used


def section(analysis: Analysis) -> Section:
    rows = matched_rows(analysis)
    table = matched_table(rows)
    return Section("matched", table.title, "Matched", [table], findings=matched_findings(rows))


def matched_table(rows: Sequence[MatchedRow]) -> Table:
    """A row per family and basis; none where there are not two families to compare."""
    rows = [row for row in rows if row.match or row.basis == "gain"]
    cells: list[Row] = []
    for row in rows:
        match, comparison = row.match, row.comparison
        if match is None or comparison is None:
            cells.append({"basis": "gain: no pair", "setting": row.family, "against": row.reference})
            continue
        basis = row.basis if match.matched else f"{row.basis}: not matched, closest"
        cell: Row = {
            "basis": basis,
            "setting": comparison.method.name,
            "against": comparison.reference.name,
            "plasticity": match.plasticity,
            AMOUNTS.get(row.basis, "operations"): match.ratio,
        }
        cells.append(cell | {name: comparison.differences[name] for name in TESTED})
    columns = [
        Column("basis", "Matched"),
        Column("setting", "Method"),
        Column("against", "Against"),
        Column("plasticity", "Plasticity", "change", "of the method minus that of the reference"),
        Column("operations", "Operations", "coefficient", "floating-point operations, of the reference's"),
        Column("roll-outs", "Roll-outs", "coefficient", "sampled completions, of the reference's"),
        *(Column(name, label, "change") for name, label in TESTED.items()),
    ]
    found = [row.comparison for row in rows if row.comparison]
    note = (
        "At matched gain: the settings that learned most among those that learned alike (no difference in "
        "plasticity shown, and neither has a partner that is closer). At matched budget: operations within "
        f"{100 * TOLERANCE:.0f} % of each other, "
        "best AvgAcc; where there are none, at matched roll-outs: sampled completions, those of filters "
        "included; otherwise the closest are given and are not matched. Choosing settings by their accuracy "
        "on the test items is itself a selection, which neither interval nor p covers. "
    )
    note += TESTED_NOTE + one_seed_note(found)
    return Table("matched", "At matched gain and budget", used(columns, cells), cells, note, tight=True)


def matched_findings(rows: Sequence[MatchedRow]) -> list[Finding]:
    """What can be said of forgetting at matched gain, budget and roll-outs."""
    found = []
    for basis in get_args(Basis):
        mine = [row for row in rows if row.basis == basis]
        matched = [row for row in mine if row.match and row.match.matched]
        if len(matched) <= MOST_IN_FULL:
            said = [_sentence(row) for row in matched]
        else:
            said = [
                _sentence_of_many([row for row in matched if row.reference == reference])
                for reference in dict.fromkeys(row.reference for row in matched)
            ]
        for reference in dict.fromkeys(row.reference for row in mine):
            said += _unmatched(basis, reference, [row for row in mine if row.reference == reference])
        if said:
            found.append(Finding(f"At matched {basis}", " ".join(said)))
    return found


def _unmatched(basis: str, reference: str, rows: Sequence[MatchedRow]) -> list[str]:
    """Which families cannot be compared with the reference on this basis."""
    said = []
    if basis == "gain" and (without := [row.family for row in rows if not row.match]):
        said.append(
            f"No pair of settings is matched for {listed(without)} against {reference}: every interval of "
            "the difference in plasticity leaves zero out, so forgetting cannot be compared at matched gain."
        )
    if apart := [row for row in rows if row.match and not row.match.matched]:
        closest = [f"{row.family} ({_times(row.match)})" for row in apart if row.match]
        said.append(
            f"No pair of settings is within {100 * TOLERANCE:.0f} % of {reference}'s {AMOUNTS[basis]} "
            f"for {listed(closest)}, so forgetting cannot be compared at matched {basis}."
        )
    return said


def _sentence_of_many(rows: Sequence[MatchedRow]) -> str:
    """Families against one reference; the table has the pairs and the numbers."""
    gaps = [(row.family, row.comparison.differences["fm"]) for row in rows if row.comparison]
    words = "less forgetting with", "more forgetting with", "no difference in forgetting shown for"
    return f"Compared with {rows[0].reference} at matched {rows[0].basis}: {by_sign(gaps, *words)}."


def _sentence(row: MatchedRow) -> str:
    assert row.match and row.comparison
    gap = row.comparison.differences["fm"]
    if gap.shown:
        word = "less" if gap.value > 0 else "more"
        said = f"{row.family} forgets {word} than {row.reference}"
    else:
        said = f"No difference in forgetting shown between {row.family} and {row.reference}"
    value, _, rest = with_p(gap).partition(NO_BREAK)
    pair = f"{row.comparison.method.name} against {row.comparison.reference.name}"
    alike = f"plasticity {text(row.match.plasticity, 'change')}"
    if row.basis in AMOUNTS:
        alike = f"{_times(row.match)} the {AMOUNTS[row.basis]}, {alike}"
    seeds = "; one seed" if row.comparison.one_seed else ""
    return f"{said} at matched {row.basis}: {value} points FM{NO_BREAK}{rest} ({pair}; {alike}{seeds})."


def _times(match: Match) -> str:
    return f"{'–' if match.ratio is None else rounded(match.ratio, 2)}{NO_BREAK}×"
