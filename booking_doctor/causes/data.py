"""
Causes that sit in the rows: times without zone, phones that several people have, customers that are gone.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.causes.cause import FAIR, STRONG, WEAK, Cause, Clue, Layer

CAUSES: Final = (
    Cause(
        id="message-redacted-or-deleted",
        layer=Layer.DATA,
        page="""
        A message was deleted at Twilio, or its text was blanked. The row knows more than the log.

        ## How it works

        Somebody deletes single messages, or keeps their content out of the log for privacy. A deleted one answers 404 like
        one that never was.

        ## What shows it

        Single rows whose SID is unknown, and which were billed and delivered once.

        ## What it is not

        Another account or test credentials: there every SID since one moment is unknown, and nothing was ever billed.

        ## How to repair

        Nothing needs repair. Match by SID, never by text; put the finding on the ignore list.
        """,
        explains=("message-unknown-to-twilio",),
        needs=(("sids-unknown",),),
        clues=(Clue("unknown-rows-unpriced", -FAIR, STRONG), Clue("every-sid-unknown", -FAIR, WEAK)),
        remedy="Ask who deletes messages at Twilio; the fingerprint for the ignore list: booking-doctor reconcile --format json",
    ),
    Cause(
        id="clock-skew-timezone",
        layer=Layer.DATA,
        page="""
        Times lost their zone. The database and Twilio differ by the same hours each time.

        ## How it works

        `timestamp` without zone drops the offset, and each session reads its own into it. Twilio's times are UTC.

        ## What shows it

        The column's type, and a difference that is always the same and a multiple of a quarter of an hour.

        ## What it is not

        Work that is done late: that differs each time.

        ## How to repair

        Make the columns `timestamptz`, saying which zone the values were written in.
        """,
        explains=("times-shifted", "deployment-clock-skew"),
        signs=("schema-timestamp-without-zone",),
        needs=(("times-shifted", "schema-timestamp-without-zone", "deployment-clock-skew"),),
        proofs=(("times-shifted", "schema-timestamp-without-zone"),),
        clues=(Clue("times-shifted", STRONG), Clue("schema-timestamp-without-zone", FAIR)),
        remedy="Make the columns timestamptz: booking-doctor check-schema has the statement.",
        remedies=("schema-timestamp-without-zone",),
    ),
    Cause(
        id="phone-shared-by-customers",
        layer=Layer.DATA,
        page="""
        Several customers have one phone. Their texts are attached to the wrong one, or to none.

        ## How it works

        A family, or one number written in two ways. `.single()` fails where two come (PGRST116), or the first is taken.

        ## What shows it

        Phones with several customers; unrecorded texts that went there; rows at one customer that went to the phone of
        another.

        ## What it is not

        A deleted customer: here both are there.

        ## How to repair

        Store phones as E.164 with a unique index, attach texts by their booking, and decide by hand where two remain.
        """,
        explains=("texts-of-several-customers", "rows-at-another-customer"),
        needs=(("customers-share-phone", "texts-of-several-customers", "rows-at-another-customer"),),
        proofs=(("texts-unrecorded-are-shared", "customers-share-phone"),),
        clues=(
            Clue("customers-share-phone", FAIR),
            Clue("rows-at-another-customer", FAIR),
            Clue("logged-single-row", STRONG),
        ),
        remedy="Merge the customers or correct a phone; the plan names both where it cannot decide: booking-doctor backfill",
    ),
    Cause(
        id="customer-merged-or-deleted",
        layer=Layer.DATA,
        page="""
        A customer was merged or deleted, and its messages went along or lost their owner.

        ## How it works

        The foreign key cascades, or sets null; or a script re-points bookings and forgets messages.

        ## What shows it

        The foreign key; customers and messages were deleted; rows without customer; texts to a phone that nobody has.

        ## What it is not

        A copy that confirm skips: that never made a row. Here an id is missing and was counted as inserted and deleted.

        ## How to repair

        Point messages to the remaining customer before deleting. What is lost is in Twilio's log and in the backup.
        """,
        explains=("message-without-customer", "message-orphaned", "message-unrecorded", "booking-sms-not-recorded"),
        signs=("schema-foreign-key-cascades",),
        needs=(("customers-deleted", "messages-deleted", "message-without-customer", "schema-foreign-key-cascades"),),
        proofs=(("messages-follow-customers", "customers-deleted", "messages-deleted-mostly"),),
        clues=(
            Clue("customers-deleted", FAIR, -FAIR),
            Clue("messages-deleted", WEAK, -WEAK),
            Clue("messages-follow-customers", FAIR),
            Clue("message-without-customer", WEAK),
            Clue("texts-mostly-orphaned", WEAK),
        ),
        remedy="Keep messages when a customer goes: ON DELETE RESTRICT; bring back what Twilio has: booking-doctor backfill",
        remedies=("schema-foreign-key-cascades",),
    ),
)
