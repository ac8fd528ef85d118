"""
What goes in and out of the API, as models: they check what comes in and describe both in the OpenAPI document.

Only the form of a request is judged here; whether it can be meant is the booking flow's business.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from booking_doctor.core.booking import BookingRequest, Confirmed, Debug, InitialSms, Initiated, SmsState

_Short = Annotated[str, Field(min_length=1, max_length=200)]
_Phone = Annotated[str, Field(min_length=1, max_length=40, examples=["+1 555 010 0123"])]
_Email = Annotated[str, Field(max_length=254, examples=["ann@example.com"])]
_Token = Annotated[str, Field(pattern="^[!-~]{1,200}$", examples=["Zx0f3k9QmQv1b2n4c5d6eg"])]


class Document(BaseModel):
    """
    A JSON object with these members and no others.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InitiateRequest(Document):
    """
    A booking that somebody asks for.
    """

    event_id: _Short
    customer_name: _Short
    customer_phone: _Phone
    customer_email: _Email | None = None

    def request(self) -> BookingRequest:
        """
        In the flow's words.
        """
        return BookingRequest(
            event_id=self.event_id,
            customer_name=self.customer_name,
            customer_phone=self.customer_phone,
            customer_email=self.customer_email,
        )


class ConfirmRequest(Document):
    """
    The token that the text's link carried.
    """

    token: _Token


class StatusForm(BaseModel):
    """
    What Twilio posts about a text, as far as it is looked at; Twilio may add to it at any time.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    message_sid: Annotated[str, Field(alias="MessageSid", pattern="^(SM|MM)[0-9a-fA-F]{32}$")]
    message_status: Annotated[str, Field(alias="MessageStatus", pattern="^[a-z_]{1,40}$")]
    error_code: Annotated[str, Field(alias="ErrorCode", pattern="^[0-9]{0,9}$")] = ""
    from_number: Annotated[str, Field(alias="From", max_length=100)] = ""
    to_number: Annotated[str, Field(alias="To", max_length=100)] = ""


class SmsAnswer(Document):
    """
    Where the booking's text stands.

    `code` is Twilio's reason (https://www.twilio.com/docs/api/errors), of a text that was refused or did not arrive.
    """

    state: SmsState
    message_sid: str | None = None
    code: int | None = None

    @classmethod
    def of(cls, sms: InitialSms | None) -> Self | None:
        """
        None where the booking's metadata holds no text that can be read.
        """
        return cls(state=sms.state, message_sid=sms.message_sid, code=sms.error_code) if sms else None


class DebugStep(Document):
    """
    One step, how it ended and how long it took.
    """

    name: str
    outcome: str
    ms: float


class DebugSms(Document):
    """
    The attempt to text the customer.
    """

    state: SmsState
    attempt_id: str | None = None
    message_sid: str | None = None
    status: str | None = None
    segments: int | None = None
    error_code: int | None = None
    error: str | None = None


class DebugAnswer(Document):
    """
    What was done. Variables are named, never shown.
    """

    steps: list[DebugStep]
    variables: list[str]
    warnings: list[str]
    sms: DebugSms | None = None

    @classmethod
    def of(cls, debug: Debug) -> Self:
        """
        The flow's report.
        """
        return cls.model_validate(debug.document())


class InitiateAnswer(Document):
    """
    A booking that was made, now or by an earlier request with the same idempotency key.
    """

    booking_id: str
    token: str
    sms: SmsAnswer | None = None
    debug: DebugAnswer | None = None

    @classmethod
    def of(cls, initiated: Initiated, *, debug: bool) -> Self:
        """
        What a caller is told.
        """
        return cls(
            booking_id=initiated.booking_id,
            token=initiated.token,
            sms=SmsAnswer.of(initiated.sms),
            debug=DebugAnswer.of(initiated.debug) if debug else None,
        )


class ConfirmAnswer(Document):
    """
    A booking that is confirmed. `message_sid` is that of its text, which is recorded, once it is known.
    """

    booking_id: str
    customer_id: str
    message_sid: str | None = None
    notes: list[str]

    @classmethod
    def of(cls, confirmed: Confirmed) -> Self:
        """
        What a caller is told.
        """
        return cls(
            booking_id=confirmed.booking_id,
            customer_id=confirmed.customer_id,
            message_sid=confirmed.message_sid,
            notes=list(confirmed.notes),
        )


class DeploymentAnswer(Document):
    """
    Which build answers; null where its environment does not say.

    `key` says what was made of the X-API-Key; only with a valid one `configuration` holds, by variable, the HMAC-SHA256
    with that key of ``NAME=value``.
    """

    deployment: str | None
    commit: str | None
    timestamp: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    hasInitiateFixes: bool  # noqa: N815  the word of the incident's own endpoint
    version: str
    key: Literal["none", "unknown", "valid"]
    configuration: dict[str, str] = {}


class HealthAnswer(Document):
    """
    That it works, as far as it was looked at.
    """

    status: Literal["up"]
    looked_at: list[str]
    not_looked_at: list[str]


def inline(model: type[BaseModel]) -> dict[str, Any]:
    """
    The model's JSON schema, for a body that the framework does not parse.
    """
    schema = model.model_json_schema()
    schema.pop("title")
    return schema


JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
