"""A worker that drains ends what it has in hand and takes nothing new, until it is told to go on."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now

from taskqueue import Limit, pipeline
from taskqueue.engine.actions import drain
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.queries.why import why
from taskqueue.engine.worker import heartbeat
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.errors import NotDrainable, WorkerNotFound
from taskqueue.models import Task, Worker
from taskqueue.testing import InProcessWorker
from tests.support.database.races import at_once
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import interrupted, one_step


@pipeline("draining/limited", concurrency=Limit(1))
def limited(number: int) -> int:
    return number


def statuses() -> set[str]:
    return set(Task.objects.values_list("status", flat=True))


@pytest.mark.django_db
def test_a_draining_worker_takes_nothing_and_another_one_does():
    one_step.enqueue(1)
    limited.enqueue(2)
    with InProcessWorker() as tired, InProcessWorker() as fresh:
        drain.drain_worker(tired.worker)

        assert tired.work() == []
        assert statuses() == {"queued"}
        assert len(fresh.work()) == 2


@pytest.mark.django_db
def test_it_ends_the_task_in_its_hands_with_all_its_steps(monkeypatch):
    interrupted.enqueue()
    one_step.enqueue(1)
    with InProcessWorker() as worker:
        monkeypatch.setattr(pipelines, "intruder", lambda: str(drain.drain_worker(worker.worker)))
        worker.work()

        assert list(Task.objects.order_by("pk").values_list("status", flat=True)) == ["succeeded", "queued"]
        drain.resume_worker(worker.worker)
        worker.work()
    assert statuses() == {"succeeded"}


@pytest.mark.django_db
def test_who_cannot_be_drained_is_told_why():
    with InProcessWorker() as worker:
        with pytest.raises(NotDrainable, match="does not drain"):
            drain.resume_worker(worker.worker)
        drain.drain_worker(worker.worker)
        with pytest.raises(NotDrainable, match="drains already"):
            drain.drain_worker(worker.worker)
    with pytest.raises(NotDrainable, match="has ended"):
        drain.drain_worker(worker.worker)
    with pytest.raises(NotDrainable, match="has ended"):
        drain.resume_worker(worker.worker)
    with pytest.raises(WorkerNotFound):
        drain.drain_worker(0)


@pytest.mark.django_db
def test_a_task_says_that_the_workers_who_know_it_drain():
    sync_pipelines()
    task = one_step.enqueue(1)
    with InProcessWorker() as worker:
        drain.drain_worker(worker.worker)

        (first, *_rest) = why(task.pk).reasons

    assert first.code == "no_worker"
    assert first.sentence == (
        "The one live worker that knows pipeline engine/one-step drains. Resume one, or start another."
    )


@pytest.mark.django_db(transaction=True)
def test_of_several_who_drain_it_at_once_one_wins():
    with InProcessWorker() as worker:
        results = at_once(4, lambda: drain.drain_worker(worker.worker))

    assert sum(isinstance(result, Worker) for result in results) == 1


@pytest.mark.django_db(transaction=True)
def test_a_worker_taken_for_dead_that_goes_on_as_a_new_one_still_drains():
    heart = heartbeat.Heartbeat("test")
    heart.start()
    try:
        first = heart.worker
        drain.drain_worker(first)
        heart.renew(ConnectionError("for this test"))

        assert heart.worker != first
        assert Worker.objects.get(pk=heart.worker).draining_at is not None
        one_step.enqueue(1)
        assert claim(ClaimRequest(heart.worker)) == []
    finally:
        heart.stop()
    assert Worker.objects.filter(ended_at__lte=Now()).count() == 2
