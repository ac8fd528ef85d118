"""
The command `probe-api`: one booking over real HTTP, followed through PostgreSQL and Twilio's log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from booking_doctor.adapters.client import ApplicationClient
from booking_doctor.cli.app import COMMANDS
from booking_doctor.cli.app import app as program
from booking_doctor.sandbox.booking_app import TEST_PHONE, BookingApp, probed
from booking_doctor.sandbox.exchange import Reply
from booking_doctor.sandbox.incidents import World, world
from booking_doctor.sandbox.planted.probes import corrected_flow, old_flow
from booking_doctor.sandbox.twilio_faults import Fault

Call = Callable[..., tuple[int, dict[str, Any], str]]

for _module in COMMANDS:
    import_module(f"booking_doctor.cli.{_module}")


@pytest.fixture(name="scene")
def _scene(database_url: str) -> Iterator[World]:
    """
    A world of today: a booking made now is told by the real clock.
    """
    with world(datetime.now(UTC).replace(microsecond=0), database_url=database_url) as scene:
        yield scene


@pytest.fixture(name="app")
def _app(scene: World, monkeypatch: pytest.MonkeyPatch) -> BookingApp:
    """
    The application with the corrected flow; the second look comes at once.
    """
    monkeypatch.setattr("booking_doctor.probe.BETWEEN_READS_S", 0.05)
    served = probed(scene)
    served.flow = corrected_flow(scene)
    return served


@pytest.fixture(name="call")
def _call(scene: World, app: BookingApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """
    Runs the command in an empty directory; gives the exit code, the document and stderr.
    """
    monkeypatch.chdir(tmp_path)

    def call(*words: str, **variables: str) -> tuple[int, dict[str, Any], str]:
        environment = {**scene.environment(), **variables}
        result = CliRunner().invoke(program, ["probe-api", "--format", "json", *words], env=environment)
        assert "Traceback" not in result.stderr
        assert "k1-of-the-simulated-application" not in result.output
        assert TEST_PHONE not in result.output
        return result.exit_code, json.loads(result.stdout) if result.stdout else {}, result.stderr

    return call


def happened(document: dict[str, Any]) -> list[str]:
    """
    The steps with what became of them.
    """
    return [step.partition(":")[0] for step in document["coverage"]["steps"]]


ALL = ["yes answered", "yes accepted", "yes stored", "yes texted", "yes kept in the metadata"]


def test_the_corrected_flow_gets_to_its_end(call: Call, scene: World) -> None:
    """
    Every step is seen where it happens; one booking, one text.
    """
    code, document, stderr = call("--yes")

    assert (code, happened(document), document["findings"]) == (0, ALL, [])
    assert document["coverage"]["last_step"] == "kept in the metadata"
    assert scene.rows("SELECT count(*) AS n FROM pending_bookings")[0]["n"] == 1
    assert len(scene.account.messages()) == 1
    assert "phone: +1***33" in stderr


def test_the_old_flow_stops_before_the_metadata(call: Call, scene: World, app: BookingApp) -> None:
    """
    The December deployment answers as if all were well; the probe names the step at which the text was lost.
    """
    app.flow = old_flow(scene, app.base_url)
    code, document, _ = call("--yes")

    assert code == 1
    assert happened(document) == [*ALL[:-1], "NO kept in the metadata"]
    (finding,) = document["findings"]
    assert finding["name"] == "probe-stopped"
    assert finding["summary"].startswith(
        "The probe's last step was: texted. Not kept in the metadata: the metadata is empty"
    )
    assert finding["evidence"]["steps"][-1]["happened"] is False


def test_without_a_yes_nothing_is_sent(call: Call, scene: World) -> None:
    """
    Nobody to ask means no; the target is named first.
    """
    code, _, stderr = call()

    assert code == 4
    assert "application: 127.0.0.1" in stderr
    assert "--yes" in stderr
    assert len(scene.account.messages()) == 0
    assert scene.rows("SELECT id FROM pending_bookings") == []


def test_dry_changes_nothing(call: Call, scene: World, app: BookingApp) -> None:
    """
    An invalid body shows which code answers, without consent and without a database.
    """
    code, document, _ = call("--dry", DATABASE_URL="")
    assert (code, document["coverage"]["last_step"]) == (0, "refused as the corrected API does")

    app.faults.add(Fault(name="html", instead=Reply(status=200, body=b"<html>", headers={"Content-Type": "text/html"})))
    code, document, _ = call("--dry")
    assert code == 1
    assert "the answer is no JSON (HTTP 200, text/html)" in document["findings"][0]["summary"]
    assert scene.rows("SELECT id FROM pending_bookings") == []
    assert len(scene.account.messages()) == 0


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (
            Reply(status=308, headers={"Location": "https://u:secret@other.example/x?k=1"}),
            "redirects to other.example/x",
        ),
        (Reply(status=401, body=b"<html>", headers={"Content-Type": "text/html"}), "the key was refused"),
        (Reply(status=502, body=b"<html>", headers={"Content-Type": "text/html"}), "the answer is no JSON (HTTP 502"),
        (Reply(status=200, body=b"{}", headers={"Content-Type": "application/json"}), "names no booking_id"),
    ],
)
def test_something_else_answers(call: Call, app: BookingApp, reply: Reply, told: str) -> None:
    """
    A redirect is named and not followed; whatever is no answer of the API is where the booking stopped.
    """
    app.faults.add(Fault(name="other", instead=reply))
    code, document, _ = call("--yes")

    assert code == 1
    assert document["coverage"]["last_step"] == "answered"
    assert told in document["findings"][0]["summary"]
    assert "secret" not in json.dumps(document)


def test_a_lost_answer_is_looked_for_in_the_database(call: Call, app: BookingApp) -> None:
    """
    The connection breaks after the booking was made: it is found by its phone, and nothing is claimed of the answer.
    """
    app.faults.add(Fault(name="lost", ending="reset"))
    code, document, _ = call("--yes")

    assert happened(document)[:3] == ["NO answered", "not looked at accepted", "yes stored"]
    assert code == 3
    assert "whether it was taken is not known" in document["findings"][0]["summary"]
    assert document["coverage"]["booking_id"]


def test_nobody_there(call: Call) -> None:
    """
    One step, that did not happen, and no other claimed.
    """
    code, document, _ = call("--yes", BOOKING_APP_URL="http://127.0.0.1:9")
    assert (code, happened(document)) == (1, ["NO answered"])


def test_what_cannot_be_asked_is_not_looked_at(call: Call) -> None:
    """
    Without a database the answer and Twilio still speak, and the report is incomplete.
    """
    code, document, stderr = call("--yes", DATABASE_URL="")
    assert code == 3
    assert happened(document) == [*ALL[:2], "not looked at stored", ALL[3], "not looked at kept in the metadata"]
    assert "DATABASE_URL" in stderr


def test_cleanup_removes_its_own_booking_only(call: Call, scene: World) -> None:
    """
    The probe's booking goes, everybody else's stays, and the text is said to be sent.
    """
    other = scene.pending_booking(TEST_PHONE)
    _, document, _ = call("--yes", "--cleanup")

    assert [row["id"] for row in scene.rows("SELECT CAST(id AS text) AS id FROM pending_bookings")] == [other]
    assert "a text cannot be taken back" in document["coverage"]["cleanup"]


def test_cleanup_leaves_what_is_no_longer_pending(call: Call, scene: World) -> None:
    """
    A booking that was confirmed in the meantime stays, and that is said.
    """
    scene.execute("CREATE RULE kept AS ON DELETE TO pending_bookings DO INSTEAD NOTHING")
    _, document, _ = call("--yes", "--cleanup")
    assert "stays" in document["coverage"]["cleanup"]


@pytest.mark.parametrize("name", ["BOOKING_APP_URL", "TEST_API_KEY", "TEST_EVENT_ID", "TEST_PHONE"])
def test_each_missing_variable_is_named(call: Call, name: str) -> None:
    """
    Before anything is sent.
    """
    code, _, stderr = call("--yes", **{name: ""})
    assert code == 2
    assert name in stderr
    assert ("--phone" in stderr) == (name == "TEST_PHONE")


@pytest.mark.parametrize("phone", ["12", "nonsense", "+1555"])
def test_a_wrong_phone_is_refused(call: Call, scene: World, phone: str) -> None:
    """
    A number that nobody can have is no reason to send anything.
    """
    code, _, stderr = call("--yes", "--phone", phone)
    assert code == 2
    assert "phone" in stderr
    assert len(scene.account.messages()) == 0


def test_dry_takes_no_phone(call: Call) -> None:
    """
    Options without a use are a misunderstanding.
    """
    assert call("--dry", "--cleanup")[0] == 2


def test_the_key_goes_nowhere_but_to_the_application(app: BookingApp) -> None:
    """
    Without a key none is sent.
    """
    answer = ApplicationClient(app.base_url, None).post("/nowhere", {})
    assert getattr(answer, "status", None) == 404
