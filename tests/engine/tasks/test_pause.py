"""A paused pipeline: nothing of it starts or goes on, and nothing is lost."""

from __future__ import annotations

import pytest

from taskqueue.engine.maintenance import dispatch
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.claims import ClaimRequest, claim
from taskqueue.errors import AlreadyPaused, NotPaused, UnknownPipeline
from taskqueue.models import Pipeline, Step, Task
from taskqueue.testing import InProcessWorker, work
from tests.support.database.races import Held, at_once
from tests.support.pipelines import basic as pipelines
from tests.support.pipelines.basic import interrupted, one_step


def pause():
    return control.pause_pipeline("engine/one-step", reason="deploy", by="dana")


@pytest.mark.django_db
def test_nothing_of_a_paused_pipeline_starts_and_all_of_it_goes_on_later():
    tasks = [one_step.enqueue(number) for number in range(3)]
    pause()

    assert (work(), dispatch.look(5).claimable) == ([], 0)
    late = one_step.enqueue(3)
    control.resume_pipeline("engine/one-step")
    work()

    assert {Task.objects.get(pk=task.pk).status for task in [*tasks, late]} == {"succeeded"}


@pytest.mark.django_db
def test_a_running_task_stops_after_its_step_and_goes_on_from_there(monkeypatch):
    task = interrupted.enqueue()
    monkeypatch.setattr(
        pipelines,
        "intruder",
        lambda: str(control.pause_pipeline("engine/interrupted", reason="stop", by="dana")),
    )
    work()
    assert list(Step.objects.order_by("pk").values_list("key", flat=True)) == ["one", "in-the-middle"]
    assert Task.objects.get(pk=task.pk).status == "queued"

    control.resume_pipeline("engine/interrupted")
    work()
    assert Task.objects.get(pk=task.pk).status == "succeeded"
    assert pipelines.calls == ["one", "in_the_middle", "two"]


@pytest.mark.django_db
def test_who_comes_second_is_told_who_was_first():
    one_step.enqueue(1)
    pause()
    with pytest.raises(AlreadyPaused, match="dana: deploy"):
        pause()
    control.resume_pipeline("engine/one-step")
    with pytest.raises(NotPaused):
        control.resume_pipeline("engine/one-step")
    with pytest.raises(UnknownPipeline):
        control.pause_pipeline("no/such", reason="x", by="y")


@pytest.mark.django_db(transaction=True)
def test_of_several_who_pause_at_once_one_wins():
    one_step.enqueue(1)

    results = at_once(4, pause)

    assert sum(isinstance(result, Pipeline) for result in results) == 1


@pytest.mark.django_db(transaction=True)
def test_a_claim_beside_an_open_pause_is_made_and_after_its_commit_none_is():
    with InProcessWorker() as worker:
        one_step.enqueue(1)
        one_step.enqueue(2)
        pausing = Held(pause)
        assert len(claim(ClaimRequest(worker.worker))) == 1
        pausing.end()
        assert claim(ClaimRequest(worker.worker)) == []
