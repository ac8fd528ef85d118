"""
Live questions to a Twilio account: small, read-only, and nothing of an answer is kept but what was asked for.

The account's own document holds its auth token in clear (Twilio: "REST API: Accounts"); it never leaves this module.
"""

from __future__ import annotations

from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from booking_doctor.adapters.services import A_PERSON_WAITS, Patience, Questions
from booking_doctor.adapters.twilio_http import TWILIO, login, refuse
from booking_doctor.errors import TwilioRefused
from booking_doctor.settings import TWILIO_API, TwilioSettings

MESSAGING_API: Final = "https://messaging.twilio.com"
_POOLS: Final = ("PhoneNumbers", "ShortCodes", "AlphaSenders")

_Item = TypeVar("_Item")


class TwilioAccountProbe:
    """
    Implements `booking_doctor.evidence.Account`.

    Raises:
        SettingsError: The proxy or the certificates that the environment names cannot be used.
    """

    def __init__(self, settings: TwilioSettings, patience: Patience = A_PERSON_WAITS) -> None:
        self._settings = settings
        headers = login(settings.username, settings.password.value)
        self._ask = Questions(TWILIO, settings.base_url, headers, refuse, patience).ask
        own = settings.base_url == TWILIO_API
        self._messaging = MESSAGING_API if own else settings.base_url
        self._account = f"{settings.base_url}/2010-04-01/Accounts/{settings.account_sid}"

    def read_messages(self) -> None:
        """
        Ask for one message, which is what reading the log needs.
        """
        self._ask(f"{self._account}/Messages.json?PageSize=1", _Messages)

    def status(self) -> str | None:
        """
        The account's status. A standard key may not fetch the account, whatever it is (Twilio: "API keys").
        """
        if self._settings.username != self._settings.account_sid:
            return None
        return self._ask(f"{self._account}.json", _Account).status

    def sends_sms(self, number: str) -> bool | None:
        """
        What the account's list of numbers says of this one, or its list of short codes, which are for nothing but texts.
        """
        if number.isdecimal():
            codes = self._listed("SMS/ShortCodes", _ShortCodes, ShortCode=number).short_codes
            return True if any(owned.short_code == number for owned in codes) else None
        numbers = self._listed("IncomingPhoneNumbers", _Numbers, PhoneNumber=number).incoming_phone_numbers
        return next((owned.capabilities.sms for owned in numbers if owned.phone_number == number), None)

    def _listed(self, resource: str, shape: type[_Item], **filters: str) -> _Item:
        return self._ask(f"{self._account}/{resource}.json?{urlencode({**filters, 'PageSize': 50})}", shape)

    def has_senders(self, service: str) -> bool | None:
        """
        Whether a number, a short code or a sender name is in its pool.
        """
        address = f"{self._messaging}/v1/Services/{quote(service, safe='')}"
        try:
            self._ask(address, _Service)
        except TwilioRefused as error:
            if error.status == 404:
                return None
            raise
        return any(self._ask(f"{address}/{pool}?PageSize=1", _Pool).has_any for pool in _POOLS)


class _Messages(msgspec.Struct):
    messages: list[msgspec.Raw]


class _Account(msgspec.Struct):
    status: str


class _Capabilities(msgspec.Struct):
    sms: bool = False


class _Number(msgspec.Struct):
    phone_number: str
    capabilities: _Capabilities


class _Numbers(msgspec.Struct):
    incoming_phone_numbers: list[_Number]


class _ShortCode(msgspec.Struct):
    short_code: str


class _ShortCodes(msgspec.Struct):
    short_codes: list[_ShortCode]


class _Service(msgspec.Struct):
    sid: str


class _Pool(msgspec.Struct):
    # NOTE: each list has its own name, and one of them must be there, or another answer would pass for an empty pool.
    phone_numbers: list[msgspec.Raw] | None = None
    short_codes: list[msgspec.Raw] | None = None
    alpha_senders: list[msgspec.Raw] | None = None

    def __post_init__(self) -> None:
        if self.phone_numbers is None and self.short_codes is None and self.alpha_senders is None:
            nothing = "no pool"
            raise ValueError(nothing)

    @property
    def has_any(self) -> bool:
        return bool(self.phone_numbers or self.short_codes or self.alpha_senders)
