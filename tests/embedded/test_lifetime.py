"""The server starts with its first client and stops after its last one, however each of them ends."""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.processes.embedded import Instance
from tests.support.waiting import eventually

pytestmark = pytest.mark.process
WHICH_SERVER = "SELECT pg_postmaster_start_time()::text"


def test_two_processes_share_one_server(instance: Instance) -> None:
    web, worker = instance.client(), instance.client()

    assert web.sql(WHICH_SERVER) == worker.sql(WHICH_SERVER)
    assert web.sql("SELECT current_database()") == "tasks"


@pytest.mark.slow
def test_two_processes_of_another_user_than_root_share_one_server(instance_of_another_user: Instance) -> None:
    web, worker = instance_of_another_user.client(), instance_of_another_user.client()

    assert web.sql(WHICH_SERVER) == worker.sql(WHICH_SERVER)

    web.leave()
    worker.leave()
    eventually(instance_of_another_user.has_stopped)


@pytest.mark.slow
def test_many_processes_at_once_start_one_server(instance: Instance) -> None:
    clients = [instance.client() for _ in range(5)]
    for client in clients:
        client.send(f"sql({WHICH_SERVER!r})")

    assert len({client.receive() for client in clients}) == 1


@pytest.mark.slow
def test_the_server_outlives_the_process_that_started_it(instance: Instance) -> None:
    starter, other = instance.client(), instance.client()
    started_at = starter.sql(WHICH_SERVER)
    other.sql("SELECT 1")

    starter.kill()

    assert other.sql(WHICH_SERVER) == started_at
    assert instance.client().sql(WHICH_SERVER) == started_at


def test_the_server_stops_after_its_last_client_even_if_that_one_is_killed(instance: Instance) -> None:
    first, last = instance.client(), instance.client()
    first.sql("SELECT 1")
    last.sql("SELECT 1")

    first.leave()
    last.kill()

    eventually(instance.has_stopped)
    assert not instance.directory.socket.exists()


@pytest.mark.slow
def test_a_forked_child_keeps_the_server_after_its_parent_has_ended(instance: Instance) -> None:
    parent = instance.client(keep_seconds=0)
    parent.sql("SELECT 1")
    child = parent.ask("__import__('os').fork() or (__import__('time').sleep(60), __import__('os')._exit(0))")

    os.kill(parent.process.pid, signal.SIGKILL)
    parent.leave()

    next_client = instance.client(keep_seconds=0)
    started_at = next_client.sql(WHICH_SERVER)
    next_client.leave()
    assert instance.client(keep_seconds=0).sql(WHICH_SERVER) == started_at
    os.kill(child, signal.SIGKILL)


@pytest.mark.slow
def test_a_daemon_that_closed_all_descriptors_joins_again(instance: Instance) -> None:
    daemon = instance.client(keep_seconds=0)
    daemon.sql("SELECT 1")
    daemon.ask("connection.close() or __import__('os').closerange(3, 100)")
    reused = daemon.ask("[__import__('os').open('/dev/null', 0) for _ in range(5)]")

    started_at = daemon.sql(WHICH_SERVER)

    assert daemon.ask(f"[__import__('os').fstat(number).st_nlink for number in {reused}]") == [1] * 5
    assert instance.client(keep_seconds=0).sql(WHICH_SERVER) == started_at


@pytest.mark.slow
def test_commands_that_follow_each_other_find_the_server_running(instance: Instance) -> None:
    migrate = instance.client(keep_seconds=10)
    started_at = migrate.sql(WHICH_SERVER)
    migrate.leave()

    assert instance.client().sql(WHICH_SERVER) == started_at


@pytest.mark.slow
def test_clients_that_meet_a_stopping_server_get_a_new_one(instance: Instance) -> None:
    def come_and_go(_: int) -> bool:
        client = instance.client(keep_seconds=0)
        client.sql("SELECT 1")
        client.leave()
        return True

    with ThreadPoolExecutor(2) as clients:
        assert all(clients.map(come_and_go, range(10)))
    eventually(instance.has_stopped)


@pytest.mark.slow
def test_a_killed_supervisor_takes_the_server_along_and_the_next_connection_starts_both(instance: Instance) -> None:
    web = instance.client()
    web.sql("CREATE TABLE kept AS SELECT 42 AS number")
    server, supervisor = instance.server(), instance.supervisor()

    supervisor.kill()

    server.wait(60)
    assert instance.client().sql("SELECT number FROM kept") == 42
    web.ask("connection.close()")
    assert web.sql("SELECT number FROM kept") == 42


@pytest.mark.slow
def test_deleting_the_data_directory_is_a_fresh_start(instance: Instance) -> None:
    web = instance.client()
    web.sql("CREATE TABLE kept (number int)")
    old_server = instance.server()

    subprocess.run(["rm", "-rf", str(instance.directory.root)], check=True)

    assert instance.client().sql("SELECT to_regclass('kept')") is None
    eventually(lambda: not old_server.is_running())
    web.ask("connection.close()")
    assert web.sql("SELECT to_regclass('kept')") is None
