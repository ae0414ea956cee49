"""A folder of tables whose README says which they are, as the hub reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import InputError
from holdfast.tasks.tables import library
from test_columns import data, released, task  # noqa: F401

CARD = """---
license: mit
configs:
- config_name: default
  {}
---
# Three columns and a picture
"""


@pytest.mark.parametrize(
    "said",
    [
        "data_files: 'hf://datasets/any/thing/train.csv'",
        "data_files: [{split: train, path: 'https://host/train.csv'}]",
        "data_files: {train: [data/train-*.parquet, ../other/train.parquet]}",
        "data_files: [{split: train, path: [/elsewhere/train.parquet]}]",
        "data_dir: data/../../other",
    ],
)
def test_a_card_names_tables_of_its_own_folder_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """Nothing is fetched for a folder, and a change of a file elsewhere would not be noticed."""
    released(tmp_path / "set")
    (tmp_path / "set" / "README.md").write_text(CARD.format(said))
    monkeypatch.setattr(library(), "load_dataset", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(
        InputError, match=r"README\.md names the table .*, which lies outside the folder; put"
    ):
        task(tmp_path / "set")


def test_a_card_may_name_tables_of_its_folder(tmp_path: Path) -> None:
    released(tmp_path / "set")
    files = "[{split: train, path: data/train-*}, {split: validation, path: 'data/validation-*'}]"
    (tmp_path / "set" / "README.md").write_text(CARD.format(f"data_files: {files}"))
    assert len(task(tmp_path / "set").examples("train")) == 6
