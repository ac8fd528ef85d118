"""
A booking desk, in memory and real.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from booking_doctor.sandbox.incidents import World
from tests.core.desk import Desk, MemoryDesk, RealDesk, real_desk


@pytest.fixture(name="desk", params=["memory", "real"])
def _desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """
    Both kinds, one after the other.
    """
    if request.param == "memory":
        yield MemoryDesk()
        return
    with real_desk(request.getfixturevalue("scene")) as desk:
        yield desk


@pytest.fixture(name="real")
def _real(scene: World) -> Iterator[RealDesk]:
    """
    The real one only.
    """
    with real_desk(scene) as desk:
        yield desk
