"""
What comes in that is no request of ours: other addresses, methods, media types, bodies; and what does not come at all.
"""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from booking_doctor.web import bodies
from tests.web.conftest import BOOKING_KEY, CONFIRM, DEPLOYMENT, HEALTH, INITIATE, STATUS, Client, logged

KEY = {"X-API-Key": BOOKING_KEY}
JSON = {"Content-Type": "application/json"}
POSTS, GETS = (INITIATE, CONFIRM, STATUS), (DEPLOYMENT, HEALTH)


def problem(answer: Any) -> tuple[int, str]:
    """
    The status and kind of a problem, which is what its headers say it is.
    """
    told = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert told["status"] == answer.status_code
    assert told["title"]
    return answer.status_code, told["type"].removeprefix("urn:booking-doctor:")


def test_unknown_addresses(api: Client) -> None:
    """
    404, also for the neighbours of addresses that exist, the framework's own pages among them; none is repeated.
    """
    near = [
        "/",
        "/api",
        "/docs",
        "/redoc",
        "/confirm/token",
        "//healthz",
        "/healthz/",
        "/HEALTHZ",
        f"{INITIATE}/",
        "/..;/",
    ]
    for address in (*near, "/%00", "/%f0%9f%8e%89", "/" + "a" * 5000, "/call/+15550103333"):
        answer = api.ask("GET", address)
        assert problem(answer) == (404, "about:blank"), address
        assert address not in answer.text or address == "/"


def test_other_methods(api: Client) -> None:
    """
    405 with the methods that there are.
    """
    for addresses, allowed in ((POSTS, "POST"), (GETS, "GET")):
        for address in addresses:
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} - {allowed}:
                answer = api.ask(method, address)
                assert (problem(answer), answer.headers["Allow"]) == ((405, "about:blank"), allowed)


def test_other_media_types(api: Client) -> None:
    """
    415 for a body that is not said to be what it must be, or is compressed; its characters and case do not matter.
    """
    body = json.dumps({"token": "nobody"}).encode()
    for said in ("text/plain", "", "application/jsonx", "application/x-www-form-urlencoded", "text/json", "*/*"):
        assert problem(api.ask("POST", CONFIRM, data=body, headers={"Content-Type": said}))[0] == 415, said
    for said in ("application/json; charset=utf-8", "Application/JSON"):
        assert problem(api.ask("POST", CONFIRM, data=body, headers={"Content-Type": said}))[0] == 404, said
    assert problem(api.ask("POST", CONFIRM, data=body, headers={**JSON, "Content-Encoding": "gzip"}))[0] == 415
    assert problem(api.ask("POST", STATUS, data=body, headers=JSON))[0] == 415
    assert problem(api.ask("POST", INITIATE, data=body, headers={**KEY, "Content-Type": "text/plain"}))[0] == 415


def test_what_is_no_json(api: Client) -> None:
    """
    400 for a body that is not JSON, 422 for JSON of another shape.
    """
    for body in (
        b"",
        b"{",
        b"{'token': 1}",
        b"token=x",
        b'{"token": "\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a":1}x',
        b"[" * 9999,
    ):
        assert problem(api.ask("POST", CONFIRM, data=body, headers=JSON)) == (400, "not-json"), body[:20]
    for body in (
        b"null",
        b"[]",
        b'"x"',
        b"7",
        b"{}",
        b'{"token": "a", "more": 1}',
        b'[{"token": "a"}]',
        b'{"token": {}}',
    ):
        assert problem(api.ask("POST", CONFIRM, data=body, headers=JSON)) == (422, "invalid-request"), body
    assert problem(api.ask("POST", CONFIRM, data=b'{"token": "\\ud800"}', headers=JSON))[0] in {400, 422}


@pytest.mark.parametrize(
    ("address", "media_type"),
    [(INITIATE, "application/json"), (CONFIRM, "application/json"), (STATUS, "application/x-www-form-urlencoded")],
)
def test_giant_bodies(api: Client, address: str, media_type: str) -> None:
    """
    413 for a body over the limit, announced or in pieces, and the server does not keep it; one just below is looked at.
    """
    headers = {**KEY, "Content-Type": media_type}
    most = bodies.LONGEST_BODY

    def pieces() -> Any:
        for _ in range(200):
            yield b"a" * 50_000

    assert problem(api.ask("POST", address, data=b"a" * (most + 1), headers=headers)) == (413, "too-large")
    assert problem(api.ask("POST", address, data=b"a" * 20_000_000, headers=headers)) == (413, "too-large")
    assert problem(api.ask("POST", address, data=pieces(), headers=headers)) == (413, "too-large")
    assert problem(api.ask("POST", address, data=b"a" * most, headers=headers))[0] in {400, 403}


def test_nobody_reads_what_may_not_be_asked(api: Client) -> None:
    """
    Without a key the body of an initiation is not even read: the answer comes before it.
    """
    place = urlsplit(api.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(
            f"POST {INITIATE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            "Content-Length: 60000\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_body_that_does_not_come(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    408 after a while, and the connection is closed; meanwhile others are answered.
    """
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.5)
    place = urlsplit(api.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        head = f"POST {CONFIRM} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n"
        connection.sendall(head.encode() + b'{"tok')
        assert api.ask("GET", HEALTH).status_code == 200
        told = b""
        while piece := connection.recv(4096):
            told += piece
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"urn:booking-doctor:too-slow" in told


def test_a_caller_who_goes_away(api: Client, lines: pytest.LogCaptureFixture) -> None:
    """
    Who hangs up in the middle of his request is noted and no error.
    """
    place = urlsplit(api.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        head = f"POST {CONFIRM} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n"
        connection.sendall(head.encode() + b'{"tok')

    assert logged(lines, f"POST {CONFIRM} 499 ")
    assert "ERROR" not in lines.text


def test_what_is_no_http(api: Client) -> None:
    """
    Bytes that are no request are refused by the server itself, and it goes on.
    """
    place = urlsplit(api.url)
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000,
    ):
        with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
            connection.sendall(sent)
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert api.ask("GET", HEALTH).status_code == 200


def test_request_ids(api: Client, lines: pytest.LogCaptureFixture) -> None:
    """
    An id that a caller gives comes back and stands in the log; what is none is replaced.
    """
    assert api.ask("GET", HEALTH, headers={"X-Request-Id": "run-7.a_B"}).headers["X-Request-Id"] == "run-7.a_B"
    assert logged(lines, "[run-7.a_B]")
    for given in ("", "a" * 65, "a b", "\x1b[31m", "<script>"):
        assert len(api.ask("GET", HEALTH, headers={"X-Request-Id": given}).headers["X-Request-Id"]) == 36


def test_the_log_names_only_our_addresses(api: Client, lines: pytest.LogCaptureFixture) -> None:
    """
    A token, a name or a number in an address or a body does not get into the log.
    """
    api.ask("GET", "/confirm/canary-token?phone=+15550103333")
    api.ask("CANARYS", f"{HEALTH}?email=canary@example.com")
    api.initiate(customer_name="canary-name", customer_email="canary@example.com")

    assert logged(lines, "GET (unknown address) 404")
    assert logged(lines, f"(unknown method) {HEALTH} 405")
    assert logged(lines, f"POST {INITIATE} 201")


def test_a_bug_shows_nothing(api: Client, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    500 for an error that nobody foresaw: what kind and where stands in the log, its message nowhere.
    """
    from booking_doctor.core import flow

    def broken(*_: object) -> None:
        message = "canary: +15550103333"
        raise KeyError(message)

    monkeypatch.setattr(flow, "checked", broken)
    answer = api.initiate()

    assert problem(answer) == (500, "bug")
    assert logged(lines, "KeyError in booking_doctor.core.service, line")
