"""Run a delayed task now."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models.functions import Now

from taskqueue import Debounce, Rate, Retry, gather, pipeline, sleep, step, wait_for
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.maintenance.dispatch import run_due
from taskqueue.engine.tasks import control
from taskqueue.errors import NotDelayed, TaskNotFound
from taskqueue.ids import uuid7
from taskqueue.models import Attempt, Step, Task, Worker
from taskqueue.testing import advance, work
from tests.support.database.races import run_concurrently, wait_for_blocked_session
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import one_step, three_steps
from tests.support.registries import own_registry

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _registry() -> Any:
    with own_registry():
        yield


@step(retry=Retry.fixed(HOUR, retries=2))
def unsteady(number: int) -> int:
    pipelines.note("unsteady")
    return number


@step(rate=Rate(1, per=HOUR, name="run-now"))
def rated() -> None: ...


def reload(task: Task) -> Task:
    return Task.objects.get(pk=task.pk)


def scheduled() -> Task:
    return one_step.using(run_at=datetime.now(UTC) + HOUR, priority=30).enqueue(1)


def asleep() -> Task:
    @pipeline("now/sleeps")
    def sleeps() -> str:
        sleep("nap", HOUR)
        return "awake"

    task = sleeps.enqueue()
    work()
    return task


def retrying() -> Task:
    pipelines.broken["three"] = 1
    task = three_steps.enqueue(1)
    work()
    return task


@pytest.mark.django_db
@pytest.mark.parametrize("delayed", [scheduled, asleep, retrying])
def test_a_delayed_task_runs_now(delayed):
    task = delayed()

    queued = control.run_now(task.pk)

    assert queued.status == "queued"
    assert queued.due_at <= queued.sort_at + timedelta(seconds=queued.priority)
    work()
    assert reload(task).status == "succeeded"


@pytest.mark.django_db
def test_no_retry_is_used_up_and_no_attempt_counted():
    pipelines.broken["three"] = 2
    task = three_steps.enqueue(1)
    work()
    control.run_now(task.pk)
    work()
    assert reload(task).status == "retrying"
    control.run_now(task.pk)
    work()

    assert reload(task).status == "succeeded"
    assert list(Attempt.objects.order_by("pk").values_list("number", "outcome")) == [(1, "failed"), (2, "failed")]
    assert Step.objects.get(task=task, key="three").failures == 2


@pytest.mark.django_db
def test_retrying_parallel_steps_run_now_with_their_task():
    @pipeline("now/parallel")
    def both() -> list[int]:
        return list(gather(unsteady.defer(1), unsteady.defer(2)))

    pipelines.broken["unsteady"] = 2
    task = both.enqueue()
    work()

    assert control.run_now(task.pk).status == "waiting"
    work()
    assert reload(task).result == [1, 2]


@pytest.mark.django_db
def test_a_collecting_batch_runs_with_its_items():
    @pipeline("now/quiet", debounce=Debounce(HOUR))
    def quiet(number: int) -> int:
        return number

    task = quiet.enqueue(1)
    control.run_now(task.pk)

    assert not quiet.enqueue(2).duplicate
    work()
    assert reload(task).result == 1


@pytest.mark.django_db
def test_limits_and_rates_still_apply():
    @pipeline("now/limited", concurrency=1)
    def limited() -> None:
        wait_for("never", timeout=HOUR)

    limited.enqueue()
    work()
    second = limited.using(run_at=datetime.now(UTC) + HOUR).enqueue()
    control.run_now(second.pk)
    work()
    assert reload(second).status == "queued"


@pytest.mark.django_db
def test_a_task_that_waits_for_no_time_is_refused_with_the_reason():
    @pipeline("now/rated")
    def uses() -> None:
        rated()

    @pipeline("now/waits")
    def waits() -> None:
        wait_for("order/paid", timeout=HOUR)

    uses.enqueue()
    work()
    slow, waiting = uses.enqueue(), waits.enqueue()
    work()

    with pytest.raises(NotDelayed, match=r"does not wait for a time\. .*order/paid"):
        control.run_now(waiting.pk)
    with pytest.raises(NotDelayed, match="run-now"):
        control.run_now(slow.pk)
    assert reload(slow).due_at > datetime.now(UTC)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("queued", "The task is queued: it is due already."),
        ("running", r"The task is running\."),
        ("succeeded", "Rerun it as a new task."),
        ("cancelled", "it has ended. Retry it instead."),
    ],
)
def test_a_task_without_a_delay_is_refused(status, said):
    task = one_step.enqueue(1)
    if status == "running":
        worker = Worker.objects.create(host="h", pid=1)
        Task.objects.filter(pk=task.pk).update(status="running", started_at=Now(), worker=worker)
    elif status == "succeeded":
        work()
    elif status == "cancelled":
        control.cancel(task.pk)

    with pytest.raises(NotDelayed, match=said):
        control.run_now(task.pk)
    with pytest.raises(TaskNotFound):
        control.run_now(uuid7())


@pytest.mark.django_db
def test_run_now_writes_an_audit_entry():
    user = User.objects.create_user("dana")
    task = scheduled()

    control.run_now(task.pk, actor=Actor(user.pk, "dana"))

    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id, entry.get_change_message()) == (
        user,
        str(task.pk),
        "Run now; it was scheduled.",
    )


@pytest.mark.django_db(transaction=True)
def test_one_of_several_concurrent_callers_succeeds():
    task = scheduled()

    results = run_concurrently(6, lambda: control.run_now(task.pk))

    assert sum(isinstance(result, Task) for result in results) == 1
    assert sum(isinstance(result, NotDelayed) for result in results) == 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("delayed", [scheduled, asleep])
def test_the_dispatcher_and_an_operator_queue_it_once(delayed):
    task = delayed()
    advance(hours=2)

    def person() -> Any:
        try:
            return control.run_now(task.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            run_due(1)
            later = pool.submit(person)
            wait_for_blocked_session()
        with pytest.raises(NotDelayed, match="due already"):
            later.result(timeout=200)
    work()
    assert reload(task).status == "succeeded"
    assert Task.objects.get(pk=task.pk).lease == (2 if delayed is asleep else 1)
