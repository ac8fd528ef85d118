"""
Reports and findings of the schema's checks, and a role of the application.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from booking_doctor.checks import select
from booking_doctor.doctor import Doctor, Request
from booking_doctor.findings import Finding, Report, Window
from booking_doctor.sandbox.incidents import World
from booking_doctor.settings import Preferences
from tests.checks.schema_cases import Look, a_role

_numbers = count()


@pytest.fixture(name="report")
def _report(scene: World, open_doctor: Callable[..., Doctor]) -> Callable[..., Report]:
    """
    What the checks named, or all of the schema's, report.
    """

    def report(*names: str, preferences: Preferences = Preferences(), **variables: str) -> Report:
        asked = Request(window=Window(scene.now, scene.now))
        return open_doctor(preferences, **variables).examine("check-schema", select(names or ("schema",)), asked)

    return report


@pytest.fixture(name="look")
def _look(report: Callable[..., Report]) -> Look:
    """
    The findings, where everything could be looked at.
    """

    def look(*names: str, **settings: Any) -> list[Finding]:
        seen = report(*names, **settings)
        assert seen.skipped == []
        return list(seen.findings)

    return look


@pytest.fixture(name="role")
def _role(scene: World) -> Iterator[str]:
    """
    The application's role, under a name that wants to be quoted.
    """
    with a_role(scene, f"app \"rw'; {os.getpid()} {next(_numbers)}") as name:
        yield name
