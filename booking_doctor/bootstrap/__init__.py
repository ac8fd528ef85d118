"""
The one place where concrete things are chosen: which database, which log, which clock.

A part for each of those who come here, loaded when it is asked for: who looks need not wait for what books.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from booking_doctor.adapters.environment_files import named_source
    from booking_doctor.bootstrap.booking import (
        Backing,
        backing,
        booking_service,
        booking_service_for,
        confirm_booking,
        initiate_booking,
        open_workplace,
        workplace_for,
    )
    from booking_doctor.bootstrap.doctors import doctor_for, open_doctor
    from booking_doctor.bootstrap.sources import ChosenSources
    from booking_doctor.bootstrap.watches import open_watch
    from booking_doctor.core.service import BookingService
    from booking_doctor.doctor import Doctor, Planned, Repair, Request

__all__ = [
    "Backing",
    "BookingService",
    "ChosenSources",
    "Doctor",
    "Planned",
    "Repair",
    "Request",
    "backing",
    "booking_service",
    "booking_service_for",
    "confirm_booking",
    "doctor_for",
    "initiate_booking",
    "named_source",
    "open_doctor",
    "open_watch",
    "open_workplace",
    "workplace_for",
]

_HOMES: Final = {
    "booking_doctor.adapters.environment_files": ("named_source",),
    "booking_doctor.bootstrap.booking": (
        *("Backing", "backing", "booking_service", "booking_service_for", "confirm_booking", "initiate_booking"),
        *("open_workplace", "workplace_for"),
    ),
    "booking_doctor.bootstrap.doctors": ("doctor_for", "open_doctor"),
    "booking_doctor.bootstrap.sources": ("ChosenSources",),
    "booking_doctor.bootstrap.watches": ("open_watch",),
    "booking_doctor.core.service": ("BookingService",),
    "booking_doctor.doctor": ("Doctor", "Planned", "Repair", "Request"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  a module's attribute may be anything
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(home), name)
