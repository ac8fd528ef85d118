"""
What answers of the application's address mean: who has answered, and what stands between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from booking_doctor.checks.check import Evidence
from booking_doctor.deployment import Identity
from booking_doctor.evidence import Answer, NoAnswer


class Who(StrEnum):
    """
    Who has answered.
    """

    NOBODY = "nobody"
    APPLICATION = "the application"
    OTHER_CODE = "code without the route"
    SOMETHING = "something in between"


class Seen(Struct, frozen=True, kw_only=True):
    """
    An answer, understood.

    Attributes:
        words: What it does, after "the application" or the host; empty where all is well.
        remedy: What to do about that.
        identity: Who it says to be, where it is the application.
        cached: Whose memory it came from; None where it was made anew.
    """

    answer: Answer | NoAnswer
    who: Who
    words: str = ""
    remedy: str = ""
    identity: Identity | None = None
    cached: str | None = None


def seen(evidence: Evidence) -> list[Seen]:
    """
    Every answer, understood.

    Raises:
        SettingsError: The application's address is not set, or is none.
    """
    return evidence.once(_seen)


def _seen(evidence: Evidence) -> list[Seen]:
    application = evidence.application
    return [understood(answer, application.host) for answer in application.who_answers()]


def subject(evidence: Evidence) -> str:
    """
    What every finding of the family is about.
    """
    return f"deployment/{evidence.application.host}"


def identities(evidence: Evidence) -> list[Identity]:
    """
    Who has answered as the application, each time it did.
    """
    return [one.identity for one in seen(evidence) if one.identity]


def counted(those: Iterable[str], all_: int) -> str:
    """
    Different words, each with how many of all answers it is about.
    """
    counts = Counter(those)
    if list(counts.values()) == [all_]:
        return next(iter(counts))
    return ", ".join(f"{words} ({number} of {all_} times)" for words, number in counts.items())


def understood(answer: Answer | NoAnswer, host: str) -> Seen:
    """
    Who has given this answer.
    """
    if isinstance(answer, NoAnswer):
        return Seen(answer=answer, who=Who.NOBODY, words=answer.reason, remedy=_NO_ANSWER)
    for judge in (_redirect, _refused_by_platform, _guarded, _missing, _crashed):
        if judged := judge(answer, host):
            return judged
    if answer.status == 200 and (identity := Identity.of(answer.body)):
        return Seen(answer=answer, who=Who.APPLICATION, identity=identity, cached=_memory(answer))
    return Seen(answer=answer, who=Who.SOMETHING, words=_stranger(answer), remedy=_STRANGER)


_NO_ANSWER: Final = "Check the host of BOOKING_APP_URL, its DNS and certificate, and that the application runs."
_STRANGER: Final = "See which project and which route the host leads to, and what proxy or middleware stands before it."


def _redirect(answer: Answer, host: str) -> Seen | None:
    if not 300 <= answer.status < 400:
        return None
    try:
        there = urlsplit(answer.headers.get("location", "")).hostname or host
    except ValueError:
        there = "an address that is none"
    where = "another address of itself" if there == host else there
    remedy = (
        "Set BOOKING_APP_URL to the address that it redirects to, path and slash left out."
        if there == host
        else f"Set BOOKING_APP_URL to https://{there}, if that is yours; clients that post should not be redirected."
    )
    return Seen(answer=answer, who=Who.SOMETHING, words=f"redirects to {where} (HTTP {answer.status})", remedy=remedy)


def _refused_by_platform(answer: Answer, _host: str) -> Seen | None:
    """
    The platform itself has no deployment there (Vercel: "Errors").
    """
    error = _code(answer)
    if error is None or not error.startswith(("DEPLOYMENT_", "DNS_", "INFINITE_LOOP", "ROUTER_")):
        return None
    words = f"is not served: Vercel says {error}"
    return Seen(answer=answer, who=Who.NOBODY, words=words, remedy="See in Vercel which project has the domain.")


def _guarded(answer: Answer, _host: str) -> Seen | None:
    mitigated = "x-vercel-mitigated" in answer.headers or "cf-mitigated" in answer.headers
    if not mitigated and answer.status not in {401, 403, 407, 511}:
        return None
    if mitigated:
        words, remedy = "is behind a firewall's challenge", "Let requests to /api pass the firewall's challenge."
    elif "_vercel_sso_nonce" in answer.headers.get("set-cookie", ""):
        words = "is behind Vercel's Deployment Protection"
        remedy = "Use the production domain, or let Deployment Protection except it: webhooks and clients meet it, too."
    else:
        words, remedy = "asks for a login", "Let requests to /api pass without the login, or use the public address."
    return Seen(answer=answer, who=Who.SOMETHING, words=f"{words} (HTTP {answer.status})", remedy=remedy)


def _missing(answer: Answer, _host: str) -> Seen | None:
    if answer.status not in {404, 410}:
        return None
    words = f"has no /api/test-deployment (HTTP {answer.status})"
    return Seen(answer=answer, who=Who.OTHER_CODE, words=words, remedy="Deploy the code that has the route.")


def _crashed(answer: Answer, _host: str) -> Seen | None:
    if answer.status < 500 and answer.status not in {408, 425, 429}:
        return None
    error = _code(answer)
    words = f"fails (HTTP {answer.status}{f', {error}' if error else ''})"
    remedy = "Read the function's log for an error while it starts: a missing variable, a module, the Node version."
    return Seen(answer=answer, who=Who.NOBODY, words=words, remedy=remedy)


def _code(answer: Answer) -> str | None:
    """
    The platform's word for an error.
    """
    told = answer.headers.get("x-vercel-error", "")
    return told[:60] if told and told.replace("_", "").isalnum() and told.isascii() else None


def _stranger(answer: Answer) -> str:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if answer.status != 200:
        return f"answers HTTP {answer.status}"
    if kind == "text/html" or answer.body.lstrip()[:1] == b"<":
        return "answers with a web page instead of JSON"
    return "answers with another document"


# --- caches ----------------------------------------------------------------------------------------------------------

_HITS: Final[dict[str, Callable[[str], bool]]] = {
    "x-vercel-cache": lambda told: told.upper() in {"HIT", "STALE", "PRERENDER", "REVALIDATED"},
    "cf-cache-status": lambda told: told.upper() in {"HIT", "STALE", "REVALIDATED", "UPDATING"},
    "x-cache": lambda told: told.upper().startswith(("HIT", "TCP_HIT")),
    "age": lambda told: told.isdecimal() and int(told[:9]) > 0,
}


def _memory(answer: Answer) -> str | None:
    for name, hit in _HITS.items():
        told = answer.headers.get(name, "").strip()
        if hit(told):
            return f"{name}: {told[:40]}"
    return None
