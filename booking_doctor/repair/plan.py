"""
From discrepancies to a plan: whose message is it, which rows would change and how, and whether that is still a repair.

A plan is data. It is shown, saved, sealed with a checksum over its true values, and carried out by
`booking_doctor.repair.executor` only as it was shown.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from booking_doctor.core.agreement import Row, differences, direction_of, expressible
from booking_doctor.core.model import DeferredSms, TwilioMessage, iso, storable
from booking_doctor.discrepancies import Candidates, Comparison, Discrepancy, Kind
from booking_doctor.errors import PlanRefused
from booking_doctor.evidence import Booking
from booking_doctor.repair.steps import Left, Step, StepKind

MAX_ROWS: Final = 10_000
MAX_SHARE: Final = 0.20
SMALL_WINDOW: Final = 100
"""A plan is too large to be a repair over so many rows, or over this share of a window of at least so many messages."""

_FORMAT: Final = 1
_ANEW: Final = "make a new one with: booking-doctor backfill --save PLAN"


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    The database and the Twilio account a plan was made for; it may be carried out nowhere else.

    Attributes:
        oid: The database's identifier within its server.
    """

    host: str
    database: str
    oid: int
    account_sid: str


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What a backfill would write.

    Attributes:
        since, until: The window, ISO 8601.
        all_senders, fix_mismatched: The options it was made with.
        messages: Twilio messages in the window, for judging the plan's size.
        left: Unrecorded messages that no step covers.
    """

    target: Target
    made_at: str
    since: str
    until: str
    all_senders: bool
    fix_mismatched: bool
    messages: int
    steps: tuple[Step, ...]
    left: tuple[Left, ...]
    format: int = _FORMAT

    @property
    def checksum(self) -> str:
        """
        SHA-256 over every true value of the plan; key order does not matter.
        """
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def counts(self) -> dict[str, int]:
        """
        Steps by kind, as the summary of a report names them.
        """
        kinds = Counter(step.kind for step in self.steps)
        return {
            "planned": len(self.steps),
            **{kind.replace("-", "_"): kinds[kind] for kind in StepKind},
            "left": len(self.left),
        }

    def too_large(self, max_changes: int | None) -> str | None:
        """
        Why it is no repair any more, with its numbers and the option to add; None when it is one.

        Args:
            max_changes: How many steps are expected; replaces the built-in limits.
        """
        rows = len(self.steps)
        add = f"if that is what you expect, add --max-changes {rows}"
        if max_changes is not None:
            return (
                f"the plan has {rows:,} steps, --max-changes is {max_changes:,}; {add}" if rows > max_changes else None
            )
        if rows > MAX_ROWS:
            return f"the plan has {rows:,} steps, the limit is {MAX_ROWS:,}; {add}"
        if self.messages >= SMALL_WINDOW and rows > MAX_SHARE * self.messages:
            share = f"{rows / self.messages:.0%} of the window's {self.messages:,} messages"
            return f"the plan has {rows:,} steps, {share}, the limit is {MAX_SHARE:.0%}; {add}"
        return None


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    A plan file.
    """

    booking_doctor_plan: Plan
    checksum: str


def seal(plan: Plan) -> str:
    """
    The content of a plan file.
    """
    document = msgspec.json.encode(_Sealed(plan, plan.checksum), order="sorted")
    return msgspec.json.format(document, indent=1).decode() + "\n"


def unseal(text: str, name: str) -> Plan:
    """
    The plan in a plan file.

    Args:
        name: The file's, for errors.

    Raises:
        PlanRefused: It is truncated, no plan, of another version, or was edited.
    """
    try:
        sealed = msgspec.json.decode(text, type=_Sealed)
    except msgspec.DecodeError as error:
        raise _unfit(name, "is no plan of this version, or is truncated") from error
    if sealed.booking_doctor_plan.format != _FORMAT:
        raise _unfit(name, "was made by another version of booking-doctor")
    if sealed.checksum != sealed.booking_doctor_plan.checksum:
        raise _unfit(name, "was changed after it was made: its checksum does not fit")
    return sealed.booking_doctor_plan


def _unfit(name: str, why: str) -> PlanRefused:
    return PlanRefused(f"{name} {why}", hint=_ANEW)


# --- from discrepancies to steps -------------------------------------------------------------------------------------


class Shape(Struct, frozen=True, kw_only=True):
    """
    What the rows of `messages` can hold here.

    Attributes:
        columns: Those that are there.
        statuses: The words of the status column; None for any text.
        region: Country of phone numbers in national format.
    """

    columns: frozenset[str]
    statuses: frozenset[str] | None
    region: str


def plan_steps(
    comparison: Comparison,
    shape: Shape,
    *,
    mismatched: Sequence[tuple[TwilioMessage, Row]] = (),
    without_customer: Sequence[tuple[Row, Candidates]] = (),
) -> tuple[tuple[Step, ...], tuple[Left, ...]]:
    """
    The steps that the discrepancies ask for, and what is left with its reason.

    Args:
        mismatched: Rows to be corrected, each with Twilio's truth; none unless they were asked for.
        without_customer: Rows to be given a customer, each with whose it might be.
    """
    steps: list[Step] = []
    left: list[Left] = []
    unrecorded = comparison.of(Kind.UNRECORDED)
    wanted = _wanted(unrecorded)
    for discrepancy in unrecorded:
        outcome = _step_for(discrepancy, shape, wanted)
        (steps if isinstance(outcome, Step) else left).append(outcome)  # type: ignore[arg-type]
    # NOTE: a row that carries two SIDs may be here for both; it is corrected once.
    rows = {row.id: (message, row) for message, row in reversed(mismatched)}
    steps += [step for message, row in reversed(rows.values()) if (step := _correction(message, row, shape))]
    steps += [step for row, candidates in without_customer if (step := _assignment(row, candidates))]
    return tuple(steps), tuple(left)


def _wanted(unrecorded: Iterable[Discrepancy]) -> Counter[str]:
    """
    How many unrecorded messages point at each open booking: one can be restored, of several none is known to be it.
    """
    owners = (_owner(discrepancy.candidates) for discrepancy in unrecorded)
    return Counter(owner.id for owner in owners if isinstance(owner, Booking) and owner.open)


def _step_for(discrepancy: Discrepancy, shape: Shape, wanted: Mapping[str, int]) -> Step | Left:
    message, subject = discrepancy.message, f"message/{discrepancy.sid}"
    assert message is not None  # noqa: S101  what is unrecorded is Twilio's
    owner = _owner(discrepancy.candidates)
    if isinstance(owner, Booking) and owner.open:
        if wanted[owner.id] > 1:
            return Left(subject=subject, reason=f"{wanted[owner.id]} messages could be the one of booking/{owner.id}")
        return _restoration(message, owner, subject)
    if isinstance(owner, Booking):
        owner = _customer_of(owner, discrepancy.candidates)
    if isinstance(owner, _Nobody):
        return Left(subject=subject, reason=owner.reason)
    return _insertion(message, owner, shape, subject)


class _Nobody(Struct, frozen=True):
    """
    No owner that is certain.
    """

    reason: str


def _owner(candidates: Candidates) -> Booking | str | _Nobody:
    """
    The booking, or the customer's id: the first rule that has candidates decides, and only if it has one.
    """
    for bookings in (candidates.named, candidates.bookings):
        if bookings:
            return bookings[0] if len(bookings) == 1 else _several("booking", [booking.id for booking in bookings])
    return _customer(candidates)


def _customer(candidates: Candidates) -> str | _Nobody:
    customers = candidates.customers
    if not customers:
        return _Nobody("orphaned: no booking and no customer is known that it belongs to")
    return customers[0].id if len(customers) == 1 else _several("customer", [customer.id for customer in customers])


def _several(kind: str, ids: Sequence[str]) -> _Nobody:
    return _Nobody(f"it could belong to any of {', '.join(f'{kind}/{id_}' for id_ in ids)}")


def _customer_of(booking: Booking, candidates: Candidates) -> str | _Nobody:
    """
    The customer of a booking that is no longer open.
    """
    if booking.customer_id is not None:
        return booking.customer_id
    customer = _customer(candidates)
    if isinstance(customer, str) or candidates.customers:
        return customer
    closed = booking.status in {"expired", "cancelled", "canceled"}
    why = "booking-closed: " if closed else ""
    return _Nobody(f"{why}booking/{booking.id} is {booking.status} and its customer is not known")


def _insertion(message: TwilioMessage, customer_id: str, shape: Shape, subject: str) -> Step | Left:
    status = expressible(message.status, shape.statuses)
    if status is None:
        words = ", ".join(sorted(shape.statuses or ()))
        return Left(subject=subject, reason=f"the status column has no word for {message.status}, only {words}")
    created_at = iso(message.happened_at)
    row: dict[str, str | None] = {
        "customer_id": customer_id,
        "direction": direction_of(message),
        "message_sid": message.sid,
        "twilio_message_sid": message.sid,
        "body": storable(message.body),
        "status": status,
        "twilio_status": message.status,
        "from_number": message.from_number,
        "to_number": message.to,
        "segments": _text(message.segments),
        "cost_usd": _text(message.cost_usd),
        "created_at": created_at,
        "read_at": None if message.inbound else created_at,
    }
    return Step(
        kind=StepKind.INSERT_MESSAGE,
        subject=subject,
        table="messages",
        row_id=None,
        sid=message.sid,
        before=None,
        after={column: value for column, value in row.items() if column in shape.columns},
        reason=f"message-unrecorded:{subject}",
    )


def _restoration(message: TwilioMessage, booking: Booking, subject: str) -> Step | Left:
    """
    Give an open booking's metadata its SMS, so that confirm records it; never over another SID.
    """
    try:
        # NOTE: the other keys stay as the bytes they are; reading and writing them would change numbers.
        metadata = msgspec.json.decode(booking.metadata or "{}", type=dict[str, msgspec.Raw])
        intent = msgspec.json.decode(metadata.get("initial_sms", b"{}"), type=dict[str, msgspec.Raw] | None) or {}
    except msgspec.DecodeError:
        return Left(
            subject=subject,
            reason=f"the metadata of booking/{booking.id} is no JSON object, or its initial_sms is none",
        )
    if bytes(intent.get("message_sid", b"null")) not in {b"null", b'""'}:
        return Left(subject=subject, reason=f"the metadata of booking/{booking.id} names another SMS")
    sms = msgspec.json.encode({**intent, **msgspec.to_builtins(DeferredSms.of(message))})
    after = msgspec.json.encode({**metadata, "initial_sms": msgspec.Raw(sms)}).decode()
    return Step(
        kind=StepKind.RESTORE_METADATA,
        subject=f"booking/{booking.id}",
        table="pending_bookings",
        row_id=booking.id,
        sid=message.sid,
        before={"metadata": booking.metadata},
        after={"metadata": after},
        reason=f"message-unrecorded:{subject}",
    )


def _correction(message: TwilioMessage, row: Row, shape: Shape) -> Step | None:
    """
    Make a recorded row say what Twilio says, in the fields that differ.
    """
    truth: dict[str, str | None] = {
        "status": expressible(message.status, shape.statuses),
        "twilio_status": message.status,
        "direction": direction_of(message),
        "to_number": message.to,
        "from_number": message.from_number,
        "segments": _text(message.segments),
        "cost_usd": _text(message.cost_usd),
        "body": storable(message.body),
    }
    fields = [difference.field for difference in differences(message, row, shape.region, shape.statuses)]
    if "status" in fields and row.twilio_status == row.status:
        fields.append("twilio_status")  # where both say the same, only the first is compared
    fields = [field for field in fields if truth[field] is not None]
    if not fields:
        return None
    return Step(
        kind=StepKind.UPDATE_MESSAGE,
        subject=f"message/{message.sid}",
        table="messages",
        row_id=row.id,
        sid=message.sid,
        before={field: _text(getattr(row, field)) for field in fields},
        after={field: truth[field] for field in fields},
        reason=f"message-mismatched:message/{message.sid}",
    )


def _text(value: str | int | Decimal | None) -> str | None:
    """
    The value as PostgreSQL reads it; never with an exponent.
    """
    return f"{value:f}" if isinstance(value, Decimal) else None if value is None else str(value)


def _assignment(row: Row, candidates: Candidates) -> Step | None:
    owner = _owner(candidates)
    if isinstance(owner, Booking):
        owner = _Nobody("its customer comes with confirm") if owner.open else _customer_of(owner, candidates)
    if isinstance(owner, _Nobody):
        return None
    subject = f"message/{row.sid or f'row-{row.id}'}"
    return Step(
        kind=StepKind.ASSIGN_CUSTOMER,
        subject=subject,
        table="messages",
        row_id=row.id,
        sid=row.sid,
        before={"customer_id": row.customer_id},
        after={"customer_id": owner},
        reason=f"message-without-customer:{subject}",
    )


def still_matches(plan: Plan, fresh: Plan, done: Iterable[int]) -> None:
    """
    Raises:
        PlanRefused: The world no longer asks for every step of *plan* exactly as it was shown.

    Args:
        fresh: The plan that the world asks for now.
        done: Steps of *plan*, by position, that its earlier runs have carried out.
    """
    if plan.target != fresh.target:
        message = f"the plan was made for {_named(plan.target)}, this is {_named(fresh.target)}"
        raise PlanRefused(message, hint="make a new plan here with: booking-doctor backfill --save PLAN")
    carried_out, wanted = set(done), set(map(_identity, fresh.steps))
    stale = [step for n, step in enumerate(plan.steps) if n not in carried_out and _identity(step) not in wanted]
    if stale:
        some = ", ".join(step.subject for step in stale[:3]) + (" …" if len(stale) > 3 else "")
        message = f"the plan is stale: {len(stale)} of its {len(plan.steps)} steps no longer fit the world ({some})"
        raise PlanRefused(message, hint=_ANEW)


def _identity(step: Step) -> bytes:
    return msgspec.json.encode(step, order="sorted")


def _named(target: Target) -> str:
    return f"{target.database} at {target.host} (number {target.oid}) with account {target.account_sid}"
