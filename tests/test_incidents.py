"""
Every known fault in four beats: healthy, look-alike, broken, repaired; and no other check may see it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from booking_doctor.checks import CATALOGUE
from booking_doctor.doctor import Doctor
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted import INCIDENTS
from booking_doctor.sandbox.planted.incident import Incident
from booking_doctor.sandbox.selftest import Beat, walk


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: f"{incident.finding}: {incident.title}")
def test_incident(incident: Incident, scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    The fault is seen when it is there, by its own check and no other, its look-alike is not, and its remedy ends it.
    """
    told = dict(walk(incident, scene, open_doctor))

    assert told == {beat: [] for beat in Beat}


def test_every_check_has_an_incident() -> None:
    """
    A check without a fault that it catches does not exist, and no incident is about nothing.
    """
    assert {incident.finding for incident in INCIDENTS} == set(CATALOGUE)
