"""
What a client asks of a simulator, and what it is answered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct, field

JSON: TypeAlias = "str | int | bool | Sequence[JSON] | Mapping[str, JSON] | None"


class Request(Struct, frozen=True, kw_only=True):
    """
    What a client asked, without its secret.

    Attributes:
        target: Path and query as they were sent.
        form: The values of each parameter of a POST.
        body: The whole of it.
        user: Who asks: with Basic authentication the name, which may be public.
        at: By the simulator's clock.
        monotonic_s: By `time.monotonic`, to tell how long a client really waited.
        cache_control: What it said about caches.
    """

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, Sequence[str]]
    body: str = ""
    user: str | None
    at: datetime
    monotonic_s: float
    cache_control: str = ""

    def value(self, name: str) -> str:
        """
        The last value of a form parameter, empty if there is none.
        """
        return self.form.get(name, [""])[-1]


class Reply(Struct, frozen=True, kw_only=True):
    """
    A complete answer.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def document(payload: JSON, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """
    An answer in JSON.
    """
    body = json.dumps(payload).encode()
    return Reply(status=status, body=body, headers={"Content-Type": "application/json", **(headers or {})})
