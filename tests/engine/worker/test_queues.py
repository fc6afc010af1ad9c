"""A worker takes the tasks of the queues that it was told to take, and leaves the others to other workers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskqueue import Limit, pipeline, step
from taskqueue.engine.actions.queues import move_pipeline
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.runtime.outcomes import Succeeded
from taskqueue.engine.runtime.taken_queues import taken_queues, taking
from taskqueue.engine.worker import pace
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.settle import settle
from taskqueue.models import Task, Worker
from taskqueue.queues import TakenQueues
from taskqueue.testing import InProcessWorker, advance
from tests.support.notifications import notification_count
from tests.support.pipelines.basic import one_step

pytestmark = pytest.mark.django_db

MAIL, NOT_MAIL = TakenQueues(("mail",)), TakenQueues((), ("mail",))


@step
def post(number: int) -> int:
    return number


@pipeline("queues/letter", queue="mail")
def letter(number: int) -> int:
    return post(number)


@step(queue="heavy")
def lift(number: int) -> int:
    return number


@pipeline("queues/lifting", queue="mail", concurrency=Limit(1))
def lifting(number: int) -> int:
    return lift(number)


@pipeline("queues/parcel", queue="mail", concurrency=Limit(1))
def parcel(number: int) -> int:
    return post(number)


@pytest.fixture(autouse=True)
def _synced():
    sync_pipelines()


@pytest.fixture
def one_at_a_time(monkeypatch):
    """Workers claim one task at a time, so that the order of the claims shows in the order of the executions."""
    monkeypatch.setattr(pace, "MOST_PREFETCHED", 1)


def ended() -> set[str]:
    return set(Task.objects.filter(status="succeeded").values_list("pipeline", flat=True))


def test_a_worker_takes_only_its_queues():
    for each in (letter, parcel, one_step):
        each.enqueue(1)

    with InProcessWorker(queues="mail, gpu") as worker:
        worker.work()

    assert ended() == {"queues/letter", "queues/parcel"}


def test_a_worker_leaves_excluded_queues():
    for each in (letter, parcel, one_step):
        each.enqueue(1)

    with InProcessWorker(not_queues="mail") as worker:
        worker.work()

    assert ended() == {"engine/one-step"}
    assert Task.objects.get(pipeline="queues/parcel").slot_acquired_at is None


def test_a_worker_takes_all_queues_by_default():
    for each in (letter, parcel, one_step):
        each.enqueue(1)

    with InProcessWorker() as worker:
        worker.work()

    assert len(ended()) == 3


def test_the_settings_say_which_queues_workers_take(settings):
    settings.TASKQUEUE = {"NOT_QUEUES": "mail"}
    letter.enqueue(1)
    one_step.enqueue(1)

    with InProcessWorker() as worker:
        (lease,) = claim(ClaimRequest(worker.worker))
        assert (lease.pipeline, claim(ClaimRequest(worker.worker))) == ("engine/one-step", [])
    with taking(MAIL):
        assert taken_queues() == MAIL


def test_the_next_claim_acts_on_a_move():
    letter.enqueue(1)
    with InProcessWorker(queues="gpu") as worker:
        assert worker.work() == []

        move_pipeline("queues/letter", "gpu")
        assert len(worker.work()) == 1

        letter.enqueue(2)
        move_pipeline("queues/letter", "")
        assert worker.work() == []


def test_the_next_claim_after_a_task_takes_only_its_queues():
    with InProcessWorker(queues="mail") as worker, taking(MAIL):
        letter.enqueue(1)
        (lease,) = claim(ClaimRequest(worker.worker))
        one_step.enqueue(1)

        assert settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker.worker)) == []


def test_work_of_other_queues_is_not_claimable():
    parcel.enqueue(1)
    letter.enqueue(1)

    with taking(NOT_MAIL):
        assert dispatch.find_due_work(8).claimable == 0
    with taking(MAIL):
        assert dispatch.find_due_work(8).claimable == 2


@pytest.fixture
def was_notified(transactional_db):
    """Tells whether workers have been notified since the last call."""
    sync_pipelines()
    with notification_count() as count:
        yield lambda: count() > 0


@pytest.mark.django_db(transaction=True)
def test_a_slot_freed_after_a_move_goes_to_a_task_for_other_workers(was_notified):
    first = parcel.enqueue(1)
    parcel.enqueue(2)
    with InProcessWorker(queues="mail") as worker, taking(MAIL):
        (lease,) = claim(ClaimRequest(worker.worker))
        assert lease.task == first.pk
        move_pipeline("queues/parcel", "heavy")
        was_notified()

        assert settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker.worker)) == []

    assert was_notified()
    with InProcessWorker(queues="heavy") as worker:
        assert len(worker.work()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_slot_freed_in_the_queue_of_a_step_notifies_the_workers_of_the_pipeline(was_notified):
    lifting.enqueue(1)
    lifting.enqueue(2)
    with InProcessWorker(queues="mail") as worker:
        worker.work()
    with InProcessWorker(queues="heavy") as worker, taking(TakenQueues(("heavy",))):
        (lease,) = claim(ClaimRequest(worker.worker))
        was_notified()

        assert settle(lease, Succeeded("1"), claim_request=None) == []

    assert was_notified()


@pytest.mark.django_db(transaction=True)
def test_a_slot_freed_without_a_move_notifies_no_worker(was_notified):
    parcel.enqueue(1)
    parcel.enqueue(2)
    with InProcessWorker(queues="mail") as worker, taking(MAIL):
        (lease,) = claim(ClaimRequest(worker.worker))
        was_notified()

        assert len(settle(lease, Succeeded("1"), claim_request=ClaimRequest(worker.worker))) == 1

    assert not was_notified()


@pytest.mark.django_db(transaction=True)
def test_a_move_notifies_the_workers_of_the_new_queue(was_notified):
    move_pipeline("queues/letter", "gpu")
    assert was_notified()

    move_pipeline("queues/letter", "gpu")
    assert not was_notified()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("queues", "notifies"), [(NOT_MAIL, True), (TakenQueues(), False)], ids=str)
def test_a_timer_of_another_queue_notifies_its_workers(was_notified, queues, notifies):
    """The dispatcher of one command may queue a task that only another command's workers take."""
    letter.using(run_at=datetime.now(UTC) + timedelta(hours=1)).enqueue(1)
    advance(hours=2)
    was_notified()

    with taking(queues):
        assert dispatch.run_due(1).queued

    assert was_notified() == notifies


@pytest.mark.django_db(transaction=True)
def test_a_workers_row_names_its_queues(heartbeat):
    assert Worker.objects.values_list("queues", "not_queues").get() == ([], [])
    with taking(NOT_MAIL):
        heartbeat.renew(RuntimeError("the loop failed"))

    assert list(Worker.objects.get(ended_at=None).not_queues) == ["mail"]


@pipeline("queues/report", queue="reports", concurrency=Limit(1))
def report(number: int) -> int:
    return post(number)


def order_of_claims(**options) -> list[str]:
    """The pipelines of the tasks in the order in which one worker executes them, one by one."""
    with InProcessWorker(**options) as worker:
        worker.work()
    return list(Task.objects.order_by("started_at", "finished_at").values_list("pipeline", flat=True))


def test_strict_order_puts_all_tasks_of_a_queue_first(one_at_a_time):
    for number in range(3):
        one_step.using(priority=600).enqueue(number)
    advance(hours=1)
    for number in range(3):
        letter.using(priority=-600).enqueue(number)

    names = order_of_claims(queues="mail,default", strict=True)

    assert names == ["queues/letter"] * 3 + ["engine/one-step"] * 3


def test_without_strict_order_the_oldest_task_comes_first(one_at_a_time):
    one_step.enqueue(1)
    advance(hours=1)
    letter.enqueue(1)

    assert order_of_claims(queues="mail,default") == ["engine/one-step", "queues/letter"]


def test_strict_order_keeps_the_order_of_due_times_within_a_queue(one_at_a_time):
    late, early = letter.using(priority=-10).enqueue(1), letter.using(priority=10).enqueue(2)
    one_step.enqueue(1)

    order_of_claims(queues="mail,default", strict=True)

    tasks = list(Task.objects.order_by("started_at"))
    assert [task.pk for task in tasks[:2]] == [early.pk, late.pk]


def test_strict_order_holds_in_a_batch_of_short_tasks():
    older = one_step.enqueue(1)
    advance(hours=1)
    younger = letter.enqueue(1)

    with InProcessWorker(queues="mail,default", strict=True) as worker:
        with taking(TakenQueues(("mail", "default"), is_strict=True)):
            leases = claim(ClaimRequest(worker.worker, most=8))
        assert [lease.task for lease in leases] == [younger.pk, older.pk]


def test_a_limited_pipeline_of_a_high_queue_is_admitted_before_ready_tasks_of_a_lower_one(one_at_a_time):
    for number in range(2):
        one_step.enqueue(number)
    advance(hours=1)
    for number in range(2):
        parcel.enqueue(number)

    names = order_of_claims(queues="mail,default", strict=True)

    assert names == ["queues/parcel"] * 2 + ["engine/one-step"] * 2


def test_ready_tasks_of_a_high_queue_come_before_an_admission_of_a_lower_one(one_at_a_time):
    for number in range(2):
        report.enqueue(number)
    advance(hours=1)
    letter.enqueue(1)

    names = order_of_claims(queues="mail,reports", strict=True)

    assert names == ["queues/letter"] + ["queues/report"] * 2


def test_of_two_limited_pipelines_the_one_of_the_higher_queue_is_admitted_first(one_at_a_time):
    report.enqueue(1)
    advance(hours=1)
    parcel.enqueue(1)

    assert order_of_claims(queues="mail,reports", strict=True) == ["queues/parcel", "queues/report"]


def test_a_blocked_pipeline_of_a_high_queue_leaves_the_lower_ones_their_turn():
    parcel.enqueue(1)
    parcel.enqueue(2)
    one_step.enqueue(1)
    strict = TakenQueues(("mail", "default"), is_strict=True)

    with InProcessWorker() as worker, taking(strict):
        pipelines = [lease.pipeline for _ in range(3) for lease in claim(ClaimRequest(worker.worker))]

    assert pipelines == ["queues/parcel", "engine/one-step"]


def test_strict_order_of_the_settings_applies_to_their_queues(settings):
    settings.TASKQUEUE = {"QUEUES": "mail,default", "STRICT_QUEUES": True}
    assert taken_queues() == TakenQueues(("mail", "default"), is_strict=True)
    assert str(taken_queues()) == "mail, default in strict order"

    settings.TASKQUEUE = {"STRICT_QUEUES": True}
    assert taken_queues() == TakenQueues()


def test_strict_order_without_named_queues_is_refused():
    for names, excluded in (("", ""), ("", "mail")):
        with pytest.raises(ValueError, match="Strict order needs the names of the queues"):
            TakenQueues.of(names, excluded, is_strict=True)
