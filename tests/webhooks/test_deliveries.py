"""Deliveries: made exactly once for each subscription that an ended task matches, and sent until accepted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection

from taskqueue import Permanent, Retry, TaskEnded, pipeline, sleep, step
from taskqueue.engine.maintenance.sweeps import run_sweeps
from taskqueue.engine.runtime.outcomes import Failed
from taskqueue.engine.tasks import completion, control
from taskqueue.engine.worker import settle
from taskqueue.models import Pipeline, PipelinePermission, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.database.costs import costs
from tests.support.database.races import OpenTransaction
from tests.support.leases import take
from tests.support.pipelines.basic import one_step
from tests.support.receivers import is_signed_with, receiver, status
from tests.support.subscriptions import deliveries, subscribe

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("private_receivers")]


@step(retry=Retry.never())
def fail() -> None:
    raise Permanent("no paper left")


@pipeline("hooks/fails")
def fails() -> None:
    fail()


@pipeline("hooks/sleeps")
def sleeps() -> None:
    sleep("nap", timedelta(days=1))


@pipeline("hooks/large")
def large() -> str:
    return "x" * 70_000


@pipeline("hooks/medium")
def medium() -> str:
    return "x" * 3000


@pipeline("hooks/handled")
def handled() -> None:
    fail()


@handled.on_failure
def after_failure(ended: TaskEnded) -> None:
    assert ended.error


def test_an_ended_task_is_delivered_once():
    with receiver() as server:
        subscription = subscribe(server.address)
        task = one_step.using(labels={"customer": "7"}, key="k").enqueue(5)
        work()

    (request,) = server.requests
    (delivery,) = deliveries()
    task.refresh_from_db()
    assert request.headers["webhook-id"] == str(delivery.pk)
    assert is_signed_with(request, subscription.secret)
    assert request.event["type"] == "task.succeeded"
    data = request.event["data"]
    assert data["task"] == str(task.pk)
    assert (data["pipeline"], data["labels"], data["key"]) == (task.pipeline_id, {"customer": "7"}, "k")
    assert (data["result"], data["result_omitted"], data["error"]) == (task.result, False, None)
    assert request.event["timestamp"] == data["finished_at"] >= data["started_at"] >= data["created_at"]
    assert (delivery.status, delivery.result) == ("succeeded", "HTTP 204 No Content")
    assert delivery.labels == {"subscription": str(subscription.pk)}


def test_failures_and_cancellations_are_delivered():
    subscribe()
    failed, cancelled = fails.enqueue(), sleeps.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
        worker.work(budget=timedelta(0))
    control.cancel(cancelled.pk, reason="Not needed.")

    events = {each.payload["event"]["data"]["task"]: each.payload["event"] for each in deliveries()}
    assert events[str(failed.pk)]["type"] == "task.failed"
    assert events[str(failed.pk)]["data"]["error"]["message"] == "no paper left"
    assert events[str(cancelled.pk)]["type"] == "task.cancelled"
    assert events[str(cancelled.pk)]["data"]["error"]["message"] == "Not needed."


@pytest.mark.parametrize(
    ("values", "is_matched"),
    [
        ({}, True),
        ({"pipelines": ["hooks/fails"]}, True),
        ({"pipelines": ["other", "hooks/*"]}, True),
        ({"pipelines": ["hooks"]}, False),
        ({"pipelines": ["hook/*"]}, False),
        ({"labels": {"customer": "7"}}, True),
        ({"labels": {"customer": "8"}}, False),
        ({"endings": ["failed"]}, True),
        ({"endings": ["succeeded", "cancelled"]}, False),
        ({"disabled_at": "2020-01-01T00:00:00Z"}, False),
    ],
)
def test_filters_choose_the_tasks(values, is_matched):
    subscribe(**values)
    task = fails.using(labels={"customer": "7", "region": "eu"}).enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))

    task.refresh_from_db()
    assert task.status == "failed"
    assert deliveries().count() == is_matched
    assert task.completion_pending_at is None


def test_tasks_from_before_the_subscription_are_delivered():
    queued, running = fails.enqueue(), fails.enqueue()
    with InProcessWorker() as worker:
        lease = take(worker.row.pk)
        subscribe()
        settle.settle(lease, Failed("", "ValueError", "no"), claim_request=None)
        assert deliveries().count() == 0
        run_sweeps()
        assert deliveries().count() == 1
        worker.work(budget=timedelta(0))

    assert {each.payload["event"]["data"]["task"] for each in deliveries()} == {str(queued.pk), str(running.pk)}


def test_each_subscription_gets_its_own_delivery():
    with receiver() as one, receiver() as two:
        subscribe(one.address)
        subscribe(two.address)
        fails.enqueue()
        work()

    assert len(one.requests) == len(two.requests) == 1
    assert one.requests[0].headers["webhook-id"] != two.requests[0].headers["webhook-id"]


def test_a_crash_before_the_commit_makes_no_delivery_and_after_it_no_second(monkeypatch):
    subscribe()
    task = fails.enqueue()
    with monkeypatch.context() as dying:
        dying.setattr("taskqueue.engine.maintenance.dispatch.run_sweeps", lambda: 0)
        dying.setattr(settle, "notify_completion_now", lambda _task: None)
        with InProcessWorker() as worker:
            worker.work(budget=timedelta(0))
    assert Task.objects.get(pk=task.pk).completion_pending_at is not None

    dies = OpenTransaction(lambda: completion.notify_completion(task.pk))
    assert run_sweeps() == 0
    dies.roll_back()
    assert deliveries().count() == 0

    assert completion.notify_completion(task.pk)
    assert not completion.notify_completion(task.pk)
    run_sweeps()
    assert deliveries().count() == 1


def test_deliveries_are_not_delivered():
    with receiver(status(410)) as server:
        subscribe(server.address)
        subscribe(server.address)
        fails.enqueue()
        work()

    assert len(server.requests) == 2
    assert deliveries().count() == 2


def test_handlers_and_deliveries_are_both_made():
    subscribe(pipelines=["hooks/handled"])
    handled.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))

    assert Task.objects.filter(pipeline="hooks/handled.on-failure").count() == 1
    assert deliveries().count() == 1


def test_a_large_result_is_left_out():
    subscribe()
    large.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))

    data = deliveries().get().payload["event"]["data"]
    assert (data["result"], data["result_omitted"]) == (None, True)


def test_an_event_that_no_payload_can_hold_is_reduced(settings):
    settings.TASKQUEUE = {**settings.TASKQUEUE, "PAYLOAD_MAX_BYTES": 2000}
    subscribe()
    large.enqueue()
    medium.enqueue()
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))
        worker.work(budget=timedelta(0))

    assert [each.payload["event"]["data"]["result_omitted"] for each in deliveries()] == [True, True]


def test_a_subscription_shows_only_what_its_user_may_see():
    user = User.objects.create_user("mia")
    PipelinePermission.objects.create(
        pipeline=Pipeline.objects.get(name=one_step.definition.name), user=User.objects.create_user("other")
    )
    subscribe(user=user)
    subscribe(user=User.objects.create_superuser("root"))
    task = one_step.enqueue(5)
    with InProcessWorker() as worker:
        worker.work(budget=timedelta(0))

    task.refresh_from_db()
    assert [each.payload["event"]["data"]["result"] for each in deliveries()] == ["**********", task.result]


@pytest.mark.parametrize("others", [0, 1])
def test_a_task_without_a_matching_subscription_costs_no_statement(others):
    for _ in range(others):
        subscribe(pipelines=["another"])
    one_step.enqueue(0)
    with InProcessWorker() as worker:
        worker.work()
        with costs(statements=1, commits=1):
            one_step.enqueue(0)
        for number in range(9):
            one_step.enqueue(number)
        heartbeat_and_first_claim = 2
        with costs(statements=heartbeat_and_first_claim + 10, commits=heartbeat_and_first_claim + 10):
            assert len(worker.work()) == 10
    assert deliveries().count() == 0


def test_the_end_of_a_row_by_any_statement_is_seen():
    """Ends that no lease announces, such as a cancel by SQL, are found by the sweep."""
    subscribe()
    task = sleeps.enqueue()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE taskqueue_task SET status = 'cancelled', finished_at = now(), due_at = NULL "
                       "WHERE id = %s", [task.pk])  # fmt: skip
    run_sweeps()

    assert deliveries().get().payload["event"]["type"] == "task.cancelled"
