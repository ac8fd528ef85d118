"""
Who calls: the keys of the API.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Self

from msgspec import Struct

from booking_doctor.errors import SettingsError
from booking_doctor.settings import Secret


class Keys(Struct, frozen=True, kw_only=True):
    """
    The keys that may initiate bookings.

    Attributes:
        booking: The application's own.
        test: Whoever has this one also gets debug reports.
    """

    booking: Secret | None
    test: Secret | None

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Self:
        """
        As the environment has them.

        Raises:
            SettingsError: It has neither: nobody could initiate a booking.
        """
        booking, test = (variables.get(name) for name in ("BOOKING_API_KEY", "TEST_API_KEY"))
        if not booking and not test:
            message = "neither BOOKING_API_KEY nor TEST_API_KEY is set, so nobody could initiate a booking"
            raise SettingsError(message, hint="set one to a long random text, such as `openssl rand -hex 32` prints")
        return cls(booking=Secret(booking) if booking else None, test=Secret(test) if test else None)

    def matching(self, given: str | None) -> Secret | None:
        """
        The key that was given, if it is one; how long that takes does not tell how much of it was right.

        Args:
            given: A header's value, its bytes read as Latin-1.
        """
        given_bytes = (given or "").encode("latin-1", "replace")
        found = None
        for key in (self.booking, self.test):
            if key is not None and hmac.compare_digest(given_bytes, key.value.encode()):
                found = key
        return found
