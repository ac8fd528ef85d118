"""
The verbs of the doctor: reconcile, plan, apply, verify, undo. Each takes a request and gives a report.

What could not be looked at is in the report, not an exception; what the caller got wrong, or may not do, is a
`DoctorError`. Databases and services are ports here; `booking_doctor.bootstrap` chooses them.
"""

from __future__ import annotations

from booking_doctor.doctor.backfilling import Planned, Repair
from booking_doctor.doctor.deploying import Deploying
from booking_doctor.doctor.fetching import Fetching
from booking_doctor.doctor.migrating import PlannedMigration
from booking_doctor.doctor.planning import ActionPlan, Planning
from booking_doctor.doctor.probing import Probing
from booking_doctor.doctor.request import Request
from booking_doctor.doctor.undoing import Undoing

__all__ = ["ActionPlan", "Doctor", "Planned", "PlannedMigration", "Repair", "Request"]


class Doctor(Planning, Deploying, Fetching, Probing, Undoing):
    """
    All verbs, on one database and one Twilio account.
    """
