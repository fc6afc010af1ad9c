"""The database server crashes and restarts under a running worker command."""

import pytest

from tests.support.processes.postgres import own_server
from tests.support.processes.worker_command import WorkerCommand, manage
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_tasks_continue_after_a_crash_of_the_database_server(notes, tmp_path):
    with own_server() as server:
        environment = {"DATABASE_URL": server.url, "DEBUG": "true", "WORKER_TEST_DATABASE": "postgres"}
        manage("migrate", environment=environment)
        command = WorkerCommand(tmp_path, environment=environment)
        try:
            eventually(lambda: "Worker: 2 processes" in command.output(), details=command.output)
            walk = f"enqueue('tests/walk', {{'notes': {str(notes.path)!r}, 'wait_in': 3}})"
            manage(
                "shell", "-c", f"from taskqueue.engine.enqueue.enqueue import enqueue; {walk}", environment=environment
            )
            eventually(lambda: notes.pids_that_began(3), details=command.output)

            server.crash()
            notes.release_steps()
            eventually(lambda: "The database does not answer" in command.output(), details=command.output)
            server.start()

            done = [("succeeded",)]
            eventually(lambda: server.ask("SELECT status FROM taskqueue_task") == done, details=command.output)
            begun = notes.count("begin")
            assert (begun[1], begun[2], begun[4], begun[5]) == (1, 1, 1, 1)
            assert len([line for line in command.output().splitlines() if "does not answer" in line]) <= 4
            over = "WARNING taskqueue.workers: The database answers again"
            eventually(lambda: over in command.output(), details=command.output)
            assert command.stop() == 0, command.output()
        finally:
            command.kill_all()
