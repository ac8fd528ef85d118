"""
booking-doctor: finds out why a booking's SMS is missing, and repairs what it left behind.

The names below are the library's face; each is imported when it is first used, so that asking for the version costs
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from booking_doctor.bootstrap import booking_service, confirm_booking, initiate_booking
    from booking_doctor.core.booking import BookingRequest
    from booking_doctor.reconcile import reconcile

__version__ = "0.1.0"
__all__ = ["BookingRequest", "__version__", "booking_service", "confirm_booking", "initiate_booking", "reconcile"]

_HOME = {
    "BookingRequest": "booking_doctor.core.booking",
    "booking_service": "booking_doctor.bootstrap",
    "confirm_booking": "booking_doctor.bootstrap",
    "initiate_booking": "booking_doctor.bootstrap",
    "reconcile": "booking_doctor.reconcile",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  a module's attribute may be anything
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOME[name]), name)
