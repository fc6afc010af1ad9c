"""Why a task is not running: each reason with its sentence and details."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from taskqueue.engine.queries.reasons import Code, time_text
from taskqueue.models import ConcurrencyLimit, Pipeline, RateLimit, RateLimitBucket, Step, StepSlot, Task, Wait
from taskqueue.testing import InProcessWorker
from tests.support.leases import take
from tests.support.pipelines.basic import broken, broken_body, declined_pipeline, one_step, three_steps
from tests.support.pipelines.waiting import codes, limited, only, reasons, waiting

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker():
    with InProcessWorker() as worker:
        yield worker


def test_ended_names_time_and_outcome(worker):
    done, failed = one_step.enqueue(1), declined_pipeline.enqueue()
    worker.work()
    for task in (done, failed):
        task.refresh_from_db()

    assert only(done).sentence == f"It succeeded at {time_text(done.finished_at)}."
    assert only(failed).sentence == f"It failed at {time_text(failed.finished_at)}: Permanent: card declined."
    assert (only(failed).code, only(failed).since) == (Code.ENDED, failed.finished_at)


def test_cancelled_names_the_reason():
    task = one_step.enqueue(1)
    Task.objects.filter(pk=task.pk).update(status="cancelled", finished_at=Now(), cancel_reason="An operator did.")

    assert only(task).sentence.endswith(": An operator did.")


def test_running_names_worker_and_step(worker):
    task = one_step.enqueue(1)
    take(worker.row.pk)
    worker.row.task_id, worker.row.step, worker.row.step_started_at = task.pk, "one", Now()
    worker.row.save()
    worker.row.refresh_from_db()

    reason = only(task)

    since = time_text(worker.row.step_started_at)
    assert reason.sentence == f"It runs on worker {worker.row.host}:{worker.row.pid}, in step one since {since}."
    assert (reason.code, reason.step, reason.by) == (Code.RUNNING, "one", str(worker.row))


def test_scheduled_and_collecting_name_their_time(worker):
    task = one_step.using(run_at=one_step.enqueue(1).created_at + timedelta(days=1)).enqueue(1)

    assert only(task).sentence == f"It is scheduled for {time_text(task.due_at)}."

    Task.objects.filter(pk=task.pk).update(debounce_key="a")
    assert only(task).sentence == f"It collects more requests until {time_text(task.due_at)}."
    assert only(task).code == Code.COLLECTING


def test_retrying_names_step_attempt_time_and_last_error(worker):
    task = three_steps.enqueue(1)
    broken["three"] = 2
    worker.work()
    task.refresh_from_db()

    reason = only(task)

    assert reason.sentence == (
        f"Step three failed; attempt 2 starts at {time_text(task.due_at)}. "
        "Last error: ConnectionError: three is broken."
    )
    assert (reason.code, reason.step, reason.attempt, reason.until) == (Code.RETRYING, "three", 2, task.due_at)


def test_retrying_the_body_names_its_last_error(worker):
    task = broken_body.enqueue(1)
    broken["body"] = 1
    worker.work()

    reason = only(task)

    assert reason.sentence.startswith("Its body failed; attempt 2 starts at ")
    assert reason.cause == "ConnectionError: body is broken"


def test_a_sleep_names_its_end(worker):
    task = one_step.enqueue(1)
    nap = waiting(task, "nap", "sleep")
    nap.refresh_from_db()

    assert only(task).sentence == f"It sleeps (nap) until {time_text(nap.until)}."
    assert only(task).waiting_for == "the end of its sleep nap"


def test_a_wait_names_each_event_and_its_match(worker):
    task = one_step.enqueue(1)
    wait = waiting(task, "approval", "wait")
    Wait.objects.create(task=task, step_key="approval", position=0, event="order/paid", match={"order.id": 42})
    Wait.objects.create(task=task, step_key="approval", position=1, event="order/gone", match={"id": "a", "hard": True})
    Wait.objects.create(task=task, step_key="", position=0, event="stop")
    wait.refresh_from_db()

    reason = only(task)

    assert reason.sentence == (
        'It waits for event order/paid with order.id = 42 or event order/gone with id = "a" and hard = true, '
        f"until {time_text(wait.until)} at the latest."
    )
    assert reason.waiting_for == "event order/paid or order/gone"
    assert [each.event for each in reason.events] == ["order/paid", "order/gone"]


def test_a_child_is_named_with_its_status(worker):
    task, child = one_step.enqueue(1), three_steps.enqueue(1)
    waiting(task, "report", "child", child=child, until=None)

    reason = only(task)

    assert reason.sentence == f"It waits for task {child.pk} of engine/three-steps, which is queued."
    assert [(each.id, each.status) for each in reason.holders] == [(child.pk, "queued")]


def test_parallel_steps_are_counted(worker):
    task = one_step.enqueue(1)
    for number, status in enumerate(["succeeded", "waiting", "waiting", "waiting"]):
        parallel_step = one_step.enqueue(number)
        Task.objects.filter(pk=parallel_step.pk).update(parallel_step="place", parallel_limit=4, parent=task)
        made = waiting(task, f"render#{number}", "parallel", child=parallel_step, until=None)
        if status == "succeeded":
            Step.objects.filter(pk=made.pk).update(status=status, output=1, child=None)

    reason = only(task)

    assert reason.sentence == "It waits for 3 of 4 parallel steps (3 queued)."
    assert (reason.taken, reason.limit, reason.holders) == (3, 4, ())


def test_a_step_at_its_rate_names_time_and_tasks_ahead(worker):
    RateLimit.objects.create(name="openai", declared_count=60, declared_per=timedelta(minutes=1))
    tasks = [one_step.enqueue(number) for number in range(3)]
    for number, task in enumerate(tasks):
        waiting(task, "ask", "step", until=Now() + timedelta(minutes=1, seconds=number))
        Task.objects.filter(pk=task.pk).update(blocked_on="openai")
    tasks[2].refresh_from_db()

    reason = only(tasks[2])

    assert reason.sentence == (
        f"Its call at rate openai, which allows 60 per minute, is at {time_text(tasks[2].due_at)}. "
        "2 tasks have an earlier time."
    )
    assert (reason.code, reason.name, reason.step, reason.ahead) == (Code.RATE, "openai", "ask", 2)
    assert only(tasks[1]).sentence.endswith("1 task has an earlier time.")


def test_a_blocked_rate_names_its_end_and_reason(worker):
    rate = RateLimit.objects.create(
        name="openai", declared_count=60, declared_per=timedelta(minutes=1), key="{tenant}-{labels.team}"
    )
    task = one_step.using(labels={"team": "a"}).enqueue(1)
    waiting(task, "ask", "step", input={"tenant": "acme"})
    Task.objects.filter(pk=task.pk).update(blocked_on="openai")
    use = RateLimitBucket.objects.create(
        rate=rate,
        key="acme-a",
        theoretical_arrival_at=Now(),
        blocked_until=Now() + timedelta(hours=1),
        block_reason="ask: overloaded",
    )
    use.refresh_from_db()

    reason = only(task)

    assert f"The rate is blocked until {time_text(use.blocked_until)}: ask: overloaded." in reason.sentence
    assert (reason.key, reason.cause, reason.ahead) == ("acme-a", "ask: overloaded", None)


def test_the_step_limit_names_its_holders(worker):
    holding, task = limited.enqueue("a"), limited.enqueue("b")
    other = one_step.enqueue(1)
    Task.objects.filter(pk__in=[holding.pk, other.pk]).update(
        status="running", worker=worker.row, lease=3, started_at=Now()
    )
    ConcurrencyLimit.objects.filter(pipeline="why/limited").update(steps=1)
    Task.objects.filter(pk=task.pk).update(
        status="waiting", blocked_on="step limit", due_at=None, slot_acquired_at=Now()
    )
    StepSlot.objects.create(pipeline_id="why/limited", concurrency_key="a", task=holding, lease=3, step_key="think")
    StepSlot.objects.create(pipeline_id="why/limited", concurrency_key="a", task=other, lease=2, step_key="void")

    reason = only(task)

    assert reason.sentence == "At most 1 step of pipeline why/limited may execute at a time; 1 does now."
    assert [each.id for each in reason.holders] == [holding.pk]


def test_a_pause_comes_first_and_names_user_and_reason():
    task = one_step.enqueue(1)
    Pipeline.objects.filter(name="engine/one-step").update(
        paused_at=Now(), paused_by="dana", pause_reason="the card network is down"
    )
    paused_at = Pipeline.objects.get(name="engine/one-step").paused_at

    assert codes(task) == [Code.PAUSED, Code.NO_WORKER, Code.QUEUED]
    first = reasons(task)[0]
    assert first.sentence == (
        f"Pipeline engine/one-step was paused by dana at {time_text(paused_at)}: the card network is down."
    )
    assert (first.by, first.cause) == ("dana", "the card network is down")


def test_no_worker_says_how_to_start_one():
    task = one_step.enqueue(1)

    assert reasons(task)[0].sentence == "No worker is alive. Start one: manage.py worker."


def test_no_worker_that_knows_the_pipeline(worker):
    task = one_step.enqueue(1)
    worker.row.pipelines = ["other/pipeline"]
    worker.row.save()

    assert codes(task) == [Code.NO_WORKER, Code.QUEUED]
    assert reasons(task)[0].sentence == (
        "The one live worker does not know pipeline engine/one-step. Start one with the code that defines it."
    )
    with InProcessWorker() as second:
        second.row.pipelines = []
        second.row.save()
        assert reasons(task)[0].sentence.startswith("None of 2 live workers knows pipeline engine/one-step.")


def test_workers_that_cannot_claim_are_named(worker):
    task = one_step.enqueue(1)
    worker.row.claim_error = "permission denied"
    worker.row.save()

    assert codes(task) == [Code.NO_WORKER, Code.QUEUED]
    assert reasons(task)[0].sentence == (
        "The one live worker that knows pipeline engine/one-step cannot claim tasks. The list of workers says why."
    )
    with InProcessWorker():
        assert codes(task) == [Code.QUEUED]


def test_a_waiting_task_also_names_the_missing_worker():
    task = one_step.enqueue(1)
    waiting(task, "nap", "sleep")

    assert codes(task) == [Code.SLEEP, Code.NO_WORKER]


def test_a_reached_limit_names_its_holders(worker):
    first, second, same_key, task = (limited.enqueue(tenant) for tenant in ("a", "b", "a", "c"))
    take(worker.row.pk)
    take(worker.row.pk)

    assert codes(task) == [Code.LIMIT, Code.QUEUED]
    in_all = reasons(task)[0]
    assert in_all.sentence == "Pipeline why/limited is at its concurrency limit (2 of 2)."
    assert (in_all.limit, in_all.taken, in_all.key) == (2, 2, None)
    assert [(each.id, each.status) for each in in_all.holders] == [(first.pk, "running"), (second.pk, "running")]
    assert all(each.since for each in in_all.holders)
    by_key = reasons(same_key)[1]
    assert by_key.sentence == 'Key "a" of pipeline why/limited is at its concurrency limit (1 of 1).'
    assert ([each.id for each in by_key.holders], by_key.key) == ([first.pk], "a")


def test_a_task_with_a_slot_ignores_the_limit(worker):
    tasks = [limited.enqueue(tenant) for tenant in "ab"]
    take(worker.row.pk)
    take(worker.row.pk)
    Task.objects.filter(pk=tasks[0].pk).update(status="queued")

    assert codes(tasks[0]) == [Code.QUEUED]


def test_no_more_than_twenty_holders_are_listed(worker):
    ConcurrencyLimit.objects.filter(pipeline="why/limited").update(tasks=25, tasks_per_key=100)
    for number in range(25):
        limited.enqueue(str(number))
    Task.objects.update(status="running", worker=worker.row, started_at=Now(), slot_acquired_at=Now())
    task = limited.enqueue("late")

    assert len(reasons(task)[0].holders) == 20
