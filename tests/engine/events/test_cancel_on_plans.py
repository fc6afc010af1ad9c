"""Finished tasks cost an event nothing: their end closes the waits of `cancel_on`."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Permanent, TaskEnded, pipeline, step, wait_for
from taskqueue.engine import sql
from taskqueue.engine.events.route import route
from taskqueue.engine.events.send import send
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.tasks import control
from taskqueue.models import Task, Wait
from taskqueue.policies import match_digest
from taskqueue.states import TaskStatus
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.database.backlogs import STATISTICS, forget_statistics, unchecked
from tests.support.database.costs import costs
from tests.support.database.plans import explain, rows_read, sequential_scans
from tests.support.leases import take

pytestmark = pytest.mark.django_db

STOP = "ends/stop"
MANY_ENDED = """
WITH task AS (
    INSERT INTO taskqueue_task (id, pipeline_id, status, key, labels, priority, payload, lease, failures,
        progress_note, created_at, started_at, finished_at)
    SELECT gen_random_uuid(), 'ends/plain', 'succeeded', '', '{}', 0, '{}', 1, 0, '', now(), now(), now()
    FROM generate_series(1, 20000)
    RETURNING id
)
INSERT INTO taskqueue_wait (task_id, step_key, position, event, match, fields, digest, created_at, outcome)
SELECT id, '', 0, 'ends/stop', '{}', '', '', now(), 'closed' FROM task
"""


@step
def declined() -> None:
    raise Permanent("card declined")


@pipeline("ends/plain", cancel_on=STOP)
def plain(number: int) -> int:
    return number


@pipeline("ends/is_limited", cancel_on=STOP, concurrency=1)
def is_limited() -> None:
    """Its end frees the slot that the next task waits for."""


@pipeline("ends/notified", cancel_on=STOP)
def notified() -> None:
    """A pipeline with a handler."""


@notified.on_failure
def after_notified(ended: TaskEnded) -> None: ...


@pipeline("ends/step", cancel_on=STOP)
def fails_in_a_step() -> None:
    declined()


@pipeline("ends/body", cancel_on=STOP)
def fails_in_its_body() -> None:
    raise Permanent("no")


@pipeline("ends/waits", cancel_on=STOP)
def waits() -> object:
    return wait_for("ends/never", timeout=timedelta(days=1))


def open_waits() -> int:
    return Wait.objects.filter(outcome="").count()


@pytest.mark.parametrize(
    ("listening", "arguments"),
    [(plain, (1,)), (is_limited, ()), (notified, ()), (fails_in_a_step, ()), (fails_in_its_body, ()), (waits, ())],
    ids=["plain", "is_limited", "notified", "failed step", "failed body", "timed out"],
)
def test_every_end_closes_the_waits_that_would_cancel(listening, arguments):
    task = listening.enqueue(*arguments)
    assert open_waits() == 1

    work()
    advance(days=2)
    work()

    assert Task.objects.get(pk=task.pk).has_ended
    assert open_waits() == 0


def test_a_retried_task_can_be_cancelled_by_events_again():
    task = fails_in_a_step.enqueue()
    work()

    control.retry(task.pk)
    assert open_waits() == 1
    route(send(STOP, {}).pk)

    assert Task.objects.get(pk=task.pk).status == "cancelled"


def test_a_zombie_closes_no_waits_of_the_running_task():
    plain.enqueue(1)
    first, second = InProcessWorker(), InProcessWorker()
    lease = take(first.row.pk)
    first.die()
    dispatch.run_due(5)
    take(second.row.pk)

    values = {"status": TaskStatus.SUCCEEDED, "result": "1", "error": None, "code": "", "drift": None}
    sql.fetch(sql.standalone(sql.close_waits(sql.FINISH)), {**values, **lease.fence})

    assert open_waits() == 1
    second.leave()


@pytest.mark.django_db(transaction=True)
def test_closing_waits_costs_no_statement_and_no_commit():
    with InProcessWorker() as worker:
        for number in range(10):
            plain.enqueue(number)
        heartbeat_and_first_claim = 2
        with costs(statements=heartbeat_and_first_claim + 10, commits=heartbeat_and_first_claim + 10):
            assert len(worker.work()) == 10
    assert open_waits() == 0


@pytest.fixture(params=STATISTICS)
def history(request):
    """20,000 finished tasks."""
    forget_statistics()
    plain.enqueue(0)
    work()
    with unchecked() as cursor:
        cursor.execute(MANY_ENDED)
        if request.param:
            cursor.execute("ANALYZE taskqueue_wait, taskqueue_task")


@pytest.mark.usefixtures("history")
def test_an_event_reads_only_unfinished_tasks():
    event, unfinished = send(STOP, {}), plain.enqueue(1)
    match = {"name": STOP, "fields": [""], "digests": [match_digest({})], "event": event.pk}

    for statement in (sql.LOCK_WAITING_TASKS, sql.RESOLVE_CANCEL_WAITS):
        tree = explain(statement, {**match, "received_at": event.received_at, "arrival": "{}", "spared": []})

        assert not sequential_scans(tree)
        assert rows_read(tree, "taskqueue_wait") <= 4
        assert rows_read(tree, "taskqueue_task") <= 1
    control.cancel(unfinished.pk)


@pytest.mark.usefixtures("history")
def test_an_end_finds_its_waits_by_index():
    plain.enqueue(1)
    with InProcessWorker() as worker:
        lease = take(worker.row.pk)
        values = {"status": "succeeded", "result": "1", "error": None, "code": "", "drift": None, **lease.fence}

        tree = explain(sql.standalone(sql.close_waits(sql.FINISH)), values)

        assert not sequential_scans(tree)
        assert rows_read(tree, "taskqueue_wait") == 1
