"""
Walks planted faults: each in a world of its own, seen by its check and by no other, gone after its remedy; and planted
causes, each told first.

The tests walk them on their server, `selftest` on one that it brings along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import count
from typing import Final, Protocol

from msgspec import Struct, field
from sqlalchemy import Connection, create_engine, text

from booking_doctor.checks import select
from booking_doctor.doctor import Doctor, Request
from booking_doctor.evidence import ExpectedBuild
from booking_doctor.findings import CauseVerdict, CauseView, Report, Window
from booking_doctor.sandbox.booking_app import TEST_PHONE
from booking_doctor.sandbox.database import Cluster, embedded_postgres
from booking_doctor.sandbox.incidents import World, world
from booking_doctor.sandbox.planted.incident import Episode, Incident

_TEMPLATE: Final = "rehearsal"


class Beat(StrEnum):
    """
    What has to hold of a planted fault or cause.
    """

    PLANTED = "planted"
    SEEN = "seen by its check"
    ALONE = "seen by no other"
    RANKED = "its cause first, no other confirmed"
    LOOK_ALIKE = "look-alike left alone"
    REMEDY = "remedy applied"
    GONE = "gone"


EPISODE: Final = (Beat.PLANTED, Beat.RANKED)
"""What has to hold of a cause."""


class Proof(Struct, frozen=True, kw_only=True):
    """
    One fault, or one cause, as it was walked.

    Attributes:
        held: Whether each beat held, as far as they were come to.
        complaints: What was seen instead, a sentence each.
        broken_off: Why not all beats were come to; None where they were.
    """

    incident: Incident | Episode
    held: dict[Beat, bool] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    broken_off: str | None = None

    @property
    def complete(self) -> bool:
        """
        Whether everything held.
        """
        beats = EPISODE if isinstance(self.incident, Episode) else tuple(Beat)
        return self.broken_off is None and all(self.held.get(beat) for beat in beats)

    @property
    def name(self) -> str:
        """
        What it is about: a finding or a cause.
        """
        return self.incident.cause or "none" if isinstance(self.incident, Episode) else self.incident.finding


class _Sight(Struct, frozen=True):
    """
    What the whole examination sees just now.
    """

    fingerprints: frozenset[str]
    blind: frozenset[str]
    causes: tuple[CauseView, ...] = ()

    @classmethod
    def of(cls, report: Report) -> _Sight:
        causes = tuple(report.diagnosis.causes) if report.diagnosis else ()
        blind = (skipped.check for skipped in report.skipped if skipped.kind in {"unreachable", "not-permitted"})
        return cls(frozenset(finding.fingerprint for finding in report.findings), frozenset(blind), causes)

    def misjudged(self, cause: str | None, beside: Iterable[str]) -> list[str]:
        """
        How the ranking differs from naming that cause first, and confirming no other than those beside it.
        """
        confirmed = {view.id for view in self.causes if view.verdict is CauseVerdict.CONFIRMED}
        told = [view.id for view in self.causes if view.verdict is not CauseVerdict.EXCLUDED]
        first = told[0] if told else "no cause"
        return [
            *([f"{first} ranks first, not {cause}"] if cause and first != cause else []),
            *(f"{other} is confirmed" for other in sorted(confirmed.difference(beside, {cause}))),
        ]

    def blamed(self) -> list[str]:
        """
        Causes that are told although nothing is ill.
        """
        sure = (CauseVerdict.CONFIRMED, CauseVerdict.LIKELY)
        return [f"{view.id} is {view.verdict}" for view in self.causes if view.verdict in sure]

    def complaints(self, expected: Iterable[str]) -> list[str]:
        """
        How this differs from having looked everywhere and seen what was expected.
        """
        wanted = frozenset(expected)
        return [
            *(f"{fingerprint} was not seen" for fingerprint in sorted(wanted - self.fingerprints)),
            *(f"{fingerprint} was seen" for fingerprint in sorted(self.fingerprints - wanted)),
            *(f"{check} could not look" for check in sorted(self.blind)),
        ]


def walk(incident: Incident, scene: World, open_doctor: Callable[[], Doctor]) -> Iterator[tuple[Beat, list[str]]]:
    """
    Live through the fault: each beat as it is done, with what speaks against it.

    Args:
        scene: Nothing of the fault has happened there yet.
        open_doctor: Makes a doctor for the scene as it is.
    """
    look = _looking(scene, open_doctor)
    incident.before(scene)
    usual = look().fingerprints
    incident.look_alike(scene)
    yield Beat.LOOK_ALIKE, look().complaints(usual)

    planted = {f"{incident.finding}:{subject}" for subject in incident.plant(scene)}
    yield Beat.PLANTED, [] if planted else ["nothing was planted"]

    seen = look(why=True)
    yield Beat.SEEN, [f"{fingerprint} was not seen" for fingerprint in sorted(planted - seen.fingerprints)]
    yield Beat.RANKED, seen.misjudged(incident.cause, incident.beside)
    others = _without(seen, planted, incident.also)
    yield Beat.ALONE, others.complaints(others.fingerprints & usual)

    incident.remedy(scene)
    yield Beat.REMEDY, []
    yield Beat.GONE, look().complaints(usual)


def suffer(episode: Episode, scene: World, open_doctor: Callable[[], Doctor]) -> Iterator[tuple[Beat, list[str]]]:
    """
    Live through the cause, and see it told first; where nothing is ill, see none told that is likely.

    Args:
        scene: Nothing has happened there yet.
        open_doctor: Makes a doctor for the scene as it is.
    """
    look = _looking(scene, open_doctor)
    episode.happen(scene)
    yield Beat.PLANTED, []
    seen = look(why=True)
    yield Beat.RANKED, seen.misjudged(episode.cause, episode.beside) if episode.cause else seen.blamed()


def _without(seen: _Sight, planted: Iterable[str], also: frozenset[str]) -> _Sight:
    """
    What was seen beside the fault and what always comes with it; a check that the fault itself blinds is named there too.
    """
    fingerprints = {name for name in seen.fingerprints.difference(planted) if name.partition(":")[0] not in also}
    return _Sight(frozenset(fingerprints), seen.blind - also)


class _Look(Protocol):
    def __call__(self, *, why: bool = False) -> _Sight: ...


def _looking(scene: World, open_doctor: Callable[[], Doctor]) -> _Look:
    window = Window(scene.now - timedelta(days=7), scene.now)

    def look(*, why: bool = False) -> _Sight:
        request = Request(
            window=window,
            expected_build=ExpectedBuild(**scene.expected),
            probing=scene.variables.get("TEST_PHONE") == TEST_PHONE,
        )
        with closing(open_doctor()) as doctor:
            return _Sight.of(doctor.diagnose(request) if why else doctor.examine("selftest", select(), request))

    return look


def proofs(incidents: Iterable[Incident | Episode], open_doctor: Callable[[World], Doctor]) -> Iterator[Proof]:
    """
    Walk the faults and causes one after the other, on an embedded server.

    Raises:
        SandboxError: The server is not installed, or did not start.
    """
    with embedded_postgres() as cluster, _connected(cluster) as server:
        with world(datetime.now(UTC), database_url=_database(cluster, server, _TEMPLATE, "template1")):
            pass  # NOTE: it leaves the tables behind, and every fault gets a copy of them.
        for incident, number in zip(incidents, count(1), strict=False):
            with _copy(cluster, server, f"fault_{number}") as scene:
                yield _proof(incident, scene, open_doctor)


def _proof(incident: Incident | Episode, scene: World, open_doctor: Callable[[World], Doctor]) -> Proof:
    proof, doctor = Proof(incident=incident), lambda: open_doctor(scene)
    beats = suffer(incident, scene, doctor) if isinstance(incident, Episode) else walk(incident, scene, doctor)
    try:
        for beat, complaints in beats:
            proof.held[beat] = not complaints
            proof.complaints.extend(complaints)
    except Exception as error:  # noqa: BLE001  one fault that cannot be walked is no reason to leave the others
        return Proof(incident=incident, held=proof.held, complaints=proof.complaints, broken_off=_reason(error))
    return proof


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Connection]:
    """
    One connection for all that is done to whole databases, outside of transactions.
    """
    url = cluster.url().replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _copy(cluster: Cluster, server: Connection, name: str) -> Iterator[World]:
    """
    A world in a database of its own, which goes with the roles that were made for it: those are the whole server's.
    """
    roles = _roles(server)
    try:
        url = _database(cluster, server, name, _TEMPLATE)
        with world(datetime.now(UTC).replace(microsecond=0), database_url=url) as scene:
            yield scene
    finally:
        server.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
        for role in sorted(_roles(server) - roles):
            server.execute(text(f'DROP ROLE "{role}"'))


def _database(cluster: Cluster, server: Connection, name: str, template: str) -> str:
    server.execute(text(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    return cluster.url(name)


def _roles(server: Connection) -> frozenset[str]:
    return frozenset(server.execute(text("SELECT CAST(rolname AS text) FROM pg_roles")).scalars())
