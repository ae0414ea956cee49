"""Write docs/settings.md from the settings' source.

    python tools/settings_page.py

tests/test_settings_page.py fails where it is out of date.
"""

from pathlib import Path

from holdfast.config.reference import page

if __name__ == "__main__":
    (Path(__file__).parents[1] / "docs" / "settings.md").write_text(page(), encoding="utf-8")
