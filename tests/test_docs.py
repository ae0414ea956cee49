"""The pages: links lead somewhere, and docs/architecture.md tells where things are and who imports whom."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "holdfast"
PAGES = [
    *ROOT.glob("*.md"),
    *(path for folder in ("docs", "findings", "benchmarks") for path in (ROOT / folder).rglob("*.md")),
]
# Folders with a file for each command, rule, task, data set, strategy and topic: not named one by one.
OF_A_KIND = {"cli", "scorers", "embedded", "benchmarks", "retention", "sections"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for place in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        name, _, anchor = place.partition("#")
        target = page.parent / name if name else page
        if "://" not in place:
            assert target.exists(), place
            assert not anchor or target.suffix != ".md" or anchor in anchors(target), place


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_tree_has_every_module_and_no_other() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = text.split("## Where things are")[1].split("```")[1]
    named = set(re.findall(r"\b\w+\.py\b", tree)) - {"rules.py"}  # the user's own
    modules = [path for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")]
    assert named <= {path.name for path in modules}
    assert {path.name for path in modules if path.parent.name not in OF_A_KIND} <= named


@pytest.mark.slow
def test_imports_point_one_way() -> None:
    uses: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part not in ("__init__", "__main__"):
            uses.setdefault(part, set()).update(set(imported(ast.parse(path.read_text("utf-8")))) - {part})
    TopologicalSorter(uses).prepare()  # raises CycleError


def imported(node: ast.AST) -> Iterator[str]:
    """Parts of the package that a module imports, but for types alone."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.ImportFrom) and node.module == "holdfast":
        yield from (one.name for one in node.names if not one.name.startswith("__"))
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("holdfast."):
        yield str(node.module).split(".")[1]
    for inner in ast.iter_child_nodes(node):
        yield from imported(inner)
