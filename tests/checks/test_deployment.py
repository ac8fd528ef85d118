"""
What the answers at the public address mean: who answered, with which code, from whose memory, by which clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking_doctor.checks import select
from booking_doctor.checks.answers import Who, understood
from booking_doctor.checks.check import BlindSpot, Fault
from booking_doctor.checks.deployment import deployment_clock_skew
from booking_doctor.deployment import Identity, same_commit
from booking_doctor.doctor import Doctor, Request
from booking_doctor.evidence import Answer, ExpectedBuild, NoAnswer
from booking_doctor.findings import Finding, Report, Severity, Window
from booking_doctor.sandbox import twilio_faults
from booking_doctor.sandbox.application import CRASHED, NO_ROUTE, PAGE, ApplicationSimulator, Serving
from booking_doctor.sandbox.incidents import World

A, B = "a" * 40, "b" * 40
HOST: Final = "deployment/127.0.0.1"
NOW: Final = datetime(2026, 12, 8, 12, tzinfo=UTC)


@pytest.fixture(name="running")
def _running(scene: World) -> ApplicationSimulator:
    running = scene.open()
    scene.variables["BOOKING_API_KEY"] = running.key.value
    running.variables = scene.environment()
    return running


Ask = Callable[..., Report]


@pytest.fixture(name="ask")
def _ask(scene: World, open_doctor: Callable[..., Doctor]) -> Ask:
    """
    What check-deployment says.
    """

    def ask(commit: str | None = None, deployment: str | None = None, **variables: str) -> Report:
        window = Window(scene.now - timedelta(days=7), scene.now)
        expected = ExpectedBuild(commit=commit, deployment=deployment)
        return open_doctor(**variables).check_deployment(Request(window=window, expected_build=expected))

    return ask


def only(report: Report) -> Finding:
    """
    The one that was found.
    """
    [finding] = report.findings
    return finding


def blind(report: Report) -> list[str]:
    """
    What was not looked at, though it should have been.
    """
    return [skipped.check for skipped in report.skipped if skipped.kind in {"unreachable", "not-permitted"}]


# what answers


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    """
    An answer with these headers.
    """
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(asked_at=NOW, took=timedelta(milliseconds=50), status=status, headers=told, body=body)


@pytest.mark.parametrize(
    ("got", "who", "words"),
    [
        (answer(body=b'{"commit": "a"}'), Who.APPLICATION, ""),
        (answer(body=b'{"hasInitiateFixes": true}'), Who.APPLICATION, ""),
        (answer(body=b'{"status": "ok"}'), Who.SOMETHING, "another document"),
        (answer(body=b"[1]"), Who.SOMETHING, "another document"),
        (answer(body=b"[" * 60_000), Who.SOMETHING, "another document"),
        (answer(body=b"  <html>"), Who.SOMETHING, "a web page instead of JSON"),
        (answer(content_type="text/html; charset=utf-8"), Who.SOMETHING, "a web page instead of JSON"),
        (answer(204), Who.SOMETHING, "HTTP 204"),
        (answer(308, location="https://www.salon.example/x"), Who.SOMETHING, "redirects to www.salon.example"),
        (answer(307, location="/login"), Who.SOMETHING, "redirects to another address of itself"),
        (answer(301, location="https://salon.example/"), Who.SOMETHING, "another address of itself (HTTP 301)"),
        (answer(302, location="https://[::1"), Who.SOMETHING, "redirects to an address that is none"),
        (answer(302), Who.SOMETHING, "redirects"),
        (answer(401, set_cookie="_vercel_sso_nonce"), Who.SOMETHING, "Deployment Protection"),
        (answer(401, www_authenticate="Basic"), Who.SOMETHING, "asks for a login (HTTP 401)"),
        (answer(403), Who.SOMETHING, "asks for a login (HTTP 403)"),
        (answer(403, x_vercel_mitigated="deny"), Who.SOMETHING, "firewall"),
        (answer(429, x_vercel_mitigated="challenge"), Who.SOMETHING, "firewall"),
        (answer(200, cf_mitigated="challenge"), Who.SOMETHING, "firewall"),
        (answer(405, allow="POST"), Who.SOMETHING, "HTTP 405"),
        (answer(404), Who.OTHER_CODE, "no /api/test-deployment"),
        (answer(404, x_vercel_error="NOT_FOUND"), Who.OTHER_CODE, "no /api/test-deployment"),
        (answer(404, x_vercel_error="DEPLOYMENT_NOT_FOUND"), Who.NOBODY, "Vercel says DEPLOYMENT_NOT_FOUND"),
        (answer(500, x_vercel_error="FUNCTION_INVOCATION_FAILED"), Who.NOBODY, "FUNCTION_INVOCATION_FAILED"),
        (answer(504, x_vercel_error="<script>"), Who.NOBODY, "fails (HTTP 504)"),
        (answer(429), Who.NOBODY, "fails (HTTP 429)"),
        (NoAnswer(asked_at=NOW, took=timedelta(0), reason="takes no connection"), Who.NOBODY, "takes no connection"),
    ],
)
def test_who_answers(got: Answer | NoAnswer, who: Who, words: str) -> None:
    """
    Each kind of answer is one thing, said in words, with a remedy unless all is well.
    """
    seen = understood(got, "salon.example")

    assert seen.who is who
    assert words in seen.words
    assert bool(seen.words) is bool(seen.remedy) is (who is not Who.APPLICATION)
    assert "<" not in seen.words


@pytest.mark.parametrize(
    ("headers", "cached"),
    [
        ({}, False),
        ({"x_vercel_cache": "MISS", "age": "0"}, False),
        ({"x_vercel_cache": "HIT"}, True),
        ({"x_vercel_cache": "PRERENDER"}, True),
        ({"age": "1"}, True),
        ({"age": "x" * 10}, False),
        ({"age": "9" * 5000}, True),
        ({"cf_cache_status": "DYNAMIC"}, False),
        ({"cf_cache_status": "HIT"}, True),
        ({"x_cache": "Hit from cloudfront"}, True),
        ({"x_cache": "Miss from cloudfront"}, False),
    ],
)
def test_whose_memory(headers: dict[str, str], cached: bool) -> None:
    """
    The headers of the usual caches are understood.
    """
    seen = understood(answer(200, b'{"commit": "a"}', **headers), "salon.example")

    assert (seen.cached is not None) is cached


@given(st.binary(max_size=200) | st.from_regex(rb'\{"(commit|timestamp|configuration)": .{0,40}\}', fullmatch=True))
def test_any_document(body: bytes) -> None:
    """
    Whatever comes is understood or not, and never an error.
    """
    identity = Identity.of(body)

    assert identity is None or identity.words


@pytest.mark.parametrize(
    ("told", "moment"),
    [
        ("2026-12-08T12:00:00Z", NOW),
        ("2026-12-08T13:00:00+01:00", NOW),
        ("2026-12-08T12:00:00", NOW),
        (NOW.timestamp() * 1000, NOW),
        ("yesterday", None),
        (1e30, None),
        (None, None),
    ],
)
def test_timestamps(told: Any, moment: datetime | None) -> None:
    """
    As JavaScript and Python write them.
    """
    import json

    identity = Identity.of(json.dumps({"commit": "a", "timestamp": told}).encode())

    assert identity is not None
    assert identity.timestamp == moment


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(A, A, True), (A[:7], A, True), (A, A[:7].upper(), True), (A[:6], A, False), (A, B, False), ("", "", False)],
)
def test_commits(one: str, other: str, same: bool) -> None:
    """
    A shortened hash will do, one of fewer than seven digits will not.
    """
    assert same_commit(one, other) is same


# expectations


def test_as_expected(ask: Ask, running: ApplicationSimulator) -> None:
    """
    The expected build serves, with our settings: nothing is found, and all that was asked of the application was answered.
    """
    report = ask(A[:10], "dpl_now")

    assert (report.findings, blind(report), report.exit_code) == ([], [], 0)
    assert report.coverage["answered_by"] == [f"dpl_now of commit {A[:12]}, 5 of 5 times"]


def test_nothing_expected(ask: Ask, running: ApplicationSimulator) -> None:
    """
    What was not compared is said, and how to have it compared.
    """
    report = ask()

    told = [skipped for skipped in report.skipped if skipped.check == "deployment-stale"]
    assert [skipped.kind for skipped in told] == ["not-configured"]
    assert "booking-doctor check-deployment --expect-commit HEAD" in report.next_steps


def test_another_build(ask: Ask, running: ApplicationSimulator) -> None:
    """
    Both are told, and what was expected.
    """
    finding = only(ask(B, "dpl_new"))

    assert (finding.fingerprint, finding.severity) == (f"deployment-stale:{HOST}", Severity.ERROR)
    assert f"serves commit {A[:12]}, not {B[:12]}" in finding.summary
    assert "serves dpl_now, not dpl_new" in finding.summary
    assert finding.evidence["served_commits"] == [A]


@pytest.mark.parametrize("silent", [Serving(commit=None), Serving(deployment=None)])
def test_an_expectation_that_cannot_be_judged(ask: Ask, running: ApplicationSimulator, silent: Serving) -> None:
    """
    An application that does not say which build it is has not said that it is the right one.
    """
    running.serving = [silent]

    report = ask(A, "dpl_now")

    assert (report.findings, blind(report), report.exit_code) == ([], ["deployment-stale"], 3)


def test_the_platform_says_what_the_application_does_not(ask: Ask, scene: World) -> None:
    """
    Where the application does not tell its commit, the platform's word decides.
    """
    scene.host().build(A, at=scene.now - timedelta(hours=1))
    scene.application.serving = [Serving(deployment=None, commit=None)]

    assert [f for f in ask(A).findings if f.name == "deployment-stale"] == []
    assert any(f.name == "deployment-stale" for f in ask(B).findings)


def test_no_word_of_the_fixes(ask: Ask, running: ApplicationSimulator) -> None:
    """
    An answer without hasInitiateFixes is no proof of them.
    """
    running.serving = [Serving(document={"hasInitiateFixes": None})]

    assert blind(ask(A)) == ["deployment-stale"]


def test_some_answers_only(ask: Ask, running: ApplicationSimulator) -> None:
    """
    What some of the answers say is a fault, with how many; failing at times is a warning.
    """
    running.serving = [Serving(), Serving(), Serving(fixes=False)]
    mixed = {finding.name: finding for finding in ask().findings}

    assert set(mixed) == {"deployment-stale", "deployment-mixed"}
    assert "(1 of 5 times)" in mixed["deployment-stale"].summary

    running.serving = []
    running.faults.add(twilio_faults.Fault(name="crash", instead=CRASHED), times=1)
    finding = only(ask(A))
    assert (finding.name, finding.severity) == ("deployment-unreachable", Severity.WARNING)
    assert "(1 of 5 times)" in finding.summary


def test_code_with_and_without_the_route(ask: Ask, running: ApplicationSimulator) -> None:
    """
    A server that was left behind may not even have the route.
    """
    running.faults.add(twilio_faults.Fault(name="old", instead=NO_ROUTE), times=2)

    assert [finding.name for finding in ask(A).findings] == ["deployment-stale", "deployment-mixed"]


def test_nobody_is_not_stale(ask: Ask, running: ApplicationSimulator) -> None:
    """
    What is said of an address that somebody else has is one finding, and what that blinds is named with it.
    """
    running.faults.add(twilio_faults.Fault(name="page", instead=PAGE), times=None)

    report = ask(A)

    assert only(report).name == "deployment-intercepted"
    assert {
        skipped.check
        for skipped in report.skipped
        if skipped.kind == "not-applicable" and "deployment-intercepted" in skipped.reason
    } == {
        "deployment-stale",
        "deployment-cached",
        "deployment-mixed",
        "deployment-clock-skew",
        "deployment-settings-differ",
    }


def test_whoever_ignores_the_finding_hears_what_it_blinds(scene: World, open_doctor: Callable[..., Doctor]) -> None:
    """
    An address that nobody answers at is never fine.
    """
    scene.variables["BOOKING_APP_URL"] = "http://127.0.0.1:1"
    window = Window(scene.now - timedelta(days=7), scene.now)

    report = open_doctor().check_deployment(Request(window=window, ignored=["deployment-unreachable"]))

    assert "deployment-stale" in blind(report)
    assert report.exit_code == 3


# settings


def test_settings(ask: Ask, running: ApplicationSimulator, scene: World) -> None:
    """
    What differs is a warning by name; what one side lacks is an information; no value is told.
    """
    there = {**scene.environment(), "TWILIO_AUTH_TOKEN": "5e" * 16, "SUPABASE_URL": "https://x.supabase.co"}
    running.variables = {name: value for name, value in there.items() if name != "TWILIO_PHONE_NUMBER"}

    found = {finding.subject: finding.severity for finding in ask(A).findings}

    assert found == {
        "env/TWILIO_AUTH_TOKEN": Severity.WARNING,
        "env/SUPABASE_URL": Severity.INFO,
        "env/TWILIO_PHONE_NUMBER": Severity.INFO,
    }


def test_a_key_that_is_not_theirs(ask: Ask, running: ApplicationSimulator) -> None:
    """
    Settings that could not be compared are not called equal.
    """
    report = ask(A, BOOKING_API_KEY="k9-of-somebody-else")

    assert (blind(report), report.exit_code) == (["deployment-settings-differ"], 3)


def test_no_key(ask: Ask, running: ApplicationSimulator) -> None:
    """
    Without a key nobody meant to compare.
    """
    report = ask(A, BOOKING_API_KEY="")

    assert report.exit_code == 0
    assert any(s.check == "deployment-settings-differ" and s.kind == "not-configured" for s in report.skipped)


# clocks


class _Application:
    """
    One that answered so many seconds ahead, after ways of that length.
    """

    host = "salon.example"

    def __init__(self, ahead_s: float, ways_s: list[tuple[float, float]], spec: str) -> None:
        self._answers = []
        for there, back in ways_s:
            told = NOW + timedelta(seconds=there + ahead_s)
            body = f'{{"commit": "a", "timestamp": "{told.isoformat(timespec=spec)}"}}'.encode()
            took = timedelta(seconds=there + back)
            self._answers.append(Answer(asked_at=NOW, took=took, status=200, headers={}, body=body))

    def who_answers(self) -> list[Answer]:
        return self._answers


class _Evidence:
    def __init__(self, application: _Application) -> None:
        self.application = application

    def once(self, look: Callable[[Any], Any]) -> Any:
        return look(self)


_WAYS = st.lists(st.tuples(st.floats(0.001, 3), st.floats(0.001, 3)), min_size=1, max_size=5)


@given(st.floats(-4.9, 4.9), _WAYS, st.sampled_from(["seconds", "milliseconds", "microseconds"]))
def test_a_clock_that_is_right(ahead_s: float, ways_s: list[tuple[float, float]], spec: str) -> None:
    """
    However long the way there and back, and however roughly the time is told, nobody is accused within the five seconds.
    """
    evidence: Any = _Evidence(_Application(ahead_s, ways_s, spec))

    assert not any(isinstance(one, Fault) for one in deployment_clock_skew.look(evidence))


@given(st.floats(12.1, 9e5), st.sampled_from([1, -1]), _WAYS)
def test_a_clock_that_is_wrong(ahead_s: float, sign: int, ways_s: list[tuple[float, float]]) -> None:
    """
    A difference beyond that and the way is seen, with its direction, and lies within what is told.
    """
    evidence: Any = _Evidence(_Application(sign * ahead_s, ways_s, "milliseconds"))

    seen = [one for one in deployment_clock_skew.look(evidence) if isinstance(one, Fault)]

    if not any(isinstance(one, BlindSpot) for one in deployment_clock_skew.look(evidence)):
        [fault] = seen
        told, unsure = fault.evidence["ahead_s"], fault.evidence["uncertain_s"]
        assert isinstance(told, float)
        assert isinstance(unsure, float)
        assert abs(told - sign * ahead_s) <= unsure + 0.2
        assert ("ahead of" if sign > 0 else "behind") in fault.summary


def test_no_time(ask: Ask, running: ApplicationSimulator) -> None:
    """
    An application that does not say what time it is has no right clock.
    """
    running.serving = [Serving(document={"timestamp": None})]

    assert blind(ask(A)) == ["deployment-clock-skew"]


# where it is asked


def test_diagnose_asks_too(scene: World, running: ApplicationSimulator, open_doctor: Callable[..., Doctor]) -> None:
    """
    Whoever diagnoses hears of old code.
    """
    running.serving = [Serving(fixes=False)]
    window = Window(scene.now - timedelta(days=7), scene.now)

    report = open_doctor().examine("diagnose", select(["deployment"]), Request(window=window))

    assert "deployment-stale" in {finding.name for finding in report.findings}
