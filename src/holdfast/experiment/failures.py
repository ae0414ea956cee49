"""Why a job failed: kept in its folder until it is tried again, for a report and for those who watch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from holdfast import files
from holdfast.experiment.plan import Job
from holdfast.experiment.store import Store

NAME = "failed.json"  # in the folder of an unfinished job


def note(store: Store, job: Job, failure: str | None) -> None:
    """Keep why a job failed; None: it is tried again."""
    path = store.work(job) / NAME
    with suppress(OSError):  # a note is no reason to stop
        if failure is not None:
            files.write_json(path, {"message": failure})
        else:
            path.unlink(missing_ok=True)


def noted(store: Store, job: Job) -> str | None:
    """Why it failed when it was tried last."""
    said = files.read_if_there(store.work(job) / NAME)
    return str(said["message"]) if isinstance(said, dict) and "message" in said else None


def causes(failed: Mapping[str, str]) -> list[str]:
    """Messages with the jobs that met them; jobs that failed alike stand together.

    Args:
        failed: messages by the jobs' labels.
    """
    labels: dict[str, list[str]] = {}
    for label, message in failed.items():
        labels.setdefault(message, []).append(label)
    return [
        f"{jobs[0]}{f' and {len(jobs) - 1} more' if len(jobs) > 1 else ''}: {message}"
        for message, jobs in labels.items()
    ]
