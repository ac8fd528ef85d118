"""
Why a text was not sent or did not arrive: Twilio's error codes, what each means, and what to do.

Twilio splits old codes into finer ones and adds new ones without notice, so a code that is not here is no surprise: its
page is named instead. Source: Twilio's pages "Error and Warning Dictionary".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct


class Reason(Struct, frozen=True):
    """
    What a code says.

    Attributes:
        meaning: The words after "because", such as ``the recipient opted out``.
        advice: What to do, in a sentence that begins with a verb.
    """

    meaning: str
    advice: str


_AGAIN: Final = "then text the customer again."

_REASONS: Final[Mapping[tuple[int, ...], Reason]] = {
    # the account's login
    (20003, 70051): Reason(
        "the login was not accepted, or the account is suspended",
        f"Check TWILIO_ACCOUNT_SID and its token or key: booking-doctor check-env; {_AGAIN}",
    ),
    (20404,): Reason(
        "there is no such account",
        f"Check TWILIO_ACCOUNT_SID and TWILIO_API_BASE_URL: booking-doctor check-env; {_AGAIN}",
    ),
    # the recipient's number
    (21211, 21604): Reason(
        "the recipient's number is missing or malformed",
        f"Ask for the number and store it as +, country code and digits; {_AGAIN}",
    ),
    (21265, 21266): Reason(
        "the text was addressed to a short code or to its own sender",
        f"Correct the customer's number; {_AGAIN}",
    ),
    (21614, 21635, 30006): Reason(
        "the number is a landline, or its carrier takes no texts",
        "Ask for a mobile number, or call or e-mail the customer.",
    ),
    (21612,): Reason(
        "this sender cannot reach that number",
        f"Send from another kind of number, or from one of that country; {_AGAIN}",
    ),
    (21408,): Reason(
        "texts to that country are not permitted in this account",
        f"Enable the country under Messaging, Geo permissions in Twilio's console; {_AGAIN}",
    ),
    (30005,): Reason(
        "the number is unknown or no longer in use",
        "Ask the customer for another number, and do not text this one again.",
    ),
    (30003,): Reason(
        "the phone was off or out of reach",
        "Text once more later; when that fails too, reach the customer another way.",
    ),
    (21610, 30004): Reason(
        "the recipient opted out, or has such texts blocked",
        "Do not text this number again: reach the customer another way, and record the opt-out.",
    ),
    # the sender and the account
    (21212, 21603, 21606, 21659, 21660, 21661): Reason(
        "the sender is missing, cannot send texts, or is not this account's",
        f"Compare TWILIO_PHONE_NUMBER with the numbers of this account; {_AGAIN}",
    ),
    (21701, 21703, 21704, 21705): Reason(
        "the messaging service does not exist or has no sender to use",
        f"Compare TWILIO_MESSAGING_SERVICE_SID with this account's services, and give it a sender; {_AGAIN}",
    ),
    (21607, 21608, 572002, 572005): Reason(
        "a trial account may only text numbers that it has verified",
        f"Verify the number in Twilio's console or upgrade the account; {_AGAIN}",
    ),
    (10001, 20005, 30002): Reason(
        "the account is suspended or not active",
        f"Look at billing and notices in Twilio's console; {_AGAIN}",
    ),
    (30018, 30024, 30032, 30033, 30034, 30035): Reason(
        "the sender is not registered, verified or ready for that country's carriers",
        f"Finish the sender's registration (10DLC campaign, toll-free verification, sender ID); {_AGAIN}",
    ),
    (30037,): Reason(
        "the account may not send texts",
        f"Ask Twilio's support why sending is disabled; {_AGAIN}",
    ),
    (63038,): Reason(
        "the account has reached its cap for the day",
        "Wait until tomorrow before texting the customer again, and have the account approved for more.",
    ),
    # the text
    (21602, 21619): Reason(
        "the text was empty",
        f"Look how the application fills its template; {_AGAIN}",
    ),
    (21617,): Reason(
        "the text was longer than 1,600 characters",
        f"Shorten the template; {_AGAIN}",
    ),
    (30007,): Reason(
        "a carrier or Twilio filtered it as unwanted",
        f"Look at the wording, its links and the sender's registration; {_AGAIN}",
    ),
    (21910,): Reason(
        "sender and recipient are on different channels",
        f"Use the prefix whatsapp: on both numbers or on neither; {_AGAIN}",
    ),
    (63003, 63007, 63015, 63016, 63018, 63024): Reason(
        "the channel, such as WhatsApp, did not take it",
        "Send it as an SMS, or set the channel up in Twilio's console.",
    ),
    # the time and the traffic
    (21611, 30001, 30017, 30022, 30023, 30027): Reason(
        "too much was sent at once, or in one day",
        f"Send more slowly or from more numbers; {_AGAIN}",
    ),
    (14107,): Reason(
        "two numbers kept answering each other",
        "Find the two programs that answer each other and stop one.",
    ),
    (30450,): Reason(
        "it looked like SMS pumping, which Twilio blocks for up to half an hour",
        f"Wait half an hour and look who asks for so many texts; {_AGAIN}",
    ),
    (30036, 30045): Reason(
        "it was not sent before it had to be, or that time is out of range",
        f"Give texts a longer validity period; {_AGAIN}",
    ),
    (35111, 35114, 35115, 35117, 35118, 35125, 35126): Reason(
        "it could not be scheduled as asked",
        f"Look at the time and the messaging service that it was scheduled with; {_AGAIN}",
    ),
    (30010,): Reason(
        "it would have cost more than the maximum price it was given",
        f"Send without a maximum price; {_AGAIN}",
    ),
    (30008, 30410): Reason(
        "a carrier failed or did not answer, without saying why",
        "Ask the customer whether it came; else text once more, and look for a pattern among carriers.",
    ),
}

_BY_CODE: Final = {code: reason for codes, reason in _REASONS.items() for code in codes}


def reason(code: int | None) -> Reason:
    """
    What the code says; where it says nothing to us, where to look.
    """
    if code is None:
        return Reason(
            "its error code is not recorded",
            "Read its error_code in Twilio's message log, act on that, and text the customer again if that is due.",
        )
    return _BY_CODE.get(code) or Reason(
        "for a reason that is not known here",
        f"Look the code up at https://www.twilio.com/docs/errors/{code}, and text the customer again if that is due.",
    )
