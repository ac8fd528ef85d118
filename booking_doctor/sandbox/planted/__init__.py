"""
Every known fault, planted once: what happens in the world, what looks like it and is none, and what makes it good again; and
every cause that can be seen from outside, at work.

`selftest` walks them on the user's machine and the tests use the same ones. A check without an incident does not exist.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.sandbox.planted import (
    bookings,
    causes_application,
    causes_data,
    causes_database,
    causes_deployment,
    causes_environment,
    causes_mixed,
    causes_none,
    causes_twilio,
    deployments,
    environment,
    jobs,
    logs,
    messages,
    probes,
    schema,
)
from booking_doctor.sandbox.planted.incident import Episode, Incident

INCIDENTS: Final[tuple[Incident, ...]] = (
    *environment.INCIDENTS,
    *schema.INCIDENTS,
    *bookings.INCIDENTS,
    *messages.INCIDENTS,
    *jobs.INCIDENTS,
    *logs.INCIDENTS,
    *deployments.INCIDENTS,
    *probes.INCIDENTS,
)

EPISODES: Final[tuple[Episode, ...]] = (
    *causes_deployment.EPISODES,
    *causes_environment.EPISODES,
    *causes_application.EPISODES,
    *causes_database.EPISODES,
    *causes_twilio.EPISODES,
    *causes_data.EPISODES,
    *causes_mixed.EPISODES,
    *causes_none.EPISODES,
)
"""Every cause that can be seen from outside, at work, in the order of the catalogue's layers."""
