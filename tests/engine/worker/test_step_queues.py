"""A step may name a queue: its task moves there for the step, and back for a step without a queue."""

from __future__ import annotations

import pytest

from taskqueue import pipeline, step
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.runtime.outcomes import Move, Succeeded
from taskqueue.models import Attempt
from taskqueue.testing import InProcessWorker, work

pytestmark = pytest.mark.django_db

RAN: list[str] = []


@step
def load(number: int) -> int:
    RAN.append("load")
    return number


@step(queue="gpu")
def train(number: int) -> int:
    RAN.append("train")
    return number + 1


@step
def publish(number: int) -> int:
    RAN.append("publish")
    return number * 2


@pipeline("step-queues/model")
def model(number: int) -> int:
    return publish(train(load(number)))


@pytest.fixture(autouse=True)
def _synced():
    RAN.clear()
    sync_pipelines()


def kinds(outcomes):
    return [type(outcome) for outcome in outcomes]


def test_a_task_moves_to_the_queue_of_a_step_and_back():
    task = model.enqueue(1)

    with InProcessWorker(queues="default") as cpu, InProcessWorker(queues="gpu") as gpu:
        assert gpu.work() == []
        assert cpu.work() == [Move("gpu")]
        task.refresh_from_db()
        assert (task.status, task.step_queue, RAN) == ("queued", "gpu", ["load"])
        assert cpu.work() == []
        assert gpu.work() == [Move("")]
        task.refresh_from_db()
        assert (task.status, task.step_queue, RAN) == ("queued", "", ["load", "train"])
        assert gpu.work() == []
        assert kinds(cpu.work()) == [Succeeded]

    task.refresh_from_db()
    assert (task.result, RAN) == (4, ["load", "train", "publish"])
    assert not Attempt.objects.exists()


def test_a_worker_that_takes_both_queues_does_not_move_a_task():
    model.enqueue(1)
    model.enqueue(2)

    with InProcessWorker(queues="default, gpu") as worker:
        assert kinds(worker.work()) == [Succeeded, Succeeded]
    model.enqueue(3)
    assert kinds(work()) == [Succeeded]
