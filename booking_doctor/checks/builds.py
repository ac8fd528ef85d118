"""
What the hosting platform has built, what of it serves, and what its log says of the route that initiates bookings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.checks.hosting import host_of, obstacle_to, serving_of
from booking_doctor.core.model import iso
from booking_doctor.deployment import same_commit
from booking_doctor.evidence import Deployment, HostedProject, LoggedLine
from booking_doctor.findings import JSONValue, Severity

LIMIT_S: Final = 60
ROUTE: Final = "/api/bookings/initiate"

_PRODUCTION: Final = "production"
_FAILED: Final = {"ERROR": "failed", "CANCELED": "was cancelled", "BLOCKED": "was blocked"}
_UNDER_WAY: Final = frozenset({"QUEUED", "INITIALIZING", "BUILDING"})
_EARLIER: Final = 2
"""Of so many deployments beside the one that serves the log is read."""


def _subject(evidence: Evidence) -> str:
    return f"deployment/{host_of(evidence)}"


def _for_production(evidence: Evidence) -> list[Deployment]:
    """
    The project's newest that were built for production, newest first.
    """
    return [built for built in evidence.once(deployments) if built.target == _PRODUCTION]


def deployments(evidence: Evidence) -> Sequence[Deployment]:
    """
    The project's newest.
    """
    return evidence.platform.deployments()


def _project(evidence: Evidence) -> HostedProject:
    return evidence.platform.project()


def _serving(evidence: Evidence) -> Deployment | BlindSpot:
    """
    The project's deployment that serves production at the address, or why there is none.
    """
    host, serving = host_of(evidence), evidence.once(serving_of)
    obstacle = obstacle_to(serving, host)
    if serving is None or obstacle:
        return obstacle or BlindSpot(subject=None, reason=f"nothing serves {host}")
    if serving.target != _PRODUCTION:
        reason = f"{host} leads to a preview, and nothing is promoted there"
        return BlindSpot(subject=None, kind="not-applicable", reason=reason)
    return serving


def _words(built: Deployment) -> str:
    commit = f" of commit {built.commit[:12]}" if built.commit else ""
    return f"{built.id}{commit}{f' on {built.branch}' if built.branch else ''}"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _evidence(serving: Deployment, newest: Deployment) -> dict[str, JSONValue]:
    return {
        "serving": serving.id,
        "serving_commit": serving.commit,
        "newest": newest.id,
        "newest_commit": newest.commit,
        "newest_branch": newest.branch,
        "newest_at": iso(newest.created_at),
        "newest_state": newest.substate or newest.state,
    }


@check(Severity.ERROR, limit_s=LIMIT_S)
def deployment_not_promoted(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    A newer deployment is ready for production, and an older one serves.

    ## Why it matters

    The fix is built and nobody gets it. After a rollback the platform no longer gives the domain to new deployments: each push
    is built, becomes ready, and stays staged. Variables went back with the code.

    ## How to repair

    Promote the newer one, or undo the rollback, then see that domains are assigned by themselves again.

    ## When this is fine

    Where somebody went back on purpose, for as long as the newer one is worse. A warning is about one that takes over bit by
    bit.
    """
    serving = _serving(evidence)
    if isinstance(serving, BlindSpot):
        yield serving
        return
    waiting = [
        built
        for built in _for_production(evidence)
        if built.state == "READY" and built.created_at > serving.created_at and built.id != serving.id
    ]
    if not waiting:
        return
    newest, project = waiting[0], evidence.once(_project)
    rolling = newest.substate == "ROLLING"
    why = (
        "somebody went back to the older one"
        if project.rolled_back_to
        else "domains are not assigned by themselves"
        if project.assigns_domains is False
        else "it takes over bit by bit"
        if rolling
        else "it was not promoted"
    )
    yield Fault(
        subject=_subject(evidence),
        summary=f"{_words(newest)} is ready since {_at(newest.created_at)}, and {_words(serving)} serves: {why}.",
        remedy=f"Promote it: vercel promote {newest.id}"
        + ("; that ends the rollback." if project.rolled_back_to else "."),
        evidence={
            **_evidence(serving, newest),
            "rolled_back_to": project.rolled_back_to,
            "assigns_domains": project.assigns_domains,
            "waiting": len(waiting),
        },
        severity=Severity.WARNING if rolling else None,
    )


@check(Severity.ERROR, limit_s=LIMIT_S)
def deployment_build_failed(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    The newest build for production failed or was cancelled, so an older one serves.

    ## Why it matters

    Everything looks as before, because the older deployment stays in place. A build is also cancelled where the ignored build
    step says so, or where the commit's author may not deploy the project.

    ## How to repair

    Read the build's log, mend it, push again. Where it was skipped, look at the ignored build step and the root directory.

    ## When this is fine

    Where the commit changed nothing that production needs, and the build was left out on purpose.
    """
    serving = _serving(evidence)
    if isinstance(serving, BlindSpot):
        yield serving
        return
    newest = next((built for built in _for_production(evidence) if built.state not in _UNDER_WAY), None)
    if newest and newest.state in _FAILED and newest.created_at > serving.created_at:
        yield Fault(
            subject=_subject(evidence),
            summary=f"The build {_words(newest)} of {_at(newest.created_at)} {_FAILED[newest.state]}; {_words(serving)} serves.",
            remedy=f"Read its log, mend it and deploy again: vercel inspect {newest.id} --logs",
            evidence=_evidence(serving, newest),
        )


@check(Severity.ERROR, limit_s=LIMIT_S)
def deployment_not_built(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    The commit that should serve was never built for production.

    ## Why it matters

    No promotion brings it there. It sits on another branch than the production branch, its request is not merged, the webhook
    was lost, or another project of the same repository builds it.

    ## How to repair

    Merge it into the production branch and let that be built, or deploy it: `vercel --prod`. See that the domain belongs to the
    project that builds it.

    ## When this is fine

    In the moments between the push and the start of its build. Only the project's newest 100 deployments are looked at.
    """
    wanted = evidence.expected_build.commit
    if not wanted:
        reason = "which commit should serve was not said, so its build was not looked for: --expect-commit"
        yield BlindSpot(subject=None, kind="not-configured", reason=reason)
        return
    serving = _serving(evidence)
    if isinstance(serving, BlindSpot):
        yield serving
        return
    every = evidence.once(deployments)
    of_it = [built for built in (serving, *every) if built.commit and same_commit(built.commit, wanted)]
    if any(built.target == _PRODUCTION for built in of_it):
        return
    seen = (
        f"only as a preview ({_words(of_it[0])})" if of_it else f"not at all among the newest {len(every)} deployments"
    )
    yield Fault(
        subject=_subject(evidence),
        summary=f"Commit {wanted[:12]} was built {seen}; {_words(serving)} serves.",
        remedy="Merge it into the production branch and deploy that, or: vercel --prod",
        evidence={
            "expected_commit": wanted,
            "previews": [built.id for built in of_it],
            "looked_at": len(every),
            "serving": serving.id,
            "serving_commit": serving.commit,
        },
    )


# --- the log ---------------------------------------------------------------------------------------------------------


def route_lines(evidence: Evidence) -> dict[str, list[LoggedLine]]:
    """
    Lines about the route, of the deployment that serves and of some before it.
    """
    serving = evidence.once(serving_of)
    if serving is None:
        return {}
    others = [built.id for built in _for_production(evidence) if built.state == "READY" and built.id != serving.id]
    return {
        id_: [line for line in evidence.platform.logged(id_) if line.path.rstrip("/") == ROUTE]
        for id_ in (serving.id, *others[:_EARLIER])
    }


_BAD: Final = frozenset({"error", "fatal"})
_SAID: Final = re.compile(r"(?:code|SQLSTATE|error)\W{1,6}(\d{5}|[0-9]{2}[A-Z0-9]{3})\b", re.IGNORECASE)
_NAMED: Final = re.compile(r"\b([A-Z][A-Za-z]{2,40}(?:Error|Exception)|PGRST\d{3})\b")


def _errors(lines: Sequence[LoggedLine]) -> list[str]:
    """
    Names and codes of errors, most frequent first; never a sentence, which may hold a phone number or a key.
    """
    found = Counter(
        name for line in lines for pattern in (_NAMED, _SAID) for name in set(pattern.findall(line.message))
    )
    return [name for name, _ in found.most_common(5)]


@check(Severity.ERROR, limit_s=LIMIT_S)
def deployment_route_fails(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    The platform's log has errors of the route that initiates bookings.

    ## Why it matters

    The customer gets an error or, where it was caught, a success without a text. An error in the log is what the screen did not
    show.

    ## How to repair

    Read the lines: `vercel logs DEPLOYMENT`. A 5-digit code is Twilio's, five characters such as 23502 are PostgreSQL's:
    `booking-doctor explain log-not-null-violation`. A function that fails for every request fails while it starts.

    ## When this is fine

    Where it is past: the platform keeps lines for an hour or a day, and the time of the last one is told. Names and codes of
    errors are shown, not their words, which may hold personal data.
    """
    serving = _serving(evidence)
    if isinstance(serving, BlindSpot):
        yield serving
        return
    lines = evidence.once(route_lines).get(serving.id, [])
    bad = [line for line in lines if line.level in _BAD or (line.status or 0) >= 500]
    if bad:
        last, names = max(line.at for line in bad), _errors(bad)
        yield Fault(
            subject=_subject(evidence),
            summary=f"{len(bad)} of {len(lines)} log lines of {ROUTE} on {serving.id} are errors, the last of {_at(last)}"
            + (f": {', '.join(names)}." if names else "."),
            remedy=f"Read them: vercel logs {serving.id}",
            evidence={
                "deployment": serving.id,
                "lines": len(lines),
                "errors": len(bad),
                "http_status": sorted({line.status for line in bad if line.status}),
                "names": names,
                "last_at": iso(last),
            },
        )


@check(Severity.WARNING, limit_s=LIMIT_S)
def deployment_old_called(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    Bookings are still initiated on a deployment that no longer serves the domain.

    ## Why it matters

    The old code runs for them. Skew protection keeps pages that were loaded earlier talking to the deployment they came from; an
    old tab, a service worker or an app may also call its own address.

    ## How to repair

    Shorten the skew protection's maximum age, let open pages reload, and write the deployment's id into each booking.

    ## When this is fine

    For as long as pages may stay open after a deployment.
    """
    serving = _serving(evidence)
    if isinstance(serving, BlindSpot):
        yield serving
        return
    for id_, lines in evidence.once(route_lines).items():
        late = [line.at for line in lines if line.at > serving.created_at]
        if id_ != serving.id and late:
            yield Fault(
                subject=_subject(evidence),
                summary=f"{ROUTE} was called on {id_} at {_at(max(late))}, after {serving.id} had been built, which serves.",
                remedy="See who still calls it: a page loaded earlier, an app, skew protection; let it reload.",
                evidence={"deployment": id_, "lines": len(late), "last_at": iso(max(late)), "serving": serving.id},
            )
            return


def facts(evidence: Evidence) -> dict[str, JSONValue]:
    """
    What serves, what is newest, and whether the route was called, for the report.

    Raises:
        SettingsError: The platform, or the address, is not set.
        SourceError: The platform did not say.
    """
    serving = evidence.once(serving_of)
    newest = next(iter(_for_production(evidence)), None)
    told: dict[str, JSONValue] = {"serving": _words(serving) if serving else None}
    if newest and serving and newest.id != serving.id:
        told["newest_build"] = f"{_words(newest)}, {newest.substate or newest.state}"
    calls = {id_: len(lines) for id_, lines in evidence.once(route_lines).items()}
    told["route_logged"] = [f"{number} lines on {id_}" for id_, number in calls.items()]
    return told
