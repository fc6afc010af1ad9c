"""One task serves several requests: singleton, debounce, batch, and idempotency keys with them."""

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
    """The recorded skips, oldest first."""
    return list(Skip.objects.order_by("pk").values_list("kind", "task", "key"))


def test_an_unfinished_singleton_serves_the_next_request():
    first = only.enqueue("a")

    second = only.enqueue("a", 2)

    assert (second.pk, second.duplicate) == (first.pk, True)
    assert skips() == [("singleton", first.pk, "")]
    assert Task.objects.count() == 1


def test_a_singleton_has_one_task_per_key_value():
    tasks = [only.enqueue(tenant) for tenant in ("a", "b", "")]

    assert not any(task.duplicate for task in tasks)
    assert only.enqueue("").pk == tasks[2].pk


@pytest.mark.parametrize("ending", ["succeeded", "cancelled"])
def test_a_finished_singleton_allows_another(ending):
    first = only.enqueue("a")
    if ending == "cancelled":
        control.cancel(first.pk)
    work()

    assert not only.enqueue("a").duplicate


def test_a_retrying_singleton_is_unfinished():
    first = only.enqueue("a")
    with arranging():
        Task.objects.update(status="retrying")

    assert only.enqueue("a").pk == first.pk


def test_a_retry_is_refused_while_its_singleton_is_unfinished():
    first = only.enqueue("a")
    control.cancel(first.pk)
    second = only.enqueue("a")

    with pytest.raises(NotRetryable, match="same singleton"):
        control.retry(first.pk)

    control.cancel(second.pk)
    assert control.retry(first.pk).status == "queued"


def test_a_rerun_of_an_unfinished_singleton_returns_it():
    first = only.enqueue("a")

    assert control.rerun(first.pk).pk == first.pk


def test_a_replacing_singleton_cancels_the_previous_task():
    with InProcessWorker() as worker:
        first = newest.enqueue("a", 1)
        lease = take(worker.row.pk)

        second = newest.enqueue("a", 2)

    first.refresh_from_db()
    assert not second.duplicate
    assert (first.status, first.cancel_reason) == ("cancelled", f"Replaced by task {second.pk}.")
    assert first.lease == lease.number + 1
    assert skips() == []


def test_replacing_a_singleton_cancels_its_children_and_waits():
    first = newest_family.enqueue("a")
    work()
    child = Task.objects.get(parent=first.pk)

    second = newest_family.enqueue("a")

    child.refresh_from_db()
    assert (child.status, child.cancel_reason) == ("cancelled", "Its parent was cancelled.")
    assert not Wait.objects.filter(task__in=[first.pk, child.pk], outcome="").exists()
    work()
    assert Task.objects.get(parent=second.pk).status == "waiting"


def test_a_debounced_task_waits_and_runs_the_last_request():
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


def test_a_debounced_task_waits_at_most_its_longest_time():
    first = quiet.enqueue("a", 1)
    for number in range(2, 6):
        advance(seconds=45)
        assert quiet.enqueue("a", number).pk == first.pk
    assert Task.objects.get().due_at - Task.objects.get().created_at >= timedelta(minutes=3)
    assert len(work()) == 1

    assert not quiet.enqueue("a", 9).duplicate


def test_a_debounced_task_takes_its_last_requests_subject():
    first, second = Pipeline(name="first"), Pipeline(name="second")
    quiet.using(subject=first).enqueue("a", 1)
    quiet.using(subject=second).enqueue("a", 2)

    assert Task.objects.get().subject == options.subject_of(second)


def test_a_debounced_task_takes_its_last_requests_cancel_events():
    task = quiet_order.using(labels={"shop": "old"}).enqueue("ada", 1)
    quiet_order.using(labels={"shop": "new"}).enqueue("ada", 2)

    for event, data in [("order-cancelled", {"order": 1}), ("shop-closed", {"shop": "old"})]:
        route.route(send.send(f"starts/{event}", data).pk)
    assert Task.objects.get().status == "scheduled"
    assert Wait.objects.filter(task=task, outcome="").count() == 2

    route.route(send.send("starts/order-cancelled", {"order": 2}).pk)
    assert Task.objects.get().status == "cancelled"


def test_debounce_keys_are_separate_and_running_tasks_not_joined():
    first, other = quiet.enqueue("a"), quiet.enqueue("b")
    assert first.pk != other.pk
    advance(minutes=1)
    with InProcessWorker() as worker:
        quiet.enqueue("c")
        worker.work()

    assert not quiet.enqueue("a").duplicate


def test_a_full_batch_is_due_and_another_begins():
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


def test_a_batch_is_due_after_its_wait():
    task = gather.enqueue([1])
    advance(seconds=30)
    gather.enqueue([2])
    advance(seconds=30)

    work()

    task.refresh_from_db()
    assert task.result == 3


def test_only_a_single_large_request_exceeds_the_batch_size():
    first = gather.enqueue([1, 2])

    second = gather.enqueue([3, 4])

    first.refresh_from_db()
    assert (first.status, first.payload) == ("queued", {"numbers": [1, 2]})
    assert (second.status, second.duplicate) == ("scheduled", False)
    big = gather.enqueue([5, 6, 7, 8])
    assert (big.status, big.duplicate) == ("queued", False)
    assert gather.enqueue([9]).pk == second.pk


def test_a_batch_starts_before_its_payload_gets_too_large(settings):
    settings.TASKQUEUE = {"PAYLOAD_MAX_BYTES": 100}
    first = gather.enqueue([10**60])

    second = gather.enqueue([10**61])

    first.refresh_from_db()
    assert (first.status, second.status) == ("queued", "scheduled")
    assert second.pk != first.pk


def test_a_batch_collects_by_its_items_key():
    first = gather_by_tenant.enqueue([{"tenant": "a", "number": "1"}])
    other = gather_by_tenant.enqueue([{"tenant": "b", "number": "2"}])

    again = gather_by_tenant.enqueue([{"tenant": "a", "number": "3"}])

    assert (first.concurrency_key, other.concurrency_key) == ("a", "b")
    assert first.pk != other.pk
    assert again.pk == first.pk


def test_a_batch_from_before_a_renamed_parameter_starts_unchanged():
    first = gather.enqueue([1])
    Task.objects.update(payload={"figures": 1})

    assert not gather.enqueue([2]).duplicate

    first.refresh_from_db()
    assert (first.status, first.payload) == ("queued", {"figures": 1})


@pytest.mark.parametrize("bound", [quiet, gather])
def test_a_debounced_or_batched_request_refuses_run_at(bound):
    with pytest.raises(InvalidOptions, match="debounces or batches requests"):
        enqueue.enqueue(
            bound.definition.name,
            {"tenant": "a"} if bound is quiet else {"numbers": [1]},
            options=options.Options(run_at=datetime(2040, 1, 1, tzinfo=UTC)),
        )


@pytest.mark.parametrize(
    ("bound", "arguments", "kind"),
    [(only, ("a",), "singleton"), (quiet, ("a",), "debounced"), (gather, ([1],), "batched")],
)
def test_a_key_belongs_to_the_task_that_served_its_request(bound, arguments, kind):
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


def test_a_replacing_singleton_respects_keys():
    first = newest.using(key="k").enqueue("a", 1)

    assert newest.using(key="k").enqueue("a", 1).pk == first.pk
    first.refresh_from_db()
    assert first.status == "queued"
    assert newest.using(key="k", force=True).enqueue("a", 1).pk != first.pk


def test_a_duplicate_key_is_recorded_as_a_skip():
    first = one_step.using(key="k").enqueue(1)
    one_step.using(key="k").enqueue(1)

    skip = Skip.objects.get()
    assert (skip.kind, skip.task_id, skip.key) == (SkipKind.DUPLICATE, first.pk, "k")
    assert str(first.pk) in skip.reason


def test_a_pipeline_without_a_row_accepts_shared_requests():
    Pipeline.objects.all().delete()

    assert only.using(key="k").enqueue("a").pk == only.enqueue("a").pk


def test_event_data_becomes_item_model_or_arguments():
    assert payload_of_event(gather.definition, 7) == {"numbers": [7]}
    assert payload_of_event(three_steps.definition, {"number": 7, "more": 1}) == {"number": 7}
    assert payload_of_event(three_steps.definition, [7]) == [7]


def no_list(number: int) -> None: ...


def two_parameters(numbers: list[int], more: int = 0) -> None: ...


def another_kind_of_list(numbers: tuple[int, ...]) -> None: ...


@pytest.mark.parametrize("function", [no_list, two_parameters, another_kind_of_list])
def test_a_batch_needs_one_list_parameter(function):
    with pytest.raises(DefinitionError, match=r"def function\(items: list\[Item\]\)"):
        pipeline("starts/refused", batch=Batch(2, wait=timedelta(seconds=1)))(function)


def test_debounce_and_batch_exclude_each_other():
    with pytest.raises(DefinitionError, match="both debounce and batch"):
        pipeline("starts/refused", batch=Batch(2, wait=timedelta(seconds=1)), debounce=Debounce(timedelta(seconds=1)))(
            no_list
        )
