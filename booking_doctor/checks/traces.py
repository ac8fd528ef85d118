"""
Where a booking's text can be found, when its metadata does not lead to it: in Twilio's log, or in a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct, field

from booking_doctor.checks.check import NAMED, Evidence
from booking_doctor.checks.survey import Case, asked
from booking_doctor.core.model import TwilioMessage, same_number
from booking_doctor.discrepancies import BOOKED_AFTER, BOOKED_BEFORE, Comparison, Kind, grouped
from booking_doctor.errors import SettingsError, SourceError


def comparison_of(evidence: Evidence) -> Comparison | str:
    """
    The comparison, or why there is none.
    """
    try:
        comparison = evidence.comparison
    except (SourceError, SettingsError) as error:
        return error.summary
    return comparison if comparison.counts else "its log could not be read"


class Unclaimed(Struct, frozen=True, kw_only=True):
    """
    Texts of Twilio's log that no row and no booking claims, refused ones among them.

    Attributes:
        comparison: The Twilio log against the database, or why it could not be asked.
        by_ending: By what every way of writing their number has in common.
    """

    comparison: Comparison | str
    region: str
    by_ending: Mapping[str, Sequence[TwilioMessage]] = field(default_factory=dict)

    def of(self, case: Case) -> list[TwilioMessage]:
        """
        Those to the booking's phone around the time it was made.
        """
        earliest, latest = case.created_at - BOOKED_AFTER, case.created_at + BOOKED_BEFORE
        return [
            message
            for message in (self.by_ending.get(_ending(case.phone), ()) if self.by_ending else ())
            if earliest <= message.happened_at <= latest and same_number(message.to, case.phone, self.region)
        ]

    def sent(self, case: Case) -> bool:
        """
        Whether Twilio took a text for it.
        """
        return any(not message.rejected for message in self.of(case))


_UNCLAIMED: Final = frozenset({Kind.UNRECORDED, Kind.REJECTED, Kind.IN_FLIGHT})


def unclaimed(evidence: Evidence) -> Unclaimed:
    """
    Sort out what the comparison leaves over.
    """
    comparison = comparison_of(evidence)
    left = () if isinstance(comparison, str) else comparison.discrepancies
    messages = [one.message for one in left if one.kind in _UNCLAIMED and one.message and not one.message.inbound]
    return Unclaimed(
        comparison=comparison,
        region=evidence.region,
        by_ending=grouped((_ending(message.to), message) for message in messages),
    )


_DIGITS: Final = 7


def _ending(number: str | None) -> str:
    return re.sub("[^0-9]", "", number or "")[-_DIGITS:]


# NOTE: the last two characters are compared first, because taking numbers apart is what takes long.
_RECORDED: Final = """
SELECT b.id, b.phone, CAST(m.{messages.message_sid} AS text) AS sid, CAST(m.{messages.to_number} AS text) AS to_number
FROM booking b JOIN {messages} m
  ON m.{messages.created_at} BETWEEN b.created_at - CAST(:before AS interval) AND b.created_at + CAST(:after AS interval)
  AND CASE WHEN right(CAST(m.{messages.to_number} AS text), 2) = right(b.phone, 2)
    THEN right(regexp_replace(CAST(m.{messages.to_number} AS text), '[^0-9]', '', 'g'), [digits])
      = right(regexp_replace(b.phone, '[^0-9]', '', 'g'), [digits]) END
WHERE b.id = ANY (CAST(:ids AS text[]))
ORDER BY b.id, m.{messages.created_at}, sid
""".replace("[digits]", str(_DIGITS))


def recorded(evidence: Evidence, cases: Sequence[Case]) -> dict[str, list[str]]:
    """
    SIDs of rows to the phone of each booking around the time it was made; of those that are named, by booking.

    Raises:
        DatabaseError: They could not be read.
    """
    ids = [case.id for case in cases[:NAMED]]
    found: dict[str, list[str]] = {}
    for row in asked(evidence, _RECORDED, ids=ids, before=BOOKED_AFTER, after=BOOKED_BEFORE) if ids else ():
        if same_number(row["to_number"], row["phone"], evidence.region):
            found.setdefault(row["id"], []).append(row["sid"] or "no SID")
    return found
