"""A paused pipeline starts and continues no task, and loses none."""

from __future__ import annotations

import pytest

from taskqueue.engine.access.actor import Actor
from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.runtime.claim_request import ClaimRequest
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import claim
from taskqueue.errors import AlreadyPaused, NotPaused, UnknownPipeline
from taskqueue.models import Pipeline, Step, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.database.races import OpenTransaction, run_concurrently
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import interrupted, one_step


def pause():
    return control.pause_pipeline("engine/one-step", reason="deploy", actor=Actor(None, "dana"))


@pytest.mark.django_db
def test_a_paused_pipeline_starts_nothing_and_continues_after_resume():
    tasks = [one_step.enqueue(number) for number in range(3)]
    pause()

    assert (work(), dispatch.find_due_work(5).claimable) == ([], 0)
    late = one_step.enqueue(3)
    control.resume_pipeline("engine/one-step")
    work()

    assert {Task.objects.get(pk=task.pk).status for task in [*tasks, late]} == {"succeeded"}


@pytest.mark.django_db
def test_a_running_task_of_a_paused_pipeline_stops_after_its_step(monkeypatch):
    task = interrupted.enqueue()
    monkeypatch.setattr(
        pipelines,
        "during_step",
        lambda: str(control.pause_pipeline("engine/interrupted", reason="stop", actor=Actor(None, "dana"))),
    )
    work()
    assert list(Step.objects.order_by("pk").values_list("key", flat=True)) == ["one", "in-the-middle"]
    assert Task.objects.get(pk=task.pk).status == "queued"

    control.resume_pipeline("engine/interrupted")
    work()
    assert Task.objects.get(pk=task.pk).status == "succeeded"
    assert pipelines.calls == ["one", "in_the_middle", "two"]


@pytest.mark.django_db
def test_a_second_pause_names_the_first_user():
    one_step.enqueue(1)
    pause()
    with pytest.raises(AlreadyPaused, match="dana: deploy"):
        pause()
    control.resume_pipeline("engine/one-step")
    with pytest.raises(NotPaused):
        control.resume_pipeline("engine/one-step")
    with pytest.raises(UnknownPipeline):
        control.pause_pipeline("no/such", reason="x", actor=Actor(None, "y"))


@pytest.mark.django_db(transaction=True)
def test_one_of_several_concurrent_pauses_succeeds():
    one_step.enqueue(1)

    results = run_concurrently(4, pause)

    assert sum(isinstance(result, Pipeline) for result in results) == 1


@pytest.mark.django_db(transaction=True)
def test_a_pause_stops_claims_after_its_commit():
    with InProcessWorker() as worker:
        one_step.enqueue(1)
        one_step.enqueue(2)
        pausing = OpenTransaction(pause)
        assert len(claim(ClaimRequest(worker.worker))) == 1
        pausing.end()
        assert claim(ClaimRequest(worker.worker)) == []
