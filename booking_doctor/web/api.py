"""
The API: which requests there are, what each asks of the booking flow, and how they are described.

    POST /api/bookings/initiate        a key in X-API-Key; an Idempotency-Key if the caller may have to repeat it
    POST /api/bookings/confirm         whoever has the token
    POST /api/webhooks/twilio/status   Twilio, by its signature
    GET  /api/test-deployment          anybody; the configuration's hashes for a key
    GET  /healthz                      anybody
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final, Protocol

from fastapi import FastAPI, Header, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException

from booking_doctor import __version__
from booking_doctor.core.booking import BookingRequest, Confirmed, Initiated, StatusReport, StatusTaken
from booking_doctor.core.model import iso
from booking_doctor.deployment import configuration_hashes, deployment
from booking_doctor.errors import DatabaseError, DoctorError
from booking_doctor.web import problems
from booking_doctor.web.bodies import as_model, read_form, read_json
from booking_doctor.web.documents import (
    FORM,
    JSON,
    ConfirmAnswer,
    ConfirmRequest,
    DeploymentAnswer,
    HealthAnswer,
    InitiateAnswer,
    InitiateRequest,
    StatusForm,
    inline,
)
from booking_doctor.web.doorway import Doorway
from booking_doctor.web.keys import Keys
from booking_doctor.web.problems import Refused, documented
from booking_doctor.web.rooms import Room, Shared

_log: Final = logging.getLogger(__name__)

STATUS_ADDRESS: Final = "/api/webhooks/twilio/status"

HAS_INITIATE_FIXES: Final = True
"""This code texts before there is a customer and records the text when there is one. The code before it did not."""

# NOTE: together they are no more than the connections that the database's pool gives out (SQLAlchemy: 5, and 10 more).
INITIATING: Final = 8
CONFIRMING: Final = 4
CALLING_BACK: Final = 2

HEALTH_PATIENCE_S: Final = 3.0


class Flow(Protocol):
    """
    The booking flow's use cases: `booking_doctor.core.service.BookingService`.
    """

    def initiate_booking(self, request: BookingRequest, *, idempotency_key: str | None = None) -> Initiated:
        """
        Make a pending booking and text its customer.
        """

    def confirm_booking(self, token: str) -> Confirmed:
        """
        Confirm it.
        """

    def record_status(self, report: StatusReport) -> StatusTaken:
        """
        Apply a status callback.
        """


class Signatures(Protocol):
    """
    Who knows Twilio's signature.
    """

    @property
    def judged(self) -> bool:
        """
        Whether it can be judged at all.
        """

    def genuine(self, url: str, fields: Iterable[tuple[str, str]], signature: str) -> bool:
        """
        Whether Twilio has sent these fields to that URL.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """
    What the API stands on.

    Attributes:
        app_url: The public address, as Twilio calls it.
        ask_database: Asks the database something small.
        variables: The environment, of which hashes are told to whoever has a key.
    """

    flow: Flow
    signatures: Signatures
    keys: Keys
    app_url: str
    ask_database: Callable[[], object]
    variables: Mapping[str, str] = field(repr=False)
    now: Callable[[], datetime]


_API_KEY: Final = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="ApiKey")
_ApiKey = Annotated[str | None, Security(_API_KEY)]
_SIGNATURE: Final = APIKeyHeader(name="X-Twilio-Signature", auto_error=False, scheme_name="TwilioSignature")
_Signature = Annotated[str | None, Security(_SIGNATURE)]
_IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern="^[!-~]{1,200}$",
        description="The same key gives the same booking and one text, also after a restart.",
    ),
]


class BookingApi:
    """
    One method a request.
    """

    def __init__(self, installation: Installation) -> None:
        self._here = installation
        self._initiating, self._confirming, self._calling_back = map(Room, (INITIATING, CONFIRMING, CALLING_BACK))
        self._database = Shared(installation.ask_database, HEALTH_PATIENCE_S)

    async def initiate(
        self, request: Request, response: Response, api_key: _ApiKey = None, idempotency_key: _IdempotencyKey = None
    ) -> InitiateAnswer:
        """
        Make a pending booking and text its customer once.

        A text that was refused, or whose fate is unknown, is no error: `sms.state` says so.
        """
        key = self._here.keys.matching(api_key)
        if key is None:
            raise problems.unauthorized()
        request.state.debug = debug = key is self._here.keys.test
        wanted = await read_json(request, InitiateRequest)
        work = partial(self._here.flow.initiate_booking, wanted.request(), idempotency_key=idempotency_key)
        initiated = await self._initiating.call(work)
        response.status_code = 200 if initiated.repeated else 201
        return InitiateAnswer.of(initiated, debug=debug)

    async def confirm(self, request: Request) -> ConfirmAnswer:
        """
        Confirm a booking and record its text under its customer. Confirming again gives the same answer.
        """
        wanted = await read_json(request, ConfirmRequest)
        return ConfirmAnswer.of(await self._confirming.call(partial(self._here.flow.confirm_booking, wanted.token)))

    async def status(
        self,
        request: Request,
        signature: _Signature = None,
        booking: str | None = None,
        attempt: str | None = None,
    ) -> None:
        """
        Twilio tells how a text is getting on; in any order, and also before the booking is confirmed.
        """
        fields = await read_form(request)
        self._refuse_forged(request, fields, signature or "")
        form = as_model(fields, StatusForm)
        report = StatusReport(
            message_sid=form.message_sid,
            status=form.message_status,
            error_code=int(form.error_code) if form.error_code else None,
            from_number=form.from_number or None,
            to_number=form.to_number or None,
            booking_id=booking or None,
            attempt_id=attempt or None,
        )
        await self._calling_back.call(partial(self._here.flow.record_status, report))

    def _refuse_forged(self, request: Request, fields: list[tuple[str, str]], signature: str) -> None:
        query = request.scope["query_string"].decode("latin-1")
        url = f"{self._here.app_url}{STATUS_ADDRESS}{'?' if query else ''}{query}"
        if not self._here.signatures.genuine(url, fields, signature):
            raise problems.forged(judged=self._here.signatures.judged)

    async def deployment(self, api_key: _ApiKey = None) -> DeploymentAnswer:
        """
        Which build answers here, and with a key, by which settings.
        """
        key, this = self._here.keys.matching(api_key), deployment(self._here.variables)
        told = {"configuration": configuration_hashes(self._here.variables, key)} if key else {}
        return DeploymentAnswer(
            deployment=this.name,
            commit=this.commit,
            timestamp=iso(self._here.now()),
            hasInitiateFixes=HAS_INITIATE_FIXES,
            version=__version__,
            key="valid" if key else "unknown" if api_key else "none",
            **told,
        )

    async def health(self) -> HealthAnswer:
        """
        Whether the database answers. Nothing else is looked at.
        """
        try:
            await self._database.call()
        except TimeoutError:
            _log.warning("the database has not answered within %g s", HEALTH_PATIENCE_S)
            raise problems.unhealthy() from None
        except DatabaseError as error:
            _log.warning("%s", error.sentence)
            raise problems.unhealthy() from None
        return HealthAnswer(status="up", looked_at=["database"], not_looked_at=["twilio"])


def create_app(installation: Installation) -> Doorway:
    """
    The API as an ASGI application.
    """
    app = FastAPI(
        title="Booking API",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    api = BookingApi(installation)
    _bookings(app, api)
    _surroundings(app, api)
    for kind, handler in (
        (Refused, problems.refused),
        (DoctorError, problems.of_the_flow),
        (HTTPException, problems.of_the_framework),
        (RequestValidationError, problems.of_the_framework),
        (Exception, problems.unforeseen),
    ):
        app.add_exception_handler(kind, handler)
    return Doorway(app, frozenset(str(getattr(route, "path", "")) for route in app.routes))


def _bookings(app: FastAPI, api: BookingApi) -> None:
    app.post(
        "/api/bookings/initiate",
        operation_id="initiateBooking",
        status_code=201,
        response_model_exclude_none=True,
        responses={
            200: {"model": InitiateAnswer, "description": "Made before, by a request with the same idempotency key"},
            201: {"description": "Made now", "links": _CONFIRM},
            **documented(400, 401, 408, 413, 415, 422, 500, 503),
        },
        openapi_extra=_takes(JSON, inline(InitiateRequest)),
    )(api.initiate)
    app.post(
        "/api/bookings/confirm",
        operation_id="confirmBooking",
        response_model_exclude_none=True,
        responses=documented(400, 404, 408, 410, 413, 415, 422, 500, 503),
        openapi_extra=_takes(JSON, inline(ConfirmRequest)),
    )(api.confirm)


def _surroundings(app: FastAPI, api: BookingApi) -> None:
    app.post(
        STATUS_ADDRESS,
        operation_id="takeStatus",
        status_code=204,
        response_model=None,
        responses=documented(403, 408, 413, 415, 422, 500, 503),
        openapi_extra=_takes(FORM, inline(StatusForm)),
    )(api.status)
    app.get(
        "/api/test-deployment",
        operation_id="tellDeployment",
        response_model_exclude_unset=True,
        responses=documented(500),
        openapi_extra={"security": [{}]},  # added to the key: or nothing
    )(api.deployment)
    app.get("/healthz", operation_id="tellHealth", responses=documented(500, 503))(api.health)


def _takes(media_type: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


_CONFIRM: Final = {"confirm": {"operationId": "confirmBooking", "requestBody": {"token": "$response.body#/token"}}}
