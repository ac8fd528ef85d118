"""
The debug report while it is made: each step of a use case, how it ended and how long it took.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from msgspec import Struct, field

from booking_doctor.core.booking import Debug, PendingBooking, StepTaken
from booking_doctor.core.ports import Clock, Store
from booking_doctor.errors import BookingUnknown, DatabaseUnreachable, DoctorError

_log: Final = logging.getLogger("booking_doctor")


class Step(Struct):
    """
    A step under way, and how it is going to have ended.
    """

    outcome: str = "done"


class Trail(Struct, kw_only=True):
    """
    What a use case has done so far.
    """

    clock: Clock
    variables: tuple[str, ...]
    steps: list[StepTaken] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    booking: PendingBooking | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """
        A step, with how it ended and how long it took.
        """
        step, start = Step(), self.clock.monotonic()
        try:
            yield step
        except BaseException as error:
            step.outcome = _said(error)
            raise
        finally:
            self.steps.append(StepTaken(name=name, outcome=step.outcome, seconds=self.clock.monotonic() - start))

    def about(self, booking: PendingBooking) -> None:
        """
        Which booking it is about, as it is now.
        """
        self.booking = booking

    def warn(self, warning: str) -> None:
        """
        Something a person should know.
        """
        self.warnings.append(warning)

    def report(self) -> Debug:
        """
        The debug report.
        """
        return Debug(
            steps=tuple(self.steps),
            variables=self.variables,
            warnings=tuple(self.warnings),
            sms=self.booking.sms if self.booking else None,
        )


@contextmanager
def audited(
    action: str, store: Store, clock: Clock, variables: tuple[str, ...], *, unless_fine: bool = False
) -> Iterator[Trail]:
    """
    A use case whose debug report is kept in ``audit_logs``, however it ends.

    Args:
        unless_fine: Keep it only where there is something to warn of.
    """
    trail = Trail(clock=clock, variables=variables)
    try:
        yield trail
    except BookingUnknown:
        raise  # whoever guesses tokens fills no table
    except BaseException as error:
        trail.warn(_said(error))
        # NOTE: a database that cannot be reached is not waited for once more.
        if not any(isinstance(one, DatabaseUnreachable) for one in (error, error.__cause__)):
            _keep(action, store, trail)
        raise
    if trail.warnings or not unless_fine:
        _keep(action, store, trail)


def _keep(action: str, store: Store, trail: Trail) -> None:
    booking_id = trail.booking.id if trail.booking else None
    if problem := store.note(action, booking_id, trail.report().document()):
        _log.warning("audit_logs has no entry of %s for booking %s: %s", action, booking_id, problem)


def _said(error: BaseException) -> str:
    return error.summary if isinstance(error, DoctorError) else type(error).__name__
