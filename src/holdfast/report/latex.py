"""A table as LaTeX: booktabs rules, to be read by `\\input` where a paper wants it."""

from __future__ import annotations

import re
import unicodedata

from holdfast.report.table import MISSING, NO_BREAK, Column, Table, Value, interval, is_shown, number, tested

ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
    NO_BREAK: "~", "−": "$-$", "→": r"$\rightarrow$", "×": r"$\times$", "≤": r"$\leq$", "≥": r"$\geq$",
    "Δ": r"$\Delta$", "²": "$^2$", "ᵀ": r"$^{\top}$", "≈": r"$\approx$",
    "‖": r"$\Vert$", "¼": r"$\frac{1}{4}$", "½": r"$\frac{1}{2}$", "¾": r"$\frac{3}{4}$",
    "·": r"$\cdot$", "…": r"\ldots{}", "–": "--", "[": "{[}", "]": "{]}",
}  # fmt: skip


def to_latex(table: Table) -> str:
    """The table with its title and note as caption; it needs `\\usepackage{booktabs}`.

    Values stand with their intervals behind them; a difference that was shown is bold.
    """
    aligned = "".join("l" if column.kind == "text" else "r" for column in table.columns)
    heads = [escaped(column.label) for column in table.columns]
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{escaped(f'{table.title}. {table.note}'.strip())}}}",
        f"\\label{{tab:{table.name}}}",
        f"\\begin{{tabular}}{{@{{}}{aligned}@{{}}}}",
        "\\toprule",
        " & ".join(heads) + r" \\",
        "\\midrule",
        *(" & ".join(_cell(row.get(one.key), one) for one in table.columns) + r" \\" for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cell(value: Value, column: Column) -> str:
    said = number(value, column.kind)
    if said == MISSING:
        return "--"
    parts = [escaped(said)]
    if is_shown(value):
        parts = [f"\\textbf{{{parts[0]}}}"]
    small = (more for more in (interval(value, column.kind), tested(value)) if more)
    return " ".join(parts + [f"{{\\footnotesize {escaped(more)}}}" for more in small])


def escaped(text: str) -> str:
    """Text that stands in LaTeX as it is, in one paragraph; control characters are left out."""
    plain = re.sub(r"\s*\n\s*", " ", text)
    kept = (one for one in plain if one == NO_BREAK or unicodedata.category(one)[0] != "C")
    return "".join(ESCAPES.get(character, character) for character in kept)
