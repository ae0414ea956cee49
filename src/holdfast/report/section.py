"""What a section of the report is: parts in reading order, and sentences for the top of the page.

A section is a function of the analysis. Every table in it is written to `tables/`, every drawing to
`figures/`, and all of it stands in the page and in the Markdown; what has nothing to show is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from holdfast.analysis.views import Analysis
from holdfast.report.style import Looks
from holdfast.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure; `draw` gives None where the results have nothing to show in it.

    Attributes:
        name: of its files.
        fold: closed in the page until a reader opens it.
        svg: the drawn figure, once it is.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Analysis, Looks], Figure | None]
    fold: bool = False
    svg: str = ""
    note: ClassVar[str] = ""
    kind: ClassVar[str] = "drawing"


@dataclass(frozen=True)
class Terms:
    """Terms and what is to be said of each."""

    pairs: Sequence[tuple[str, str]]
    title: str = ""
    note: str = ""
    fold: ClassVar[bool] = False
    kind: ClassVar[str] = "terms"


@dataclass(frozen=True)
class Verbatim:
    """A text as it is, in the page alone."""

    title: str
    text: str
    note: ClassVar[str] = ""
    fold: ClassVar[bool] = True
    kind: ClassVar[str] = "verbatim"


@dataclass(frozen=True)
class Response:
    """What one policy wrote."""

    when: str
    text: str
    right: bool


@dataclass(frozen=True)
class Sample:
    """One test item and what each policy wrote: (`base model` or method name, responses).

    Attributes:
        pictures: what it shows, as `data:` addresses.
    """

    id: str
    prompt: str
    reference: str
    policies: list[tuple[str, list[Response]]]
    pictures: Sequence[str] = ()


@dataclass(frozen=True)
class Samples:
    """Samples per task, in the page alone."""

    title: str
    note: str
    tasks: Mapping[str, Sequence[Sample]]
    fold: ClassVar[bool] = False
    kind: ClassVar[str] = "samples"


Part = Table | Drawing | Terms | Verbatim | Samples


@dataclass(frozen=True)
class Finding:
    """One thing the results say, under a topic."""

    topic: str
    text: str


@dataclass(frozen=True)
class Section:
    """A topic.

    Attributes:
        name: its address in the page.
        menu: what it is called there, in a word.
        empty: what is said where no part has anything to show; without it the section is left out.
        findings, cautions: what can be said, and what limits it; those of all sections open the report.
    """

    name: str
    title: str
    menu: str
    parts: Sequence[Part]
    note: str = ""
    empty: str = ""
    findings: Sequence[Finding] = ()
    cautions: Sequence[str] = ()


MakeSection = Callable[[Analysis], Section]
