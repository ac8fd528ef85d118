"""
What Twilio says: why it refused texts, why others did not arrive, and where its log and the rows contradict each other.

A refusal or a loss weighs more where it hits somebody whom the application knows: every account has a stray one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from booking_doctor.causes.cause import Reading, absent, seen
from booking_doctor.causes.population import FEW, MOST, MOSTLY, TAKEN, Fate, comparison_of, of_log, population
from booking_doctor.causes.signals import Dossier, Signal, signal
from booking_doctor.checks.check import Evidence
from booking_doctor.checks.survey import asked
from booking_doctor.core.model import e164
from booking_doctor.discrepancies import Discrepancy, Kind
from booking_doctor.findings import Finding

# --- what it refused -------------------------------------------------------------------------------------------------

_KNOWN: Final = """
SELECT CAST(p.{pending_bookings.customer_phone} AS text) AS phone FROM {pending_bookings} p
WHERE p.{pending_bookings.created_at} >= :since
UNION SELECT CAST(c.{customers.phone} AS text) FROM {customers} c
"""


_KEPT: Final = """
SELECT CAST(p.{pending_bookings.customer_phone} AS text) AS phone, p.document #>> '{initial_sms,code}' AS code FROM document p
WHERE p.document #>> '{initial_sms,state}' = 'rejected' AND p.document #>> '{initial_sms,code}' <> ''
"""


class Refusal(Struct, frozen=True, kw_only=True):
    """
    A text that Twilio refused at once.

    Attributes:
        known: Whether its recipient is somebody with a booking of the window, or a customer.
    """

    code: int | None
    to: str | None
    known: bool


def refusals(evidence: Evidence) -> list[Refusal]:
    """
    The window's refusals, as Twilio's log has them and as bookings have kept them.

    Raises:
        DatabaseError: Whose phones they are could not be read.
    """
    messages = [discrepancy.message for discrepancy in disagreeing(evidence, *Kind) if discrepancy.message]
    logged = [(message.error_code, message.to) for message in messages if (message.error_code or TAKEN) < TAKEN]
    kept = [(int(row["code"]), row["phone"]) for row in asked(evidence, _KEPT) if row["code"].isdecimal()]
    rows = evidence.database.rows(_KNOWN, since=evidence.window.since) if logged else []
    known = {_number(row["phone"], evidence) for row in rows}
    told = {(code, _number(to, evidence)) for code, to in logged}
    return [
        *(Refusal(code=code, to=to, known=_number(to, evidence) in known) for code, to in logged),
        *(Refusal(code=code, to=to, known=True) for code, to in kept if (code, _number(to, evidence)) not in told),
    ]


def _number(phone: str | None, evidence: Evidence) -> str | None:
    return e164(phone, evidence.region) or phone


def disagreeing(evidence: Evidence, *kinds: Kind) -> list[Discrepancy]:
    """
    The comparison's discrepancies of these kinds; none where there is no comparison.
    """
    comparison = comparison_of(evidence)
    return [] if comparison is None else [found for found in comparison.discrepancies if found.kind in kinds]


def _refused(name: str, codes: Iterable[int], what: str) -> tuple[Signal, Signal]:
    """
    Whether Twilio refused a text with such a code; and whether that is what bookings are bad for.
    """
    numbers = frozenset(codes)

    def look(dossier: Dossier) -> Reading:
        return _told([refusal for refusal in dossier.once(refusals) if refusal.code in numbers], dossier)

    def look_mostly(dossier: Dossier) -> Reading:
        found, bad = (
            [one for one in dossier.once(refusals) if one.known and one.code in numbers],
            dossier.once(population).bad,
        )
        hit = [one for one in bad if one.fate is Fate.REFUSED and one.text and one.text.error_code in numbers]
        comparison = comparison_of(dossier.evidence)
        total = comparison.counts["twilio_messages"] if comparison else 0
        enough = len(hit) >= MOSTLY * len(bad) if bad else len(found) >= max(USUALLY_LOST * total, FEW)
        reading = _told(found, dossier)
        return reading if enough or not reading.seen else absent(f"{reading.words}, which are few of what is wrong")

    def _told(found: Sequence[Refusal], dossier: Dossier) -> Reading:
        if not found:
            nothing = absent(f"Twilio refused nothing because {what}")
            return of_log(lambda _: nothing)(dossier)
        told = ", ".join(str(code) for code in sorted({refusal.code or 0 for refusal in found}))
        return seen(f"Twilio refused {counted(len(found), 'text')} because {what} (error {told})")

    meaning = f"Twilio refused texts because {what}"
    return (
        Signal(name=f"refused-{name}", meaning=f"{meaning}.", look=look),
        Signal(
            name=f"refused-{name}-mostly",
            meaning=f"{meaning}, and that is what most bad bookings are bad for.",
            look=look_mostly,
        ),
    )


USUALLY_LOST: Final = 0.05
"""A few in a hundred texts are refused or lost in every account."""

sender, sender_mostly = _refused(
    "sender", (21212, 21601, 21603, 21606, 21659, 21661), "the sender is not one of this account that can send SMS"
)
foreign, foreign_mostly = _refused("foreign-sender", (21660,), "the sender is another account's")
service, service_mostly = _refused(
    "service", (21701, 21703, 21704, 21705), "the messaging service is not there or has no sender"
)
country, country_mostly = _refused("country", (21408,), "the account may not text that country")
opted_out, opted_out_mostly = _refused("opted-out", (21610,), "the recipient has sent STOP")
trial, trial_mostly = _refused(
    "trial", (21607, 21608, 572002, 572005), "a trial account texts only numbers that it has verified"
)
recipient, recipient_mostly = _refused(
    "recipient", (21211, 21217, 21265, 21604, 21614, 21635), "the recipient's number is none that takes texts"
)
suspended, suspended_mostly = _refused(
    "account", (10001, 20003, 20005, 20403, 30002), "the account is suspended or its credentials are refused"
)


@signal
@of_log
def refused_numbers_malformed(dossier: Dossier) -> Reading:
    """
    The refused recipients are not written as + and country code, while others are.
    """
    found = [refusal for refusal in dossier.once(refusals) if refusal.code in {21211, 21217, 21604, 21614}]
    odd = [refusal for refusal in found if not refusal.to or e164(refusal.to, dossier.evidence.region) != refusal.to]
    if not found:
        return absent("no recipient was refused for its number")
    words = f"{len(odd):,} of {len(found):,} refused recipients are not written as + and country code"
    return seen(words) if len(odd) >= MOST * len(found) else absent(words)


_MALFORMED: Final = """
SELECT count(*) FILTER (WHERE NOT j.good AND j.phone !~ '^\\+[1-9][0-9]{7,14}$') AS bad,
  count(*) FILTER (WHERE j.good AND j.phone !~ '^\\+[1-9][0-9]{7,14}$') AS good,
  count(*) FILTER (WHERE NOT j.good) AS all_bad
FROM judged j WHERE j.status IN ('pending', 'confirmed')
"""


@signal
def phones_of_bad_malformed(dossier: Dossier) -> Reading:
    """
    The bad bookings' phones are not written as + and country code, while those of good ones are.
    """
    row = asked(dossier.evidence, _MALFORMED)[0]
    words = f"{row['bad']:,} of {row['all_bad']:,} bad bookings have a phone that is not + and country code"
    return seen(words) if row["bad"] and row["bad"] >= MOST * row["all_bad"] and not row["good"] else absent(words)


# --- what did not arrive ---------------------------------------------------------------------------------------------


ASKED_FOR: Final = 100
"""So many lost texts are asked for by SID, where their row does not hold the code."""


class _Codes(Struct, frozen=True):
    """
    Twilio's error codes of these texts, asked for once for all signals.
    """

    sids: tuple[str, ...]

    def __call__(self, evidence: Evidence) -> dict[str, int | None]:
        return {sid: message.error_code for sid, message in evidence.fetch(self.sids) if message}


def _codes(dossier: Dossier) -> list[int]:
    """
    The codes of the texts that did not arrive, as far as they are known.
    """
    lost = {str(found.evidence["message_sid"]): found.evidence.get("error_code") for found in _lost(dossier)}
    unsaid = [sid for sid, code in lost.items() if code is None]
    told = dossier.once(_Codes(tuple(unsaid[:ASKED_FOR]))) if unsaid else {}
    return [code for code in (lost | told).values() if isinstance(code, int)]


def _lost(dossier: Dossier) -> list[Finding]:
    return [found for found in dossier.findings("message-undelivered") if "message_sid" in found.evidence]


def _undelivered(name: str, codes: Iterable[int], what: str) -> tuple[Signal, Signal]:
    """
    Whether texts were lost with such a code; and whether that are more than an account usually loses.
    """
    numbers = frozenset(codes)

    def look(dossier: Dossier, *, many: bool) -> Reading:
        reading = dossier.finding("message-undelivered")
        if reading.seen is not True:
            return reading
        lost = [code for code in _codes(dossier) if code in numbers]
        comparison = comparison_of(dossier.evidence)
        total = comparison.counts["twilio_messages"] if comparison else len(lost)
        if not lost:
            return absent(f"no text was lost because {what}")
        told = ", ".join(map(str, sorted(set(lost))))
        words = f"{len(lost):,} of {counted(total, 'text')} did not arrive because {what} (error {told})"
        return seen(words) if not many or len(lost) >= max(USUALLY_LOST * total, FEW) else absent(words)

    meaning = f"Texts did not arrive because {what}"
    return (
        Signal(name=f"lost-{name}", meaning=f"{meaning}.", look=lambda dossier: look(dossier, many=False)),
        Signal(
            name=f"lost-{name}-often",
            meaning=f"{meaning}, more than an account usually loses.",
            look=lambda dossier: look(dossier, many=True),
        ),
    )


unregistered, unregistered_often = _undelivered(
    "unregistered", (30018, 30024, 30032, 30033, 30034, 30035), "the sender is not registered with the carriers"
)
carrier, carrier_often = _undelivered(
    "carrier", (30001, 30003, 30004, 30005, 30006, 30007, 30008), "a phone or its carrier did not take it"
)


def counted(number: int, noun: str) -> str:
    """
    So many of them.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
