"""Suites: tasks with the way they are asked, under one name."""

from __future__ import annotations

from typing import Any

from holdfast.errors import InputError, suggestion

# Offline: every picture is drawn. Five skills that a post-trained model may lose: counting, reading, telling
# places apart, measuring, and finding what is there.
SUITES: dict[str, dict[str, Any]] = {
    "core": {
        "tasks": ("counting", "reading", "relations", "measures", "presence"),
        "prompts": "standard",
        "style": "cot",
        "test_examples": 200,
    },
}


def suite(name: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """A suite's tasks, and the settings that they are asked with.

    Raises:
        InputError: there is none of this name.
    """
    if name not in SUITES:
        raise InputError(f"There is no suite '{name}'{suggestion(name, SUITES)}")
    settings = dict(SUITES[name])
    return settings.pop("tasks"), settings
