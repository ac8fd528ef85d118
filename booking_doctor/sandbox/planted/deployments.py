"""
Faults of what runs: who answers at the public address, and what the hosting platform has built.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from booking_doctor.sandbox.application import CHALLENGE, CRASHED, LOGIN, NO_ROUTE, PAGE, Serving, moved
from booking_doctor.sandbox.exchange import Reply
from booking_doctor.sandbox.incidents import World
from booking_doctor.sandbox.planted.incident import Incident
from booking_doctor.sandbox.twilio_faults import Fault
from booking_doctor.sandbox.vercel import LogLine

_HERE: Final = "deployment/127.0.0.1"
_INITIATE: Final = "/api/bookings/initiate"
_OLD, _NEW, _FIX = "a" * 40, "b" * 40, "c" * 40


def _running(scene: World) -> None:
    """
    The application runs with the settings that we have, and knows our key.
    """
    application = scene.open()
    scene.variables["BOOKING_API_KEY"] = application.key.value
    application.variables = scene.environment()


def _instead(reply: Reply) -> Callable[[World], list[str]]:
    """
    Something else answers from now on.
    """

    def plant(scene: World) -> list[str]:
        scene.application.faults.add(Fault(name="instead", instead=reply), times=None)
        return [_HERE]

    return plant


def _hanging_up(scene: World) -> list[str]:
    scene.application.faults.add(Fault.closed(), times=None)
    return [_HERE]


def _answering_again(scene: World) -> None:
    scene.application.faults.clear()


def _slowly(scene: World) -> None:
    scene.application.latency = timedelta(milliseconds=200)


def _once_unwell(scene: World) -> None:
    """
    Something that was wrong, and is no more.
    """
    scene.application.faults.add(Fault(name="unwell", instead=CRASHED), times=None)
    scene.application.faults.clear()


def _serving(*builds: Serving) -> Callable[[World], list[str]]:
    """
    These builds answer in turn.
    """

    def plant(scene: World) -> list[str]:
        scene.application.serving = builds
        return [_HERE]

    return plant


def _frozen(scene: World) -> list[str]:
    scene.application.frozen = datetime.now(UTC).replace(microsecond=123_456)
    return [_HERE]


def _alive(scene: World) -> None:
    scene.application.frozen = None


def _clock(error: timedelta) -> Callable[[World], list[str]]:
    def plant(scene: World) -> list[str]:
        scene.application.clock_error = error
        return [_HERE]

    return plant


def _another_number(scene: World) -> list[str]:
    scene.application.variables = {**scene.environment(), "TWILIO_PHONE_NUMBER": "+15550100299"}
    return ["env/TWILIO_PHONE_NUMBER"]


def _another_flag(scene: World) -> None:
    scene.application.variables = {**scene.environment(), "BANNER": "summer", "LOG_LEVEL": "debug"}


def _expecting(commit: str) -> Callable[[World], list[str]]:
    def plant(scene: World) -> list[str]:
        scene.expected["commit"] = commit
        return [_HERE]

    return plant


# On Vercel


def _hosted(scene: World) -> None:
    """
    One deployment serves; its variables were set before.
    """
    names = list(scene.environment())
    project = scene.host()
    for name in names:
        project.set(name, at=scene.now - timedelta(hours=5))
    project.build(_OLD, at=scene.now - timedelta(hours=4))


def _built(scene: World, commit: str = _NEW) -> None:
    scene.vercel.project.build(commit, at=scene.now - timedelta(hours=1))


def _rolled_back(scene: World) -> list[str]:
    project = scene.vercel.project
    _built(scene)
    project.roll_back(project.builds[0])
    return [_HERE]


def _staged(scene: World) -> list[str]:
    scene.vercel.project.assigns_domains = False
    _built(scene)
    return [_HERE]


def _promoted(scene: World) -> None:
    project = scene.vercel.project
    project.assigns_domains = True
    project.promote(project.builds[-1])


def _failed(state: str) -> Callable[[World], list[str]]:
    def plant(scene: World) -> list[str]:
        scene.vercel.project.build(_NEW, at=scene.now - timedelta(hours=1), state=state)
        return [_HERE]

    return plant


def _preview_failed(scene: World) -> None:
    scene.vercel.project.build(_NEW, at=scene.now - timedelta(hours=1), branch="feature-1", state="ERROR")


def _only_a_preview(scene: World) -> list[str]:
    scene.expected["commit"] = _FIX
    scene.vercel.project.build(_FIX, at=scene.now - timedelta(hours=1), branch="feature-1")
    return [_HERE]


def _log(scene: World, number: int, *, age: timedelta, status: int = 201, message: str = "initiated") -> None:
    line = LogLine(
        at=scene.now - age,
        path=_INITIATE,
        message=message,
        status=status,
        level="error" if status >= 500 else "info",
    )
    scene.vercel.project.builds[number].logs.append(line)


def _failing(scene: World) -> list[str]:
    words = 'DatabaseError: null value in column "customer_id" of relation "messages", code: 23502, +15550109999'
    _log(scene, 0, age=timedelta(minutes=9), status=500, message=words)
    return [_HERE]


def _healthy_log(scene: World) -> None:
    _log(scene, 0, age=timedelta(minutes=10))


def _read(scene: World) -> None:
    """
    What is in the log is past: the platform no longer keeps it.
    """
    for built in scene.vercel.project.builds:
        built.logs.clear()


def _replaced(scene: World) -> None:
    """
    The old one was called until the new one was there.
    """
    _log(scene, 0, age=timedelta(hours=2))
    _built(scene)


def _old_called(scene: World) -> list[str]:
    _log(scene, 0, age=timedelta(minutes=10))
    return [_HERE]


_BEHIND: Final = {
    "deployment-unreachable": "runtime-init-crash",
    "deployment-intercepted": "request-intercepted",
    "deployment-stale": "old-deployment-serving",
}
"""The cause behind each fault of whoever answers."""

INCIDENTS: Final = (
    *(
        Incident(
            finding=finding,
            title=title,
            before=_running,
            look_alike=look_alike,
            plant=plant,
            remedy=_answering_again,
            cause=None if plant is _hanging_up else _BEHIND[finding],
        )
        for finding, title, look_alike, plant in (
            ("deployment-unreachable", "the function fails while it starts", _slowly, _instead(CRASHED)),
            ("deployment-unreachable", "whoever listens hangs up", _once_unwell, _hanging_up),
            ("deployment-intercepted", "the address redirects", _slowly, _instead(moved("https://www.salon.example/"))),
            ("deployment-intercepted", "Deployment Protection asks for a login", _once_unwell, _instead(LOGIN)),
            ("deployment-intercepted", "a firewall wants to see a browser", _once_unwell, _instead(CHALLENGE)),
            ("deployment-intercepted", "a web page answers, with status 200", _slowly, _instead(PAGE)),
            ("deployment-stale", "the code has no such route", _once_unwell, _instead(NO_ROUTE)),
        )
    ),
    Incident(
        finding="deployment-stale",
        title="the code from before the fixes serves",
        cause="old-deployment-serving",
        before=_running,
        look_alike=_serving(Serving(deployment="dpl_other", commit=_NEW)),
        plant=_serving(Serving(deployment="dpl_before", commit=_OLD, fixes=False)),
        remedy=_serving(),
    ),
    Incident(
        finding="deployment-stale",
        title="another commit serves than should",
        cause="old-deployment-serving",
        before=_running,
        look_alike=_expecting(_OLD),
        plant=_expecting(_NEW),
        remedy=_serving(Serving(commit=_NEW)),
    ),
    Incident(
        finding="deployment-cached",
        title="the CDN answers what it remembers",
        cause="stale-cached-read",
        before=_running,
        look_alike=_serving(Serving(headers={"X-Vercel-Cache": "MISS", "Age": "0"})),
        plant=_serving(Serving(headers={"X-Vercel-Cache": "HIT", "Age": "86400"})),
        remedy=_serving(),
    ),
    Incident(
        finding="deployment-cached",
        title="the answer was made when the application was built",
        cause="stale-cached-read",
        before=_running,
        look_alike=_clock(timedelta(seconds=2)),
        plant=_frozen,
        remedy=_alive,
    ),
    Incident(
        finding="deployment-mixed",
        title="a server was left behind",
        cause="skew-pinned-or-stale-client",
        before=_running,
        look_alike=_serving(Serving(), Serving()),
        plant=_serving(Serving(), Serving(deployment="dpl_before", commit=_NEW)),
        remedy=_serving(),
    ),
    Incident(
        finding="deployment-clock-skew",
        title="the server's clock is two minutes ahead",
        cause="clock-skew-timezone",
        before=_running,
        look_alike=_clock(timedelta(seconds=2)),
        plant=_clock(timedelta(minutes=2)),
        remedy=_clock(timedelta(0)),
    ),
    Incident(
        finding="deployment-settings-differ",
        title="the application sends from another number",
        cause="twilio-wrong-account",
        before=_running,
        look_alike=_another_flag,
        plant=_another_number,
        remedy=_another_flag,
    ),
    Incident(
        finding="deployment-not-promoted",
        title="after a rollback the newer build waits",
        cause="old-deployment-serving",
        before=_hosted,
        look_alike=_preview_failed,
        plant=_rolled_back,
        remedy=_promoted,
    ),
    Incident(
        finding="deployment-not-promoted",
        title="domains are not assigned by themselves",
        cause="old-deployment-serving",
        before=_hosted,
        look_alike=_preview_failed,
        plant=_staged,
        remedy=_promoted,
    ),
    Incident(
        finding="deployment-build-failed",
        title="the build of the fix fails",
        cause="fix-not-in-production-build",
        before=_hosted,
        look_alike=_preview_failed,
        plant=_failed("ERROR"),
        remedy=_built,
    ),
    Incident(
        finding="deployment-build-failed",
        title="the build of the fix is cancelled",
        cause="fix-not-in-production-build",
        before=_hosted,
        look_alike=_preview_failed,
        plant=_failed("CANCELED"),
        remedy=_built,
    ),
    Incident(
        finding="deployment-not-built",
        title="the fix sits on another branch",
        cause="fix-not-in-production-build",
        before=_hosted,
        look_alike=_expecting(_OLD),
        plant=_only_a_preview,
        remedy=lambda scene: _built(scene, _FIX),
        also=frozenset({"deployment-stale"}),
        beside=frozenset({"fix-not-in-production-build"}),
    ),
    Incident(
        finding="deployment-route-fails",
        title="the log has the database's refusal",
        cause="not-null-customer-id",
        before=_hosted,
        look_alike=_healthy_log,
        plant=_failing,
        remedy=_read,
    ),
    Incident(
        finding="deployment-old-called",
        title="a page loaded earlier books on the old deployment",
        cause="skew-pinned-or-stale-client",
        before=_hosted,
        look_alike=_replaced,
        plant=_old_called,
        remedy=_read,
    ),
)
