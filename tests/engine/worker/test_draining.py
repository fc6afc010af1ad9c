"""A draining worker finishes its current task and claims nothing until it is resumed."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now

from taskqueue import Limit, pipeline
from taskqueue.engine.actions import drain
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.queries.why import why
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.worker.claims import claim
from taskqueue.engine.worker.heartbeat import Heartbeat
from taskqueue.errors import NotDrainable, WorkerNotFound
from taskqueue.models import Task, Worker
from taskqueue.testing import InProcessWorker
from tests.support.database.races import run_concurrently
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import interrupted, one_step


@pipeline("draining/limited", concurrency=Limit(1))
def limited(number: int) -> int:
    return number


def statuses() -> set[str]:
    return set(Task.objects.values_list("status", flat=True))


@pytest.mark.django_db
def test_a_draining_worker_claims_nothing():
    one_step.enqueue(1)
    limited.enqueue(2)
    with InProcessWorker() as tired, InProcessWorker() as fresh:
        drain.drain_worker(tired.worker)

        assert tired.work() == []
        assert statuses() == {"queued"}
        assert len(fresh.work()) == 2


@pytest.mark.django_db
def test_a_draining_worker_finishes_its_current_task(monkeypatch):
    interrupted.enqueue()
    one_step.enqueue(1)
    with InProcessWorker() as worker:
        monkeypatch.setattr(pipelines, "during_step", lambda: str(drain.drain_worker(worker.worker)))
        worker.work()

        assert list(Task.objects.order_by("pk").values_list("status", flat=True)) == ["succeeded", "queued"]
        drain.resume_worker(worker.worker)
        worker.work()
    assert statuses() == {"succeeded"}


@pytest.mark.django_db
def test_a_refused_drain_names_the_reason():
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
def test_a_queued_task_explains_that_its_workers_drain():
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
def test_one_of_several_concurrent_drains_succeeds():
    with InProcessWorker() as worker:
        results = run_concurrently(4, lambda: drain.drain_worker(worker.worker))

    assert sum(isinstance(result, Worker) for result in results) == 1


@pytest.mark.django_db(transaction=True)
def test_a_draining_worker_keeps_draining_under_a_new_row():
    heartbeat = Heartbeat("test")
    heartbeat.start()
    try:
        first = heartbeat.worker
        drain.drain_worker(first)
        heartbeat.renew(ConnectionError("for this test"))

        assert heartbeat.worker != first
        assert Worker.objects.get(pk=heartbeat.worker).draining_at is not None
        one_step.enqueue(1)
        assert claim(ClaimRequest(heartbeat.worker)) == []
    finally:
        heartbeat.stop()
    assert Worker.objects.filter(ended_at__lte=Now()).count() == 2
