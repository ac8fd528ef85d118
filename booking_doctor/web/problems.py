"""
Errors as problem+json (RFC 9457): what they are called, which status they have, what of them a caller is told.

A caller learns what he can do about it. What the server's owner can do about it stands in the log, and in `reason` for
whoever has the test key.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from booking_doctor.errors import (
    BookingClosed,
    BookingUnknown,
    DatabaseUnreachable,
    DoctorError,
    InputRefused,
    KeyReused,
    NothingWritten,
    OutcomeNotStored,
    TextTooLong,
)

_log: Final = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

RETRY_AFTER_S: Final = 2


class Problem(BaseModel):
    """
    An error (RFC 9457).

    `type` tells the kinds apart; `field` and `faults` name what of the request is wrong, `what` what could not be stored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    title: str
    status: int
    detail: str | None = None
    hint: str | None = None
    field: str | None = None
    faults: dict[str, str] | None = None
    booking_status: str | None = None
    what: str | None = None
    booking_id: str | None = None
    message_sid: str | None = None
    reason: str | None = None


class Refused(Exception):
    """
    The answer is a problem.
    """

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.title)
        self.problem = problem
        self.headers = headers


def problem(status: int, kind: str, title: str, detail: str | None = None, **members: Any) -> Problem:  # noqa: ANN401
    """
    A problem of one of our kinds.
    """
    return Problem(type=f"urn:booking-doctor:{kind}", title=title, status=status, detail=detail, **members)


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """
    The answer.
    """
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


# --- refusals of the API itself --------------------------------------------------------------------------------------


def unauthorized() -> Refused:
    """
    No key, or one that is none.
    """
    told = problem(401, "unauthorized", "A valid key is needed in the header X-API-Key")
    return Refused(told, {"WWW-Authenticate": "APIKey"})


def forged(*, judged: bool) -> Refused:
    """
    A webhook that is not Twilio's.

    Args:
        judged: Whether that could be judged at all.
    """
    own = "it must be made with the account's auth token, for the address under BOOKING_APP_URL"
    detail = own if judged else "it cannot be judged: TWILIO_AUTH_TOKEN is not set"
    return Refused(problem(403, "signature-refused", "The signature is not Twilio's", detail))


def unsupported(media_type: str) -> Refused:
    """
    A body of another kind.
    """
    told = problem(415, "unsupported-media-type", f"The body must be {media_type}, and not compressed")
    return Refused(told, {"Accept": media_type})


def too_large(most: int) -> Refused:
    """
    A body that is longer than any that could be meant.
    """
    return Refused(problem(413, "too-large", f"The body is longer than {most:,} bytes"))


def too_slow(seconds: float) -> Refused:
    """
    A body that does not come.
    """
    return Refused(problem(408, "too-slow", f"The body did not arrive within {seconds:g} s"), {"Connection": "close"})


def malformed(errors: list[ErrorDetails], known: Mapping[str, Any]) -> Refused:
    """
    A body that is not what the description says. Nothing of it is repeated: neither values nor names we do not know.
    """
    if any(error["type"] == "json_invalid" for error in errors):
        return Refused(problem(400, "not-json", "The body is not JSON"))
    return invalid({_part(error["loc"], known): error["msg"] for error in errors})


def _part(loc: tuple[int | str, ...], known: Mapping[str, Any]) -> str:
    if not loc:
        return "the body"
    return str(loc[0]) if loc[0] in known else "a member that is not known"


def invalid(faults: Mapping[str, str]) -> Refused:
    """
    A request that is not what the description says: what is wrong, by its part.
    """
    title = "The request is not what the description says"
    return Refused(problem(422, "invalid-request", title, faults=dict(faults)))


def busy() -> Refused:
    """
    More at once than this server takes.
    """
    told = problem(503, "busy", "The server is busy; nothing was done")
    return Refused(told, {"Retry-After": str(RETRY_AFTER_S)})


def unhealthy() -> Refused:
    """
    It does not work.
    """
    told = problem(503, "unhealthy", "The database gives no answer")
    return Refused(told, {"Retry-After": str(RETRY_AFTER_S)})


BUG: Final = problem(500, "bug", "Something went wrong that nobody foresaw; the server's log says where")

ENDED: Final = problem(503, "ended", "The server was ended; whether this was done is not known")


# --- the flow's and the framework's, in our words --------------------------------------------------------------------


async def refused(_request: Request, error: Exception) -> Response:
    """
    An answer that is a problem already.
    """
    if not isinstance(error, Refused):
        raise error
    return respond(error.problem, error.headers)


async def of_the_framework(_request: Request, error: Exception) -> Response:
    """
    An unknown address, a method that it has not, a header of the wrong form.
    """
    if isinstance(error, RequestValidationError):
        return respond(invalid({str(one["loc"][-1]): one["msg"] for one in error.errors()}).problem)
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    return respond(Problem(type="about:blank", title=status.phrase, status=status), error.headers)


async def of_the_flow(request: Request, error: Exception) -> Response:
    """
    What the booking flow raises.
    """
    if not isinstance(error, DoctorError):
        raise error
    told = _told(error)
    if told.status >= 500 and not isinstance(error, OutcomeNotStored):  # which the flow itself logs
        _log.error("%s: %s", told.type, error.sentence)
    if told.status >= 500 and getattr(request.state, "debug", False):
        told = told.model_copy(update={"reason": error.sentence})
    passing = told.status == 503
    return respond(told, {"Retry-After": str(RETRY_AFTER_S)} if passing else None)


async def unforeseen(_request: Request, _error: Exception) -> Response:
    """
    Anything else. Who called us logs it.
    """
    return respond(BUG)


_REFUSALS: Final[Mapping[type[DoctorError], tuple[int, str, str]]] = {
    InputRefused: (422, "input-refused", "This cannot be meant"),
    KeyReused: (422, "key-reused", "The idempotency key stands for another request"),
    TextTooLong: (422, "text-too-long", "The text would be too long"),
    BookingUnknown: (404, "booking-unknown", "There is no such booking"),
    BookingClosed: (410, "booking-closed", "The booking is closed"),
}
"""Answers that are meant for the caller, in the error's own words."""


def _told(error: DoctorError) -> Problem:
    if refusal := _REFUSALS.get(type(error)):
        status, kind, title = refusal
        members = {"field": getattr(error, "field", None), "booking_status": getattr(error, "status", None)}
        return problem(status, kind, title, error.summary, hint=error.hint, **members)
    match error:
        case OutcomeNotStored():
            return _outcome_not_stored(error)
        case DatabaseUnreachable():
            return problem(503, "not-stored", "The database gives no answer", "no text was sent; try again later")
        case NothingWritten():
            return problem(500, "not-stored", f"{error.what} could not be stored", what=error.what)
        case _:
            return problem(500, "not-stored", "The database refused", "the server's log says what")


def _outcome_not_stored(error: OutcomeNotStored) -> Problem:
    return problem(
        500,
        "outcome-not-stored",
        "What became of the text could not be stored",
        f"it went out, or may have, and {error.what} does not say so; the booking stands, the text is not sent again",
        what=error.what,
        booking_id=error.booking_id,
        message_sid=error.message_sid,
    )


# --- described -------------------------------------------------------------------------------------------------------


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """
    Problems as the OpenAPI document has them.
    """
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}
