"""
Causes that sit at Twilio: what it refuses at once, what it takes and cannot deliver, and what it cannot tell us.
"""

from __future__ import annotations

from typing import Final

from booking_doctor.causes.cause import FAIR, STRONG, WEAK, Cause, Clue, Layer

_REFUSED: Final = ("message-rejected", "booking-metadata-empty", "probe-not-texted")
"""Twilio said no; the booking that asked has nothing to keep."""

CAUSES: Final = (
    Cause(
        id="from-not-owned-or-not-sms-capable",
        layer=Layer.TWILIO,
        page="""
        The number that texts are sent from is not this account's, or cannot send SMS. Twilio refuses each at once.

        ## How it works

        Errors 21606, 21660, 21661, 21212; 21603 where no sender was named at all. Other functions may use another
        variable for their sender, and work.

        ## What shows it

        The account's list of numbers; refused attempts with these codes.

        ## What it is not

        Another account: there the whole account is not the one that was meant.

        ## How to repair

        Set a number of this account that has SMS, or a messaging service.
        """,
        explains=(*_REFUSED, "refused-sender"),
        signs=("sender-not-owned",),
        needs=(("refused-sender", "sender-not-owned", "refused-foreign-sender"),),
        proofs=(
            ("refused-sender-mostly",),
            ("sender-not-owned", "texts-of-bad-missing"),
            ("sender-not-owned", "refused-foreign-sender-mostly"),
        ),
        clues=(
            Clue("sender-not-owned", STRONG),
            Clue("texts-of-bad-sent", -STRONG),
            Clue("refused-sender", FAIR),
            Clue("refused-sender-mostly", STRONG),
            Clue("refused-foreign-sender", WEAK),
        ),
        remedy="Set TWILIO_PHONE_NUMBER to a number of this account with SMS: booking-doctor check-env --live",
        remedies=("env-sender-unusable",),
    ),
    Cause(
        id="messaging-service-empty",
        layer=Layer.TWILIO,
        page="""
        The messaging service has no sender to use, or is not in this account.

        ## How it works

        21704 where its pool is empty, 21701 where there is no such service; through some services the refusal comes after
        the 201.

        ## What shows it

        The service's pools; refused attempts with these codes, and no sender named in them.

        ## What it is not

        A number that is not owned: then the attempt names a number.

        ## How to repair

        Put a number into its sender pool, or set the right service.
        """,
        explains=(*_REFUSED, "refused-service"),
        signs=("service-without-sender",),
        needs=(("refused-service", "service-without-sender"),),
        proofs=(("refused-service-mostly",), ("service-without-sender", "texts-of-bad-missing")),
        clues=(
            Clue("service-without-sender", STRONG),
            Clue("texts-of-bad-sent", -STRONG),
            Clue("refused-service", FAIR),
            Clue("refused-service-mostly", STRONG),
        ),
        remedy="Put a number into the service's sender pool: booking-doctor check-env --live",
        remedies=("env-sender-unusable",),
    ),
    Cause(
        id="geo-permission",
        layer=Layer.TWILIO,
        page="""
        The account may not text that country.

        ## How it works

        Each account has a list of countries that are enabled; a new one has its own country only. Error 21408.

        ## What shows it

        Refused attempts with that code, all of one country code.

        ## What it is not

        An unregistered sender: such texts are taken first and lost later.

        ## How to repair

        Enable the country under Messaging, Settings, Geo permissions; or correct the prefix.
        """,
        explains=(*_REFUSED, "refused-country"),
        needs=(("refused-country",),),
        proofs=(("refused-country-mostly",),),
        clues=(
            Clue("refused-country", FAIR),
            Clue("refused-country-mostly", STRONG),
        ),
        remedy="Enable the country under Messaging, Geo permissions in Twilio's console; then: booking-doctor bookings",
        remedies=("message-rejected",),
    ),
    Cause(
        id="opt-out-21610",
        layer=Layer.TWILIO,
        page="""
        The recipient has sent STOP. Twilio sends nothing more there until START.

        ## How it works

        The opt-out holds for one sender or one messaging service. Error 21610.

        ## What shows it

        Refused attempts with that code, to one recipient; the inbound STOP in the log.

        ## What it is not

        A fault of the application: everybody else gets texts.

        ## How to repair

        Never go round it. Show it in the application, and reach that customer another way.
        """,
        explains=(*_REFUSED, "refused-opted-out"),
        needs=(("refused-opted-out",),),
        proofs=(("refused-opted-out-mostly",),),
        clues=(
            Clue("refused-opted-out", FAIR),
            Clue("refused-opted-out-mostly", STRONG),
        ),
        remedy="Do not text that number again, reach the customer another way: booking-doctor reconcile --show-pii says who it is.",
        remedies=("message-rejected",),
    ),
    Cause(
        id="trial-unverified",
        layer=Layer.TWILIO,
        page="""
        The account is a trial, which texts only numbers that it has verified.

        ## How it works

        Error 21608, in newer trials 572002 or 572005. The developer's own phone works, because it is verified.

        ## What shows it

        Refused attempts with these codes.

        ## What it is not

        A country that is not enabled: that goes by the country, not by the phone.

        ## How to repair

        Upgrade the account.
        """,
        explains=(*_REFUSED, "refused-trial"),
        needs=(("refused-trial",),),
        proofs=(("refused-trial-mostly",),),
        clues=(
            Clue("refused-trial", FAIR),
            Clue("refused-trial-mostly", STRONG),
        ),
        remedy="Upgrade the account in Twilio's console, then see who got no text: booking-doctor bookings",
        remedies=("message-rejected",),
    ),
    Cause(
        id="invalid-to-number",
        layer=Layer.TWILIO,
        page="""
        The recipient's number is none that takes texts: not in E.164, a landline, or no number at all.

        ## How it works

        21211 for the form, 21614 and 21635 for a line without SMS. A list filtered by the national form finds nothing,
        so look for the E.164 form.

        ## What shows it

        Refused attempts with these codes; phones without + and country code in the bookings that are bad.

        ## What it is not

        A country that is not enabled: another code.

        ## How to repair

        Parse phones where they are entered, store E.164, and keep it so with a CHECK.
        """,
        explains=(*_REFUSED, "refused-recipient"),
        needs=(("refused-recipient", "phones-of-bad-malformed"),),
        proofs=(("refused-recipient-mostly",), ("refused-recipient", "refused-numbers-malformed")),
        clues=(
            Clue("refused-recipient", WEAK),
            Clue("refused-recipient-mostly", STRONG),
            Clue("refused-numbers-malformed", FAIR),
            Clue("phones-of-bad-malformed", STRONG),
        ),
        remedy="Store phones as + and country code, and text these customers again: booking-doctor bookings --show-pii",
        remedies=("message-rejected",),
    ),
    Cause(
        id="a2p-10dlc-unregistered",
        layer=Layer.TWILIO,
        page="""
        The sender is not registered with the carriers, so they drop its texts. Twilio takes them first.

        ## How it works

        A US number without an approved campaign (30034), a toll-free number without verification (30032). The metadata is
        filled and the text never arrives.

        ## What shows it

        Texts that ended undelivered with these codes: all that this sender sends to that country.

        ## What it is not

        Single phones that are off: those are scattered.

        ## How to repair

        Finish the registration, and put the number into the campaign's messaging service.
        """,
        explains=("message-undelivered",),
        needs=(("lost-unregistered",),),
        proofs=(("lost-unregistered-often",),),
        clues=(Clue("lost-unregistered", STRONG),),
        remedy="Finish the sender's registration (10DLC, toll-free) in Twilio's console; who got no text: booking-doctor reconcile",
        remedies=("message-undelivered",),
    ),
    Cause(
        id="status-callback-missing-or-rejected",
        layer=Layer.TWILIO,
        page="""
        Status callbacks do not arrive, or the application refuses them. Rows keep the status they began with.

        ## How it works

        No callback address was given, it leads to a protected preview, or the signature is checked against another address
        than the public one. The row may not be there yet when the callback comes.

        ## What shows it

        Rows say queued or sent of texts that have ended; webhook_logs holds refusals, or nothing.

        ## What it is not

        A constant in the code: that says delivered, always.

        ## How to repair

        Check signatures against the public address, store by SID whether the row is there or not, and reconcile by
        asking: `booking-doctor backfill --fix-mismatched`.
        """,
        explains=("status-behind", "log-webhook-error", "message-mismatched"),
        needs=(("status-behind", "callbacks-refused", "no-status-final"),),
        proofs=(("status-behind", "callbacks-refused"),),
        clues=(
            Clue("status-behind", FAIR + WEAK),
            Clue("callbacks-refused", STRONG, -WEAK),
            Clue("no-status-final", FAIR, -WEAK),
            Clue("callbacks-never-came", FAIR),
            Clue("status-claims-delivered", -FAIR),
        ),
        remedy="Mend the callback's address and signature check; correct the rows: booking-doctor backfill --fix-mismatched",
        remedies=("log-webhook-error",),
    ),
    Cause(
        id="carrier-undelivered",
        layer=Layer.TWILIO,
        page="""
        Twilio took the texts and phones or carriers did not: off, unknown, a landline, filtered.

        ## How it works

        Errors 30003, 30005, 30006, 30007, 30008. The application did its part and its rows are right.

        ## What shows it

        Texts that ended undelivered with these codes, scattered over recipients.

        ## What it is not

        An unregistered sender: that hits everybody in a country.

        ## How to repair

        Act on the code: another number, later, or another wording.
        """,
        explains=("message-undelivered",),
        needs=(("lost-carrier",),),
        proofs=(("lost-carrier-often",),),
        clues=(Clue("lost-carrier", FAIR), Clue("lost-carrier-often", STRONG)),
        remedy="Act on each error code: booking-doctor explain message-undelivered",
        remedies=("message-undelivered",),
    ),
    Cause(
        id="account-auth-suspended",
        layer=Layer.TWILIO,
        page="""
        Twilio refuses the account: suspended, closed, without money, or with a credential that is no longer valid.

        ## How it works

        20003 for the credential, 20005 or 30002 for the account. Every function that texts fails with it.

        ## What shows it

        A live question is refused, or answers that the account is not active.

        ## What it is not

        A fault of one function: if other texts go out, it is not this.

        ## How to repair

        Look into Twilio's console: the account's status, its balance, whether the token was rotated.
        """,
        explains=(*_REFUSED, "refused-account"),
        signs=("credential-refused",),
        needs=(("credential-refused", "refused-account"),),
        proofs=(("account-inactive", "texts-of-bad-missing"), ("refused-account-mostly",)),
        clues=(
            Clue("account-inactive", STRONG),
            Clue("credential-refused", FAIR),
            Clue("texts-of-bad-sent", -STRONG),
            Clue("ids-burnt-per-booking", -FAIR),
            Clue("refused-account", FAIR),
            Clue("refused-account-mostly", STRONG),
        ),
        remedy="Reactivate the account or renew the credential in Twilio's console; then: booking-doctor check-env --live",
        remedies=("env-rejected",),
    ),
)
