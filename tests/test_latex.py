"""Tables as LaTeX."""

from __future__ import annotations

import re

import pytest

from holdfast.analysis.bootstrap import Estimate
from holdfast.analysis.permutation import Difference
from holdfast.report.latex import escaped, to_latex
from holdfast.report.page import build
from holdfast.report.table import Column, Table
from measured_results import with_measures
from results_helpers import make_results


def test_a_table_has_the_rules_of_booktabs_and_its_values():
    columns = [Column("method", "Method"), Column("fm", "FM, %", "change"), Column("gap", "Gap", "change")]
    rows = [
        {"method": "sft_a&b", "fm": Estimate(-0.1, -0.2, 0.0), "gap": Difference(0.2, 0.1, 0.3, 0.001, 1.5)},
        {"method": "base", "fm": None, "gap": None},
    ]
    lines = to_latex(Table("t", "A 5 % table", columns, rows, "What it\nsays.")).splitlines()
    assert lines[1:] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{A 5 \% table. What it says.}",
        r"\label{tab:t}",
        r"\begin{tabular}{@{}lrr@{}}",
        r"\toprule",
        r"Method & FM, \% & Gap \\",
        r"\midrule",
        r"sft\_a\&b & $-$10.0 {\footnotesize {[}$-$20.0,~0.0{]}} & "
        r"\textbf{+20.0} {\footnotesize {[}+10.0,~+30.0{]}} {\footnotesize p~=~0.001, d~=~+1.50} \\",
        r"base & -- & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("a % b # c $ d ~ e ^ f", r"a \% b \# c \$ d \textasciitilde{} e \textasciicircum{} f"),
        ("right → wrong", r"right $\rightarrow$ wrong"),
        ("a\nb\u202ec\x00", "a bc"),
    ],
)
def test_text_stands_there_as_it_is(text, said):
    assert escaped(text) == said


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_every_table_of_a_report_has_a_latex_form(tmp_path):
    results = make_results(seeds=(0, 1, 2), items=10, sequence=("diagrams", "reading"), general=("facts",))
    build(with_measures(results), tmp_path)
    tables = tmp_path / "tables"
    names = {path.stem for path in tables.glob("*.csv")}
    assert (
        {path.stem for path in tables.glob("*.tex")}
        == names
        >= {"drift", "predictors", "risk_by_method", "calibration"}
    )
    for path in tables.glob("*.tex"):
        body = path.read_text(encoding="utf-8")
        assert body.count(r"\toprule") == body.count(r"\bottomrule") == 1
        rows = body[body.index(r"\toprule") : body.index(r"\bottomrule")].splitlines()
        ampersands = {len(re.findall(r"(?<!\\)&", row)) for row in rows if row.endswith(r"\\")}
        assert len(ampersands) == 1
        assert body.isascii(), path.name  # pdfTeX stops at ‖ and its like
