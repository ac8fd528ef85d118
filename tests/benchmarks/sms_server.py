"""
Takes texts and says so at once, in a process of its own: a Twilio without delay, so that the worker is all that is measured.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from threading import Thread
from typing import Final
from urllib.parse import parse_qs

_numbers: Final = count(1)


@contextmanager
def texting() -> Iterator[str]:
    """
    The address of a server that takes every text for as long as the block lasts.
    """
    with subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin
        assert server.stdout
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.stdin.close()  # it ends with its input, whichever way we end


def _serve() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_accept, args=(listener,), daemon=True).start()
        print(listener.getsockname()[1], flush=True)  # noqa: T201  for `texting`
        sys.stdin.read()


def _accept(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Thread(target=_converse, args=(connection,), daemon=True).start()


def _converse(connection: socket.socket) -> None:
    """
    Answer one connection's requests, each with a single write: two would wait for the other side's delayed ACK.
    """
    with connection:
        received = b""
        while True:
            while b"\r\n\r\n" not in received:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                received += chunk
            head, _, received = received.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            while len(received) < length:
                received += connection.recv(65536)
            answer, received = _taken(received[:length]), received[length:]
            head = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % len(answer) + answer)


def _taken(form: bytes) -> bytes:
    text = {name: values[0] for name, values in parse_qs(form.decode()).items()}
    moment = f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} +0000"
    message = {
        "sid": f"SM{next(_numbers):032x}",
        "status": "queued",
        "direction": "outbound-api",
        "to": text["To"],
        "from": text["From"],
        "body": text["Body"],
        "num_segments": "1",
        "num_media": "0",
        "date_created": moment,
        "date_sent": None,
        "date_updated": moment,
        "price": None,
        "price_unit": "USD",
        "error_code": None,
        "error_message": None,
        "messaging_service_sid": None,
    }
    return json.dumps(message).encode()


if __name__ == "__main__":
    _serve()
