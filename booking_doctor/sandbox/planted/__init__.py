"""
Every known fault, planted once: what happens in the world, what looks like it and is none, and what makes it good again.

`selftest` walks them on the user's machine and the tests use the same ones. A check without an incident does not exist.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.sandbox.planted import bookings, environment, jobs, logs, messages, schema
from booking_doctor.sandbox.planted.incident import Incident

INCIDENTS: Final[tuple[Incident, ...]] = (
    *environment.INCIDENTS,
    *schema.INCIDENTS,
    *bookings.INCIDENTS,
    *messages.INCIDENTS,
    *jobs.INCIDENTS,
    *logs.INCIDENTS,
)
