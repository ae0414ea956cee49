"""How figures look: one colour and marker per method, everywhere, and two files per figure.

In the page they are `WIDTH` inches wide. For a paper they are drawn anew at its width, with text of its
size and everything else in proportion (`sized`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping, Sequence
from colorsys import hls_to_rgb, rgb_to_hls
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.analysis.method import MethodView, by_family
from holdfast.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart, without its black and yellow.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#7A7A7A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")

WIDTH = 8.6  # inches: scaled to a page's width, text stays legible
PAGE_PIXELS = 1060  # that such a figure takes on a page
INK, MUTED, GRID = "#1c2128", "#68707a", "#dde1e6"
# In the page these follow its light or dark mode.
CSS_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)"}
DARKEST = 0.38  # lightness of the darkest colour of data on a dark page

POINTS: dict[str, float] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 9,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
}
RC: dict[str, Any] = {
    **POINTS,
    "figure.figsize": (WIDTH, 4),
    "font.family": "DejaVu Sans",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: small, selectable, in the page's own font
    "pdf.fonttype": 42,
}


def sized(width: float, size: float) -> dict[str, Any]:
    """The same settings for figures of another width, in inches, and text of another size, in points."""
    share = size / POINTS["font.size"]
    return RC | {key: share * value for key, value in POINTS.items()} | {"figure.figsize": (width, 4)}


def room() -> float:
    """Inches that a figure may be wide where it is drawn now."""
    import matplotlib

    return float(matplotlib.rcParams["figure.figsize"][0])


def scaled(length: float) -> float:
    """A length or size of the page's figures, where they are drawn now."""
    import matplotlib

    return float(length * matplotlib.rcParams["font.size"] / POINTS["font.size"])


@dataclass(frozen=True)
class Look:
    """How a method is drawn."""

    colour: str
    marker: str
    line: str


Looks = Mapping[str, Look]  # by a method's name


def looks_of(methods: Sequence[MethodView]) -> dict[str, Look]:
    """A look for each method: a colour per family, from pale to dark within it; joint ones are dashed.

    More families than colours repeat them with another marker and line.
    """
    found = {}
    for index, members in enumerate(by_family(methods).values()):
        again, several = index // len(PALETTE), len(members) > 1
        for place, method in enumerate(members):
            depth = place / (len(members) - 1) if several else 0.5
            marker = MARKERS[(place if several else index + again) % len(MARKERS)]
            line = "--" if method.joint else ("-", "-.", ":")[again % 3]
            found[method.name] = Look(_shade(PALETTE[index % len(PALETTE)], depth), marker, line)
    return {method.name: found[method.name] for method in methods}


def _shade(colour: str, depth: float) -> str:
    """The colour from half way to white (depth 0) through itself (0.5) to a third of the way to black (1)."""
    other, share = (255, 1 - 2 * depth) if depth < 0.5 else (0, 0.7 * (2 * depth - 1))
    parts = bytes.fromhex(colour[1:])
    return "#" + bytes(round(part + share * 0.5 * (other - part)) for part in parts).hex()


def data_colours(looks: Looks) -> dict[str, str]:
    """Every colour that stands for data, and what it is on a dark page: lighter, in the same order."""
    days = dict.fromkeys(colour.lower() for colour in (*PALETTE, *(look.colour for look in looks.values())))
    return {day: _at_night(day) for day in days}


def _at_night(colour: str) -> str:
    hue, lightness, saturation = rgb_to_hls(*(part / 255 for part in bytes.fromhex(colour[1:])))
    parts = hls_to_rgb(hue, DARKEST + (1 - DARKEST) * lightness, saturation)
    return "#" + bytes(round(255 * part) for part in parts).hex()


def css(colour: str) -> str:
    """The name under which a page says what a colour that stands for data is by day and by night."""
    return f"var(--c{colour[1:].lower()})"


def save(figure: Figure, folder: Path, name: str, looks: Looks) -> str:
    """Write `name`.png and `name`.pdf to `folder`; returns SVG text to stand inside a page."""
    import matplotlib

    save_pdf(figure, folder, name)
    with matplotlib.rc_context({"svg.hashsalt": name}):
        png, out = io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", facecolor="white", dpi=170)
        figure.savefig(
            out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    write_bytes(folder / f"{name}.png", png.getvalue())
    return inline_svg(out.getvalue(), name, data_colours(looks))


def save_pdf(figure: Figure, folder: Path, name: str) -> None:
    """Write `name`.pdf to `folder`, the same bytes at any time."""
    pdf = io.BytesIO()  # in memory: the writer of PDF hides that a disk is full
    undated = {"CreationDate": None, "ModDate": None}
    figure.savefig(pdf, format="pdf", facecolor="white", metadata=undated)
    write_bytes(folder / f"{name}.pdf", pdf.getvalue())


def inline_svg(svg: str, name: str, data: Collection[str] = ()) -> str:
    """An SVG file's drawing alone, with the page's colours and ids that no other figure has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    variables = CSS_COLOURS | {colour: css(colour) for colour in data}
    svg = re.sub(
        "(fill|stroke): (#[0-9a-f]{6})", lambda found: f"{found[1]}: {variables.get(found[2], found[2])}", svg
    )
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    if found := re.match(r'<svg [^>]*\bwidth="([\d.]+)pt"', svg):  # narrow ones at the scale of wide ones
        pixels = round(float(found[1]) / 72 / WIDTH * PAGE_PIXELS)
        svg = f'<svg style="--w: {pixels}px"{svg[4:]}'
    return svg.strip()
