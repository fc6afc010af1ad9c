"""`manage.py worker` prints what it does, or in one sentence why it cannot."""

import signal
import socket
from typing import Any

import pytest
from django.core.management import CommandError, ManagementUtility
from django.db import connection

from taskqueue.engine.actions.queues import move_pipeline
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.enqueue import enqueue
from taskqueue.management.commands import worker
from taskqueue.queues import TakenQueues
from tests.support.processes.pipelines import take_a_nap
from tests.support.processes.processes import free_port
from tests.support.processes.worker_command import WorkerCommand, all_done, enqueue_walk, finished
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
        (["--reserve", "urgent"], "'urgent' is not QUEUE=N, such as urgent=1."),
        (["--reserve", "Urgent=1"], "A queue cannot be called 'Urgent'. Use up to 100 small letters"),
        (["--reserve", "urgent=1,,"], "'' is not QUEUE=N"),
        (["--reserve", "urgent=many"], "The number of slots for queue urgent must be at least 1, not 'many'."),
        (["--reserve", "urgent=-1"], "The number of slots for queue urgent must be at least 1, not '-1'."),
        (["--reserve", "urgent=1,urgent=2"], "Queue urgent is named twice."),
        (["--reserve", ",".join(f"q{number}=1" for number in range(61))], "At most 60 queues can have reserved slots"),
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

    found = list(worker._queues_warnings(queues, {}, None))

    assert "".join(found).startswith(warning)
    assert len(found) == bool(warning)


@pytest.mark.parametrize(
    ("arguments", "configured", "says"),
    [
        (["--strict"], {}, "--strict needs the queues in their order: name them, the most urgent first, with --queues"),
        (["--strict", "--not", "mail"], {"QUEUES": "mail,gpu"}, "--strict needs the queues in their order"),
        ([], {"STRICT_QUEUES": True}, 'TASKQUEUE["STRICT_QUEUES"] needs the queues in their order'),
        (["--not", "mail"], {"STRICT_QUEUES": True}, "leave strict order out for this command with --no-strict."),
    ],
)
def test_strict_order_without_named_queues_is_refused(arguments, configured, says, settings):
    settings.TASKQUEUE = configured

    with pytest.raises(CommandError) as refused:
        worker._queues_of(options_of(arguments))

    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "configured", "queues"),
    [
        (["--strict", "--queues", "b,a"], {}, TakenQueues(("b", "a"), is_strict=True)),
        (["--strict"], {"QUEUES": "b,a"}, TakenQueues(("b", "a"), is_strict=True)),
        (["--queues", "c"], {"QUEUES": "b,a", "STRICT_QUEUES": True}, TakenQueues(("c",), is_strict=True)),
        (["--no-strict"], {"QUEUES": "b,a", "STRICT_QUEUES": True}, TakenQueues(("b", "a"))),
        (["--no-strict", "--not", "a"], {"STRICT_QUEUES": True}, TakenQueues((), ("a",))),
        ([], {"NOT_QUEUES": "a"}, TakenQueues((), ("a",))),
    ],
)
def test_the_options_replace_the_settings_of_queues(arguments, configured, queues, settings):
    settings.TASKQUEUE = configured

    assert worker._queues_of(options_of(arguments)) == queues


@pytest.mark.parametrize(
    ("arguments", "queues", "threads", "says"),
    [
        (
            ["--reserve", "urgent=3,mail=3"],
            "",
            5,
            "6 slots are reserved (urgent=3, mail=3), but each process has 5 threads.",
        ),
        (["--reserve", "urgent=3,mail=3"], "", 5, "Use --threads 6 or more, or reserve fewer."),
        (["--reserve", "urgent=2"], "", 1, "but each process has 1 thread."),
        (
            ["--reserve", "urgent=1"],
            "mail,gpu",
            5,
            "Queue urgent has reserved slots, but this command takes mail, gpu.",
        ),
    ],
)
def test_slots_that_cannot_be_reserved_are_refused(arguments, queues, threads, says):
    with pytest.raises(CommandError) as refused:
        worker._reserved_of(options_of(arguments), TakenQueues.of(queues, ""), threads)

    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "queues", "reserved"),
    [
        ([], TakenQueues(), {"urgent": 1, "mail": 2}),
        ([], TakenQueues(("mail", "default")), {"mail": 2}),
        ([], TakenQueues((), ("mail",)), {"urgent": 1}),
        (["--reserve", ""], TakenQueues(), {}),
        (["--reserve", " gpu = 3 "], TakenQueues(), {"gpu": 3}),
    ],
    ids=str,
)
def test_the_option_replaces_the_reserved_slots_of_the_settings(arguments, queues, reserved, settings):
    settings.TASKQUEUE = {"RESERVE": "urgent=1,mail=2"}

    assert worker._reserved_of(options_of(arguments), queues, 5) == reserved


def test_reserving_all_threads_warns_of_the_queues_that_are_left_out(transactional_db):
    sync_pipelines()
    move_pipeline("tests/walk", "feet")
    reserved = {"tpu": 1, "vpu": 2}

    found = list(worker._queues_warnings(TakenQueues((), ("feet",)), reserved, 3))

    assert len(found) == 2
    assert found[0].startswith(
        "Warning: no pipeline and no step is in the queues tpu, vpu now. Known queues: default, "
    )
    assert found[1].startswith(
        "Warning: all 3 threads of each process are reserved, so this command takes no tasks of "
    )
    assert "default" in found[1]
    assert "feet" not in found[1]
    assert found[1].endswith(". Use --threads 4 or more to take them too.")
    assert len(list(worker._queues_warnings(TakenQueues(), reserved, None))) == 1


def options_of(arguments: list[str]) -> dict[str, Any]:
    return vars(worker.Command().create_parser("manage.py", "worker").parse_args(arguments))


def test_each_command_executes_its_queues(start, notes):
    first = enqueue_walk(notes)
    move_pipeline("tests/walk", "feet")
    others = start(processes=1, arguments=["--not", "feet"])
    feet = start(processes=1, arguments=["--queues", "feet"])
    second = enqueue_walk(notes)

    eventually(lambda: finished(first) and finished(second), details=feet.output)

    assert "queues: all but feet; pipelines tests/" in others.output()
    assert {int(words[2]) for words in notes.lines() if words[0] == "begin"} == set(feet.workers())


def test_a_command_takes_queues_in_strict_order(start, notes):
    tasks = [take_a_nap.using(priority=600).enqueue(0.0) for _ in range(3)]
    last = enqueue_walk(notes)
    move_pipeline("tests/walk", "feet")

    command = start(processes=1, arguments=["--queues", "feet,default", "--strict"])
    eventually(all_done, details=command.output)

    last.refresh_from_db()
    for task in tasks:
        task.refresh_from_db()
        assert last.finished_at <= task.started_at  # one commit may end the one and claim the other
    assert "queues: feet, default in strict order; pipelines tests/" in command.output()


def test_a_task_moves_to_the_command_that_takes_the_queue_of_its_step(start, notes):
    commands = [start(processes=1, arguments=arguments) for arguments in (["--not", "render"], ["--queues", "render"])]
    task = enqueue.enqueue("tests/two-queues", {"notes": str(notes.path)})

    eventually(lambda: finished(task), details=commands[1].output)

    (others,), (render,) = (command.workers() for command in commands)
    began = [int(words[2]) for words in notes.lines() if words[0] == "begin"]
    assert began == [others, render, others]
