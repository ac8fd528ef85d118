"""
The command ``diagnose`` as a person on call and a script use it: everything looked at, what could not be named, and why.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from typer.testing import CliRunner

from booking_doctor.adapters.services import Patience
from booking_doctor.bootstrap import ChosenSources
from booking_doctor.causes import CATALOGUE
from booking_doctor.cli.app import COMMANDS, app
from booking_doctor.doctor import Doctor, Request
from booking_doctor.errors import ExitCode
from booking_doctor.findings import CauseVerdict, Report, Silent, Window
from booking_doctor.report import FORMATS
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.sandbox.planted.story import each, healthy, initiated
from booking_doctor.sandbox.twilio_faults import Fault, On
from booking_doctor.settings import Preferences

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")

Call = Callable[..., Any]
HOUR = timedelta(hours=1)


@pytest.fixture(name="call")
def _call(scene: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs a command in an empty directory with the scene's environment; a variable given as None is not set.
    """
    monkeypatch.chdir(tmp_path)

    def call(*words: str, **variables: str | None) -> Any:
        answer = CliRunner().invoke(app, list(words), env={**scene.environment(), **variables})
        assert answer.exception is None or isinstance(answer.exception, SystemExit)
        assert scene.account.auth_token not in answer.output
        return answer

    return call


def document(answer: Any) -> Any:
    """
    What was said on stdout.
    """
    return json.loads(answer.stdout)


# --- the founding incident -------------------------------------------------------------------------------------------


@pytest.fixture(name="december")
def _december(scene: World, call: Call) -> Any:
    """
    What is said of it.
    """
    december_incident(scene)
    return document(call("diagnose", "--format", "json"))


def test_causes(december: Any) -> None:
    """
    Causes have the contract's shape, come by verdict, and the founding one is first, with what speaks for and against it.
    """
    causes = december["causes"]
    order = [verdict.value for verdict in CauseVerdict]

    assert (december["command"], december["exit_code"], december["verdict"]) == ("diagnose", 1, "findings")
    assert all(
        set(cause) == {"id", "layer", "title", "verdict", "because", "against", "remedy"} and cause["id"] in CATALOGUE
        for cause in causes
    )
    ranks = [order.index(cause["verdict"]) for cause in causes]
    assert ranks == sorted(ranks)
    first = causes[0]
    assert (first["id"], first["verdict"]) == ("old-deployment-serving", "likely")
    assert "13 ids of messages were burnt while 13 bookings were initiated" in first["because"]
    assert "confirmed" not in {cause["verdict"] for cause in causes}
    assert december["diagnosis"].startswith("most likely old-deployment-serving, or ")
    assert december["unexplained"] == ["message-rejected"]


def test_mysteries(december: Any) -> None:
    """
    Each of the five is answered for this world: the texts did go out, and the platform's log was not looked at.
    """
    answers = {answer["mystery"]: answer["yes"] for answer in december["mysteries"]}

    assert answers == {
        "The metadata of bookings is empty": True,
        "No text arrives": False,
        "The new log lines are missing": None,
        "No error is to be seen": True,
        "Other texts with the same credentials are fine": True,
    }
    assert all(answer["evidence"] for answer in december["mysteries"])


def test_onset_and_impact(december: Any, scene: World) -> None:
    """
    Since when, by the hour; whom it hit, and what the lost texts cost.
    """
    onset, impact = december["onset"], december["impact"]

    assert sum(onset["by_hour"].values()) == 13
    assert onset["first_bad"] < onset["last_good"]
    assert {name: impact[name] for name in ("people", "sent_not_recorded", "never_sent", "cost_usd")} == {
        "people": 14,
        "sent_not_recorded": 13,
        "never_sent": 0,
        "cost_usd": "0.10270",
    }
    harms = {harm["finding"]: harm for harm in impact["by_finding"]}
    assert harms["message-unrecorded"] == {
        "finding": "message-unrecorded",
        "subjects": 13,
        "people": 13,
        "cost_usd": "0.10270",
    }
    assert harms["booking-metadata-empty"]["subjects"] == 4


def test_next_steps(december: Any, call: Call) -> None:
    """
    They are commands that work: understand the cause, repair what it left, look again.
    """
    steps = december["next_steps"]

    assert steps[0] == "booking-doctor explain old-deployment-serving"
    assert steps[-2:] == ["booking-doctor backfill --since 7d", "booking-doctor diagnose --since 7d"]
    for step in steps:
        assert call(*step.split()[1:]).exit_code in {0, 1}


def test_screen(scene: World, call: Call) -> None:
    """
    On a terminal the verdict comes first, then the mysteries, causes, findings, what was looked at, what to do.
    """
    december_incident(scene)

    said = call("diagnose").stdout

    assert re.search(r"\AFindings: .+\nDiagnosis: most likely old-deployment-serving", said)
    places = [
        said.index(heading)
        for heading in (
            *("The five mysteries", "LIKELY  old-deployment-serving", "Unexplained", "Since when", "Whom it hit"),
            *("ERROR  booking-metadata-empty", "Looked at", "What to do next"),
        )
    ]
    assert places == sorted(places)
    assert max(map(len, said.splitlines())) <= 120


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "csv"])
def test_formats(scene: World, call: Call, format: str) -> None:
    """
    Every format takes it, and shows no phone.
    """
    december_incident(scene)

    answer = call("diagnose", "--format", format)

    assert answer.stdout
    assert "+1555010" not in answer.stdout


def test_healthy(scene: World, call: Call) -> None:
    """
    Where nothing is wrong, no cause is told and the exit code is 0.
    """
    healthy(scene)

    said = document(call("diagnose", "--format", "json"))

    assert (said["exit_code"], said["causes"], said["unexplained"], said["onset"]) == (0, [], [], None)
    assert said["diagnosis"] == "no cause is seen at work"
    assert said["impact"]["people"] == 0


# --- narrower --------------------------------------------------------------------------------------------------------


def asked_for_messages(scene: World) -> bool:
    """
    Whether anybody walked through Twilio's log.
    """
    return any(
        "/Messages.json" in request.path and request.query.get("PageSize") != "1"
        for request in scene.simulator.requests
    )


def test_quick(scene: World, call: Call) -> None:
    """
    The smoke check does not walk through Twilio's log; it says so, and excludes nothing for want of it.
    """
    december_incident(scene)

    said = document(call("diagnose", "--quick", "--format", "json"))

    assert said["exit_code"] == 1
    assert not asked_for_messages(scene)
    assert said["causes"][0]["id"] == "old-deployment-serving"
    assert not {finding["name"] for finding in said["findings"]} & {"message-unrecorded", "message-undelivered"}
    assert said["impact"]["sent_not_recorded"] is None
    geo = next(cause for cause in said["causes"] if cause["id"] == "geo-permission")
    assert geo["verdict"] == "possible"
    assert "not excluded: Twilio's log could not be read" in geo["against"]


def test_select(scene: World, call: Call) -> None:
    """
    Only the chosen checks are made, and what the others would have shown is not taken for absent.
    """
    december_incident(scene)

    said = document(call("diagnose", "--select", "booking", "--format", "json"))

    assert {finding["name"].partition("-")[0] for finding in said["findings"]} == {"booking"}
    rls = next(cause for cause in said["causes"] if cause["id"] == "rls-update-zero-rows")
    assert rls["verdict"] != "excluded"
    assert "not excluded: it was not looked at" in rls["against"]


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (("DATABASE_URL",), "env-missing"),
        (("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"), "booking-metadata-empty"),
        (("DATABASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"), "env-missing"),
    ],
)
def test_settings_missing(scene: World, call: Call, missing: tuple[str, ...], told: str) -> None:
    """
    Without a database, without Twilio, without anything: the rest is told, and the exit code is 3.
    """
    december_incident(scene)

    answer = call("diagnose", "--format", "json", **dict.fromkeys(missing))

    said = document(answer)
    assert (answer.exit_code, said["verdict"]) == (3, "incomplete")
    assert told in {finding["name"] for finding in said["findings"]}
    assert "confirmed" not in {cause["verdict"] for cause in said["causes"]}


def test_database_down(scene: World, call: Call) -> None:
    """
    Then the environment and Twilio are still told, with no harm to be the cause of; nothing of the database is excluded.
    """
    december_incident(scene)
    split = urlsplit(scene.url)
    elsewhere = urlunsplit(split._replace(netloc=f"{split.username}:{split.password}@127.0.0.1:1"))

    answer = call("diagnose", "--format", "json", DATABASE_URL=elsewhere, TWILIO_PHONE_NUMBER="+15550100777")

    said = document(answer)
    assert answer.exit_code == 3
    assert "env-sender-unusable" in {finding["name"] for finding in said["findings"]}
    assert (said["causes"][0]["id"], said["causes"][0]["verdict"]) == ("from-not-owned-or-not-sms-capable", "possible")
    assert said["onset"] is None


def test_rows_hidden(scene: World, call: Call) -> None:
    """
    Where row level security hides the rows from us, that is said, and empty tables are not taken for healthy ones.
    """
    december_incident(scene)
    role, database = f"app_{scene.url.rpartition('/')[2]}", scene.url.rpartition("/")[2]
    scene.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD 'no-secret'")
    scene.execute(f'GRANT CONNECT ON DATABASE "{database}" TO "{role}"')
    scene.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"')
    scene.execute("ALTER TABLE pending_bookings ENABLE ROW LEVEL SECURITY")
    split = urlsplit(scene.url)
    ours = urlunsplit(split._replace(netloc=f"{role}:no-secret@{split.hostname}:{split.port}"))

    answer = call("diagnose", "--format", "json", DATABASE_URL=ours)

    said = document(answer)
    scene.execute(f'DROP OWNED BY "{role}"')
    assert answer.exit_code == 3
    assert any("row level security hides rows" in skipped["reason"] for skipped in said["skipped"])
    empty = next(mystery for mystery in said["mysteries"] if "metadata" in mystery["mystery"])
    assert empty["yes"] is None
    assert said["impact"]["never_sent"] is None


@pytest.fixture(name="impatient")
def _impatient(scene: World) -> Iterator[Callable[[], Report]]:
    """
    Diagnoses the scene, and waits for Twilio a second only.
    """
    opened: list[Doctor] = []

    def diagnose() -> Report:
        patience = Patience(read_timeout=1, give_up_after=1)
        sources = ChosenSources(
            scene.environment(), Preferences(), Silent(), patience, origins=scene.variable_sources()
        )
        doctor = Doctor(sources, Preferences(), clock=lambda: scene.now, run_id=lambda _: "run", progress=Silent())
        opened.append(doctor)
        return doctor.diagnose(Request(window=Window(scene.now - timedelta(days=7), scene.now)))

    yield diagnose
    for doctor in opened:
        doctor.close()


def test_twilio_hangs(scene: World, impatient: Callable[[], Report]) -> None:
    """
    A log that does not answer costs its time-out and nobody else's: what the database shows is told all the same.
    """
    for age in each(4, HOUR):
        initiated(scene, age)
    scene.execute("CREATE RULE frozen AS ON UPDATE TO pending_bookings DO INSTEAD NOTHING")
    scene.simulator.faults.add(Fault.hang(), times=99, on=On(path="/Messages.json", contains="DateSent"))

    begun = time.monotonic()
    report = impatient()

    assert time.monotonic() - begun < 20
    assert report.exit_code is ExitCode.INCOMPLETE
    assert report.diagnosis is not None
    first = report.diagnosis.causes[0]
    assert (first.id, first.verdict) == ("rule-or-view-swallows-update", CauseVerdict.CONFIRMED)
    assert report.diagnosis.impact.sent_not_recorded is None
