"""
booking-doctor: finds out why a booking's SMS is missing, and repairs what it left behind.

The names below are the library's face; each is imported when it is first used, so that asking for the version costs
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from booking_doctor.reconcile import reconcile

__version__ = "0.1.0"
__all__ = ["__version__", "reconcile"]

_HOME = {"reconcile": "booking_doctor.reconcile"}


def __getattr__(name: str) -> Any:  # noqa: ANN401  a module's attribute may be anything
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOME[name]), name)
