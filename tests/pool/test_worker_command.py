"""`manage.py worker` prints what it does, or in one sentence why it cannot."""

import signal
import socket

import pytest
from django.core.management import ManagementUtility
from django.db import connection

from taskqueue.engine.actions.queues import move_pipeline
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.enqueue import enqueue
from taskqueue.engine.runtime.taken_queues import taking
from taskqueue.management.commands import worker
from taskqueue.queues import TakenQueues
from tests.support.processes.processes import free_port
from tests.support.processes.worker_command import WorkerCommand, enqueue_walk, finished
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


@pytest.fixture
def run(db, tmp_path):
    """Start a command that is not expected to have workers."""
    started = []

    def run_one(**settings) -> WorkerCommand:
        started.append(WorkerCommand(tmp_path, **settings))
        return started[-1]

    yield run_one
    for command in started:
        command.kill_all()


@pytest.mark.smoke
def test_the_command_prints_a_start_line_and_a_stop_line(start):
    command = start(processes=1)

    command.stop(signal.SIGINT)

    first, last = command.output().splitlines()
    assert first.startswith(f"Worker: 1 process with 1 thread on database {connection.settings_dict['NAME']}")
    assert ", for pipelines tests/" in first
    assert first.endswith("tests/walk. Stop with Ctrl-C.")
    assert last == "Worker stopped."


def test_each_connection_has_the_name_of_its_role(start, notes):
    command = start(processes=1)
    enqueue_walk(notes)

    eventually(lambda: {"worker", "heartbeat", "notifier"} <= roles(), details=lambda: str(roles()))

    (worker,) = command.workers()
    assert f"taskqueue worker {socket.gethostname()[:30]}:{worker}" in names()


@pytest.mark.slow
def test_the_projects_own_connection_name_stays(start):
    start(processes=1, environment={"PGAPPNAME": "shop"})

    assert names() == {"shop"}


def names() -> set[str]:
    """The names of all connections to this database except this process's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT application_name FROM pg_stat_activity "
            "WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return {name for (name,) in cursor.fetchall()}


def roles() -> set[str]:
    """The roles in their names."""
    return {name.split()[1] for name in names() if name.startswith("taskqueue ")}


@pytest.mark.django_db(transaction=True)
def test_without_migrations_the_command_names_the_remedy(run):
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE worker_test_empty")
        try:
            command = run(environment={"WORKER_TEST_DATABASE": "worker_test_empty"})
            assert command.wait() == 1
        finally:
            cursor.execute("DROP DATABASE worker_test_empty")

    assert (
        "The database lacks migrations of auth, contenttypes, django_q, taskqueue: run manage.py migrate."
        in command.output()
    )
    assert "Traceback" not in command.output()


@pytest.mark.smoke
def test_without_a_database_the_command_waits(run):
    command = run(environment={"DATABASE_URL": f"postgres://missing@127.0.0.1:{free_port()}/none", "DEBUG": "true"})

    eventually(lambda: "Waiting for the database:" in command.output(), details=command.output)

    assert command.stop() == 0, command.output()
    assert command.output().count("Waiting for the database:") == 1


def test_another_broker_is_refused(run):
    command = run(broker="django_q.brokers.orm.ORM")

    assert command.wait() == 1
    assert 'Set Q_CLUSTER["broker_class"] to "taskqueue.pool.notifier.NotifierBroker"' in command.output()


def test_zero_processes_are_refused(run):
    command = run(processes=0)

    assert command.wait() == 2
    assert "must be at least 1" in command.output()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--queues", "mail", "--not", "gpu"], "not allowed with argument"),
        (["--queues", "Mail,gpu"], "A queue cannot be called 'Mail'. Use up to 100 small letters"),
        (["--not", " "], "name at least one queue"),
    ],
)
def test_wrong_queues_are_refused(arguments, says, capsys):
    with pytest.raises(SystemExit) as ended:
        ManagementUtility(["manage.py", "worker", *arguments]).execute()

    assert ended.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("queues", "warning"),
    [
        (TakenQueues(), ""),
        (TakenQueues((), ("default",)), ""),
        (
            TakenQueues(("default", "gpu")),
            "Warning: no pipeline and no step is in queue gpu now. Known queues: default",
        ),
        (
            TakenQueues((), ("gpu", "tpu")),
            "Warning: no pipeline and no step is in the queues gpu, tpu now. Known queues: default",
        ),
    ],
    ids=str,
)
def test_unknown_queues_are_a_warning_with_the_known_ones(transactional_db, queues, warning):
    sync_pipelines()

    with taking(queues):
        found = worker._queues_warning()

    assert found.startswith(warning)
    assert bool(found) == bool(warning)


def test_each_command_executes_its_queues(start, notes):
    first = enqueue_walk(notes)
    move_pipeline("tests/walk", "feet")
    others = start(processes=1, arguments=["--not", "feet"])
    feet = start(processes=1, arguments=["--queues", "feet"])
    second = enqueue_walk(notes)

    eventually(lambda: finished(first) and finished(second), details=feet.output)

    assert "queues: all but feet; pipelines tests/" in others.output()
    assert {int(words[2]) for words in notes.lines() if words[0] == "begin"} == set(feet.workers())


def test_a_task_moves_to_the_command_that_takes_the_queue_of_its_step(start, notes):
    commands = [start(processes=1, arguments=arguments) for arguments in (["--not", "render"], ["--queues", "render"])]
    task = enqueue.enqueue("tests/two-queues", {"notes": str(notes.path)})

    eventually(lambda: finished(task), details=commands[1].output)

    (others,), (render,) = (command.workers() for command in commands)
    began = [int(words[2]) for words in notes.lines() if words[0] == "begin"]
    assert began == [others, render, others]
