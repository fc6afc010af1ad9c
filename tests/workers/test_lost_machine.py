"""A machine is lost with its workers: nobody closes its connections, and it may come back."""

from __future__ import annotations

import time

import pytest

from tests.house.processes import eventually
from tests.workers.command import WorkerCommand
from tests.workers.machines import another_machine
from tests.workers.servers import own_server
from tests.workers.test_database_restart import manage

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

UNIQUE = "CREATE TABLE tests_mark (name text UNIQUE)"


@pytest.mark.parametrize(("pipeline", "step"), [("tests/walk", 3), ("tests/mark-slowly", 1)], ids=["plain", "atomic"])
def test_its_tasks_go_on_elsewhere_within_fifteen_seconds(notes, tmp_path, pipeline, step):
    with another_machine() as machine, own_server(host="0.0.0.0") as server:  # noqa: S104 - for the test's length
        environment = {"DATABASE_URL": server.url, "DEBUG": "true", "WORKER_TEST_DATABASE": "postgres"}
        far = {**environment, "DATABASE_URL": server.url.replace("0.0.0.0", machine.host)}  # noqa: S104
        manage("migrate", environment=environment)
        server.do(UNIQUE)
        lost = WorkerCommand(tmp_path, environment=far, within=machine.within)
        here = None
        try:
            payload = {"notes": str(notes.path), "wait_in": step}
            enqueue = f"taskqueue.engine.intake.enqueue({pipeline!r}, {payload!r})"
            manage("shell", "-c", f"import taskqueue.engine.intake; {enqueue}", environment=environment)
            eventually(lambda: notes.begun(step), within=30, otherwise=lost.said)
            here = WorkerCommand(tmp_path, environment=environment)
            eventually(lambda: server.ask("SELECT count(*) FROM taskqueue_worker") == [(4,)], within=30)

            machine.unplug()
            lost_at = time.monotonic()
            notes.open_gate()
            succeeded = [("succeeded",)]
            status = "SELECT status FROM taskqueue_task"
            eventually(lambda: server.ask(status) == succeeded, within=30, otherwise=here.said)
            took = time.monotonic() - lost_at
            machine.plug_in()
            eventually(lambda: "lets go of what it had" in lost.said(), within=30, otherwise=lost.said)

            assert took < 15
            assert server.ask("SELECT outcome FROM taskqueue_attempt") == [("lost",)]
            assert server.ask("SELECT count(*) FROM tests_mark") == [(1 if step == 1 else 0,)]
            alive = "SELECT count(*) FROM taskqueue_worker WHERE ended_at IS NULL"
            eventually(lambda: server.ask(alive) == [(4,)], within=20, otherwise=lost.said)
            assert server.ask(status) == succeeded
            assert lost.stop() == 0, lost.said()
        finally:
            lost.kill_all()
            if here is not None:
                here.kill_all()
