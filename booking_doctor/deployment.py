"""
What a running installation tells of itself: which build it is, and hashes by which its settings can be compared.

The same hashes are made by whoever asks: a key both have makes them worthless to anybody else, and no value is told.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Self

from msgspec import Struct

from booking_doctor.errors import SettingsError
from booking_doctor.settings import Secret, database_settings

_DEPLOYMENTS: Final = ("BOOKING_DEPLOYMENT", "VERCEL_DEPLOYMENT_ID")
_COMMITS: Final = ("BOOKING_COMMIT", "VERCEL_GIT_COMMIT_SHA")
"""What somebody set goes before what the platform sets (Vercel: "System environment variables")."""

_COMPARED: Final = (
    *("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_API_KEY", "TWILIO_API_SECRET"),
    *("TWILIO_PHONE_NUMBER", "TWILIO_MESSAGING_SERVICE_SID", "SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"),
    "BOOKING_APP_URL",
)


class Deployment(Struct, frozen=True, kw_only=True):
    """
    Which build this is; None where nothing says so.
    """

    name: str | None
    commit: str | None


def deployment(variables: Mapping[str, str]) -> Deployment:
    """
    As the environment has it.
    """
    return Deployment(name=_first(variables, _DEPLOYMENTS), commit=_first(variables, _COMMITS))


def _first(variables: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((variables[name] for name in names if variables.get(name)), None)


def configuration_hashes(variables: Mapping[str, str], key: Secret) -> dict[str, str]:
    """
    HMAC-SHA256 with that key of ``NAME=value`` for each setting that is there.

    Of the database it is ``DATABASE=host:port/name``, because its passwords may be weak enough to be guessed.
    """
    values = {name: variables[name] for name in _COMPARED if variables.get(name)}
    try:
        database = database_settings(variables)
        values["DATABASE"] = f"{database.address}/{database.name}"
    except SettingsError:
        pass  # one that cannot be read is none
    return {
        name: hmac.digest(key.value.encode(), f"{name}={value}".encode(), "sha256").hex()
        for name, value in sorted(values.items())
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """
    Who says to have answered; None for what it does not say.

    Attributes:
        has_fixes: Whether it texts before there is a customer, and records the text when there is one.
        timestamp: When it answered, by its clock.
        key: Whether it knows the key it was asked with: ``valid``, ``unknown`` or ``none``.
        hashes: Of its settings, by name.
    """

    deployment: str | None = None
    commit: str | None = None
    has_fixes: bool | None = None
    timestamp: datetime | None = None
    key: str | None = None
    hashes: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, body: bytes) -> Self | None:
        """
        As a document has it; None for one that is not the application's.
        """
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            return None
        if not isinstance(told, dict) or not told.keys() & _TELLING:
            return None
        hashes = told.get("configuration")
        fixes = told.get("hasInitiateFixes")
        return cls(
            deployment=_text(told.get("deployment")),
            commit=_text(told.get("commit")),
            has_fixes=fixes if isinstance(fixes, bool) else None,
            timestamp=_moment(told.get("timestamp")),
            key=_text(told.get("key")),
            hashes={str(name): str(of) for name, of in hashes.items()} if isinstance(hashes, dict) else {},
        )

    @property
    def words(self) -> str:
        """
        The build, for people.
        """
        who = self.deployment or "a deployment without a name"
        return f"{who} of commit {self.commit[:12]}" if self.commit else who


_TELLING: Final = frozenset({"deployment", "commit", "hasInitiateFixes"})
_LONGEST: Final = 100


def _text(told: Any) -> str | None:  # noqa: ANN401  whatever the document has
    return told[:_LONGEST] if isinstance(told, str) and told else None


def _moment(told: Any) -> datetime | None:  # noqa: ANN401
    """
    ISO 8601, or milliseconds since 1970; without a zone it is UTC, as JavaScript writes it.
    """
    try:
        if isinstance(told, str):
            moment = datetime.fromisoformat(told)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return datetime.fromtimestamp(told / 1000, UTC) if isinstance(told, int | float) else None
    except (ValueError, OverflowError, OSError):
        return None


def same_commit(one: str, other: str) -> bool:
    """
    Whether two hashes, either of which may be shortened, name one commit.
    """
    short, long = sorted((one.lower(), other.lower()), key=len)
    return len(short) >= 7 and long.startswith(short)
