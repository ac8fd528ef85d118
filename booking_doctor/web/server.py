"""
The API under uvicorn, on a socket of ours.
"""

from __future__ import annotations

import os
import socket
from typing import Final

import uvicorn

from booking_doctor.errors import UsageError
from booking_doctor.web.doorway import Doorway

PARTING_S: Final = 60
"""How long requests under way are waited for when the server is to end. Twilio may take half of that."""


def listen(host: str, port: int) -> socket.socket:
    """
    A socket at that address; port 0 leaves the choice to the system.

    Raises:
        UsageError: It cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else "there is no such address"
        message = f"cannot listen on {host}, port {port}: {reason}"
        raise UsageError(message, hint="choose another with --host and --port") from error


def address_of(listening: socket.socket) -> str:
    """
    Where a browser on this machine finds it.
    """
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server_of(app: Doorway) -> uvicorn.Server:
    """
    A server that tells nobody what it is and logs nothing but warnings; our own lines are the doorway's.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=PARTING_S,
    )
    return uvicorn.Server(config)
