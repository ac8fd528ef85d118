"""
A pooler between a client and the server, as PgBouncer is one: each transaction, or each session, gets a connection of its
own to the server, last used first.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import psycopg

_ENCRYPTION = {80877103, 80877104}
"""Requests for TLS or GSS."""

_GREETING = (("server_version", "15.0"), ("client_encoding", "UTF8"), ("standard_conforming_strings", "on"))


def _read(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = peer.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _next(peer: socket.socket) -> tuple[bytes, bytes]:
    kind = _read(peer, 1)
    (length,) = struct.unpack("!I", _read(peer, 4))
    return kind, _read(peer, length - 4)


class _Pooler:
    def __init__(self, url: str, mode: Literal["transaction", "session"]) -> None:
        self.mode = mode
        self.lock = threading.Lock()
        # NOTE: the driver logs in, then only the sockets are used.
        self.drivers = [psycopg.connect(url, autocommit=True) for _ in range(6)]
        self.servers = [socket.socket(fileno=os.dup(driver.fileno())) for driver in self.drivers]
        for server in self.servers:
            server.setblocking(True)
        self.idle = list(self.servers)

    def serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        with client, suppress(EOFError, OSError):
            self._greet(client)
            while True:
                kind, body = _next(client)
                if kind == b"X":
                    break
                if server is None:
                    server = self._take()
                server.sendall(_message(kind, body))
                if kind in {b"Q", b"S"} and self._answer(server, client) == b"I" and self.mode == "transaction":
                    self._give(server)
                    server = None
        if server is not None:
            self._give(server)

    def _greet(self, client: socket.socket) -> None:
        while True:
            (length,) = struct.unpack("!I", _read(client, 4))
            (code,) = struct.unpack("!I", _read(client, length - 4)[:4])
            if code not in _ENCRYPTION:
                break
            client.sendall(b"N")
        said = b"".join(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in _GREETING)
        key = _message(b"K", struct.pack("!II", 4711, 42))
        client.sendall(_message(b"R", struct.pack("!I", 0)) + said + key + _message(b"Z", b"I"))

    def _answer(self, server: socket.socket, client: socket.socket) -> bytes:
        while True:
            kind, body = _next(server)
            client.sendall(_message(kind, body))
            if kind == b"Z":
                return body

    def _take(self) -> socket.socket:
        with self.lock:
            return self.idle.pop()

    def _give(self, server: socket.socket) -> None:
        with self.lock:
            self.idle.append(server)

    def close(self) -> None:
        for server in self.servers:
            server.close()
        for driver in self.drivers:
            driver.close()


@contextmanager
def pooled(url: str, mode: Literal["transaction", "session"]) -> Iterator[str]:
    """
    The same database, through a pooler.
    """
    pooler = _Pooler(url, mode)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=pooler.serve, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        yield urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{listener.getsockname()[1]}"))
        listener.shutdown(socket.SHUT_RDWR)
    pooler.close()
