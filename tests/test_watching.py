"""
A watch without a database and without waiting: how far back it looks, what is news, and what it survives.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_doctor.doctor import Repair
from booking_doctor.doctor.watching import FIRST_LOOK, OVERLAP, Round, Taken
from booking_doctor.errors import (
    DatabaseUnreachable,
    DoctorError,
    ExitCode,
    PartlyApplied,
    PlanRefused,
    SettingsError,
    TwilioUnreachable,
)
from booking_doctor.findings import RunView, Verdict, Window
from tests.watched import NOON, Bell, MemoryPost, Scene, StubDoctor, World

QUARTER = timedelta(minutes=15)
DAY = timedelta(days=1)


@pytest.fixture(name="scene")
def _scene() -> Scene:
    """
    A world in which nothing has happened yet.
    """
    world = World()
    return Scene(world, MemoryPost(world), Bell(world))


# --- how far back ----------------------------------------------------------------------------------------------------


def test_the_first_round_looks_back_a_week(scene: Scene) -> None:
    """
    The next ones as far as a text may have come late or changed its status since everything was seen.
    """
    scene.round()
    scene.world.now += QUARTER
    scene.round()

    assert scene.world.windows == [
        Window(NOON - FIRST_LOOK, NOON),
        Window(NOON - OVERLAP, NOON + QUARTER),
    ]
    assert timedelta(hours=72) == OVERLAP


def test_rounds_that_could_not_look_are_made_up_for(scene: Scene) -> None:
    """
    After an outage of ten days the next round begins where the last one that saw everything ended, less the overlap; also
    where there never was one.
    """
    scene.world.twilio_is_down = True
    scene.round()
    scene.world.now += 10 * DAY
    scene.round()
    assert scene.world.windows[-1].since == NOON - FIRST_LOOK

    scene.world.twilio_is_down = False
    scene.round()
    assert scene.world.windows[-1].since == NOON - FIRST_LOOK
    scene.round()
    assert scene.world.windows[-1].since == scene.world.now - OVERLAP


def test_an_open_finding_is_not_lost_sight_of(scene: Scene) -> None:
    """
    While it is there every round reaches back to it, however old it gets; ignored or gone, none does.
    """
    at = NOON - DAY
    scene.world.unrecorded["SM1"] = at
    scene.round()
    scene.world.now += 30 * DAY
    scene.round()
    done = scene.round()
    assert scene.world.windows[-1].since == at
    assert [finding.subject for finding in done.report.findings] == ["message/SM1"]
    assert done.news is False

    scene.world.ignored = frozenset({"message-unrecorded:message/SM1"})
    scene.round()
    assert scene.world.windows[-1].since == scene.world.now - OVERLAP

    scene.world.ignored = frozenset()
    scene.world.unrecorded.clear()
    done = scene.round()
    assert scene.world.windows[-1].since == at
    assert done.report.novelty is not None
    assert done.report.novelty.gone == {"message-unrecorded:message/SM1": NOON}
    scene.round()
    assert scene.world.windows[-1].since == scene.world.now - OVERLAP


def test_it_does_not_ask_for_what_twilio_no_longer_shows(scene: Scene) -> None:
    """
    A finding that is past the retention is forgotten, and the window is an ordinary one again.
    """
    scene.world.orphaned["SM1"] = NOON - DAY
    scene.round()
    scene.world.now += 500 * DAY
    scene.round()
    assert scene.world.windows[-1].since == scene.world.now - StubDoctor.retention

    scene.round()
    assert scene.world.windows[-1].since == scene.world.now - OVERLAP


def test_the_window_is_told_by_the_databases_clock(scene: Scene) -> None:
    """
    A host whose own clock is wrong leaves no gap for the next one.
    """
    scene.skew = -2 * DAY
    scene.round()
    scene.skew = DAY
    scene.round()

    assert [window.until for window in scene.world.windows] == [NOON, NOON]
    assert scene.post.watermark == NOON


_Turn = st.tuples(st.integers(1, 200), st.integers(0, 3), st.integers(0, 72), st.booleans(), st.booleans())


@given(st.lists(_Turn, max_size=15))
def test_whatever_happens_nothing_open_is_lost_sight_of(turns: list[tuple[int, int, int, bool, bool]]) -> None:
    """
    Texts come up to 72 hours late, outages last however long, rows appear in between: every round that can look reports
    every text that is missing, and each is told gone once, when it is.
    """
    world = World()
    scene = Scene(world, MemoryPost(world), Bell(world))
    scene.round()
    known: set[str] = set()
    for number, (hours, texts, late, down, mended) in enumerate(turns):
        world.now += timedelta(hours=hours)
        seen_up_to = scene.post.watermark or NOON
        sent = max(seen_up_to - timedelta(hours=late), NOON - FIRST_LOOK)
        world.unrecorded |= {f"SM{number}-{text}": sent for text in range(texts)}
        if mended and world.unrecorded:
            world.unrecorded.pop(next(iter(world.unrecorded)))
        world.twilio_is_down = down
        report = scene.round().report
        missing = {f"message-unrecorded:message/{sid}" for sid in world.unrecorded}
        assert report.novelty is not None
        if down:
            assert (report.verdict, report.novelty.gone) == (Verdict.INCOMPLETE, {})
        else:
            assert {finding.fingerprint for finding in report.findings} == missing
            assert set(report.novelty.gone) == known - missing
            known = missing


# --- what is news ----------------------------------------------------------------------------------------------------


def test_what_is_news(scene: Scene) -> None:
    """
    A change of the verdict, and what is new; not that it is as it was, or that all is well the first time.
    """

    def news() -> bool:
        scene.world.now += QUARTER
        return scene.round().news

    told = [news()]
    scene.world.unrecorded["SM1"] = NOON - DAY
    told += [news(), news()]
    scene.world.unrecorded["SM2"] = NOON - DAY
    told += [news()]
    scene.world.twilio_is_down = True
    told += [news(), news()]
    scene.world.twilio_is_down = False
    told += [news()]
    scene.world.unrecorded.clear()
    told += [news(), news()]

    assert told == [False, True, False, True, True, False, True, True, False]


def test_a_database_that_is_gone_is_news_once(scene: Scene) -> None:
    """
    Where nothing can be remembered in it, the watch itself knows what it said last.
    """
    watch = scene.watch()

    def news() -> bool:
        done = watch.round()
        assert isinstance(done, Round)
        return done.news

    told = [news()]
    scene.world.database_error = DatabaseUnreachable("cannot reach the database")
    told += [news(), news()]
    scene.world.database_error = None
    told += [news(), news()]

    assert told == [False, True, False, True, False]


# --- what it survives ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DatabaseUnreachable("cannot reach it"), TwilioUnreachable("no answer")])
def test_a_round_that_fails_is_a_report(scene: Scene, error: DoctorError) -> None:
    """
    Incomplete, with the reason, and what was remembered stays.
    """
    scene.world.unrecorded["SM1"] = NOON - DAY
    scene.round()
    before = scene.post.memory
    scene.world.database_error = error

    report = scene.round().report

    assert (report.command, report.exit_code, report.verdict) == ("watch", ExitCode.INCOMPLETE, Verdict.INCOMPLETE)
    assert [skipped.reason for skipped in report.skipped] == [error.summary]
    assert scene.post.memory is before


@pytest.mark.parametrize("error", [PlanRefused("the role may not"), SettingsError("it is missing")])
def test_what_waiting_does_not_mend_ends_it(scene: Scene, error: DoctorError) -> None:
    """
    Somebody has to do something first.
    """
    scene.world.database_error = error

    with pytest.raises(type(error)):
        scene.watch().round()


def test_a_right_that_is_taken_away_meanwhile_is_reported(scene: Scene) -> None:
    """
    Whoever has watched goes on, and watches again when it has it back.
    """
    watch = scene.watch()
    watch.round()
    scene.world.database_error = PlanRefused("the role may not")
    refused = watch.round()
    scene.world.database_error = None
    again = watch.round()

    assert isinstance(refused, Round)
    assert isinstance(again, Round)
    assert (refused.report.verdict, refused.report.skipped[0].kind) == (Verdict.INCOMPLETE, "not-permitted")
    assert again.report.verdict is Verdict.HEALTHY


def test_round_after_round(scene: Scene) -> None:
    """
    One each quarter of an hour counted from the last one's beginning, whatever fails, and none after it was told to end.
    """
    watch, verdicts = scene.watch(), []
    for number, done in enumerate(watch.rounds(QUARTER)):
        assert isinstance(done, Round)
        verdicts.append(done.report.verdict)
        scene.world.now += timedelta(minutes=(5, 20, 0, 0)[number])
        scene.world.twilio_is_down = number == 0
        scene.world.database_error = DatabaseUnreachable("cannot reach it") if number == 1 else None
        if number == 3:
            watch.end()

    assert verdicts == [Verdict.HEALTHY, Verdict.INCOMPLETE, Verdict.INCOMPLETE, Verdict.HEALTHY]
    assert scene.world.waits == [600, 900, 900]
    assert scene.bell.rung


def test_it_is_told_to_end_while_it_waits(scene: Scene) -> None:
    """
    It wakes, and begins no other round.
    """
    watch = scene.watch()
    scene.bell.after = watch.end

    assert len(list(watch.rounds(QUARTER))) == 1


def test_another_one_is_given_way_to(scene: Scene) -> None:
    """
    Nothing is looked at, and the next turn tries again.
    """
    scene.post.other = Taken(host="elsewhere", age=timedelta(seconds=5))
    assert scene.watch().round() is scene.post.other
    assert scene.world.windows == []


def test_two_hosts_tell_it_once(scene: Scene) -> None:
    """
    Whichever looks first tells what changed; the other one knows that it was told.
    """
    hosts = scene.watch(), scene.watch()

    def news() -> list[bool]:
        heard = []
        for host in hosts:
            scene.world.now += QUARTER
            done = host.round()
            assert isinstance(done, Round)
            heard.append(done.news)
        return heard

    assert news() == [False, False]
    scene.world.unrecorded["SM1"] = NOON - DAY
    assert news() == [True, False]
    scene.world.unrecorded.clear()
    assert news() == [True, False]


def test_one_who_is_silent_is_reported(scene: Scene) -> None:
    """
    Nobody may be looking: incomplete, news the first time, and nothing was looked at.
    """
    watch = scene.watch()
    scene.post.other = Taken(host="elsewhere", age=timedelta(seconds=90))
    done = [one for one in (watch.round(), watch.round()) if isinstance(one, Round)]

    assert [one.report.verdict for one in done] == [Verdict.INCOMPLETE, Verdict.INCOMPLETE]
    assert [one.news for one in done] == [True, False]
    assert [skipped.check for skipped in done[0].report.skipped] == ["watch"]
    assert scene.world.windows == []


def test_what_nobody_may_remember_is_not_fine(scene: Scene) -> None:
    """
    Another one took over while this one worked: incomplete, though it found nothing.
    """
    scene.post.superseded = True

    report = scene.round().report

    assert report.exit_code is ExitCode.INCOMPLETE
    assert "another watch took over" in report.exit_reason


# --- what it repairs -------------------------------------------------------------------------------------------------

REPAIR = Repair(max_changes=5)


def test_it_repairs_only_where_it_was_told_to(scene: Scene) -> None:
    """
    And then compares again; what was missing is news, and gone.
    """
    scene.world.unrecorded["SM1"] = NOON - DAY
    assert scene.round().report.run is None
    assert scene.world.applied == 0

    scene.world.unrecorded["SM2"] = NOON - DAY
    done = scene.round(REPAIR)

    assert (done.report.exit_code, done.report.verdict, done.news) == (ExitCode.OK, Verdict.HEALTHY, True)
    assert (done.report.run, done.report.summary["applied"]) == (RunView(id="run-1", applied=2, verified=True), 2)
    assert done.report.novelty is not None
    assert len(done.report.novelty.gone) == 2
    assert done.report.next_steps[0] == "booking-doctor undo run-1"
    assert scene.round(REPAIR).news is False


def test_what_comes_while_it_repairs_is_news(scene: Scene) -> None:
    """
    The next round will not find it new.
    """
    scene.world.orphaned["SM1"] = NOON - DAY
    scene.world.unrecorded["SM2"] = NOON - DAY
    scene.round()
    scene.world.now += QUARTER
    scene.world.meanwhile = {"SM3": NOON - DAY}

    done = scene.round(REPAIR)

    assert (done.news, done.report.verdict) == (True, Verdict.FINDINGS)
    assert [finding.subject for finding in done.report.findings if done.report.is_new(finding)] == ["message/SM3"]


def test_where_nothing_can_be_repaired_no_plan_is_made(scene: Scene) -> None:
    """
    Nor where the log was not read to its end.
    """
    scene.world.orphaned["SM1"] = NOON - DAY
    scene.round(REPAIR)
    scene.world.unrecorded["SM2"] = NOON - DAY
    scene.world.twilio_is_down = True
    scene.round(REPAIR)

    assert len(scene.world.windows) == 2
    assert scene.world.applied == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PlanRefused("6 steps are more than 5"), ExitCode.REFUSED),
        (PartlyApplied("3 rows were written, then it was lost"), ExitCode.PARTLY),
        (DatabaseUnreachable("cannot reach it"), ExitCode.INCOMPLETE),
    ],
)
def test_a_repair_that_fails_is_reported_with_what_is_still_missing(
    scene: Scene, error: DoctorError, code: ExitCode
) -> None:
    """
    Its exit code outranks the findings'.
    """
    scene.world.unrecorded["SM1"] = NOON - DAY
    scene.world.refusal = error

    report = scene.round(REPAIR).report

    assert report.exit_code is code
    assert report.exit_reason == f"so it is; backfill: {error.summary}"
    assert len(report.findings) == 1


def test_what_could_not_be_seen_after_a_repair_outranks_how_it_went(scene: Scene) -> None:
    """
    Incomplete, with what was written in its reason; the next round looks as far back.
    """
    scene.world.unrecorded["SM1"] = NOON - DAY
    scene.round()
    scene.world.now += 10 * DAY
    scene.world.refusal = PartlyApplied("3 rows were written, then it was lost")
    scene.world.breaks = True

    report = scene.round(REPAIR).report

    assert (report.exit_code, report.verdict) == (ExitCode.INCOMPLETE, Verdict.INCOMPLETE)
    assert report.exit_reason.endswith("backfill: 3 rows were written, then it was lost")
    assert scene.post.watermark == NOON


def test_what_was_done_is_told_though_it_cannot_be_remembered(scene: Scene) -> None:
    """
    The database goes away at the end of a round that wrote something: the run can be undone, so it is named.
    """
    scene.world.unrecorded["SM1"] = NOON - DAY
    scene.round()
    scene.world.now += QUARTER
    scene.post.deaf = DatabaseUnreachable("cannot reach it")

    done = scene.round(REPAIR)

    assert done.news
    assert (done.report.exit_code, done.report.run) == (
        ExitCode.INCOMPLETE,
        RunView(id="run-1", applied=1, verified=True),
    )
    assert done.report.exit_reason.endswith("not remembered: cannot reach it")


def test_a_repair_that_is_not_verified_is_not_fine(scene: Scene) -> None:
    """
    Though nothing is missing afterwards.
    """
    scene.world.unrecorded["SM1"] = NOON - DAY
    scene.world.exit_code_of_apply = ExitCode.PARTLY

    report = scene.round(REPAIR).report

    assert (report.exit_code, report.verdict) == (ExitCode.PARTLY, Verdict.FINDINGS)
