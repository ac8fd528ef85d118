"""
The window's bookings, judged by what their metadata says.

The database sorts out what is plainly in order; only the rest travels and is judged here, because a column that holds
text may hold anything and PostgreSQL 15 cannot read it without failing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from msgspec import Struct, field

from booking_doctor.checks.check import Evidence
from booking_doctor.checks.metadata import Lack, lack
from booking_doctor.core.model import SID_SHAPE, iso
from booking_doctor.findings import JSONValue
from booking_doctor.reconcile import IN_FLIGHT

STATUSES: Final = ("pending", "confirmed", "expired", "cancelled")
"""The words that are understood."""


class Case(Struct, frozen=True, kw_only=True):
    """
    A booking whose metadata does not lead to its text.

    Attributes:
        open: Its time has not run out: confirm may still come.
        metadata: What it holds, in words.
        sid: The SID it names, where it names one.
        status: The booking's.
    """

    id: str
    phone: str | None
    created_at: datetime
    open: bool
    lack: Lack
    metadata: str
    sid: str | None = None
    status: str | None = "pending"


class Survey(Struct, frozen=True, kw_only=True):
    """
    What is wrong with the bookings of the window that are old enough to be judged; where nothing is, nothing is told.

    Attributes:
        cases: Those that wait to be confirmed, and whose metadata by itself does not lead to a text, newest first.
        closed: Those of any other status.
        by_hour: How many bookings of any status were left so, by the hour in which they were made.
        first_bad: The first booking, of any status, that was left so.
        last_good: The last that was in order.
        turned_bad: The first bad one after the last good one: the change point. None while some still are in order.
    """

    cases: Sequence[Case] = ()
    closed: Sequence[Case] = ()
    by_hour: Mapping[datetime, int] = field(default_factory=dict)
    first_bad: datetime | None = None
    last_good: datetime | None = None
    turned_bad: datetime | None = None

    def of(self, lack: Lack) -> list[Case]:
        """
        The cases of one kind.
        """
        return [case for case in self.cases if case.lack is lack]

    @property
    def undecided(self) -> dict[str | None, int]:
        """
        Of those that would be cases if they wait: statuses that are not understood, most frequent first.
        """
        return dict(Counter(case.status for case in self.closed if case.status not in STATUSES).most_common())

    @property
    def turn(self) -> dict[str, JSONValue]:
        """
        When it began, to be compared with the times of deployments.
        """
        moments = {
            "first_bad_booking": self.first_bad,
            "last_good_booking": self.last_good,
            "turned_bad_at": self.turned_bad,
        }
        return {name: iso(moment) for name, moment in moments.items() if moment}


# NOTE: to_jsonb takes a column of any type; what it would fail on, escapes that jsonb cannot hold, is kept from it.
# OFFSET 0 has the database read each document once, not once for every mention of what is read from it; and a pattern
# with a counted repetition takes ten times as long.
_BOOKINGS: Final = r"""
WITH document AS NOT MATERIALIZED (
  SELECT p.*, CASE
    WHEN pg_typeof(p.{pending_bookings.metadata}) = CAST('jsonb' AS regtype) THEN to_jsonb(p.{pending_bookings.metadata})
    WHEN pg_typeof(p.{pending_bookings.metadata}) = CAST('json' AS regtype)
      AND CAST(p.{pending_bookings.metadata} AS text) !~* '\\u(0000|d[89a-f])' THEN to_jsonb(p.{pending_bookings.metadata})
    END AS document
  FROM {pending_bookings} p
  WHERE p.{pending_bookings.created_at} >= :since AND p.{pending_bookings.created_at} < :until
    AND p.{pending_bookings.created_at} <= :settled
  OFFSET 0
), booking AS NOT MATERIALIZED (
  SELECT CAST(p.{pending_bookings.id} AS text) AS id, CAST(p.{pending_bookings.customer_phone} AS text) AS phone,
    CAST(p.{pending_bookings.status} AS text) AS status, p.{pending_bookings.created_at} AS created_at,
    p.{pending_bookings.metadata} AS metadata, [optional],
    p.document #>> '{initial_sms,message_sid}' AS named, p.document #>> '{initial_sms,to_number}' AS number
  FROM document p
), judged AS NOT MATERIALIZED (
  SELECT b.*, coalesce(
    length(b.named) = 34 AND b.named ~ '^(SM|MM)[0-9a-fA-F]*$' AND coalesce(b.number = b.phone, true), false) AS good
  FROM booking b
), told AS NOT MATERIALIZED (
  SELECT b.*, coalesce(b.named, substring(CAST(b.metadata AS text) FROM CAST(:sid_in_text AS text))) AS sid FROM booking b
)
"""

_OPTIONAL: Final = {
    "open": ("expires_at", "coalesce({}, 'infinity') > :now", "true"),
    "confirmed_at": ("confirmed_at", "CASE WHEN isfinite({}) THEN {} END", "CAST(NULL AS timestamptz)"),
}
"""What is told of columns that an installation may lack: the column, what is made of it, and what holds without it."""

_SID_IN_TEXT: Final = rf'"message_sid"\s*:\s*"({SID_SHAPE.pattern})"'


def asked(evidence: Evidence, question: str, **parameters: object) -> list[Mapping[str, Any]]:
    """
    The answer to a question about the window's bookings, as ``document``, ``booking``, ``judged`` (``good``) and ``told``
    (``sid``) have them.
    """
    optional = ", ".join(
        f"{told.replace('{}', f'p.{{pending_bookings.{column}}}')} AS {name}"
        if evidence.database.has("pending_bookings", column)
        else f"{otherwise} AS {name}"
        for name, (column, told, otherwise) in _OPTIONAL.items()
    )
    usual = {
        "since": evidence.window.since,
        "until": evidence.window.until,
        "settled": evidence.now - IN_FLIGHT,
        "now": evidence.now,
        "sid_in_text": _SID_IN_TEXT,
    }
    return evidence.database.rows(_BOOKINGS.replace("[optional]", optional) + question, **usual, **parameters)


_LAST_GOOD: Final = "SELECT max(created_at) AS moment FROM judged WHERE good"

_SUSPECTS: Final = """
SELECT id, phone, status, created_at, open, CAST(metadata AS text) AS metadata
FROM judged WHERE NOT good ORDER BY created_at DESC, id DESC
"""


def survey(evidence: Evidence) -> Survey:
    """
    Judge the window's bookings by their metadata.

    Raises:
        DatabaseError: The bookings could not be read.
    """
    suspects = [(row, _judged(row, evidence)) for row in asked(evidence, _SUSPECTS)]
    bad = [case for _, case in suspects if case]
    if not bad:
        return Survey()
    good = [asked(evidence, _LAST_GOOD)[0]["moment"], *(row["created_at"] for row, case in suspects if not case)]
    last_good = max((moment for moment in good if moment), default=None)
    moments = sorted(case.created_at for case in bad)
    return Survey(
        cases=[case for case in bad if case.status == "pending"],
        closed=[case for case in bad if case.status != "pending"],
        by_hour=Counter(map(_hour, moments)),
        first_bad=moments[0],
        last_good=last_good,
        turned_bad=next((moment for moment in moments if last_good is None or moment > last_good), None),
    )


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _judged(row: Mapping[str, Any], evidence: Evidence) -> Case | None:
    """
    The booking as a case; None where its metadata is in order.
    """
    found = lack(row["metadata"], row["phone"], evidence.region)
    return case_of(row, *found) if found else None


def case_of(row: Mapping[str, Any], lack: Lack, metadata: str, sid: str | None = None) -> Case:
    """
    The booking of a row with ``id``, ``phone``, ``status``, ``created_at`` and ``open`` as a case.
    """
    return Case(
        id=row["id"],
        phone=row["phone"],
        created_at=row["created_at"],
        open=row["open"],
        lack=lack,
        metadata=metadata,
        sid=sid,
        status=row["status"],
    )
