"""A machine is lost with its workers: its connections stay open, and it may come back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes.network_namespace import another_machine
from tests.support.processes.postgres import Server, own_server
from tests.support.processes.proxy import proxied
from tests.support.processes.worker_command import Notes, WorkerCommand, manage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]

UNIQUE = "CREATE TABLE tests_mark (name text UNIQUE)"
STATUS = "SELECT status FROM taskqueue_task"
OUTCOMES = "SELECT outcome FROM taskqueue_attempt"
ALIVE = "SELECT count(*) FROM taskqueue_worker WHERE ended_at IS NULL"
SUCCEEDED, LOST = [("succeeded",)], [("lost",)]


@contextmanager
def at_work(
    server: Server, notes: Notes, path: Path, *, far: str, pipeline: str, step: int, within: Sequence[str] = ()
) -> Iterator[tuple[WorkerCommand, WorkerCommand]]:
    """A command on the lost machine in the middle of a step, and an idle command on this machine.

    Args:
        far: the database's address for the lost machine.
        within: the prefix of a command that runs there.
    """
    environment = {"DATABASE_URL": server.url, "DEBUG": "true", "WORKER_TEST_DATABASE": "postgres"}
    manage("migrate", environment=environment)
    server.do(UNIQUE)
    lost = WorkerCommand(path, environment={**environment, "DATABASE_URL": far}, within=tuple(within))
    here = None
    try:
        enqueue = f"enqueue({pipeline!r}, {{'notes': {str(notes.path)!r}, 'wait_in': {step}}})"
        manage(
            "shell", "-c", f"from taskqueue.engine.enqueue.enqueue import enqueue; {enqueue}", environment=environment
        )
        eventually(lambda: bool(notes.pids_that_began(step)), details=lost.output)
        here = WorkerCommand(path, environment=environment)
        eventually(lambda: server.ask("SELECT count(*) FROM taskqueue_worker") == [(4,)])
        yield lost, here
        eventually(lambda: server.ask(ALIVE) == [(4,)], details=lost.output)
        assert server.ask(STATUS) == SUCCEEDED
        assert server.ask(OUTCOMES) == LOST
        assert lost.stop() == 0, lost.output()
    finally:
        lost.kill_all()
        if here is not None:
            here.kill_all()


@pytest.mark.parametrize(("pipeline", "step"), [("tests/walk", 3), ("tests/mark-slowly", 1)], ids=["plain", "atomic"])
def test_tasks_of_a_lost_machine_continue_elsewhere_within_ten_seconds(notes, tmp_path, pipeline, step):
    with another_machine() as machine, own_server(host="0.0.0.0") as server:  # noqa: S104 - for the test's length
        far = server.url.replace("0.0.0.0", machine.host)  # noqa: S104
        there = at_work(server, notes, tmp_path, far=far, pipeline=pipeline, step=step, within=machine.within)
        with there as (lost, here):
            machine.unplug()
            lost_at = time.monotonic()
            notes.release_steps()
            eventually(lambda: server.ask(STATUS) == SUCCEEDED, details=here.output)
            seconds = time.monotonic() - lost_at
            machine.plug_in()
            eventually(lambda: "releases its tasks" in lost.output(), details=lost.output)

            assert seconds < 28  # a missing heartbeat alone would take 30
            assert server.ask("SELECT count(*) FROM tests_mark") == [(1 if step == 1 else 0,)]


def test_behind_a_proxy_a_lost_machine_is_found_by_its_heartbeat(notes, tmp_path):
    with own_server() as server, proxied(server.port) as proxy:
        far = f"postgres://postgres@127.0.0.1:{proxy.port}/postgres"
        with at_work(server, notes, tmp_path, far=far, pipeline="tests/walk", step=3) as (_lost, here):
            proxy.fall_silent()
            silent_at = time.monotonic()
            eventually(lambda: server.ask(OUTCOMES) == LOST, details=here.output)
            seconds = time.monotonic() - silent_at
            notes.release_steps()
            eventually(lambda: server.ask(STATUS) == SUCCEEDED, details=here.output)
            proxy.go_on()

            assert seconds > 20
