"""
Faults of the environment's variables.

Made-up values are put together here, because a scanner for secrets would stop at a whole one.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from booking_doctor.checks import CATALOGUE
from booking_doctor.checks.hosting import HOSTED
from booking_doctor.checks.live import LIVE
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.incident import Incident
from booking_doctor.sandbox.twilio import Credential
from booking_doctor.sandbox.vercel import DEVELOPMENT, PREVIEW, PRODUCTION

_KEY: Final = Credential("SK" + "5e" * 16, "Kq7" * 10 + "ab")
_PROJECT, _OTHER_PROJECT = "abcdefghijklmnopqrst", "tsrqponmlkjihgfedcba"


def service_key(role: str, project: str = _PROJECT) -> str:
    """
    A key of Supabase with these claims; its signature is none.
    """
    parts = ({"alg": "HS256", "typ": "JWT"}, {"iss": "supabase", "ref": project, "role": role})
    encoded = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def _set(*subjects: str, **variables: str | None) -> Callable[[World], list[str]]:
    """
    The process has these variables; those of None it has not.
    """

    def plant(scene: World) -> list[str]:
        scene.variables.update(variables)
        return [f"env/{subject}" for subject in subjects]

    return plant


def _file(*subjects: str, text: str, name: str = ".env") -> Callable[[World], list[str]]:
    """
    An environment file holds this.
    """

    def plant(scene: World) -> list[str]:
        scene.files[name] = text
        return [f"env/{subject}" for subject in subjects]

    return plant


def _as_before(scene: World) -> None:
    scene.variables.clear()
    scene.files.clear()


def _a_key_instead_of_the_token(scene: World) -> None:
    scene.account.api_key = _KEY
    _set(TWILIO_AUTH_TOKEN=None, TWILIO_API_KEY=_KEY.sid, TWILIO_API_SECRET=_KEY.secret)(scene)


def _same_database_by_another_name(scene: World) -> None:
    scene.variables["POSTGRES_URL"] = f"{scene.url}?sslmode=prefer"


def _through_a_pooler(scene: World) -> list[str]:
    scene.variables["DATABASE_URL"] = f"{scene.url}?pgbouncer=true"
    return ["env/DATABASE_URL"]


def _as_nobody(scene: World) -> list[str]:
    scene.variables["DATABASE_URL"] = f"{scene.url}?user=nobody_at_all"
    return ["env/DATABASE_URL"]


def _as_the_owner(scene: World) -> None:
    scene.variables["DATABASE_URL"] = f"{scene.url}?user={urlsplit(scene.url).username}"


def _status(status: str, *subjects: str) -> Callable[[World], list[str]]:
    def plant(scene: World) -> list[str]:
        scene.account.status = status
        return list(subjects)

    return plant


def _numbers_without_sms(scene: World) -> list[str]:
    scene.account.without_sms = list(scene.account.number_sids)
    return ["env/TWILIO_PHONE_NUMBER"]


def _numbers_with_sms(scene: World) -> None:
    scene.account.without_sms = []


def _through_a_staffed_service(scene: World) -> None:
    service = "MG" + "7c" * 16
    scene.account.services = {service: list(scene.account.number_sids)}
    scene.variables["TWILIO_MESSAGING_SERVICE_SID"] = service


def _service_gone(scene: World) -> list[str]:
    scene.account.services = {}
    scene.variables["TWILIO_MESSAGING_SERVICE_SID"] = "MG" + "7c" * 16
    return ["env/TWILIO_MESSAGING_SERVICE_SID"]


def _read_only(setting: str, *subjects: str) -> Callable[[World], list[str]]:
    def plant(scene: World) -> list[str]:
        scene.variables["DATABASE_URL"] = f"{scene.url}?options=-c%20default_transaction_read_only%3D{setting}"
        return list(subjects)

    return plant


def _on_vercel(scene: World) -> None:
    """
    All variables are set for everything, and were when what serves was built.
    """
    names = list(scene.environment())
    project = scene.host()
    for name in names:
        project.set(name, at=scene.now - timedelta(hours=2))
    project.build("a" * 40, at=scene.now - timedelta(hours=1))


def _another_value_for_previews(scene: World) -> None:
    scene.vercel.project.set("TWILIO_PHONE_NUMBER", PREVIEW, branch="feature-1")


def _for_previews_only(scene: World) -> list[str]:
    [variable] = [known for known in scene.vercel.project.variables if known.name == "TWILIO_AUTH_TOKEN"]
    variable.targets = [PREVIEW, DEVELOPMENT]
    return ["env/TWILIO_AUTH_TOKEN"]


def _for_production_too(scene: World) -> None:
    scene.vercel.project.set("TWILIO_AUTH_TOKEN", PRODUCTION)
    _deployed(scene)


def _deployed(scene: World) -> None:
    scene.vercel.project.build("a" * 40)


def _rotated(scene: World) -> list[str]:
    scene.vercel.project.set("TWILIO_AUTH_TOKEN", at=scene.now - timedelta(minutes=5))
    return ["env/TWILIO_AUTH_TOKEN"]


def _rotated_and_deployed(scene: World) -> None:
    project = scene.vercel.project
    project.set("TWILIO_ACCOUNT_SID", at=scene.now - timedelta(minutes=20))
    project.build("a" * 40, at=scene.now - timedelta(minutes=10))


_BLIND_WITHOUT_A_DATABASE: Final = frozenset(
    {"database", *(name for name, made in CATALOGUE.items() if made.family != "env")}
)
_BLIND_WITHOUT_TWILIO: Final = frozenset(
    {"twilio-log", *LIVE[:2], *(name for name, made in CATALOGUE.items() if made.family in {"booking", "message"})}
)

_BLIND_TO_HOSTING: Final = frozenset(
    {*HOSTED, *(name for name, made in CATALOGUE.items() if made.family == "deployment")}
)


INCIDENTS: Final = (
    Incident(
        finding="env-missing",
        title="the auth token is not there, and no key instead",
        cause="env-scope-missing",
        look_alike=_a_key_instead_of_the_token,
        plant=_set("TWILIO_AUTH_TOKEN", TWILIO_AUTH_TOKEN="", TWILIO_API_KEY=None),
        remedy=_as_before,
        also=_BLIND_WITHOUT_TWILIO,
    ),
    Incident(
        finding="env-whitespace",
        title="a file has blanks, line ends, invisible characters and quotes in its values",
        cause="env-value-malformed",
        look_alike=_file(
            text="export BOOKING_API_KEY=\"k1-9f3a\"  # ours\nTEST_API_KEY = k2-77b1\nTEST_EVENT_ID='17'\nOTHER=a b \n"
        ),
        plant=_file(
            *("BOOKING_API_KEY", "TEST_API_KEY", "TEST_EVENT_ID", "TEST_PHONE", "VERCEL_TOKEN", "VERCEL_PROJECT_ID"),
            *("VERCEL_TEAM_ID", "BOOKING_APP_URL"),
            text="\ufeffBOOKING_API_KEY=k1-9f3a\nTEST_API_KEY=k2-77b1 \nTEST_EVENT_ID= 17\nTEST_PHONE=+15550109999\r\n"
            "VERCEL_TOKEN='\"k3-5c\"'\nVERCEL_PROJECT_ID=prj\u200b9\nVERCEL_TEAM_ID=team\u00a0\nBOOKING_APP_URL=https://b.example\\n\n",
        ),
        remedy=_as_before,
        also=_BLIND_TO_HOSTING,
    ),
    Incident(
        finding="env-placeholder",
        title="the example was copied and not filled in",
        cause="env-value-malformed",
        look_alike=_set(BOOKING_API_KEY="yourself-0x1f", TEST_PHONE="+15005650006"),
        plant=_set(
            *("BOOKING_API_KEY", "TEST_API_KEY", "VERCEL_TOKEN", "TEST_PHONE"),
            BOOKING_API_KEY="your_api_key",
            TEST_API_KEY="changeme",
            VERCEL_TOKEN="<token>",  # noqa: S106  the very opposite of one
            TEST_PHONE="+15005550006",
        ),
        remedy=_as_before,
        also=_BLIND_TO_HOSTING,
    ),
    Incident(
        finding="env-malformed",
        title="the public key stands where the service key belongs, and a number lacks its country code",
        cause="effective-role-wrong",
        look_alike=_set(SUPABASE_SERVICE_ROLE_KEY=service_key("service_role"), TEST_PHONE="+15550109999"),
        plant=_set(
            "SUPABASE_SERVICE_ROLE_KEY",
            "TEST_PHONE",
            SUPABASE_SERVICE_ROLE_KEY=service_key("anon"),
            TEST_PHONE="555 010 9999",
        ),
        remedy=_as_before,
    ),
    Incident(
        finding="env-conflict",
        title="a file and the process disagree, and the key is of another project",
        cause="wrong-supabase-project-or-schema",
        look_alike=_file(text="TWILIO_PHONE_NUMBER=+15550100200\nBOOKING_API_KEY=\n"),
        plant=lambda scene: [
            *_file("TWILIO_PHONE_NUMBER", text="TWILIO_PHONE_NUMBER=+15550100299\n")(scene),
            *_set(
                "SUPABASE_SERVICE_ROLE_KEY",
                SUPABASE_URL=f"https://{_PROJECT}.supabase.co",
                SUPABASE_SERVICE_ROLE_KEY=service_key("service_role", _OTHER_PROJECT),
            )(scene),
        ],
        remedy=_as_before,
    ),
    Incident(
        finding="env-tls-not-required",
        title="a database in another network is reached without insisting on encryption",
        look_alike=_same_database_by_another_name,
        plant=_set("POSTGRES_URL", POSTGRES_URL="postgresql://app@db.salon.example/app?sslmode=prefer"),
        remedy=_as_before,
        also=frozenset({"env-conflict"}),
    ),
    Incident(
        finding="env-transaction-pooler",
        title="the application's URL leads to a transaction pooler",
        look_alike=_same_database_by_another_name,
        plant=_through_a_pooler,
        remedy=_as_before,
    ),
    Incident(
        finding="env-not-in-production",
        title="the auth token is set on the hosting platform for previews only",
        cause="env-scope-missing",
        before=_on_vercel,
        look_alike=_another_value_for_previews,
        plant=_for_previews_only,
        remedy=_for_production_too,
    ),
    Incident(
        finding="env-newer-than-build",
        title="the auth token was rotated, and nobody has deployed since",
        cause="env-added-after-build",
        before=_on_vercel,
        look_alike=_rotated_and_deployed,
        plant=_rotated,
        remedy=_deployed,
    ),
    Incident(
        finding="env-rejected",
        title="the database does not know the role",
        look_alike=_as_the_owner,
        plant=_as_nobody,
        remedy=_as_before,
        also=_BLIND_WITHOUT_A_DATABASE,
    ),
    Incident(
        finding="env-rejected",
        title="Twilio has suspended the account",
        cause="account-auth-suspended",
        look_alike=_status("active"),
        plant=_status("suspended", "env/TWILIO_ACCOUNT_SID"),
        remedy=_status("active"),
    ),
    Incident(
        finding="env-sender-unusable",
        title="the number cannot send SMS",
        cause="from-not-owned-or-not-sms-capable",
        look_alike=_through_a_staffed_service,
        plant=_numbers_without_sms,
        remedy=_numbers_with_sms,
    ),
    Incident(
        finding="env-sender-unusable",
        title="the messaging service is of another account",
        cause="messaging-service-empty",
        look_alike=_through_a_staffed_service,
        plant=_service_gone,
        remedy=_as_before,
    ),
    Incident(
        finding="env-database-read-only",
        title="the role is read-only by default",
        cause="read-only-or-replica",
        look_alike=_read_only("off"),
        plant=_read_only("on", "env/DATABASE_URL"),
        remedy=_as_before,
    ),
)
