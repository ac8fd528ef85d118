"""
What a probe of the running application shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.findings import JSONValue, Severity
from booking_doctor.probe import Step, Traces

_LIMIT_S: Final = 120

_REMEDIES: Final = {
    "answered": "Check BOOKING_APP_URL and whether the application runs: `booking-doctor check-deployment`.",
    "accepted": "See which code answers: `booking-doctor probe-api --dry`, then `booking-doctor check-deployment`.",
    "stored": "Compare the application's database with this one: `booking-doctor check-env`.",
    "texted": "Look at Twilio and the variables that lead there: `booking-doctor check-env --live`.",
    "kept in the metadata": "See who may write it, and which code is served: `booking-doctor check-schema`.",
}
_WHICH_CODE: Final = "See which deployment is served: `booking-doctor check-deployment`."


@check(Severity.ERROR, limit_s=_LIMIT_S)
def probe_stopped(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A booking that was made to look where it goes did not get to its end.

    ## Why it matters

    What happens to the probe happens to every customer's booking. The first step that did not happen says on which side of it
    to look: before the row, before Twilio, or between Twilio's answer and the metadata.

    ## How to repair

    Follow the remedy of that step, deploy, and probe again: `booking-doctor probe-api`. A metadata that stays empty although
    Twilio has the text is the December incident: code that texts first and records with a customer that does not exist yet, or
    an update that touches no row.

    ## When this is fine

    While the application is switched off on purpose. Twilio refuses texts to a landline, or to a phone that has said STOP:
    probe with another.
    """
    traces = evidence.probe
    stopped = traces.stopped_at
    if stopped is not None:
        yield Fault(
            subject=f"deployment/{traces.host}",
            summary=f"The probe's last step was: {traces.last_step}. Not {stopped.name}: {stopped.evidence}.",
            remedy=_REMEDIES.get(stopped.name, _WHICH_CODE),
            evidence=evidence_of(traces),
        )
    for step in traces.unseen:
        yield BlindSpot(subject=None, reason=f"{step.name}: {step.evidence}")


def evidence_of(traces: Traces) -> dict[str, JSONValue]:
    """
    The steps as a report keeps them.
    """
    return {
        "last_step": traces.last_step,
        "steps": [_told(step) for step in traces.steps],
        "warnings": list(traces.warnings),
        **({"booking_id": traces.booking_id} if traces.booking_id else {}),
    }


def _told(step: Step) -> dict[str, JSONValue]:
    return {"step": step.name, "happened": step.happened, "evidence": step.evidence}
