"""
Twilio's signature, judged as Twilio makes it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from booking_doctor.adapters.signatures import TwilioSignatures
from booking_doctor.settings import Secret

# Twilio's own example ("Webhooks security").
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
FIELDS = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Caller", "+14158675309"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
]
SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="

SIGNATURES = TwilioSignatures(Secret("12345"))


def by_hand(url: str, fields: list[tuple[str, str]]) -> str:
    """
    As Twilio's page describes it: the URL, then each name with each of its values, both sorted, none twice.
    """
    data = url + "".join(f"{name}{value}" for name, value in sorted(set(fields)))
    return base64.b64encode(hmac.digest(b"12345", data.encode(), hashlib.sha1)).decode()


def test_the_known_vector() -> None:
    """
    Twilio's example is genuine, in any order of its fields.
    """
    assert by_hand(URL, FIELDS) == SIGNATURE
    assert SIGNATURES.genuine(URL, FIELDS, SIGNATURE)
    assert SIGNATURES.genuine(URL, FIELDS[::-1], SIGNATURE)


@pytest.mark.parametrize(
    ("url", "fields", "signature"),
    [
        pytest.param(URL.replace("https", "http"), FIELDS, SIGNATURE, id="http"),
        pytest.param(URL.replace(".php?", ".php/?"), FIELDS, SIGNATURE, id="trailing slash"),
        pytest.param(f"{URL}&baz=3", FIELDS, SIGNATURE, id="more query"),
        pytest.param(URL.partition("?")[0], FIELDS, SIGNATURE, id="no query"),
        pytest.param(URL.replace("foo=1&bar=2", "bar=2&foo=1"), FIELDS, SIGNATURE, id="another order of the query"),
        pytest.param(URL.replace("mycompany", "mycompany.evil"), FIELDS, SIGNATURE, id="another host"),
        pytest.param(URL, FIELDS[1:], SIGNATURE, id="a field less"),
        pytest.param(URL, [*FIELDS, ("X", "")], SIGNATURE, id="an empty field more"),
        pytest.param(URL, [*FIELDS, ("Digits", "5")], SIGNATURE, id="a second value"),
        pytest.param(URL, [*FIELDS[:-1], ("To", "+18005551213")], SIGNATURE, id="another value"),
        pytest.param(URL, FIELDS, "", id="no signature"),
        pytest.param(URL, FIELDS, SIGNATURE[:-1], id="cut"),
        pytest.param(URL, FIELDS, SIGNATURE.lower(), id="lower case"),
        pytest.param(URL, FIELDS, "ünïcode", id="not even base64"),
        pytest.param(URL, [], SIGNATURE, id="no fields"),
    ],
)
def test_forgeries(url: str, fields: list[tuple[str, str]], signature: str) -> None:
    """
    Scheme, host, path, query and every field count.
    """
    assert not SIGNATURES.genuine(url, fields, signature)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("https://app.example/x", "https://app.example:443/x"),
        ("http://app.example/x?a=1", "http://app.example:80/x?a=1"),
        ("https://app.example:443/x", "https://app.example/x"),
        ("https://app.example:8443/x", "https://app.example:8443/x"),
    ],
)
def test_the_default_port(ours: str, theirs: str) -> None:
    """
    Twilio may sign with or without the default port; another port is part of the address.
    """
    assert SIGNATURES.genuine(ours, FIELDS, by_hand(theirs, FIELDS))


def test_another_port() -> None:
    """
    A port that is not the default cannot be left out.
    """
    assert not SIGNATURES.genuine("https://app.example/x", FIELDS, by_hand("https://app.example:8443/x", FIELDS))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("A", "2"), ("A", "1"), ("B", "x")], id="a name with two values"),
        pytest.param([("A", "1"), ("A", "1")], id="the same field twice"),
        pytest.param([("A", ""), ("b", "\U0001f37e ä ß + & =")], id="empty, and beyond ASCII"),
        pytest.param([("b", "1"), ("B", "2"), ("_", "3")], id="sorted as Unix sorts"),
    ],
)
def test_fields(fields: list[tuple[str, str]]) -> None:
    """
    Names that come more than once count with each of their values, once.
    """
    assert SIGNATURES.genuine(URL, fields, by_hand(URL, fields))


def test_without_a_token() -> None:
    """
    Where no token is set nothing is Twilio's, not even what an empty one would sign.
    """
    nobody = TwilioSignatures(None)
    empty = base64.b64encode(hmac.digest(b"", URL.encode(), hashlib.sha1)).decode()

    assert not nobody.judged
    assert not nobody.genuine(URL, [], empty)
    assert SIGNATURES.judged
