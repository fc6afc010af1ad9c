"""What ended long ago costs an event nothing: tasks that an event would have cancelled no longer listen for it."""

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
from tests.support.database.plans import explain, touched, walked
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
    """Its end may be what the next one waits for."""


@pipeline("ends/told", cancel_on=STOP)
def told() -> None:
    """Its end is told."""


@told.on_failure
def after_told(ended: TaskEnded) -> None:
    """Told of it."""


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
    [(plain, (1,)), (is_limited, ()), (told, ()), (fails_in_a_step, ()), (fails_in_its_body, ()), (waits, ())],
    ids=["plain", "is_limited", "told", "failed step", "failed body", "timed out"],
)
def test_whatever_ends_a_task_closes_what_would_have_cancelled_it(listening, arguments):
    task = listening.enqueue(*arguments)
    assert open_waits() == 1

    work()
    advance(days=2)
    work()

    assert Task.objects.get(pk=task.pk).has_ended
    assert open_waits() == 0


def test_a_task_that_goes_on_after_its_end_can_be_cancelled_again():
    task = fails_in_a_step.enqueue()
    work()

    control.retry(task.pk)
    assert open_waits() == 1
    route(send(STOP, {}).pk)

    assert Task.objects.get(pk=task.pk).status == "cancelled"


def test_a_zombie_closes_nothing_of_the_task_that_goes_on_elsewhere():
    plain.enqueue(1)
    first, second = InProcessWorker(), InProcessWorker()
    lease = take(first.row.pk)
    first.die()
    dispatch.run_due(5)
    take(second.row.pk)

    values = {"status": TaskStatus.SUCCEEDED, "result": "1", "error": None, "code": "", "drift": None}
    sql.fetch(sql.alone(sql.deaf(sql.FINISH)), {**values, **lease.fence})

    assert open_waits() == 1
    second.leave()


@pytest.mark.django_db(transaction=True)
def test_it_costs_neither_a_statement_nor_a_commit():
    with InProcessWorker() as worker:
        for number in range(10):
            plain.enqueue(number)
        heartbeat_and_first_claim = 2
        with costs(statements=heartbeat_and_first_claim + 10, commits=heartbeat_and_first_claim + 10):
            assert len(worker.work()) == 10
    assert open_waits() == 0


@pytest.fixture(params=STATISTICS)
def history(request):
    """20,000 that have ended."""
    forget_statistics()
    plain.enqueue(0)
    work()
    with unchecked() as cursor:
        cursor.execute(MANY_ENDED)
        if request.param:
            cursor.execute("ANALYZE taskqueue_wait, taskqueue_task")


@pytest.mark.usefixtures("history")
def test_an_event_meets_only_those_that_have_not_ended():
    event, under_way = send(STOP, {}), plain.enqueue(1)
    came = {"name": STOP, "fields": [""], "digests": [match_digest({})], "event": event.pk}

    for statement in (sql.LOCK_LISTENERS, sql.CANCELLED_BY):
        tree = explain(statement, {**came, "received_at": event.received_at, "arrival": "{}", "spared": []})

        assert not walked(tree)
        assert touched(tree, "taskqueue_wait") <= 4
        assert touched(tree, "taskqueue_task") <= 1
    control.cancel(under_way.pk)


@pytest.mark.usefixtures("history")
def test_an_end_finds_its_own_waits_by_index():
    plain.enqueue(1)
    with InProcessWorker() as worker:
        lease = take(worker.row.pk)
        values = {"status": "succeeded", "result": "1", "error": None, "code": "", "drift": None, **lease.fence}

        tree = explain(sql.alone(sql.deaf(sql.FINISH)), values)

        assert not walked(tree)
        assert touched(tree, "taskqueue_wait") == 1
