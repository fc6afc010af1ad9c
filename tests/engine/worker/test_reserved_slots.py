"""Threads of a process stay free for the queues that have reserved slots, and no task waits for a thread in vain."""

from __future__ import annotations

from collections import Counter

import pytest

from taskqueue import Limit, pipeline, step
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.runtime.deployed_pipelines import BodyKind
from taskqueue.engine.runtime.outcomes import Succeeded
from taskqueue.engine.runtime.taken_queues import taking
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.reserved_slots import ReservedSlots, ThreadSlot
from taskqueue.engine.worker.session import next_request
from taskqueue.engine.worker.settle import settle
from taskqueue.models import Task
from taskqueue.queues import TakenQueues
from taskqueue.testing import InProcessWorker
from tests.support.pipelines.basic import one_step
from tests.support.reserved_slots import Thread, begin, get, process


@step
def answer(number: int) -> int:
    return number


@pipeline("reserved/alert", queue="urgent")
def alert(number: int) -> int:
    return answer(number)


@pipeline("reserved/parcel", queue="heavy", concurrency=Limit(1))
def parcel(number: int) -> int:
    return answer(number)


def test_a_reserved_slot_is_left_free_by_other_queues():
    *others, last = process("urgent=1", 5)
    for slot in others:
        assert begin(slot) is None
        get(slot, "default")

    assert begin(last) == ("urgent",)


def test_a_thread_that_goes_on_to_claim_is_not_free():
    first, second = process("urgent=1", 2)
    claim_request = first.request(1, 1, BodyKind.ANY)
    assert claim_request is not None
    nothing = [(None, None)]

    claim_request.to_leases(nothing, goes_on=True)
    assert begin(second) == ("urgent",)

    second.release()
    claim_request.to_leases(nothing)
    assert begin(second) is None


def test_tasks_of_the_queue_may_take_all_threads():
    slots = process("urgent=1", 5)
    for slot in slots:
        assert begin(slot) is None
        get(slot, "urgent")


def test_a_used_slot_is_open_again_after_its_task():
    first, second, third = process("urgent=1", 3)
    for slot, queue in ((first, "urgent"), (second, "default"), (third, "default")):
        begin(slot)
        get(slot, queue)

    assert begin(first) == ("urgent",)
    get(first, "urgent")
    assert begin(second) is None
    get(second, "default")


def test_all_threads_reserved_gives_each_queue_exactly_its_slots():
    slots = process("mail=2,default=3", 5)
    taken: Counter[str] = Counter()
    for slot, queue in zip(slots, ["default", "mail", "default", "default", "mail"], strict=True):
        allowed = begin(slot) or ()
        assert set(allowed) == {name for name, number in {"mail": 2, "default": 3}.items() if taken[name] < number}
        get(slot, queue)
        taken[queue] += 1


def test_a_claim_under_way_counts_as_a_task_of_another_queue():
    first, second = process("urgent=1", 2)

    assert begin(first) is None
    assert begin(second) == ("urgent",)


def test_a_claim_of_one_reserved_queue_counts_as_a_task_of_it():
    first, second = process("urgent=1", 2)
    begin(first)
    get(first, "default")
    assert begin(second) == ("urgent",)

    assert begin(first) is None


def test_a_batch_of_several_queues_counts_as_another_queue():
    first, second = process("urgent=1", 2)
    begin(first, most=8)
    get(first, "urgent", "default")

    assert begin(second) == ("urgent",)


def test_a_batch_of_one_queue_counts_as_this_queue():
    first, second = process("urgent=1", 2)
    begin(first, most=8)
    get(first, "urgent", "urgent")

    assert begin(second) is None


def test_a_claim_of_reserved_queues_is_for_one_task():
    first, second = process("urgent=1", 2)
    begin(first)

    claim_request = second.request(1, 8, BodyKind.ANY)

    assert claim_request is not None
    assert claim_request.most == 1


def test_a_refused_thread_is_told_when_the_claim_before_it_leaves_room():
    told: list[bool] = []
    threads: list[ThreadSlot] = process("urgent=1", 2, on_room=lambda: told.append(threads[1].could_claim_more()))
    first, second = threads
    begin(first)
    assert begin(second) == ("urgent",)
    get(second)
    assert not second.could_claim_more()

    get(first, "urgent")

    assert told == [True]
    assert begin(second) is None
    get(second)
    assert not second.could_claim_more()


def test_a_refused_thread_is_told_nothing_when_there_is_no_room():
    told: list[int] = []
    first, second = process("urgent=1", 2, on_room=lambda: told.append(1))
    begin(first)
    begin(second)
    get(second)

    get(first, "default")

    assert not told
    assert not second.could_claim_more()


def test_a_lost_claim_leaves_its_thread_free():
    first, second = process("urgent=1", 2)
    begin(first)

    first.release()

    assert begin(second) is None


def test_reserved_slots_move_to_the_threads_that_do_not_drain():
    slots = ReservedSlots({"urgent": 1})
    drained = Thread()
    first, second, _ = [slots.add_thread(worker) for worker in (Thread(), Thread(), drained)]
    begin(first)
    get(first, "default")

    drained.is_draining = True

    assert begin(second) == ("urgent",)


def test_queues_share_the_threads_that_are_left_by_draining():
    slots = ReservedSlots({"urgent": 1, "mail": 1})
    drained, last = slots.add_thread(Thread(is_draining=True)), slots.add_thread(Thread())

    assert begin(last) == ("urgent", "mail")
    get(last, "mail")
    assert begin(last) == ("urgent", "mail")
    assert drained.queue is None


def test_what_free_threads_may_claim_is_published_when_it_changes():
    published: list[tuple[str, ...] | None] = []
    first, _second = process("urgent=1", 2, publish=published.append)
    for queue in ("default", "default", "urgent"):
        begin(first)
        get(first, queue)
    first.release()

    assert published == [("urgent",), None]


@pytest.fixture
def workers(db):
    """Makes the threads of one process as in-process workers."""
    sync_pipelines()
    found: list[InProcessWorker] = []

    def make(reserved: str, threads: int) -> list[InProcessWorker]:
        found.extend(InProcessWorker(slot=slot) for slot in process(reserved, threads))
        return found

    yield make
    for each in found:
        each.leave()


def test_the_last_thread_claims_only_tasks_of_its_queue(workers):
    first, last = workers("urgent=1", 2)
    tasks = [one_step.enqueue(number) for number in range(2)]

    assert [lease.task for lease in claim(next_request(first, 1))] == [tasks[0].pk]
    assert claim(next_request(last, 1)) == []
    urgent = alert.enqueue(1)
    (lease,) = claim(next_request(last, 1))

    assert (lease.task, lease.queue) == (urgent.pk, "urgent")


def test_the_claim_after_a_task_obeys_the_reservation(workers):
    first, last = workers("urgent=1", 2)
    alert.enqueue(1)
    (urgent,) = claim(next_request(last, 1))
    one_step.enqueue(1)
    one_step.enqueue(2)
    assert len(claim(next_request(first, 1))) == 1

    assert settle(urgent, Succeeded("1"), claim_request=last.slot.request(last.worker, 8, BodyKind.ANY)) == []
    assert Task.objects.filter(status="queued").count() == 1


def test_a_claim_that_admits_first_counts_until_it_has_got_its_task(workers):
    first, last = workers("heavy=1", 2)
    one_step.enqueue(1)
    assert len(claim(next_request(first, 1))) == 1
    tasks = [parcel.enqueue(number) for number in range(2)]

    (lease,) = claim(next_request(last, 1))
    assert (lease.task, last.slot.queue) == (tasks[0].pk, "heavy")
    (following,) = settle(lease, Succeeded("1"), claim_request=last.slot.request(last.worker, 1, BodyKind.ANY))

    assert (following.task, last.slot.queue) == (tasks[1].pk, "heavy")


def test_a_worker_loop_leaves_the_slot_free_at_its_end(workers):
    first, last = workers("urgent=1", 2)
    for number in range(20):
        one_step.enqueue(number)
        alert.enqueue(number)

    assert len(first.work()) == 40
    assert (first.slot.queue, last.slot.queue) == (None, None)


def test_reserved_queues_keep_the_strict_order(workers):
    workers("urgent=1", 2)
    with taking(TakenQueues(("urgent", "mail", "default"), is_strict=True)):
        first, second = process("mail=1,urgent=1", 2)
        claim_request = first.request(1, 1, BodyKind.ANY)

    assert claim_request is not None
    assert claim_request.queues == TakenQueues(("urgent", "mail"), is_strict=True)
    assert second.queue is None
