"""How figures look: one colour and marker per method, everywhere, and three files per figure."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart, without its black and yellow.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7A7A7A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")

WIDTH = 8.6  # inches: scaled to a page's width, text stays legible
INK, MUTED, GRID = "#1c2128", "#68707a", "#dde1e6"
# In the page these follow its light or dark mode.
CSS_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)"}

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's own font
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn."""

    colour: str
    marker: str
    line: str


def looks(methods: Sequence[tuple[str, bool]]) -> dict[str, Look]:
    """A look for each (method name, joint); more methods than colours repeat them with another marker."""
    found = {}
    for index, (name, joint) in enumerate(methods):
        dashes = "--" if joint else ("-", "-.", ":")[index // len(PALETTE) % 3]
        marker = MARKERS[(index + index // len(PALETTE)) % len(MARKERS)]
        found[name] = Look(PALETTE[index % len(PALETTE)], marker, dashes)
    return found


def family_looks(methods: Sequence[tuple[str, str, bool]]) -> dict[str, Look]:
    """A look for each (method name, family, joint): a colour per family, from pale to dark within it."""
    families: dict[str, list[str]] = {}
    for name, family, _ in methods:
        families.setdefault(family, []).append(name)
    found = {}
    for index, (family, look) in enumerate(looks([(family, False) for family in families]).items()):
        members = families[family]
        for place, name in enumerate(members):
            depth = place / (len(members) - 1) if len(members) > 1 else 0.5
            marker = MARKERS[(place if len(members) > 1 else index) % len(MARKERS)]
            found[name] = Look(_shade(look.colour, depth), marker, look.line)
    joint = {name for name, _, joint in methods if joint}
    return {name: replace(found[name], line="--" if name in joint else found[name].line) for name in found}


def _shade(colour: str, depth: float) -> str:
    """The colour from half way to white (depth 0) through itself (0.5) to a third of the way to black (1)."""
    other, share = (255, 1 - 2 * depth) if depth < 0.5 else (0, 0.7 * (2 * depth - 1))
    parts = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(part + share * 0.5 * (other - part)):02x}" for part in parts)


def save(figure: Figure, folder: Path, name: str) -> str:
    """Write `name`.png and `name`.pdf to `folder`; returns SVG text to stand inside a page."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(RC | {"svg.hashsalt": name}):
        undated = {"CreationDate": None, "ModDate": None}
        figure.savefig(folder / f"{name}.pdf", facecolor="white", metadata=undated)
        figure.savefig(folder / f"{name}.png", facecolor="white", dpi=170)
        out = io.StringIO()
        figure.savefig(
            out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return inline_svg(out.getvalue(), name)


def inline_svg(svg: str, name: str) -> str:
    """An SVG file's drawing alone, with the page's colours and ids that no other figure has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    for colour, variable in CSS_COLOURS.items():
        svg = re.sub(colour, variable, svg, flags=re.IGNORECASE)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.strip()
