"""The topics of the report, a file each, in reading order."""

from __future__ import annotations

from holdfast.report.section import MakeSection
from holdfast.report.sections import (
    definitions,
    differences,
    drift,
    general,
    items,
    learned,
    matched,
    predictors,
    probe,
    responses,
    risk,
    settings,
    setup,
    tasks,
    training,
)

SECTIONS: tuple[MakeSection, ...] = (
    learned.section,
    differences.section,
    matched.section,
    settings.section,
    setup.section,
    tasks.section,
    general.section,
    items.section,
    training.section,
    drift.section,
    predictors.section,
    risk.section,
    probe.section,
    responses.section,
    definitions.section,
)
