"""
What a running installation tells of itself: which build it is, and hashes by which its settings can be compared.

The same hashes are made by whoever asks: a key both have makes them worthless to anybody else, and no value is told.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
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
