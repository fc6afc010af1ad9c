"""A call becomes one task, or none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from taskqueue.engine.enqueue import enqueue
from taskqueue.engine.enqueue.options import Options
from taskqueue.engine.runtime.notify import ring
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


def test_the_wake_up_goes_out_once_after_the_commit(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as callbacks, transaction.atomic():
        for number in range(3):
            one_step.enqueue(number)
        assert callbacks == []

    assert callbacks == [ring]


def test_one_key_makes_one_task_and_the_second_caller_learns_so():
    first = one_step.using(key="order-1").enqueue(1)
    second = one_step.using(key="order-1").enqueue(1)

    assert (second.pk, second.duplicate, first.duplicate) == (first.pk, True, False)
    assert Task.objects.count() == 1


def test_the_same_key_of_another_pipeline_is_another_key():
    one_step.using(key="order-1").enqueue(1)

    assert not three_steps.using(key="order-1").enqueue(1).duplicate


def test_force_makes_a_new_task_for_which_the_key_then_stands():
    one_step.using(key="order-1").enqueue(1)
    forced = one_step.using(key="order-1", force=True).enqueue(1)

    assert not forced.duplicate
    assert one_step.using(key="order-1").enqueue(1).pk == forced.pk


def test_a_key_is_free_again_when_its_window_has_passed():
    first = one_step.using(key="order-1").enqueue(1)

    advance(hours=23)
    assert one_step.using(key="order-1").enqueue(1).duplicate
    advance(hours=2)

    assert one_step.using(key="order-1").enqueue(1).pk != first.pk


def test_a_task_with_a_time_waits_for_it():
    task = one_step.using(run_at=datetime.now(UTC) + timedelta(hours=1)).enqueue(1)

    assert task.status == "scheduled"
    assert work() == []
    advance(hours=1)
    assert len(work()) == 1


def test_more_tasks_than_are_promoted_at_once_all_fall_due():
    for number in range(120):
        one_step.using(run_at=datetime.now(UTC) + timedelta(hours=1)).enqueue(number)
    advance(hours=2)

    assert len(work()) == 120


def test_a_time_in_the_past_means_now_and_does_not_jump_the_queue():
    first = one_step.enqueue(1)
    late = one_step.using(run_at=datetime(2020, 1, 1, tzinfo=UTC)).enqueue(2)

    assert late.status == "queued"
    assert late.due_at >= first.due_at


def test_priority_goes_first_by_its_seconds():
    one_step.enqueue(1)
    three_steps.using(priority=10).enqueue(2)

    work()

    assert calls == ["one", "two", "three", "one"]


def test_a_pipeline_without_a_row_gets_one_from_its_first_task():
    Pipeline.objects.all().delete()

    one_step.enqueue(1)

    assert Pipeline.objects.get().name == "engine/one-step"


def test_labels_and_options_are_kept():
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
        ({"run_at": datetime(2030, 1, 1)}, "/run_at"),  # noqa: DTZ001 - what is to be refused
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


def test_a_payload_that_does_not_fit_is_refused_with_pointers():
    with pytest.raises(InvalidPayload) as refusal:
        enqueue.enqueue("engine/one-step", {"number": "many", "more": 1})

    assert {fault.pointer for fault in refusal.value.errors} == {"/number", "/more"}


def test_a_payload_that_cannot_be_stored_is_refused():
    with pytest.raises(NotSerializable):
        enqueue.enqueue("engine/atomic", {"name": "a\x00b"})


def test_a_payload_beyond_the_limit_is_refused_with_size_and_setting(settings):
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 100}

    with pytest.raises(TooLarge, match=r"PAYLOAD_MAX_BYTES"):
        enqueue.enqueue("engine/atomic", {"name": "a" * 100})
