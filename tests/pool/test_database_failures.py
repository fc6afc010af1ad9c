"""The database stops, falls silent, refuses connections or writes: workers recover, with a few lines in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes.postgres import Server, own_server
from tests.support.processes.proxy import Proxy, proxied
from tests.support.processes.worker_command import WorkerCommand, manage
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.timeout(600)]

TASKS = 500
ENQUEUE = f"""
from django.db import transaction
from taskqueue.engine.enqueue.enqueue import enqueue
with transaction.atomic():
    for number in range({TASKS}):
        enqueue("tests/marks", {{"name": str(number)}})
"""
DOUBLED = "SELECT count(*) FROM (SELECT FROM tests_mark GROUP BY name HAVING count(*) > 1) AS doubled"
STATE = (
    "SELECT status, worker_id, count(*) FROM taskqueue_task GROUP BY 1, 2",
    "SELECT id, pid, heartbeat_at, ended_at, end_reason, step, clock_timestamp() FROM taskqueue_worker ORDER BY id",
    "SELECT pid, state, state_change, query FROM pg_stat_activity WHERE backend_type = 'client backend'",
)
WORDS = ("does not answer", "lost the database", "Looking for work failed", "Traceback")


@dataclass
class Scene:
    """A server, a proxy before it, and a worker command that runs 500 tasks through the proxy."""

    server: Server
    proxy: Proxy
    command: WorkerCommand

    def count(self, question: str) -> int:
        return int(str(self.server.ask(question)[0][0]))

    def done(self) -> int:
        return self.count("SELECT count(*) FROM taskqueue_task WHERE status = 'succeeded'")

    def wait_until_at_work(self) -> None:
        """Wait until some tasks have succeeded and most have not."""
        eventually(lambda: self.done() > 20, details=self.command.output)

    def lines(self, *words: str) -> list[str]:
        """The lines of the log with one of these words."""
        return [line for line in self.command.output().splitlines() if any(word in line for word in words)]

    def state(self) -> str:
        """The log, and the rows of tasks, workers and sessions."""
        return "\n".join([self.command.output(), *(str(self.server.ask(question)) for question in STATE)])

    def check_all_succeed(self) -> None:
        """Check that every task succeeds, with each effect once."""
        eventually(lambda: self.done() == TASKS, details=self.state)
        assert self.count("SELECT count(*) FROM tests_mark") == 2 * TASKS
        assert self.count(DOUBLED) == 0
        assert self.command.stop() == 0, self.command.output()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with own_server() as started:
        environment = {"DATABASE_URL": started.url, "DEBUG": "true", "WORKER_TEST_DATABASE": "postgres"}
        manage("migrate", environment=environment)
        started.do("CREATE TABLE tests_mark (name text)")
        yield started


@pytest.fixture
def scene(server: Server, tmp_path: Path) -> Iterator[Scene]:
    """500 queued tasks."""
    server.do("TRUNCATE tests_mark, taskqueue_task, taskqueue_worker CASCADE")
    with proxied(server.port) as proxy:
        environment = {"DATABASE_URL": server.url, "DEBUG": "true", "WORKER_TEST_DATABASE": "postgres"}
        manage("pipelines", environment=environment)
        manage("shell", "-c", ENQUEUE, environment=environment)
        far = {**environment, "DATABASE_URL": f"postgres://postgres@127.0.0.1:{proxy.port}/postgres"}
        command = WorkerCommand(tmp_path, environment={**far, "LOG_LEVEL": "WARNING"})
        try:
            yield Scene(server, proxy, command)
        finally:
            command.kill_all()


def restart_fast(scene: Scene) -> None:
    scene.server.stop_fast()
    scene.server.start()


def restart_at_once(scene: Scene) -> None:
    scene.server.crash()
    scene.server.start()


def cut(scene: Scene) -> None:
    scene.proxy.cut()


def refuse_for_a_while(scene: Scene) -> None:
    scene.proxy.refuse()
    eventually(lambda: bool(scene.lines("does not answer")), details=scene.command.output)
    scene.proxy.go_on()


def refuse_writes_for_a_while(scene: Scene) -> None:
    scene.server.do("ALTER DATABASE postgres SET default_transaction_read_only = on")
    scene.proxy.cut()
    eventually(lambda: bool(scene.lines("read-only")), details=scene.command.output)
    scene.server.do("ALTER DATABASE postgres RESET default_transaction_read_only")
    scene.proxy.cut()


@pytest.mark.parametrize(
    "fail",
    [restart_fast, restart_at_once, cut, refuse_for_a_while, refuse_writes_for_a_while],
    ids=lambda fail: fail.__name__,
)
def test_five_hundred_tasks_succeed_while_the_database_fails(scene: Scene, fail: Callable[[Scene], None]):
    scene.wait_until_at_work()

    fail(scene)

    scene.check_all_succeed()
    assert len(scene.lines(*WORDS)) <= 12, scene.command.output()
    assert not scene.lines("Traceback"), scene.command.output()


def test_a_silent_and_cut_connection_loses_no_task(scene: Scene):
    scene.wait_until_at_work()

    scene.proxy.fall_silent()
    before = scene.done()
    scene.proxy.cut()
    scene.proxy.go_on()

    scene.check_all_succeed()
    assert before < TASKS


FAIL_AT_RANDOM = """
CREATE FUNCTION fail_at_random() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF random() < 0.02 THEN RAISE EXCEPTION 'an error for the test' USING ERRCODE = '{code}'; END IF;
RETURN NEW; END $$;
CREATE TRIGGER fail_at_random BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION fail_at_random();
"""


@pytest.mark.parametrize("table", ["taskqueue_step", "taskqueue_task"])
@pytest.mark.parametrize("name", ["disk_full", "serialization_failure", "deadlock_detected", "lock_not_available"])
def test_tasks_succeed_though_statements_fail_at_random(scene: Scene, name: str, table: str):
    scene.wait_until_at_work()

    scene.server.do(FAIL_AT_RANDOM.format(code=name, table=table))
    try:
        eventually(lambda: len(scene.lines("an error for the test")) >= 2, details=scene.state)
    finally:
        scene.server.do("DROP FUNCTION fail_at_random CASCADE")

    scene.check_all_succeed()
    assert not scene.lines("Traceback"), scene.command.output()
