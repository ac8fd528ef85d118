"""
Every known fault in four beats: healthy, look-alike, broken, repaired; and no other check may see it. And every cause that can
be seen from outside, told first.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from booking_doctor.causes import CATALOGUE as CAUSES
from booking_doctor.checks import CATALOGUE, runner
from booking_doctor.doctor import Doctor
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted import EPISODES, INCIDENTS
from booking_doctor.sandbox.planted.incident import Episode, Incident
from booking_doctor.sandbox.selftest import EPISODE, Beat, suffer, walk


@pytest.fixture(autouse=True)
def _on_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Checks that ask a server on this machine wait for the processor and not for the network: more at once take longer.
    """
    monkeypatch.setattr(runner, "AT_ONCE", 2)


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


@pytest.mark.parametrize("episode", EPISODES, ids=lambda episode: f"{episode.cause}: {episode.title}")
def test_cause(episode: Episode, scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    It ranks first and no other is confirmed; where nothing is ill, none is likely.
    """
    told = dict(suffer(episode, scene, open_doctor))

    assert told == {beat: [] for beat in EPISODE}


def test_every_cause_is_planted() -> None:
    """
    A cause that cannot be told from others by what can be seen from outside is named here; every other is planted.
    """
    unseen = {
        "errors-swallowed",  # its traces are those of the error that it hides
    }

    assert set(CAUSES).difference(episode.cause for episode in EPISODES if episode.cause) == unseen
