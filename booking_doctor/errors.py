"""
Everything that can go wrong in a way a person can act on.

An error is one sentence that names the thing (a variable, a table, a file) and never a secret value, with a hint that
says what to do next. The command line turns each into one line and an exit code, in one place.
"""

from __future__ import annotations

import traceback
from enum import IntEnum
from typing import ClassVar, Literal


class ExitCode(IntEnum):
    """
    What the process tells its caller; the README's table explains each.
    """

    OK = 0
    FINDINGS = 1
    USAGE = 2
    INCOMPLETE = 3
    REFUSED = 4
    PARTLY = 5
    BUG = 70
    INTERRUPTED = 130


class DoctorError(Exception):
    """
    Something a person can act on. Anything else that escapes is a bug.

    Args:
        summary: One sentence naming what is wrong, without secrets.
        hint: What to do about it.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.INCOMPLETE

    def __init__(self, summary: str, *, hint: str | None = None) -> None:
        super().__init__(summary)
        self.summary = summary
        self.hint = hint

    @property
    def sentence(self) -> str:
        """
        Summary and hint on one line.
        """
        return f"{self.summary}; {self.hint}" if self.hint else self.summary


class UsageError(DoctorError):
    """
    An option or argument that cannot be meant.
    """

    exit_code = ExitCode.USAGE


class SettingsError(DoctorError):
    """
    A setting is missing or malformed; names the variable, never its value.
    """

    exit_code = ExitCode.USAGE


class NotConfigured(SettingsError):
    """
    Nothing at all is set for a source, so this installation may do without it.
    """


class SandboxError(DoctorError):
    """
    The rehearsal world could not be built.
    """


class SourceError(DoctorError):
    """
    A source of facts could not be looked at, so nothing may be claimed about it.

    Attributes:
        source: Which one, as reports name it, such as ``database`` or ``twilio-log``.
        kind: ``unreachable`` or ``not-permitted``, as in the report's ``skipped`` list.
    """

    source: ClassVar[str]
    kind: ClassVar[Literal["unreachable", "not-permitted"]] = "unreachable"


class WatchSilent(SourceError):
    """
    Another watch has the post, and is not heard.
    """

    source = "watch"


class DatabaseError(SourceError):
    """
    The application's database gave no answer that can be used.
    """

    source = "database"


class DatabaseUnreachable(DatabaseError):
    """
    No connection, or it was lost.
    """


class DatabaseLocked(DatabaseUnreachable):
    """
    Somebody else has what a statement waited for; it may be tried again.
    """


class DatabaseForbidden(DatabaseError):
    """
    The role may not log in, or may not do what was asked.
    """

    kind = "not-permitted"


class DatabaseReadOnly(DatabaseForbidden):
    """
    The server or the session takes no writes.
    """


class SchemaMismatch(DatabaseError):
    """
    A table or column that is needed is not there.
    """


class NotHere(SchemaMismatch):
    """
    A question named a table or column that this installation has not.

    Attributes:
        table: By the doctor's name.
        column: Likewise; None where the whole table is not there.
    """

    def __init__(self, summary: str, *, table: str, column: str | None = None, hint: str | None = None) -> None:
        super().__init__(summary, hint=hint)
        self.table = table
        self.column = column


class RowConflict(DatabaseError):
    """
    A statement was refused because of the rows in it: a constraint, a type, a trigger's exception.
    """


class TwilioError(SourceError):
    """
    Twilio gave no answer that can be used.
    """

    source = "twilio-log"


class TwilioUnreachable(TwilioError):
    """
    No connection, a time-out, a server error that would not pass, or an answer that is not Twilio's.
    """


class TwilioRefused(TwilioError):
    """
    Twilio answered, and the answer is no.

    Attributes:
        status: HTTP status.
        code: Twilio's error code, see https://www.twilio.com/docs/api/errors
    """

    kind = "not-permitted"

    def __init__(self, summary: str, *, status: int, code: int, hint: str | None = None) -> None:
        super().__init__(summary, hint=hint)
        self.status = status
        self.code = code


class NotInFiles(TwilioError):
    """
    The files that stand for Twilio's log do not tell.
    """


class PlatformError(SourceError):
    """
    The hosting platform gave no answer that can be used.
    """

    source = "hosting-platform"


class PlatformUnreachable(PlatformError):
    """
    No connection, a time-out, a server error that would not pass, or an answer that is not the platform's.
    """


class PlatformRefused(PlatformError):
    """
    The platform answered, and the answer is no.

    Attributes:
        status: HTTP status.
    """

    kind = "not-permitted"

    def __init__(self, summary: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(summary, hint=hint)
        self.status = status


class ApplicationError(SourceError):
    """
    The running application gave no answer that can be used.
    """

    source = "application"


class ApplicationUnreachable(ApplicationError):
    """
    No connection, a time-out, or an answer that is not the application's.
    """


class ApplicationRefused(ApplicationError):
    """
    The application answered, and the answer is no.
    """

    kind = "not-permitted"


class PlanRefused(DoctorError):
    """
    The plan was not carried out; nothing was written.
    """

    exit_code = ExitCode.REFUSED


class PartlyApplied(DoctorError):
    """
    Some of it is written and in the journal, the rest is not.
    """

    exit_code = ExitCode.PARTLY


class NothingWritten(DatabaseError):
    """
    A statement that should have written one row wrote another number, and the database called that no error: row level
    security, a rule or a trigger stands in the way.

    Attributes:
        what: The table, or its column, by the doctor's names.
    """

    def __init__(self, what: str, found: str = "no row was written") -> None:
        super().__init__(
            f"{what} was not stored: {found}, and the database called that no error",
            hint="look at row level security, rules and triggers: booking-doctor check-schema",
        )
        self.what = what


class BookingRejected(DoctorError):
    """
    The booking flow's answer is no: nothing was written and no text was sent.
    """

    exit_code = ExitCode.FINDINGS


class InputRefused(BookingRejected):
    """
    Something of the request cannot be meant, in words for whoever typed it.

    Attributes:
        field: Which part of the request, such as ``customer_phone``.
    """

    def __init__(self, summary: str, *, field: str, hint: str | None = None) -> None:
        super().__init__(summary, hint=hint)
        self.field = field


class TextTooLong(BookingRejected):
    """
    The text would be longer than Twilio takes.
    """


class KeyReused(BookingRejected):
    """
    An idempotency key came again with another request.
    """


class BookingUnknown(BookingRejected):
    """
    No booking has that token, or that id.
    """


class BookingClosed(BookingRejected):
    """
    The booking can no longer be confirmed.

    Attributes:
        status: ``expired`` or ``cancelled``.
    """

    def __init__(self, summary: str, *, status: str, hint: str | None = None) -> None:
        super().__init__(summary, hint=hint)
        self.status = status


class OutcomeNotStored(DoctorError):
    """
    A text went out, or may have, and what became of it could not be stored.

    Attributes:
        what: What could not be stored: ``pending_bookings.metadata``.
        booking_id: Whose text it is.
        message_sid: Twilio's, where it is known.
    """

    exit_code = ExitCode.PARTLY

    def __init__(self, summary: str, *, what: str, booking_id: str, message_sid: str | None, hint: str) -> None:
        super().__init__(summary, hint=hint)
        self.what = what
        self.booking_id = booking_id
        self.message_sid = message_sid


def place_of(error: Exception) -> str:
    """
    The innermost line of this package that the error came through.
    """
    places = [
        f"{frame.f_globals.get('__name__')}, line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith("booking_doctor.")
    ]
    return places[-1]
