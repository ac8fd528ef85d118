"""
Whether a webhook is Twilio's: the SDK's own judgement of its signature.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from booking_doctor.settings import Secret


class TwilioSignatures:
    """
    Judges the header ``X-Twilio-Signature``, made with the account's auth token.

    Args:
        token: None where none is set: then nothing is Twilio's.
    """

    def __init__(self, token: Secret | None) -> None:
        from twilio.request_validator import RequestValidator

        self._validator = RequestValidator(token.value) if token else None

    @property
    def judged(self) -> bool:
        """
        Whether a signature can be judged at all.
        """
        return self._validator is not None

    def genuine(self, url: str, fields: Iterable[tuple[str, str]], signature: str) -> bool:
        """
        Whether Twilio has sent these fields to that very URL.

        Args:
            url: As Twilio called it, with its query; never what a Host header says.
            fields: The form's, each as often as it came.
        """
        if self._validator is None:
            return False
        return bool(self._validator.validate(url, _Form(fields), signature))


class _Form(dict[str, list[str]]):
    """
    A form in which a name may stand more than once, as the SDK asks for it.
    """

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        for name, value in fields:
            self.setdefault(name, []).append(value)

    def getall(self, name: str) -> list[str]:
        """
        All values of that name.
        """
        return self[name]
