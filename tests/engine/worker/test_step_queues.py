"""A step may name a queue: its task moves there for the step, and back for a step without a queue."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskqueue import Limit, Retry, pipeline, sleep, step
from taskqueue.engine import sql
from taskqueue.engine.access.actor import SYSTEM
from taskqueue.engine.actions.queues import move_pipeline
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.queries.why import why
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.outcomes import Move, Release, RetryLater, Succeeded, Waiting
from taskqueue.engine.runtime.taken_queues import taking
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.settle import settle
from taskqueue.models import Attempt, Task
from taskqueue.queues import TakenQueues
from taskqueue.testing import InProcessWorker, advance, assert_crash_safe, work
from taskqueue.testing.workers import work_until_idle

pytestmark = pytest.mark.django_db

HERE, THERE = TakenQueues(("default",)), TakenQueues(("render",))
RAN: list[str] = []
FAILING: list[str] = []


def note(name: str) -> None:
    RAN.append(name)
    if name in FAILING:
        FAILING.remove(name)
        raise ValueError(name)


@step
def load(number: int) -> int:
    note("load")
    return number


@step(queue="render", retry=Retry.fixed(60, retries=3))
def draw(number: int) -> int:
    note("draw")
    return number + 1


@step.atomic(queue="render")
def store(number: int) -> int:
    note("store")
    return number


@step
def publish(number: int) -> int:
    note("publish")
    return number * 2


@pipeline("step-queues/picture")
def picture(number: int) -> int:
    return publish(store(draw(load(number))))


@pipeline("step-queues/limited", concurrency=Limit(1))
def limited(number: int) -> int:
    return publish(draw(number))


@pipeline("step-queues/sleeping")
def sleeping(number: int) -> int:
    drawn = draw(number)
    sleep("rest", 3600)
    return publish(drawn)


@pytest.fixture(autouse=True)
def _synced():
    RAN.clear()
    FAILING.clear()
    sync_pipelines()


@pytest.fixture
def here():
    with InProcessWorker(queues="default") as worker:
        yield worker


@pytest.fixture
def there():
    with InProcessWorker(queues="render") as worker:
        yield worker


def kinds(outcomes):
    return [type(outcome) for outcome in outcomes]


def state(task):
    task.refresh_from_db()
    return task.status, task.step_queue


def test_a_task_moves_to_the_queue_of_a_step_and_back(here, there):
    task = picture.enqueue(1)

    assert there.work() == []
    assert here.work() == [Move("render")]
    assert (state(task), RAN) == (("queued", "render"), ["load"])
    assert here.work() == []
    assert there.work() == [Move("")]
    assert (state(task), RAN) == (("queued", ""), ["load", "draw", "store"])
    assert there.work() == []
    assert kinds(here.work()) == [Succeeded]

    task.refresh_from_db()
    assert (task.result, RAN) == (4, ["load", "draw", "store", "publish"])
    assert not Attempt.objects.exists()


def test_a_worker_that_takes_both_queues_does_not_move_a_task():
    picture.enqueue(1)
    picture.enqueue(2)

    with InProcessWorker(queues="default, render") as worker:
        assert kinds(worker.work()) == [Succeeded, Succeeded]
    picture.enqueue(3)
    assert kinds(work()) == [Succeeded]


def test_a_worker_that_takes_both_queues_continues_a_moved_task(here):
    picture.enqueue(1)
    assert here.work() == [Move("render")]

    with InProcessWorker(not_queues="mail") as worker:
        assert kinds(worker.work()) == [Succeeded]


def test_excluded_queues_move_a_task_too():
    picture.enqueue(1)

    with InProcessWorker(not_queues="render") as worker:
        assert worker.work() == [Move("render")]
        assert worker.work() == []


def test_a_task_keeps_its_position(here):
    task = picture.using(priority=5).enqueue(1)
    before = Task.objects.values_list("due_at", "sort_at").get()

    here.work()

    assert Task.objects.values_list("due_at", "sort_at").get() == before
    assert task.pk == Task.objects.get(ready_queue="@render/step-queues/picture").pk


def test_a_step_goes_to_its_queue_from_a_moved_pipeline_too():
    move_pipeline("step-queues/picture", "night")
    picture.enqueue(1)

    with InProcessWorker(queues="night") as night, InProcessWorker(queues="render") as there:
        assert night.work() == [Move("render")]
        assert there.work() == [Move("")]
        move_pipeline("step-queues/picture", "render")
        assert night.work() == []
        assert kinds(there.work()) == [Succeeded]


def test_a_task_keeps_its_slot_while_it_moves(here, there):
    first, second = limited.enqueue(1), limited.enqueue(2)

    assert here.work() == [Move("render")]
    assert state(second) == ("queued", "")
    assert second.slot_acquired_at is None
    assert there.work() == [Move("")]
    assert kinds(here.work()) == [Succeeded, Move]
    assert (state(first), state(second)) == (("succeeded", ""), ("queued", "render"))


def test_a_retry_stays_in_the_queue(here, there):
    FAILING.append("draw")
    task = picture.enqueue(1)
    here.work()

    assert kinds(there.work()) == [RetryLater]
    assert state(task) == ("retrying", "render")
    advance(minutes=2)
    assert here.work() == []
    assert kinds(there.work()) == [Move]


def test_a_sleep_stays_in_the_queue_until_the_next_step(here, there):
    task = sleeping.enqueue(1)
    here.work()

    assert kinds(there.work()) == [Waiting]
    advance(hours=2)
    assert here.work() == []
    assert there.work() == [Move("", wait=timedelta(seconds=1))]
    advance(seconds=2)
    assert kinds(here.work()) == [Succeeded]
    task.refresh_from_db()
    assert task.result == 4


def test_a_released_task_stays_in_the_queue(here, there):
    task = picture.enqueue(1)
    here.work()
    with taking(THERE):
        (lease,) = claim(ClaimRequest(there.worker))
        assert settle(lease, Release(), claim_request=None) == []

    assert state(task) == ("queued", "render")
    assert kinds(there.work()) == [Move]


def test_a_task_of_a_dead_worker_stays_in_the_queue_and_is_no_poison(here, monkeypatch):
    monkeypatch.setattr(dispatch, "STARTUP_GRACE", timedelta(0))
    task = picture.enqueue(1)
    here.work()
    for _ in range(2):
        dying = InProcessWorker(queues="render")
        with taking(THERE):
            assert len(claim(ClaimRequest(dying.worker))) == 1
        dying.die()
        dispatch.run_due(1)
        assert state(task) == ("queued", "render")

    with InProcessWorker(queues="render") as there:
        assert there.work() == [Move("")]
    assert set(Attempt.objects.values_list("outcome", flat=True)) == {"lost"}
    assert kinds(here.work()) == [Succeeded]


def test_a_manual_retry_begins_in_the_pipelines_queue(here, there):
    task = picture.enqueue(1)
    here.work()
    control.cancel(task.pk)

    control.retry(task.pk)

    assert state(task) == ("queued", "")
    assert there.work() == []
    assert here.work() == [Move("render")]


def test_a_lost_lease_moves_nothing(here):
    task = picture.enqueue(1)
    with taking(HERE):
        (lease,) = claim(ClaimRequest(here.worker))
    control.cancel(task.pk)

    settle(lease, Move("render"), claim_request=None)

    assert state(task) == ("cancelled", "")


def test_a_paused_pipeline_is_not_claimed_in_the_queue_of_a_step(here, there):
    task = picture.enqueue(1)
    here.work()
    control.pause_pipeline("step-queues/picture", reason="Broken.", actor=SYSTEM)
    assert there.work() == []

    control.resume_pipeline("step-queues/picture")
    assert there.work() == [Move("")]
    assert state(task) == ("queued", "")


def test_a_draining_worker_does_not_claim_in_the_queue_of_a_step(here, there):
    picture.enqueue(1)
    here.work()
    type(there.row).objects.filter(pk=there.worker).update(draining_at="2026-01-01T00:00Z")

    assert there.work() == []


def test_a_crash_at_any_commit_loses_no_move(monkeypatch):
    """Two workers take turns, one for the pipeline's queue and one for that of its steps, and die at each commit."""
    work_once = InProcessWorker.work

    def take_turns(worker, **options):
        outcomes, turns = [], [HERE, THERE]
        while turns:
            worker._taken = turns.pop(0)
            if done := work_once(worker, **options):
                outcomes += done
                turns = [HERE, THERE]
        return outcomes

    monkeypatch.setattr(InProcessWorker, "work", take_turns)

    report = assert_crash_safe(picture, 1)

    assert report.commits > 10, "three claims, four steps, two moves, the end, and claims that find nothing"
    assert report.result_compared


def test_tasks_in_the_queue_of_a_step_are_due_for_its_workers_only(here):
    picture.enqueue(1)
    here.work()

    with taking(HERE):
        assert dispatch.find_due_work(8).claimable == 0
    with taking(THERE):
        assert dispatch.find_due_work(8).claimable == 1
    with taking(TakenQueues()):
        assert dispatch.find_due_work(8).claimable == 1


def test_a_task_in_a_queue_that_no_step_names_any_more_is_claimed(here, there):
    """The code of the step is gone, or names another queue: workers that take the queue still find its tasks."""
    task = picture.enqueue(1)
    here.work()
    Task.objects.filter(pk=task.pk).update(step_queue="old")

    assert here.work() + there.work() == []
    (reason, *_rest) = why(task.pk).reasons
    assert reason.sentence == "No live worker takes queue old. Start one: manage.py worker --queues old."
    with InProcessWorker(not_queues="default") as worker:
        assert worker.work() == [Move("")]


def test_why_names_the_queue_of_the_step(here):
    task = picture.enqueue(1)
    here.work()
    other = picture.enqueue(2)
    here.work()

    missing, position = why(other.pk).reasons

    assert missing.code == "no_worker"
    assert missing.sentence == "No live worker takes queue render. Start one: manage.py worker --queues render."
    assert missing.waiting_for == "a worker that takes queue render"
    assert (position.code, position.ahead) == ("queued", 1)
    with InProcessWorker(queues="render"):
        assert [reason.code for reason in why(task.pk).reasons] == ["queued"]


def test_work_until_idle_ends_when_a_task_waits_for_other_workers(here):
    picture.enqueue(1)

    assert work_until_idle(here, timedelta(seconds=60)) == [Move("render")]


def test_the_statement_of_a_move_claims_the_next_task(here):
    first, second = picture.enqueue(1), picture.enqueue(2)
    with taking(HERE):
        (lease,) = claim(ClaimRequest(here.worker))
        (next_lease,) = settle(lease, Move("render"), claim_request=ClaimRequest(here.worker))

    assert (lease.task, next_lease.task) == (first.pk, second.pk)
    assert sql.MOVE.startswith("leased AS")


def test_a_task_does_not_bounce_between_workers_with_different_code(monkeypatch):
    """A deploy gives a step its queue: one worker has the new code, and the worker of that queue the old code."""
    task = picture.enqueue(1)
    here, there = InProcessWorker(queues="default"), InProcessWorker(queues="render")

    def move_there():
        monkeypatch.setitem(vars(draw.definition), "queue", "render")
        return here.work()

    def move_back():
        monkeypatch.setitem(vars(draw.definition), "queue", "")
        return there.work()

    assert move_there() == [Move("render")]
    assert move_back() == [Move("", wait=timedelta(seconds=1))]
    assert move_there() == []
    assert Task.objects.get(pk=task.pk).status == "waiting"

    advance(seconds=2)
    assert move_there() == [Move("render")]
    monkeypatch.setitem(vars(draw.definition), "queue", "render")
    there.work()
    here.work()
    there.leave()
    here.leave()

    assert Task.objects.get(pk=task.pk).status == "succeeded"
    assert RAN.count("load") == 1
    assert not Attempt.objects.exists()
