"""
A service on this machine that takes notifications.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

KEY: Final = "s3cretKey"
"""What nobody but the service may ever see."""


class Receiver:
    """
    Attributes:
        url: As Apprise has it.
        heard: The notifications, oldest first.
        status: What it answers.
    """

    def __init__(self, port: int) -> None:
        self.url = f"json://user:{KEY}@127.0.0.1:{port}/hook/{KEY}"
        self.heard: list[dict[str, Any]] = []
        self.status = 200

    @property
    def titles(self) -> list[str]:
        """
        What they are about.
        """
        return [heard["title"] for heard in self.heard]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """
    Over HTTP for as long as the block lasts.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(server.server_port)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield receiver
        server.shutdown()
