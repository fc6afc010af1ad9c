"""Enqueue notifies idle workers once the task is committed, and makes no caller wait for another one's commit."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from taskqueue import enqueue_many
from taskqueue.engine.runtime.notify import notification
from taskqueue.engine.sql.enqueue.single import NOTIFY_LOCK
from taskqueue.models import Pipeline, Task
from tests.support.database.costs import costs
from tests.support.database.races import OpenTransaction, run_concurrently
from tests.support.notifications import notification_count
from tests.support.pipelines.basic import one_step
from tests.support.pipelines.deduplicated import only

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def notified():
    one_step.enqueue(0)
    with notification_count() as count:
        yield count


def take_notify_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NOTIFY_LOCK])


@pytest.mark.parametrize(
    "enqueue",
    [
        lambda: one_step.enqueue(1),
        lambda: one_step.using(key="k").enqueue(1),
        lambda: only.enqueue("a"),
        lambda: enqueue_many([one_step.defer(1), one_step.defer(2)]),
    ],
)
def test_workers_are_notified_once(notified, enqueue):
    enqueue()

    assert notified() == 1


def test_workers_are_notified_after_the_callers_transaction(notified):
    with transaction.atomic():
        one_step.enqueue(1)
        one_step.enqueue(2)
        assert not notification()["is_alone"]
    assert notified() == 1

    with transaction.atomic():
        one_step.enqueue(3)
        transaction.set_rollback(True)
    assert notified() == 0


def test_a_duplicate_notifies_no_worker(notified):
    one_step.using(key="k").enqueue(1)
    notified()

    assert one_step.using(key="k").enqueue(1).duplicate
    assert notified() == 0


def test_while_another_caller_notifies_as_it_commits_the_notification_follows_the_commit(notified):
    other = OpenTransaction(take_notify_lock)

    with costs(statements=2, commits=2):
        one_step.enqueue(1)

    assert notified() == 1
    other.end()


def test_many_callers_at_once_notify_for_each_task(notified):
    results = run_concurrently(8, lambda: [one_step.enqueue(number).pk for number in range(5)])

    assert Task.objects.count() == 1 + len({pk for pks in results for pk in pks}) == 41
    assert notified() == 40


def test_callers_of_a_pipeline_without_a_row_write_it_once_and_enqueue():
    Pipeline.objects.all().delete()

    results = run_concurrently(8, lambda: one_step.enqueue(1).pk)

    assert sorted(Task.objects.values_list("pk", flat=True)) == sorted(results)
    assert Pipeline.objects.get().description == one_step.definition.description
