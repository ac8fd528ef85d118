"""
Causes that sit in the deployment, planted: by what old code leaves in the database, and on the platform.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from booking_doctor.sandbox.application import CRASHED, LOGIN, Serving, moved
from booking_doctor.sandbox.exchange import Reply
from booking_doctor.sandbox.incidents import World, december_incident
from booking_doctor.sandbox.planted.incident import Episode
from booking_doctor.sandbox.planted.story import (
    alternating,
    each,
    healthy,
    initiated,
    recorded_too_early,
    stored,
)
from booking_doctor.sandbox.twilio_faults import Fault
from booking_doctor.sandbox.vercel import LogLine, VercelProject

_HOUR: Final = timedelta(hours=1)
_OLD, _NEW = "a" * 40, "b" * 40
_INITIATE: Final = "/api/bookings/initiate"


def _recorded_too_early(scene: World, *, texted: bool = True) -> None:
    """
    Old code: it records at once, which fails, and stores nothing.
    """
    healthy(scene)
    for age in each(6, _HOUR):
        initiated(scene, age, texted=texted)
        recorded_too_early(scene)


def _recorded_before_sending(scene: World) -> None:
    _recorded_too_early(scene, texted=False)


def _hosted(scene: World) -> VercelProject:
    """
    On Vercel, where the old commit is built and serves.
    """
    names = list(scene.environment())
    project = scene.host()
    for name in names:
        project.set(name, at=scene.now - timedelta(days=9))
    project.build(_OLD, at=scene.now - timedelta(days=8))
    return project


def _rolled_back(scene: World) -> None:
    project = _hosted(scene)
    project.build(_NEW, at=scene.now - timedelta(days=5))
    project.roll_back(project.builds[0])
    _recorded_too_early(scene)


def _staged_and_silent(scene: World) -> None:
    """
    The new build waits; the old code's traces are not to be seen, for its ids are drawn elsewhere.
    """
    project = _hosted(scene)
    project.assigns_domains = False
    project.build(_NEW, at=scene.now - timedelta(days=1))
    for age in each(5, _HOUR):
        initiated(scene, age, texted=False)


def _on_a_branch(scene: World) -> None:
    project = _hosted(scene)
    scene.expected["commit"] = _NEW
    project.build(_NEW, at=scene.now - timedelta(days=1), branch="fix-sms")
    _recorded_too_early(scene)


def _build_failed(scene: World) -> None:
    project = _hosted(scene)
    project.build(_NEW, at=scene.now - timedelta(days=1), state="ERROR")
    for age in each(5, _HOUR):
        initiated(scene, age)


def _silenced(scene: World) -> None:
    """
    Everything works, and the log of the last hour has other routes only.
    """
    project = _hosted(scene)
    healthy(scene)
    for age in each(3, timedelta(minutes=20), timedelta(minutes=10)):
        stored(scene, initiated(scene, age))
        project.builds[0].logs.append(LogLine(at=scene.now - age, path="/api/events", message="listed", method="GET"))


def _remembered(scene: World) -> None:
    healthy(scene)
    scene.open().serving = (Serving(headers={"X-Vercel-Cache": "HIT", "Age": "86400"}),)


def _two_at_once(scene: World) -> None:
    healthy(scene)
    scene.open().serving = (Serving(commit=_NEW), Serving(deployment="dpl_before", commit=_OLD))
    alternating(scene, lambda age: initiated(scene, age))


def _old_tabs(scene: World) -> None:
    project = _hosted(scene)
    project.build(_NEW, at=scene.now - timedelta(days=2))
    for age in each(4, _HOUR):
        project.builds[0].logs.append(LogLine(at=scene.now - age, path=_INITIATE, message="initiated", status=201))
    alternating(scene, lambda age: initiated(scene, age, texted=False))


def _instead(reply: Reply) -> Callable[[World], None]:
    def happen(scene: World) -> None:
        healthy(scene)
        scene.open().faults.add(Fault(name="instead", instead=reply), times=None)

    return happen


def _logging(words: str) -> Callable[[World], None]:
    """
    Every request of the route fails, and the platform's log says why.
    """

    def happen(scene: World) -> None:
        project = _hosted(scene)
        healthy(scene)
        scene.application.faults.add(Fault(name="instead", instead=CRASHED), times=None)
        for age in each(3, timedelta(minutes=9), timedelta(minutes=9)):
            line = LogLine(at=scene.now - age, path=_INITIATE, message=words, status=500, level="error")
            project.builds[0].logs.append(line)

    return happen


EPISODES: Final = (
    Episode(cause="old-deployment-serving", title="the December incident", happen=december_incident),
    Episode(cause="old-deployment-serving", title="old code records too early", happen=_recorded_too_early),
    Episode(cause="old-deployment-serving", title="the same, and no text goes out", happen=_recorded_before_sending),
    Episode(cause="old-deployment-serving", title="the platform was rolled back", happen=_rolled_back),
    Episode(cause="old-deployment-serving", title="the new build waits to be promoted", happen=_staged_and_silent),
    Episode(cause="fix-not-in-production-build", title="the fix sits on a branch", happen=_on_a_branch),
    Episode(cause="fix-not-in-production-build", title="the build of the fix fails", happen=_build_failed),
    Episode(cause="console-output-hidden", title="log lines are stripped from the build", happen=_silenced),
    Episode(cause="stale-cached-read", title="a cache answers", happen=_remembered),
    Episode(cause="skew-pinned-or-stale-client", title="two builds answer", happen=_two_at_once),
    Episode(cause="skew-pinned-or-stale-client", title="old pages book on the old build", happen=_old_tabs),
    Episode(
        cause="request-intercepted", title="the address redirects", happen=_instead(moved("https://www.salon.example/"))
    ),
    Episode(cause="request-intercepted", title="a login stands before the application", happen=_instead(LOGIN)),
    Episode(
        cause="edge-runtime-incompatible",
        title="the route runs at the edge",
        happen=_logging("Error: The edge runtime does not support Node.js 'net' module"),
    ),
    Episode(
        cause="runtime-init-crash",
        title="a client throws when it is made",
        happen=_logging("Error: Node.js 20 detected without native WebSocket support"),
    ),
    Episode(cause="runtime-init-crash", title="every request fails", happen=_instead(CRASHED)),
)
