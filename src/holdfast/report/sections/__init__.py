"""The topics of the report, a file each, in reading order."""

from __future__ import annotations

from holdfast.report.section import MakeSection
from holdfast.report.sections import (
    calibration,
    definitions,
    differences,
    drift,
    general,
    items,
    learned,
    matched,
    measures,
    predictors,
    probe,
    reliance,
    responses,
    retention,
    risk,
    settings,
    setup,
    tasks,
    training,
)

TOPICS = (
    *(learned, retention, differences, matched, settings, setup, tasks, general, items, training),
    *(drift, predictors, risk, probe, reliance, calibration, measures, responses, definitions),
)
SECTIONS: tuple[MakeSection, ...] = tuple(topic.section for topic in TOPICS)
