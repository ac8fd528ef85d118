"""
Causes that sit in the deployment, planted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.sandbox.planted.incident import Episode
from booking_doctor.sandbox.planted.story import each, healthy, initiated, recorded_too_early

_HOUR: Final = timedelta(hours=1)


def _rolled_back(scene: World) -> None:
    """
    The new code was there, and the old one serves again: it records at once and stores nothing.
    """
    healthy(scene)
    for age in each(6, _HOUR):
        initiated(scene, age)
        recorded_too_early(scene)


def _rolled_back_and_silent(scene: World) -> None:
    """
    The same, and the old code inserts before it sends, so that no text goes out either.
    """
    healthy(scene)
    for age in each(6, _HOUR):
        initiated(scene, age, texted=False)
        recorded_too_early(scene)


EPISODES: Final = (
    Episode(cause="old-deployment-serving", title="the December incident", happen=december_incident),
    Episode(cause="old-deployment-serving", title="old code serves again after a rollback", happen=_rolled_back),
    Episode(cause="old-deployment-serving", title="the same, and no text goes out", happen=_rolled_back_and_silent),
)
