"""
Rehearsals in worlds of their own: the demo tells the December incident by the very commands one would use on the real
one, the selftest walks every known fault.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from booking_doctor.cli.app import app
from booking_doctor.cli.options import OutputOption, SelectOption
from booking_doctor.cli.progress import counting
from booking_doctor.cli.writing import put
from booking_doctor.errors import ExitCode, SandboxError, UsageError

if TYPE_CHECKING:
    from booking_doctor.doctor import Doctor
    from booking_doctor.sandbox.incidents import World
    from booking_doctor.sandbox.planted.incident import Episode, Incident

_APP: Final = "https://book.example"
_TABLES: Final = ("customers", "pending_bookings", "bookings", "messages")


@app.command()
def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the world running until Ctrl-C, to try the commands by hand.")
    ] = False,
) -> None:
    """
    Tell the December incident on an embedded database. Changes only its own temporary directory.
    """
    from booking_doctor.sandbox.incidents import december_incident, world

    _leave_blocks_when_ended()
    _say("The December incident", bold=True)
    _say("A booking app texts customers before they exist. Since a deployment four days")
    _say("ago the texts go out, but nothing of them reaches the database. This is a world")
    _say("of its own on this machine: an embedded PostgreSQL and a Twilio simulator, both")
    _say("on loopback, both gone at the end.")
    with (
        world(datetime.now(UTC)) as scene,
        tempfile.TemporaryDirectory(prefix="booking-doctor-demo-") as directory,
    ):
        december_incident(scene)
        story = _Story(scene, Path(directory))
        story.tell()
        if keep:
            story.keep()


@app.command()
def selftest(
    ctx: typer.Context,
    *,
    select: SelectOption = None,
    format: Annotated[
        Literal["terminal", "json"], typer.Option("--format", help="How the proof is written.")
    ] = "terminal",
    output: OutputOption = None,
) -> None:
    """
    Plant every known fault and cause, and prove that each is seen for what it is. Changes only its own temporary directory.
    """
    from booking_doctor.cli.proofs import Proven, proven_json, proven_table
    from booking_doctor.sandbox.selftest import proofs

    _leave_blocks_when_ended()
    _forget_surroundings()
    incidents = _chosen(select or [])
    if not incidents:
        message = "nothing is planted for what --select names"
        raise UsageError(message, hint="choose another finding, family or cause")
    started_at, walked = datetime.now(UTC), []
    with counting(ctx.obj, "faults", len(incidents)) as done:
        for proof in proofs(incidents, _doctor_in):
            walked.append(proof)
            done()
    proven = Proven(started_at=started_at, finished_at=datetime.now(UTC), proofs=walked)
    if format == "json":
        put(lambda _: proven_json(proven), output)
    else:
        put(partial(proven_table, proven), output, encoding=None)
    raise typer.Exit(proven.exit_code)


def _chosen(names: Sequence[str]) -> list[Incident | Episode]:
    """
    What is planted for these findings, families and causes; everything where none is named.
    """
    from booking_doctor.causes import CATALOGUE
    from booking_doctor.checks import select
    from booking_doctor.sandbox.planted import EPISODES, INCIDENTS

    causes = [name for name in names if name in CATALOGUE]
    others = [name for name in names if name not in CATALOGUE]
    findings = {made.name for made in select(others)} if others or not names else set()
    return [
        *(incident for incident in INCIDENTS if incident.finding in findings),
        *(episode for episode in EPISODES if episode.cause in causes or not names),
    ]


def _doctor_in(scene: World) -> Doctor:
    from booking_doctor.bootstrap import doctor_for
    from booking_doctor.findings import Silent

    return doctor_for(scene.variable_sources(), scene.preferences(), Silent(), clock=lambda: scene.now)


def _leave_blocks_when_ended() -> None:
    # NOTE: a terminated rehearsal must leave its blocks like an interrupted one, so that its servers are stopped; and a
    # shell starts background jobs with interrupts ignored.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)


def _forget_surroundings() -> None:
    """
    What this machine says of proxies and of PostgreSQL has no business with a world on its loopback.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"


@dataclass(frozen=True)
class _Story:
    """
    The demo's steps, each a command run as a user would run it, in a directory whose ``.env`` leads to the world.
    """

    scene: World
    directory: Path

    def tell(self) -> None:
        lines = [f"{name}={value}\n" for name, value in self.scene.environment().items()]
        (self.directory / ".env").write_text("".join(lines), encoding="utf-8")
        self._symptom()
        self._run("Why is it so, and which texts are missing?", "diagnose --since 7d", ExitCode.FINDINGS)
        self._run("What would be written?", "backfill --since 7d --save plan.json", ExitCode.FINDINGS)
        before = self._digest()
        self._run("Write it, as reviewed.", "backfill --from plan.json --apply --yes", ExitCode.OK)
        self._run("Is it so?", "reconcile --since 7d", ExitCode.OK)
        unrecorded = self._document("reconcile --since 7d")["summary"]["unrecorded"]
        run = self._document("runs")["runs"][0]["id"]
        self._run("And back again.", f"undo {run} --yes", ExitCode.OK)
        self._proof(unrecorded, before, self._digest())
        self._twice()

    def _symptom(self) -> None:
        _say("\nThe symptom", bold=True)
        question = (
            "SELECT status, count(*) AS bookings, count(*) FILTER (WHERE metadata = '{}') AS empty"
            " FROM pending_bookings GROUP BY status ORDER BY status"
        )
        for row in self.scene.rows(question):
            _say(f"  {row['bookings']:>3} bookings {row['status']:<10} {row['empty']:>3} of them with metadata {{}}")
        recorded = self.scene.rows("SELECT count(*) AS rows FROM messages")[0]["rows"]
        _say(
            f"  {len(self.scene.account.messages()):>3} messages in Twilio's log, {recorded} rows in the table messages"
        )

    def _run(self, question: str, words: str, expected: ExitCode) -> None:
        """
        One command and its output. What it would write stands above already, so what it repeats of that is left out.
        """
        _say(f"\n{question}", bold=True)
        _say(f"$ booking-doctor {words}\n", bold=True)
        writes = "--yes" in words
        done = self._call(words, stdout=None, stderr=subprocess.PIPE if writes else None)
        if done.returncode != expected:
            message = f"the demo went wrong: booking-doctor {words} ended with {done.returncode}, not {expected:d}"
            raise SandboxError(message, hint=(done.stderr or b"").decode(errors="replace").strip()[-400:] or None)

    def _document(self, words: str) -> Mapping[str, Any]:
        document: Mapping[str, Any] = json.loads(self._call(f"--quiet {words} --format json", subprocess.PIPE).stdout)
        return document

    def _call(self, words: str, stdout: int | None, stderr: int | None = None) -> subprocess.CompletedProcess[bytes]:
        sys.stdout.flush()
        # NOTE: the process environment outranks .env, so this world's names must not be set by the one we live in.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_SHADOWING)}
        return subprocess.run(
            [sys.executable, "-m", "booking_doctor", *shlex.split(words)],
            cwd=self.directory,
            # A proxy of this machine's has no business with its loopback.
            env={
                **environment,
                "NO_PROXY": "127.0.0.1",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            check=False,
        )

    def _digest(self) -> str:
        """
        Every byte of the tables that a repair may touch.
        """
        digest = hashlib.sha256()
        for table in _TABLES:
            for row in self.scene.rows(f"SELECT CAST(t AS text) AS line FROM {table} t ORDER BY t.id"):  # noqa: S608  our own names
                digest.update(row["line"].encode() + b"\n")
        return digest.hexdigest()

    def _proof(self, unrecorded: int, before: str, after: str) -> None:
        _say("\nThe proof", bold=True)
        _say(f"  unrecorded after apply   {unrecorded}")
        _say(f"  tables before apply      sha256 {before[:16]}")
        _say(f"  tables after undo        sha256 {after[:16]}  {'the same bytes' if before == after else 'DIFFERENT'}")
        if unrecorded or before != after:
            message = "the demo went wrong: the repair or its undo is not what was promised"
            raise SandboxError(message)

    def _twice(self) -> None:
        """
        The December fault done once more, and the flow that takes its place, on this very world.
        """
        from booking_doctor.bootstrap import booking_service_for
        from booking_doctor.core.booking import BookingRequest
        from booking_doctor.errors import RowConflict
        from booking_doctor.sandbox.old_flow import OldBookingService

        _forget_surroundings()
        _say("\nThe same booking, the old way and the new", bold=True)
        wanted = BookingRequest(event_id=self.scene.event(), customer_name="Ada", customer_phone="+15550109999")
        with closing(OldBookingService(self.scene, _APP)) as old:
            try:
                old.initiate_booking(wanted)
            except RowConflict as refused:
                _say(f"  old  texted, then: {refused.summary}")
            else:
                message = "the demo went wrong: the December fault is none any more"
                raise SandboxError(message)
        variables = {**self.scene.environment(), "BOOKING_APP_URL": _APP}
        with closing(booking_service_for(variables, self.scene.preferences())) as new:
            confirmed = new.confirm_booking(new.initiate_booking(wanted).token)
        rows = self.scene.rows("SELECT FROM messages WHERE message_sid = :sid", sid=confirmed.message_sid)
        _say(f"  new  texted, confirmed, recorded: {len(rows)} row for {confirmed.message_sid}")

    def keep(self) -> None:
        # NOTE: until here its time stood still, so that the story is the same each time.
        self.scene.account.clock = partial(datetime.now, UTC)
        _say("\nThe world is yours until Ctrl-C. In another terminal:", bold=True)
        _say(f"  cd {shlex.quote(str(self.directory))}")
        _say("  booking-doctor reconcile --since 7d")
        _say("Its .env says:")
        for name, value in self.scene.environment().items():
            _say(f"  {name}={value}")
        try:
            signal.pause()
        except KeyboardInterrupt:
            _say("\nThe world is gone.")


_SHADOWING: Final = ("TWILIO_", "DATABASE_URL", "SUPABASE_", "POSTGRES_")


def _say(line: str, *, bold: bool = False) -> None:
    typer.secho(line, bold=bold or None)
