"""Enqueue creates one task or none: transactions, keys, times, options, payloads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import transaction

from taskqueue.engine.enqueue import bulk, enqueue
from taskqueue.engine.enqueue.options import Options
from taskqueue.engine.runtime.notify import notify_now
from taskqueue.errors import InvalidOptions, InvalidPayload, NotSerializable, TooLarge, UnknownPipeline
from taskqueue.models import Pipeline, Task
from taskqueue.testing import advance, work
from tests.support.pipelines.basic import calls, one_step, three_steps

pytestmark = pytest.mark.django_db


def test_a_rolled_back_transaction_leaves_no_task():
    with transaction.atomic():
        one_step.enqueue(1)
        assert Task.objects.count() == 1
        transaction.set_rollback(True)

    assert not Task.objects.exists()


def test_workers_are_notified_once_after_the_commit(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks, transaction.atomic():
        for number in range(3):
            one_step.enqueue(number)
        assert callbacks == []

    assert callbacks == [notify_now]


def test_one_key_makes_one_task_and_a_duplicate():
    first = one_step.using(key="order-1").enqueue(1)
    second = one_step.using(key="order-1").enqueue(1)

    assert (second.pk, second.duplicate, first.duplicate) == (first.pk, True, False)
    assert Task.objects.count() == 1


def test_keys_of_different_pipelines_are_different():
    one_step.using(key="order-1").enqueue(1)

    assert not three_steps.using(key="order-1").enqueue(1).duplicate


def test_force_makes_a_new_task_and_moves_the_key():
    one_step.using(key="order-1").enqueue(1)
    forced = one_step.using(key="order-1", force=True).enqueue(1)

    assert not forced.duplicate
    assert one_step.using(key="order-1").enqueue(1).pk == forced.pk


def test_a_key_is_free_after_its_window():
    first = one_step.using(key="order-1").enqueue(1)

    advance(hours=23)
    assert one_step.using(key="order-1").enqueue(1).duplicate
    advance(hours=2)

    assert one_step.using(key="order-1").enqueue(1).pk != first.pk


def test_a_scheduled_task_waits_for_its_time():
    task = one_step.using(run_at=datetime.now(UTC) + timedelta(hours=1)).enqueue(1)

    assert task.status == "scheduled"
    assert work() == []
    advance(hours=1)
    assert len(work()) == 1


def test_more_due_tasks_than_one_promotion_all_queue():
    for number in range(120):
        one_step.using(run_at=datetime.now(UTC) + timedelta(hours=1)).enqueue(number)
    advance(hours=2)

    assert len(work()) == 120


def test_a_past_time_means_now():
    first = one_step.enqueue(1)
    late = one_step.using(run_at=datetime(2020, 1, 1, tzinfo=UTC)).enqueue(2)

    assert late.status == "queued"
    assert late.due_at >= first.due_at


def test_priority_moves_a_task_by_its_seconds():
    one_step.enqueue(1)
    three_steps.using(priority=10).enqueue(2)

    work()

    assert calls == ["one", "two", "three", "one"]


def test_the_first_task_creates_its_pipelines_row():
    Pipeline.objects.all().delete()

    one_step.enqueue(1)

    assert Pipeline.objects.get().name == "engine/one-step"


def test_options_are_stored():
    one_step.using(labels={"tenant": "a"}, priority=-5).enqueue(1)

    task = Task.objects.get()
    assert (task.labels, task.priority, task.payload) == ({"tenant": "a"}, -5, {"number": 1})
    assert task.sort_at - task.due_at == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"priority": 601}, "/priority"),
        ({"key": "k" * 201}, "/key"),
        ({"key": "nul\x00"}, "/key"),
        ({"run_at": datetime(2030, 1, 1)}, "/run_at"),  # noqa: DTZ001 - it must be refused
        ({"labels": {"a/b": "\ud800"}}, "/labels/a~1b"),
        ({"labels": {str(n): "" for n in range(21)}}, "/labels"),
        ({"labels": {"long": "x" * 201}}, "/labels/long"),
    ],
)
def test_bad_options_are_refused_with_a_pointer(options, pointer):
    with pytest.raises(InvalidOptions) as refusal:
        Options(**options)

    assert refusal.value.errors[0].pointer == pointer


def test_an_unknown_pipeline_is_refused_with_the_known_ones():
    with pytest.raises(UnknownPipeline, match="engine/one-step"):
        enqueue.enqueue("engine/no-such", {})


def test_an_invalid_payload_is_refused_with_pointers():
    with pytest.raises(InvalidPayload) as refusal:
        enqueue.enqueue("engine/one-step", {"number": "many", "more": 1})

    assert {fault.pointer for fault in refusal.value.errors} == {"/number", "/more"}


def test_a_payload_that_postgresql_cannot_store_is_refused():
    with pytest.raises(NotSerializable):
        enqueue.enqueue("engine/atomic", {"name": "a\x00b"})


def test_a_too_large_payload_is_refused_with_size_and_setting(settings):
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 100}

    with pytest.raises(TooLarge, match=r"PAYLOAD_MAX_BYTES"):
        enqueue.enqueue("engine/atomic", {"name": "a" * 100})


def enqueue_alone(options: Options) -> Task:
    return enqueue.enqueue("engine/one-step", {"number": 1}, options=options)


def enqueue_in_bulk(options: Options) -> Task:
    (task,) = bulk.enqueue_all(bulk.check_all([bulk.Request("engine/one-step", {"number": 1}, options)]))
    return task


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"key": "k", "labels": {"tenant": "a"}, "subject": "shop.order:7"},
        {"priority": 7},
        {"run_at": datetime(2020, 1, 1, tzinfo=UTC), "priority": -7},
        {"run_at": datetime(2099, 1, 1, tzinfo=timezone(timedelta(hours=5))), "priority": 7},
    ],
)
@pytest.mark.parametrize("enqueue_one", [enqueue_alone, enqueue_in_bulk])
def test_the_returned_task_has_the_values_of_its_row(enqueue_one, options):
    task = enqueue_one(Options(**options))

    stored = Task.objects.get()
    returned = {name: value for name, value in vars(task).items() if name != "_state"}
    assert returned == {name: getattr(stored, name) for name in returned}
    assert returned.keys() > {"id", "pipeline_id", "status", "due_at", "sort_at", "created_at", "result", "parent_id"}
    assert (task.payload, task.ready_queue, task.pipeline.name) == (
        stored.payload,
        stored.ready_queue,
        task.pipeline_id,
    )
    task.priority = 9
    task.refresh_from_db()
    assert (task, task.priority, task._state.adding) == (stored, stored.priority, False)
