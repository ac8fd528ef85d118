"""
Calling the application as a client of its does: `booking_doctor.probe.Client` over HTTP.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import urllib3

from booking_doctor.adapters.postgres import Database
from booking_doctor.adapters.services import Patience, connections
from booking_doctor.adapters.statements import Statements
from booking_doctor.findings import JSONValue
from booking_doctor.probe import Answer, NoAnswer
from booking_doctor.settings import Secret

PATIENCE: Final = Patience(read_timeout=30)
"""As long as a browser's user may wait; an application that awaits Twilio needs a second."""

_MOST: Final = 1_000_000
"""Bytes of an answer that are read."""

_NEVER_SENT: Final = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.SSLError,
    urllib3.exceptions.LocationValueError,
)


class ApplicationClient:
    """
    A client that has the application's key.

    Raises:
        SettingsError: The proxy or the certificates that the environment names cannot be used.
    """

    def __init__(self, app_url: str, key: Secret | None, patience: Patience = PATIENCE) -> None:
        self._app_url = app_url
        self._headers = {"Content-Type": "application/json", "Accept": "application/json", "Cache-Control": "no-cache"}
        if key is not None:
            self._headers["X-API-Key"] = key.value
        self._http = connections(app_url, patience, 1)

    def post(self, path: str, body: Mapping[str, JSONValue]) -> Answer | NoAnswer:
        """
        Once. A redirect is not followed: the key would go along.
        """
        begun = time.monotonic()
        try:
            answer = self._http.request(
                "POST",
                f"{self._app_url}{path}",
                headers=self._headers,
                body=json.dumps(body).encode(),
                redirect=False,
                preload_content=False,
            )
            data = answer.read(_MOST, decode_content=True)
        except urllib3.exceptions.HTTPError as error:
            return NoAnswer(reason=_reason(error), sent=not isinstance(error, _NEVER_SENT))
        finished = time.monotonic()
        answer.close()
        return Answer(
            status=answer.status,
            kind=answer.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
            seconds=finished - begun,
            location=_place(answer.headers.get("Location")),
            document=_document(data),
        )


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return "no answer came in time"
    if isinstance(error, urllib3.exceptions.SSLError):
        return "there is no secure connection to it"
    return "there is no connection to it" if isinstance(error, _NEVER_SENT) else "the connection was lost"


def _place(location: str | None) -> str | None:
    """
    Host and path: what else is in there may be a secret.
    """
    if not location:
        return None
    parts = urlsplit(location)
    return f"{parts.netloc.rpartition('@')[2]}{parts.path}"


def _document(data: bytes) -> Mapping[str, Any] | None:
    try:
        document = json.loads(data)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


_REMOVE: Final = """
DELETE FROM {pending_bookings}
WHERE CAST({pending_bookings.id} AS text) = :id AND {pending_bookings.customer_name} = :name
  AND CAST({pending_bookings.status} AS text) = 'pending'
"""


def remove_booking(database: Database, booking_id: str, name: str) -> bool:
    """
    Delete the pending booking with that id, if it waits and is of somebody of that name; whether it was.

    Raises:
        DatabaseError: It could not be, also where something refers to it.
    """
    with database.writing() as connection:
        return connection.execute(Statements(database)(_REMOVE), {"id": booking_id, "name": name}).rowcount == 1
