"""
Causes that sit in the variables, planted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.environment import service_key
from booking_doctor.sandbox.planted.incident import Episode
from booking_doctor.sandbox.planted.story import confirmed, each, healthy, initiated, noted, phone, stored
from booking_doctor.sandbox.twilio import Credential

_HOUR: Final = timedelta(hours=1)
_PROJECT, _OTHER_PROJECT = "abcdefghijklmnopqrst", "tsrqponmlkjihgfedcba"


def _nothing_sent(scene: World) -> None:
    healthy(scene)
    for age in each(4, _HOUR):
        initiated(scene, age, texted=False)


def _token_missing(scene: World) -> None:
    _nothing_sent(scene)
    scene.variables["TWILIO_AUTH_TOKEN"] = None


def _previews_only(scene: World) -> None:
    """
    The platform has the messaging service's variable for previews, and not for production.
    """
    _nothing_sent(scene)
    project = scene.host()
    project.set("TWILIO_PHONE_NUMBER", "preview", at=scene.now - timedelta(days=3))
    project.build("f1x", at=scene.now - timedelta(days=2))


def _set_after_the_build(scene: World) -> None:
    _nothing_sent(scene)
    project = scene.host()
    project.build("f1x", at=scene.now - timedelta(days=2))
    project.set("TWILIO_PHONE_NUMBER", at=scene.now - timedelta(hours=2))


def _newline_in_the_token(scene: World) -> None:
    _nothing_sent(scene)
    scene.variables["TWILIO_AUTH_TOKEN"] = f"{scene.account.auth_token}\n"


def _placeholder(scene: World) -> None:
    _nothing_sent(scene)
    scene.variables["TWILIO_ACCOUNT_SID"] = "ACxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"


def _two_projects(scene: World) -> None:
    """
    The application writes to another project; its texts go to people whom nobody here knows.
    """
    healthy(scene)
    for age in each(4, _HOUR):
        scene.text(phone(), scene.now - age)
    scene.variables.update(
        {
            "SUPABASE_URL": f"https://{_PROJECT}.supabase.co",
            "SUPABASE_SERVICE_ROLE_KEY": service_key("service_role", _OTHER_PROJECT),
        }
    )


def _twin_schema(scene: World) -> None:
    healthy(scene)
    for age in each(4, _HOUR):
        scene.text(phone(), scene.now - age)
    scene.execute("CREATE SCHEMA api")
    for table in ("pending_bookings", "messages", "customers"):
        scene.execute(f"CREATE TABLE api.{table} (LIKE public.{table})")


def _public_key(scene: World) -> None:
    healthy(scene)
    for age in each(4, _HOUR):
        initiated(scene, age)
    scene.variables.update(
        {
            "SUPABASE_URL": f"https://{_PROJECT}.supabase.co",
            "SUPABASE_SERVICE_ROLE_KEY": service_key("anon", _PROJECT),
        }
    )


def _elsewhere(scene: World) -> None:
    """
    Texts have had SIDs of another account since the day before yesterday; they were billed there.
    """
    healthy(scene)
    for number, age in enumerate(each(5, _HOUR)):
        booked = stored(scene, initiated(scene, age, text={"sid": f"SM{number:032x}"}))
        confirmed(scene, booked)
        if booked.message:
            scene.account.delete(booked.message.sid)


def _two_accounts(scene: World) -> None:
    _elsewhere(scene)
    scene.files[".env"] = "TWILIO_ACCOUNT_SID=AC" + "5d" * 16 + "\n"


def _for_tests(scene: World) -> None:
    """
    Every text gets a SID that exists nowhere, from the magic number; the doctor has the live credentials.
    """
    healthy(scene)
    for number, age in enumerate(each(5, _HOUR)):
        text = {"sid": f"SM{number:032x}", "status": "queued", "price": None, "sender": "+15005550006"}
        booked = stored(scene, initiated(scene, age, text=text))
        confirmed(scene, booked)
        if booked.message:
            scene.account.delete(booked.message.sid)


def _doctor_has_the_same(scene: World) -> None:
    test = Credential("AC" + "7e" * 16, "5a" * 16)
    scene.account.test_credential = test
    scene.variables.update({"TWILIO_ACCOUNT_SID": test.sid, "TWILIO_AUTH_TOKEN": test.secret})


def _switched_off(scene: World) -> None:
    _nothing_sent(scene)
    scene.variables["SMS_ENABLED"] = "false"


def _dry_run(scene: World) -> None:
    _nothing_sent(scene)
    scene.files[".env"] = "SMS_DRY_RUN=1\n"


def _only_ipv6(scene: World) -> None:
    scene.variables["POSTGRES_URL"] = (
        f"postgresql://postgres:{'x1' * 6}@db.{_PROJECT}.supabase.co:5432/postgres?sslmode=require"
    )
    healthy(scene)
    noted(scene, "booking.initiated", f"connect ENETUNREACH 2600:1f18::1:5432 (db.{_PROJECT}.supabase.co)")


EPISODES: Final = (
    Episode(cause="env-scope-missing", title="the auth token is not there", happen=_token_missing),
    Episode(cause="env-scope-missing", title="production has no sender", happen=_previews_only),
    Episode(cause="env-added-after-build", title="the sender is newer than the build", happen=_set_after_the_build),
    Episode(cause="env-value-malformed", title="the token ends in a newline", happen=_newline_in_the_token),
    Episode(cause="env-value-malformed", title="the account is a placeholder", happen=_placeholder),
    Episode(
        cause="wrong-supabase-project-or-schema", title="address and key are of two projects", happen=_two_projects
    ),
    Episode(cause="wrong-supabase-project-or-schema", title="another schema has the same tables", happen=_twin_schema),
    Episode(cause="effective-role-wrong", title="the public key stands for the service key", happen=_public_key),
    Episode(cause="twilio-wrong-account", title="SIDs are of another account", happen=_elsewhere),
    Episode(cause="twilio-wrong-account", title="two places name two accounts", happen=_two_accounts),
    Episode(cause="twilio-test-credentials", title="texts come from the magic number", happen=_for_tests),
    Episode(cause="twilio-test-credentials", title="the credential is one for tests", happen=_doctor_has_the_same),
    Episode(cause="sms-disabled-by-flag", title="a flag switches texts off", happen=_switched_off),
    Episode(cause="sms-disabled-by-flag", title="it is a dry run", happen=_dry_run),
    Episode(cause="egress-ipv6", title="the database has only IPv6", happen=_only_ipv6),
)
