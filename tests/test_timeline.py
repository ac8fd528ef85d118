"""
The window hour by hour, on a real PostgreSQL and a simulated Twilio: what was not read is never nought.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from booking_doctor.doctor import Doctor, Request
from booking_doctor.findings import HOURS_TOLD, Hour, Report, Window
from booking_doctor.sandbox.incidents import World, december_incident, told_by_twilio
from booking_doctor.sandbox.planted.story import confirmed, initiated, stored
from booking_doctor.sandbox.twilio_faults import Fault, On

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Open = Callable[..., Doctor]


def week(scene: World) -> Request:
    """
    The seven days before the story is told.
    """
    return Request(window=Window(scene.now - 7 * DAY, scene.now))


def all_of(report: Report) -> tuple[int | None, int | None, int | None]:
    """
    The sums over the window; None where an hour is not known.
    """
    columns = [[getattr(hour, name) for hour in report.timeline] for name in ("bookings", "sent", "recorded")]
    bookings, sent, recorded = (None if None in column else sum(column) for column in columns)
    return bookings, sent, recorded


@pytest.mark.parametrize("verb", ["reconcile", "diagnose", "bookings"])
def test_sums(scene: World, open_doctor: Open, verb: str) -> None:
    """
    Each command that counts by the hour counts what is there, in every hour of the window, oldest first.
    """
    december_incident(scene)

    report = getattr(open_doctor(), verb)(week(scene))

    since, until = scene.now - 7 * DAY, scene.now
    held = scene.rows(
        "SELECT (SELECT count(*) FROM pending_bookings WHERE created_at >= :since AND created_at < :until) AS bookings,"
        " (SELECT count(*) FROM messages WHERE direction <> 'inbound'"
        " AND created_at >= :since AND created_at < :until) AS recorded",
        since=since,
        until=until,
    )[0]
    texts = [told_by_twilio(message, scene.now) for message in scene.account.messages()]
    sent = [text for text in texts if not text.inbound and not text.rejected and since <= text.happened_at < until]
    starts = [hour.start for hour in report.timeline]
    assert starts == [starts[0] + HOUR * number for number in range(len(starts))]
    assert starts[0] <= since < starts[0] + HOUR
    assert starts[-1] < until <= starts[-1] + HOUR
    assert all_of(report) == (held["bookings"], len(sent), held["recorded"])


def test_hours(scene: World, open_doctor: Open) -> None:
    """
    What happens in an hour is told for that hour, and others are nought.
    """
    recorded = initiated(scene, 30 * HOUR)
    confirmed(scene, stored(scene, recorded))
    lost = initiated(scene, 5 * HOUR)

    told = {hour.start: hour for hour in open_doctor().reconcile(week(scene)).timeline}

    def full(moment: datetime) -> datetime:
        return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)

    def hour(moment: datetime, **values: int) -> Hour:
        return Hour(start=full(moment), **{"bookings": 0, "sent": 0, "recorded": 0, **values})

    assert recorded.message
    assert lost.message
    busy = {full(recorded.at), full(recorded.message.date_created), full(lost.at), full(lost.message.date_created)}
    assert told[full(recorded.at)].bookings == 1
    assert told[full(recorded.message.date_created)].sent == 1
    assert told[full(recorded.message.date_created)].recorded == 1
    assert told[full(lost.message.date_created)].sent == 1
    assert told[full(lost.message.date_created)].recorded == 0
    assert all(told[start] == hour(start) for start in told.keys() - busy)


def test_log_breaks_off(scene: World, open_doctor: Open) -> None:
    """
    Of a day that was not read to its end no hour is told; what the database holds of it is.
    """
    december_incident(scene)
    day = (scene.now - 2 * DAY).date()
    scene.simulator.faults.add(Fault.forbidden(), on=On(path="/Messages.json", contains=f"DateSent={day}"), times=9)

    report = open_doctor().reconcile(week(scene))

    unread = [hour for hour in report.timeline if hour.sent is None]
    assert day in {hour.start.date() for hour in unread}
    assert {hour.start.hour for hour in unread if hour.start.date() == day} == set(range(24))
    assert None not in {hour.bookings for hour in report.timeline}
    assert None not in {hour.recorded for hour in report.timeline}


def test_nothing_of_the_log(scene: World, open_doctor: Open) -> None:
    """
    Where nothing of the log can be read, what the database holds is told all the same.
    """
    december_incident(scene)
    told = open_doctor().reconcile(week(scene)).timeline
    scene.simulator.faults.add(Fault.forbidden(), on=On(path="/Messages.json"), times=None)

    report = open_doctor().reconcile(week(scene))

    assert {hour.sent for hour in report.timeline} == {None}
    assert [hour.recorded for hour in report.timeline] == [hour.recorded for hour in told]


def test_date_unreadable(scene: World, open_doctor: Open) -> None:
    """
    A message whose date cannot be read leaves its day uncounted, not counted without it.
    """
    december_incident(scene)
    scene.simulator.faults.add(Fault.bad_date(), on=On(path="/Messages.json", contains="DateSent"))

    report = open_doctor().reconcile(week(scene))

    days = {hour.start.date() for hour in report.timeline if hour.sent is None}
    assert len(days) == 1


def test_quick(scene: World, open_doctor: Open) -> None:
    """
    Where Twilio's log was left out, no hour has texts.
    """
    december_incident(scene)

    report = open_doctor().diagnose(week(scene), quick=True)

    assert {hour.sent for hour in report.timeline} == {None}
    assert sum(hour.bookings or 0 for hour in report.timeline) > 0


def test_database_down(scene: World, open_doctor: Open) -> None:
    """
    Where the database cannot be read, neither bookings nor records are told.
    """
    december_incident(scene)
    scene.execute("ALTER TABLE messages RENAME TO texts")

    report = open_doctor().diagnose(week(scene))

    assert {hour.recorded for hour in report.timeline} == {None}
    assert None not in {hour.bookings for hour in report.timeline}


def test_long_window() -> None:
    """
    However long the window is, its last hours are told.
    """
    now = datetime(2025, 12, 8, 12, 30, tzinfo=UTC)

    hours = Window(datetime(1, 1, 1, tzinfo=UTC), now).hours()

    assert len(hours) == HOURS_TOLD
    assert hours[-1] == datetime(2025, 12, 8, 12, tzinfo=UTC)
    assert Window(now, now + timedelta(seconds=1)).hours() == [hours[-1]]
    assert Window(now, now).hours() == [hours[-1]]
    assert Window(now.replace(minute=0) - HOUR, now.replace(minute=0)).hours() == [hours[-2]]
