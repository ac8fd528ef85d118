"""
Serves answers that were rendered beforehand, in a process of its own, so that reading the log is all that is measured.
"""

from __future__ import annotations

import json
import mmap
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Final

_ABSENT: Final = b'{"code":20404,"message":"The requested resource was not found","status":404}'
_NOT_FOUND: Final = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


@contextmanager
def serving(log: Path, index: Path) -> Iterator[str]:
    """
    The address of a server that answers from those files for as long as the block lasts.
    """
    command = [sys.executable, __file__, str(log), str(index)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.stdin.close()  # it ends with its input, whichever way we end


def _serve(log: Path, index: Path) -> None:
    offsets = json.loads(index.read_text())
    with log.open("rb") as file, socket.create_server(("127.0.0.1", 0)) as listener:
        answers = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        Thread(target=_accept, args=(listener, answers, offsets), daemon=True).start()
        print(listener.getsockname()[1], flush=True)  # noqa: T201  for `serving`
        sys.stdin.read()


def _accept(listener: socket.socket, answers: memoryview, offsets: Mapping[str, tuple[int, int]]) -> None:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Thread(target=_converse, args=(connection, answers, offsets), daemon=True).start()


def _converse(connection: socket.socket, answers: memoryview, offsets: Mapping[str, tuple[int, int]]) -> None:
    """
    Answer one connection's requests, each with a single write: two would wait for the other side's delayed ACK.
    """
    absent = memoryview(_NOT_FOUND % (len(_ABSENT), _ABSENT))
    with connection:
        received = b""
        while True:
            while b"\r\n\r\n" not in received:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                received += chunk
            request, _, received = received.partition(b"\r\n\r\n")
            start, length = offsets.get(request.split(b" ", 2)[1].decode(), (0, 0))
            connection.sendall(answers[start : start + length] if length else absent)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]))
