"""One task stands in for several requests: singletons, debounced and batched pipelines, and keys among them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskqueue import Batch, Debounce, pipeline
from taskqueue.engine.enqueue import enqueue, options
from taskqueue.engine.enqueue.deduplicate import payload_of_event
from taskqueue.engine.events import route, send
from taskqueue.engine.tasks import control
from taskqueue.errors import DefinitionError, InvalidOptions, NotRetryable
from taskqueue.models import IdempotencyKey, Pipeline, Skip, Task, Wait
from taskqueue.states import SkipKind
from taskqueue.testing import InProcessWorker, advance, work
from tests.support.leases import take
from tests.support.moves import arranging
from tests.support.pipelines.basic import one_step, three_steps
from tests.support.pipelines.deduplicated import (
    gather,
    gather_by_tenant,
    newest,
    newest_family,
    only,
    quiet,
    quiet_order,
)

pytestmark = pytest.mark.django_db


def skips():
    """What was written down, oldest first."""
    return list(Skip.objects.order_by("pk").values_list("kind", "task", "key"))


def test_a_singleton_under_way_stands_in_for_the_next_request():
    first = only.enqueue("a")

    second = only.enqueue("a", 2)

    assert (second.pk, second.duplicate) == (first.pk, True)
    assert skips() == [("singleton", first.pk, "")]
    assert Task.objects.count() == 1


def test_each_value_of_a_singletons_key_has_one_task_and_the_empty_one_too():
    tasks = [only.enqueue(tenant) for tenant in ("a", "b", "")]

    assert not any(task.duplicate for task in tasks)
    assert only.enqueue("").pk == tasks[2].pk


@pytest.mark.parametrize("ending", ["succeeded", "cancelled"])
def test_a_singleton_that_has_ended_makes_room(ending):
    first = only.enqueue("a")
    if ending == "cancelled":
        control.cancel(first.pk)
    work()

    assert not only.enqueue("a").duplicate


def test_a_singleton_that_waits_for_its_next_try_is_under_way():
    first = only.enqueue("a")
    with arranging():
        Task.objects.update(status="retrying")

    assert only.enqueue("a").pk == first.pk


def test_a_task_that_ended_is_not_retried_beside_another_of_its_singleton():
    first = only.enqueue("a")
    control.cancel(first.pk)
    second = only.enqueue("a")

    with pytest.raises(NotRetryable, match="same singleton"):
        control.retry(first.pk)

    control.cancel(second.pk)
    assert control.retry(first.pk).status == "queued"


def test_a_rerun_of_a_singleton_under_way_is_that_task():
    first = only.enqueue("a")

    assert control.rerun(first.pk).pk == first.pk


def test_the_newer_one_takes_the_place_of_the_older_singleton():
    with InProcessWorker() as worker:
        first = newest.enqueue("a", 1)
        lease = take(worker.row.pk)

        second = newest.enqueue("a", 2)

    first.refresh_from_db()
    assert not second.duplicate
    assert (first.status, first.cancel_reason) == ("cancelled", f"Task {second.pk} took its place.")
    assert first.lease == lease.number + 1
    assert skips() == []


def test_with_the_older_singleton_goes_what_is_below_it_and_what_it_waits_for():
    first = newest_family.enqueue("a")
    work()
    child = Task.objects.get(parent=first.pk)

    second = newest_family.enqueue("a")

    child.refresh_from_db()
    assert (child.status, child.cancel_reason) == ("cancelled", "Its parent was cancelled.")
    assert not Wait.objects.filter(task__in=[first.pk, child.pk], outcome="").exists()
    work()
    assert Task.objects.get(parent=second.pk).status == "waiting"


def test_a_debounced_task_waits_until_it_has_been_quiet_and_runs_the_last_request():
    first = quiet.using(key="k1", labels={"n": "1"}).enqueue("a", 1)
    assert first.status == "scheduled"
    advance(seconds=40)
    second = quiet.using(priority=5, labels={"n": "2"}).enqueue("a", 2)
    advance(seconds=40)
    assert work() == []
    advance(seconds=20)

    assert len(work()) == 1

    assert (second.pk, second.duplicate) == (first.pk, True)
    task = Task.objects.get()
    assert (task.result, task.priority, task.labels, task.key) == (2, 5, {"n": "2"}, "k1")
    assert skips() == [("debounced", first.pk, "")]


def test_a_debounced_task_waits_no_longer_than_its_longest():
    first = quiet.enqueue("a", 1)
    for number in range(2, 6):
        advance(seconds=45)
        assert quiet.enqueue("a", number).pk == first.pk
    assert Task.objects.get().due_at - Task.objects.get().created_at >= timedelta(minutes=3)
    assert len(work()) == 1

    assert not quiet.enqueue("a", 9).duplicate


def test_a_debounced_task_is_about_what_its_last_request_is_about():
    first, second = Pipeline(name="first"), Pipeline(name="second")
    quiet.using(subject=first).enqueue("a", 1)
    quiet.using(subject=second).enqueue("a", 2)

    assert Task.objects.get().subject == options.subject_of(second)


def test_a_debounced_task_is_cancelled_by_what_cancels_its_last_request():
    task = quiet_order.using(labels={"shop": "old"}).enqueue("ada", 1)
    quiet_order.using(labels={"shop": "new"}).enqueue("ada", 2)

    for event, data in [("order-cancelled", {"order": 1}), ("shop-closed", {"shop": "old"})]:
        route.route(send.send(f"starts/{event}", data).pk)
    assert Task.objects.get().status == "scheduled"
    assert Wait.objects.filter(task=task, outcome="").count() == 2

    route.route(send.send("starts/order-cancelled", {"order": 2}).pk)
    assert Task.objects.get().status == "cancelled"


def test_keys_of_a_debounce_wait_for_themselves_and_a_running_task_is_not_joined():
    first, other = quiet.enqueue("a"), quiet.enqueue("b")
    assert first.pk != other.pk
    advance(minutes=1)
    with InProcessWorker() as worker:
        quiet.enqueue("c")
        worker.work()

    assert not quiet.enqueue("a").duplicate


def test_a_batch_is_due_when_it_is_full_and_the_next_request_begins_another():
    first = gather.enqueue([1])
    assert first.status == "scheduled"
    gather.enqueue([2])
    assert work() == []

    third = gather.enqueue([3])

    assert (third.pk, third.duplicate, third.status) == (first.pk, True, "queued")
    fourth = gather.enqueue([4])
    assert not fourth.duplicate
    assert len(work()) == 1
    first.refresh_from_db()
    assert first.result == 6
    assert skips() == [("batched", first.pk, "")] * 2


def test_a_batch_is_due_when_its_first_request_has_waited_long_enough():
    task = gather.enqueue([1])
    advance(seconds=30)
    gather.enqueue([2])
    advance(seconds=30)

    work()

    task.refresh_from_db()
    assert task.result == 3


def test_a_batch_has_no_more_items_than_its_size_but_for_a_request_that_brings_them_at_once():
    first = gather.enqueue([1, 2])

    second = gather.enqueue([3, 4])

    first.refresh_from_db()
    assert (first.status, first.payload) == ("queued", {"numbers": [1, 2]})
    assert (second.status, second.duplicate) == ("scheduled", False)
    big = gather.enqueue([5, 6, 7, 8])
    assert (big.status, big.duplicate) == ("queued", False)
    assert gather.enqueue([9]).pk == second.pk


def test_a_batch_goes_when_the_next_request_would_make_its_payload_too_large(settings):
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 100}
    first = gather.enqueue([10**60])

    second = gather.enqueue([10**61])

    first.refresh_from_db()
    assert (first.status, second.status) == ("queued", "scheduled")
    assert second.pk != first.pk


def test_a_batch_is_gathered_by_the_key_of_its_items():
    first = gather_by_tenant.enqueue([{"tenant": "a", "number": "1"}])
    other = gather_by_tenant.enqueue([{"tenant": "b", "number": "2"}])

    again = gather_by_tenant.enqueue([{"tenant": "a", "number": "3"}])

    assert (first.concurrency_key, other.concurrency_key) == ("a", "b")
    assert first.pk != other.pk
    assert again.pk == first.pk


def test_a_batch_that_waits_since_before_its_parameter_was_renamed_goes_as_it_is():
    first = gather.enqueue([1])
    Task.objects.update(payload={"figures": 1})

    assert not gather.enqueue([2]).duplicate

    first.refresh_from_db()
    assert (first.status, first.payload) == ("queued", {"figures": 1})


@pytest.mark.parametrize("bound", [quiet, gather])
def test_a_pipeline_that_gathers_requests_takes_no_time_of_its_own(bound):
    with pytest.raises(InvalidOptions, match="gathers requests"):
        enqueue.enqueue(
            bound.definition.name,
            {"tenant": "a"} if bound is quiet else {"numbers": [1]},
            options=options.Options(run_at=datetime(2040, 1, 1, tzinfo=UTC)),
        )


@pytest.mark.parametrize(
    ("bound", "arguments", "kind"),
    [(only, ("a",), "singleton"), (quiet, ("a",), "debounced"), (gather, ([1],), "batched")],
)
def test_a_key_stands_for_the_task_that_stood_in(bound, arguments, kind):
    first = bound.enqueue(*arguments)

    second = bound.using(key="k").enqueue(*arguments)
    third = bound.using(key="k").enqueue(*arguments)

    assert {first.pk, second.pk, third.pk} == {IdempotencyKey.objects.get().task_id}
    assert skips() == [(kind, first.pk, "k"), ("duplicate", first.pk, "k")]
    Task.objects.update(debounce_key="", singleton_key="")
    assert not bound.using(key="k", force=True).enqueue(*arguments).duplicate
    assert IdempotencyKey.objects.get().task_id != first.pk


def test_a_key_repeated_to_a_batch_adds_nothing():
    gather.using(key="k").enqueue([1])
    gather.using(key="k").enqueue([1])

    assert Task.objects.get().payload == {"numbers": [1]}


def test_force_does_not_make_a_second_singleton():
    first = only.using(key="k").enqueue("a")

    assert only.using(key="k", force=True).enqueue("a").pk == first.pk
    assert IdempotencyKey.objects.get().task_id == first.pk


def test_the_replacing_singleton_honours_keys():
    first = newest.using(key="k").enqueue("a", 1)

    assert newest.using(key="k").enqueue("a", 1).pk == first.pk
    first.refresh_from_db()
    assert first.status == "queued"
    assert newest.using(key="k", force=True).enqueue("a", 1).pk != first.pk


def test_a_duplicate_by_its_key_is_written_down():
    first = one_step.using(key="k").enqueue(1)
    one_step.using(key="k").enqueue(1)

    skip = Skip.objects.get()
    assert (skip.kind, skip.task_id, skip.key) == (SkipKind.DUPLICATE, first.pk, "k")
    assert str(first.pk) in skip.reason


def test_a_pipeline_without_a_row_takes_shared_requests_too():
    Pipeline.objects.all().delete()

    assert only.using(key="k").enqueue("a").pk == only.enqueue("a").pk


def test_an_events_data_is_a_batchs_item_a_models_payload_or_the_arguments_of_the_same_names():
    assert payload_of_event(gather.definition, 7) == {"numbers": [7]}
    assert payload_of_event(three_steps.definition, {"number": 7, "more": 1}) == {"number": 7}
    assert payload_of_event(three_steps.definition, [7]) == [7]


def no_list(number: int) -> None: ...


def two_parameters(numbers: list[int], more: int = 0) -> None: ...


def another_kind_of_list(numbers: tuple[int, ...]) -> None: ...


@pytest.mark.parametrize("function", [no_list, two_parameters, another_kind_of_list])
def test_a_batch_needs_one_list_to_gather_in(function):
    with pytest.raises(DefinitionError, match=r"def function\(items: list\[Item\]\)"):
        pipeline("starts/refused", batch=Batch(2, wait=timedelta(seconds=1)))(function)


def test_a_pipeline_gathers_in_one_way():
    with pytest.raises(DefinitionError, match="both debounce and batch"):
        pipeline("starts/refused", batch=Batch(2, wait=timedelta(seconds=1)), debounce=Debounce(timedelta(seconds=1)))(
            no_list
        )
