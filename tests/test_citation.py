"""The citation names the version that is installed."""

from pathlib import Path

import yaml

from holdfast import __version__


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((Path(__file__).parents[1] / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
