"""
A repair step: one row with both its images, so that every step knows its opposite.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec


class StepKind(StrEnum):
    """
    What a step does.
    """

    INSERT_MESSAGE = "insert-message"
    RESTORE_METADATA = "restore-metadata"
    UPDATE_MESSAGE = "update-message"
    ASSIGN_CUSTOMER = "assign-customer"


Image = Mapping[str, str | None]
"""Column values by the doctor's names, each as PostgreSQL writes it as text; None is null."""

CHANGED_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "pending_bookings": ("metadata",),
    "messages": (
        *("customer_id", "direction", "body", "status", "twilio_status", "from_number", "to_number", "segments"),
        "cost_usd",
    ),
}
"""What steps may change in rows that exist, by table."""


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    One row to be changed.

    Attributes:
        table: The doctor's name of it.
        row_id: The row's primary key as text; None for a row that does not exist yet.
        sid: The message it is about.
        before: The touched columns as they are; None where there is no row.
        after: The touched columns as they are to be; None where the row is to go.
        reason: The fingerprint of the finding it repairs.
    """

    kind: StepKind
    subject: str
    table: str
    row_id: str | None
    sid: str
    before: Image | None
    after: Image | None
    reason: str

    def reverse(self) -> Step:
        """
        The step that takes this one back.

        Raises:
            ValueError: The images do not cover the same columns, so the way back is not known.
        """
        if self.before is not None and self.after is not None and self.before.keys() != self.after.keys():
            message = f"step {self.kind} on {self.subject} is not reversible: its images cover different columns"
            raise ValueError(message)
        return msgspec.structs.replace(self, before=self.after, after=self.before)


class Left(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What stays as it is, and why: an unrecorded message that no step covers, or a step that could not be carried out.
    """

    subject: str
    reason: str
