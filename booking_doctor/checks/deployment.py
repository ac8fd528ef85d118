"""
What the running application says of itself, asked several times at its public address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from booking_doctor.checks.answers import Seen, Who, counted, identities, seen, subject
from booking_doctor.checks.check import BlindSpot, Evidence, Fault, check
from booking_doctor.checks.hosting import serving_of
from booking_doctor.checks.runner import why_not
from booking_doctor.deployment import Identity, same_commit
from booking_doctor.errors import SettingsError, SourceError
from booking_doctor.evidence import Answer
from booking_doctor.findings import JSONValue, Severity

LIMIT_S: Final = 90
TOLERATED: Final = timedelta(seconds=5)
"""Clocks that are set over the network differ by less."""

_NOBODY: Final = ("deployment-unreachable", "deployment-intercepted")
_NOT_HEARD: Final = (*_NOBODY, "deployment-stale")
"""Why there may be nobody who says anything."""


def _told(those: Sequence[Seen], all_: Sequence[Seen]) -> dict[str, JSONValue]:
    statuses = [one.answer.status for one in those if isinstance(one.answer, Answer)]
    return {"answers": len(all_), "of_these": len(those), "http_status": sorted(set(statuses))}


@check(Severity.ERROR, limit_s=LIMIT_S)
def deployment_unreachable(evidence: Evidence) -> Iterator[Fault]:
    """
    The application does not answer at its public address, or fails.

    ## Why it matters

    Nobody can book, and Twilio's status callbacks get lost. A function that fails while it starts writes no log line of yours
    and fails for every request: a missing variable, a malformed SID, a module that the runtime does not have.

    ## How to repair

    Without a connection: check the host in `BOOKING_APP_URL`, its DNS records and certificate. Where it fails, read the
    platform's log of the function, and what changed: variables, the Node version, the lock file.

    ## When this is fine

    While it is being moved. From a network that may not reach it, such as a build machine's. A warning is about some of
    several answers.
    """
    all_ = seen(evidence)
    lost = [one for one in all_ if one.who is Who.NOBODY]
    if lost:
        yield Fault(
            subject=subject(evidence),
            summary=f"{evidence.application.host} {counted((one.words for one in lost), len(all_))}.",
            remedy=lost[0].remedy,
            evidence={**_told(lost, all_), "reasons": sorted({one.words for one in lost})},
            severity=None if len(lost) == len(all_) else Severity.WARNING,
        )


@check(Severity.ERROR, after=("deployment-unreachable",), limit_s=LIMIT_S)
def deployment_intercepted(evidence: Evidence) -> Iterator[Fault]:
    """
    Something else answers before the application does: a redirect, a login, a firewall, another site.

    ## Why it matters

    A client that posts a booking meets the same. A redirect with 301 or 302 turns the POST into a GET without a body; a login
    page comes with status 200 and looks like success; Twilio follows neither with its signature.

    ## How to repair

    Set `BOOKING_APP_URL` to the address that answers itself, www or not, with https. Let middleware, firewall and Deployment
    Protection leave `/api` alone. Where it is a web page, see which project has the domain.

    ## When this is fine

    Where the address is a preview that shall be protected. Redirects are not followed here, because a key would go with them.
    """
    all_ = seen(evidence)
    strange = [one for one in all_ if one.who is Who.SOMETHING]
    if strange:
        yield Fault(
            subject=subject(evidence),
            summary=f"{evidence.application.host} {counted((one.words for one in strange), len(all_))}.",
            remedy=strange[0].remedy,
            evidence={**_told(strange, all_), "reasons": sorted({one.words for one in strange})},
        )


@check(Severity.ERROR, after=_NOBODY, limit_s=LIMIT_S)
def deployment_stale(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    Old code answers: not the build that should serve, or one that lacks what keeps a booking's text.

    ## Why it matters

    The old code records a text before there is a customer, which the database refuses, and stores nothing in the booking. Nobody
    sees the new log lines, because the new code does not run.

    ## How to repair

    See which deployment the domain leads to. Where the new one waits, promote it; after a rollback that has to be done by hand.
    Where it was never built, merge and deploy the right branch.

    ## When this is fine

    Between a push and the end of its build. What should serve is said with `--expect-commit` or `--expect-deployment`; without
    them only the route and its `hasInitiateFixes` are looked at.
    """
    served = _served(evidence)
    behind = list(_behind(evidence, served))
    if behind:
        told = identities(evidence)
        yield Fault(
            subject=subject(evidence),
            summary=f"{evidence.application.host} {', and '.join(behind)}.",
            remedy="See which deployment the domain leads to; promote the new one, or deploy its branch.",
            evidence={
                "answers": len(seen(evidence)),
                "served_commits": sorted({one.commit for one in served if one.commit}),
                "served_deployments": sorted({one.deployment for one in served if one.deployment}),
                "has_initiate_fixes": sorted({one.has_fixes for one in told if one.has_fixes is not None}),
                "expected_commit": evidence.expected_build.commit,
                "expected_deployment": evidence.expected_build.deployment,
            },
        )
    else:
        yield from _unproven(evidence, served)


def _served(evidence: Evidence) -> list[Identity]:
    """
    What the application says of itself; where it does not say its commit, what the platform says of it.
    """
    told = identities(evidence)
    if any(one.commit for one in told):
        return told
    try:
        serving = evidence.once(serving_of)
    except (SourceError, SettingsError):
        return told
    return [*told, Identity(deployment=serving.id, commit=serving.commit)] if serving else told


def _behind(evidence: Evidence, served: Sequence[Identity]) -> Iterator[str]:
    """
    Everything that shows old code, in words.
    """
    all_, expected = seen(evidence), evidence.expected_build
    without = sum(one.identity is not None and one.identity.has_fixes is False for one in all_)
    if without:
        yield counted(["says hasInitiateFixes: false"] * without, len(all_))
    missing = [one.words for one in all_ if one.who is Who.OTHER_CODE]
    if missing:
        yield counted(missing, len(all_))
    commits = sorted({one.commit for one in served if one.commit})
    wrong = [one for one in commits if expected.commit and not same_commit(one, expected.commit)]
    if wrong and expected.commit:
        yield f"serves commit {', '.join(one[:12] for one in wrong)}, not {expected.commit[:12]}"
    names = sorted({one.deployment for one in served if one.deployment})
    others = [name for name in names if expected.deployment and name != expected.deployment]
    if others:
        yield f"serves {', '.join(others)}, not {expected.deployment}"


def _unproven(evidence: Evidence, served: Sequence[Identity]) -> Iterator[BlindSpot]:
    """
    What cannot be said, though nothing shows old code.
    """
    told, expected, host = identities(evidence), evidence.expected_build, subject(evidence)
    if not told:
        yield _unheard(evidence)
    elif all(one.has_fixes is None for one in told):
        yield BlindSpot(subject=None, reason="the application does not say whether it has the fixes (hasInitiateFixes)")
    if expected.commit and not any(one.commit for one in served):
        reason = "nobody says which commit serves; set BOOKING_COMMIT when deploying, or VERCEL_TOKEN here"
        yield BlindSpot(subject=None if told else host, reason=reason)
    if expected.deployment and not any(one.deployment for one in served):
        reason = "nobody says which deployment serves; set BOOKING_DEPLOYMENT when deploying, or VERCEL_TOKEN here"
        yield BlindSpot(subject=None if told else host, reason=reason)
    if not expected:
        reason = "which build should serve was not said, so it was not compared: --expect-commit, --expect-deployment"
        yield BlindSpot(subject=None, kind="not-configured", reason=reason)


def _unheard(evidence: Evidence) -> BlindSpot:
    return BlindSpot(subject=subject(evidence), reason=f"nobody has answered as the application{_whom(evidence)}")


def _whom(evidence: Evidence) -> str:
    others = {one.words for one in seen(evidence) if one.words}
    return f": {evidence.application.host} {', '.join(sorted(others))}" if others else ""


@check(Severity.WARNING, after=_NOT_HEARD, limit_s=LIMIT_S)
def deployment_cached(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    The answer comes from a cache, although it was asked for without.

    ## Why it matters

    It tells which code served some time ago, not now. What is cached here may be cached elsewhere: a page that shows a
    booking's metadata as `{}` while the database has it.

    ## How to repair

    In Next.js: `export const dynamic = 'force-dynamic'` in the route, and `cache: 'no-store'` in the fetch of the database's
    client. Elsewhere send `Cache-Control: no-store`, and let the CDN leave `/api` alone.

    ## When this is fine

    Never for this route; what else it says is about the time when the answer was made.
    """
    all_ = seen(evidence)
    heard = [one for one in all_ if one.identity]
    if not heard:
        yield _unheard(evidence)
        return
    remembered = [one.cached for one in heard if one.cached]
    if not remembered and _is_frozen(heard):
        remembered = ["the same timestamp each time"] * len(heard)
    if remembered:
        yield Fault(
            subject=subject(evidence),
            summary=f"{evidence.application.host} answers from a cache: {counted(remembered, len(all_))}.",
            remedy="Make the route dynamic: no-store in its answer, force-dynamic in Next.js.",
            evidence={"answers": len(all_), "of_these": len(remembered), "seen": sorted(set(remembered))},
        )


def _is_frozen(heard: Sequence[Seen]) -> bool:
    """
    Whether different answers were made in the same microsecond.
    """
    moments = {one.identity.timestamp for one in heard if one.identity}
    [moment, *others] = moments
    return len(heard) > 1 and not others and moment is not None and moment.microsecond > 0


@check(Severity.ERROR, after=_NOT_HEARD, limit_s=LIMIT_S)
def deployment_mixed(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    Several deployments answer at the same address.

    ## Why it matters

    Whether a booking's text is stored depends on who happens to answer, so some bookings go wrong and repeating helps.

    ## How to repair

    Let the roll-out end, or take it back. Where servers are your own, see that all have the new build and the load balancer
    has no old one left. In Vercel see whether a rolling release is under way.

    ## When this is fine

    While a new build is being rolled out, for as long as that takes.
    """
    told = identities(evidence)
    if not told:
        yield _unheard(evidence)
        return
    without = [one for one in seen(evidence) if one.who is Who.OTHER_CODE]
    builds = Counter(one.words + ("" if one.has_fixes is not False else " without the fixes") for one in told)
    if without:
        builds["code without the route"] = len(without)
    if len(builds) > 1:
        shares = [f"{words} {number} times" for words, number in builds.most_common()]
        yield Fault(
            subject=subject(evidence),
            summary=f"{evidence.application.host} is answered by {len(builds)} deployments: {', '.join(shares)}.",
            remedy="Let the roll-out end or take it back, then see that only one answers.",
            evidence={"answers": builds.total(), "deployments": dict(builds)},
        )


@check(Severity.WARNING, after=(*_NOT_HEARD, "deployment-cached"), limit_s=LIMIT_S)
def deployment_clock_skew(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    The application's clock and ours differ.

    ## Why it matters

    Bookings expire too early or too late, and what happened in which order cannot be read from the times. Signatures and tokens
    that carry a time are refused.

    ## How to repair

    Let the machine that is wrong, which may be this one, set its clock over the network: `timedatectl`, or `w32tm /resync`.

    ## When this is fine

    Never. What the answer's way may have taken is allowed for, and five seconds more.
    """
    fresh = [one for one in seen(evidence) if one.identity and one.cached is None]
    spans = [span for one in fresh if (span := _ahead(one))]
    if not identities(evidence) or not fresh or _is_frozen(fresh):
        yield BlindSpot(subject=subject(evidence), reason="no answer was made anew, so its clock cannot be read")
        return
    if not spans:
        yield BlindSpot(subject=None, reason="the application does not say what time it is (timestamp)")
        return
    least, most = max(low for low, _ in spans), min(high for _, high in spans)
    if least > most:  # several clocks
        least, most = spans[0]
    if least > TOLERATED or most < -TOLERATED:
        ahead, unsure = (least + most) / 2, abs(most - least) / 2
        way = "ahead of" if ahead > timedelta(0) else "behind"
        yield Fault(
            subject=subject(evidence),
            summary=f"Its clock is {abs(ahead).total_seconds():,.1f} s {way} ours, give or take {unsure.total_seconds():.1f} s.",
            remedy="Set the clock that is wrong, which may be this machine's, over the network.",
            evidence={"ahead_s": round(ahead.total_seconds(), 1), "uncertain_s": round(unsure.total_seconds(), 1)},
        )


def _ahead(one: Seen) -> tuple[timedelta, timedelta] | None:
    """
    Between what and what its clock is ahead of ours: it was read after the request went out and before the answer was here,
    and is written to the second, the millisecond or the microsecond.
    """
    told = one.identity.timestamp if one.identity else None
    if told is None:
        return None
    written_to = timedelta(microseconds=1 if told.microsecond % 1000 else 1000 if told.microsecond else 1_000_000)
    return told - (one.answer.asked_at + one.answer.took), told + written_to - one.answer.asked_at


@check(Severity.WARNING, after=_NOT_HEARD, limit_s=LIMIT_S)
def deployment_settings_differ(evidence: Evidence) -> Iterator[Fault | BlindSpot]:
    """
    The running application has another setting than we have here.

    ## Why it matters

    Then the doctor looks at another Twilio account, number or database than the application uses, and what it says of bookings
    and texts is about those. Or the application has what was meant to be replaced.

    ## How to repair

    Compare the variable on the hosting platform with this one, correct the wrong one, and deploy again: a deployment keeps the
    variables it was built with.

    ## When this is fine

    A database that is reached through a pooler there and directly here has two addresses. A variable that only one side has is
    an information: the other may have an alternative. Values are never sent: both sides hash them with a key that both have.
    """
    if not identities(evidence):
        yield _unheard(evidence)
        return
    try:
        compared = evidence.application.settings()
    except (SourceError, SettingsError) as error:
        kind, reason = why_not(error)
        yield BlindSpot(subject=None, kind=kind, reason=reason)
        return
    host = evidence.application.host
    for name in compared.different:
        yield _differs(name, f"{name} is another thing at {host} than here.", "different")
    for name in compared.only_there:
        yield _differs(name, f"{name} is set at {host} and not here.", "only there", Severity.INFO)
    for name in compared.only_here:
        yield _differs(name, f"{name} is set here and not at {host}.", "only here", Severity.INFO)


def _differs(name: str, summary: str, comparison: str, severity: Severity | None = None) -> Fault:
    return Fault(
        subject=f"env/{name}",
        summary=summary,
        remedy=f"See which {name} is right, set it in both places, then deploy again.",
        evidence={"comparison": comparison},
        severity=severity,
    )


def facts(evidence: Evidence) -> dict[str, JSONValue]:
    """
    Who has answered, for the report.

    Raises:
        SettingsError: The application's address is not set, or is none.
    """
    all_ = seen(evidence)
    builds = Counter(identity.words for identity in identities(evidence))
    took = sorted(one.answer.took.total_seconds() * 1000 for one in all_)
    return {
        "host": evidence.application.host,
        "answers": len(all_),
        "answered_by": [f"{words}, {number} of {len(all_)} times" for words, number in builds.items()],
        "slowest_answer_ms": round(took[-1]),
    }
