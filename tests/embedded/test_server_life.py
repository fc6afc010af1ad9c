"""The server starts with its first user and stops after its last, however either of them ends."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.processes.embedded import House
from tests.support.waiting import eventually

pytestmark = pytest.mark.process
WHICH_SERVER = "SELECT pg_postmaster_start_time()::text"


def test_two_processes_share_one_server(house: House) -> None:
    web, worker = house.visit(), house.visit()

    assert web.sql(WHICH_SERVER) == worker.sql(WHICH_SERVER)
    assert web.sql("SELECT current_database()") == "tasks"


@pytest.mark.slow
def test_a_user_who_is_not_root_gets_the_same(house_of_nobody: House) -> None:
    web, worker = house_of_nobody.visit(), house_of_nobody.visit()

    assert web.sql(WHICH_SERVER) == worker.sql(WHICH_SERVER)

    web.leave()
    worker.leave()
    eventually(house_of_nobody.has_stopped)


@pytest.mark.slow
def test_many_processes_at_once_start_one_server(house: House) -> None:
    crowd = [house.visit() for _ in range(5)]
    for visitor in crowd:
        visitor.send(f"sql({WHICH_SERVER!r})")

    assert len({visitor.receive() for visitor in crowd}) == 1


@pytest.mark.slow
def test_the_server_outlives_whoever_started_it(house: House) -> None:
    starter, other = house.visit(), house.visit()
    started_at = starter.sql(WHICH_SERVER)
    other.sql("SELECT 1")

    starter.kill()

    assert other.sql(WHICH_SERVER) == started_at
    assert house.visit().sql(WHICH_SERVER) == started_at


def test_the_server_stops_after_its_last_user_even_if_that_one_is_killed(house: House) -> None:
    first, last = house.visit(), house.visit()
    first.sql("SELECT 1")
    last.sql("SELECT 1")
    socket_directory = house.layout.socket_directory

    first.leave()
    last.kill()

    eventually(house.has_stopped)
    eventually(lambda: not socket_directory.exists())


@pytest.mark.slow
def test_a_forked_child_counts_as_a_user_after_its_parent_has_ended(house: House) -> None:
    parent = house.visit(grace=0)
    parent.sql("SELECT 1")
    child = parent.ask("__import__('os').fork() or (__import__('time').sleep(60), __import__('os')._exit(0))")

    os.kill(parent.process.pid, signal.SIGKILL)
    parent.leave()

    newcomer = house.visit(grace=0)
    started_at = newcomer.sql(WHICH_SERVER)
    newcomer.leave()
    assert house.visit(grace=0).sql(WHICH_SERVER) == started_at
    os.kill(child, signal.SIGKILL)


@pytest.mark.slow
def test_a_daemon_that_closed_all_it_found_open_becomes_a_user_again(house: House) -> None:
    daemon = house.visit(grace=0)
    daemon.sql("SELECT 1")
    daemon.ask("connection.close() or __import__('os').closerange(3, 100)")
    reused = daemon.ask("[__import__('os').open('/dev/null', 0) for _ in range(5)]")

    started_at = daemon.sql(WHICH_SERVER)

    assert daemon.ask(f"[__import__('os').fstat(number).st_nlink for number in {reused}]") == [1] * 5
    newcomer = house.visit(grace=0)
    assert newcomer.sql(WHICH_SERVER) == started_at


@pytest.mark.slow
def test_commands_that_follow_each_other_find_the_server_running(house: House) -> None:
    migrate = house.visit(grace=3)
    started_at = migrate.sql(WHICH_SERVER)
    migrate.leave()

    assert house.visit(grace=3).sql(WHICH_SERVER) == started_at


@pytest.mark.slow
def test_newcomers_that_meet_a_stopping_server_get_a_new_one(house: House) -> None:
    def come_and_go(_: int) -> bool:
        visitor = house.visit(grace=0)
        visitor.sql("SELECT 1")
        visitor.leave()
        return True

    with ThreadPoolExecutor(2) as crowd:
        assert all(crowd.map(come_and_go, range(10)))
    eventually(house.has_stopped)


@pytest.mark.slow
def test_a_killed_keeper_is_replaced_by_the_next_user(house: House) -> None:
    web = house.visit()
    started_at = web.sql(WHICH_SERVER)
    os.kill(house.keeper(), signal.SIGKILL)

    worker = house.visit()
    assert worker.sql(WHICH_SERVER) == started_at

    web.leave()
    worker.leave()
    eventually(house.has_stopped)


@pytest.mark.slow
def test_deleting_the_data_directory_is_a_fresh_start(house: House) -> None:
    web = house.visit()
    web.sql("CREATE TABLE kept (number int)")
    old_server = house.running_server().pid

    subprocess.run(["rm", "-rf", str(house.layout.root)], check=True)

    assert house.visit().sql("SELECT to_regclass('kept')") is None
    eventually(lambda: not Path(f"/proc/{old_server}").exists())
    web.ask("connection.close()")
    assert web.sql("SELECT to_regclass('kept')") is None
