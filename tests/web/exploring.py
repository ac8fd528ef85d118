"""
What schemathesis knows of this installation: an event that exists, a phone that can be texted, Twilio's signature; and a
check of our own, that nothing which fits the description is called malformed.
"""

from __future__ import annotations

import os
from typing import Any

import schemathesis
from twilio.request_validator import RequestValidator

_APP_URL, _EVENT, _TOKEN = (os.environ[name] for name in ("EXPLORED_APP_URL", "EXPLORED_EVENT", "EXPLORED_TOKEN"))
_STATUS = "/api/webhooks/twilio/status"


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """
    Most bookings that fit the description are of an event that exists; what does not fit stays as it is.
    """
    fits = case.meta and case.meta.generation.mode.is_positive and isinstance(case.body, dict)
    if fits and case.path == "/api/bookings/initiate" and len(case.body.get("customer_name", "")) % 4:
        case.body = {**case.body, "event_id": _EVENT, "customer_phone": "+15550109999"}


@schemathesis.auth(refresh_interval=None).apply_to(path=_STATUS)
class Twilio:
    """
    Signs as Twilio does.
    """

    def get(self, case: Any, context: Any) -> str:
        """
        The signature.
        """
        form = {name: str(value) for name, value in case.body.items()} if isinstance(case.body, dict) else {}
        return str(RequestValidator(_TOKEN).compute_signature(f"{_APP_URL}{_STATUS}", form))

    def set(self, case: Any, data: str, context: Any) -> None:
        """
        Put it where it belongs.
        """
        case.query = {}
        case.headers["X-Twilio-Signature"] = data


@schemathesis.check
def never_called_malformed(context: Any, response: Any, case: Any) -> None:
    """
    A problem of the form is one only where the form is wrong.
    """
    if case.meta and case.meta.generation.mode.is_positive and response.status_code in {400, 422}:
        kind = response.json()["type"]
        assert kind in {"urn:booking-doctor:input-refused", "urn:booking-doctor:key-reused"}, kind
