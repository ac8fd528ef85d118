"""
Why it is so: the catalogue of causes, a file for each layer, and the signals that they are weighed by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Final

from booking_doctor.causes import (
    application,
    data,
    database,
    database_refusals,
    deployment,
    environment,
    signals_bookings,
    signals_counters,
    signals_database,
    signals_deployment,
    signals_environment,
    signals_logs,
    signals_rows,
    signals_twilio,
    twilio,
)
from booking_doctor.causes.cause import Cause
from booking_doctor.causes.signals import Signal, signals_of
from booking_doctor.checks import CATALOGUE as CHECKS

_LAYERS: Final = (deployment, environment, application, database, database_refusals, twilio, data)

SIGNALS: Final[Mapping[str, Signal]] = signals_of(
    (
        signals_bookings,
        signals_counters,
        signals_database,
        signals_deployment,
        signals_environment,
        signals_logs,
        signals_rows,
        signals_twilio,
    )
)
"""All signals by name, findings not among them."""


STANDING: Final = frozenset(
    {
        *signals_of((signals_database, signals_environment)),
        *(name for name, check in CHECKS.items() if check.family in {"schema", "env"}),
    }
)
"""Signals of how things are now. Of a fault that is over they say nothing: what it was may have been put right."""

MEANINGS: Final[Mapping[str, str]] = {
    **{name: check.title for name, check in CHECKS.items()},
    **{name: signal.meaning for name, signal in SIGNALS.items()},
}
"""What each signal means, findings among them."""


def _catalogue(layers: Sequence[ModuleType]) -> dict[str, Cause]:
    causes: list[Cause] = [cause for layer in layers for cause in layer.CAUSES]
    catalogue = {cause.id: cause for cause in causes}
    nameless = {name for cause in causes for name in (*cause.signals, *cause.remedies)} - MEANINGS.keys()
    if len(catalogue) < len(causes) or nameless:
        message = f"two causes share an id, or a signal is not there: {', '.join(sorted(nameless))}"
        raise TypeError(message)
    return catalogue


CATALOGUE: Final[Mapping[str, Cause]] = _catalogue(_LAYERS)
"""All causes by id, in the order in which they are asked for when the evidence does not decide."""
