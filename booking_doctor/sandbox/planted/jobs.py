"""
Faults of the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.incident import Incident


def _jobs(*stories: tuple[str, timedelta, int]) -> Callable[[World], list[str]]:
    """
    Jobs by status, age and tries.
    """
    return lambda scene: [
        f"job/{scene.job(status=status, run_at=scene.now - age, attempts=tries)}" for status, age, tries in stories
    ]


def _done(scene: World) -> None:
    scene.execute("UPDATE jobs SET status = 'done', finished_at = :now WHERE status <> 'done'", now=scene.now)


def _requeued(scene: World) -> None:
    scene.execute(
        "UPDATE jobs SET status = 'queued', run_at = :now, attempts = 0 WHERE status = 'failed'", now=scene.now
    )


_MINUTE: Final = timedelta(minutes=1)

INCIDENTS: Final = (
    Incident(
        finding="job-failed",
        title="a queued text is given up after its last try",
        look_alike=_jobs(("done", 60 * _MINUTE, 5), ("queued", -60 * _MINUTE, 0)),
        plant=_jobs(("failed", 60 * _MINUTE, 5)),
        remedy=_requeued,
    ),
    Incident(
        finding="job-overdue",
        title="nobody works the queue",
        look_alike=_jobs(("queued", 14 * _MINUTE, 0), ("running", 14 * _MINUTE, 1), ("queued", -_MINUTE, 5)),
        plant=_jobs(("queued", 16 * _MINUTE, 0), ("running", 16 * _MINUTE, 1), ("queued", -_MINUTE, 6)),
        remedy=_done,
    ),
)
