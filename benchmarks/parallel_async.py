"""Parallel async steps of one task, compared with `each`, which gives the steps to any worker."""

from __future__ import annotations

from typing import Any

from benchmarks.pipelines import by_each, by_gather
from benchmarks.processes import wait_for, workers
from benchmarks.task_ends import success_of
from taskqueue import Pipeline
from taskqueue.models import Task

STEPS = 20


def speed_relative_to_each() -> tuple[float, float, float]:
    """The speed of twenty steps relative to `each`: under a shared rate, and without one; then the task's claims under
    the rate.
    """
    with workers():
        rated, claims = seconds_and_claims(by_gather, is_rated=True)
        short, _ = seconds_and_claims(by_gather, is_rated=False)
        rated_by_each, _ = seconds_and_claims(by_each, is_rated=True)
        short_by_each, _ = seconds_and_claims(by_each, is_rated=False)
    return rated_by_each / rated, short_by_each / short, claims


def seconds_and_claims(pipeline: Pipeline[..., Any], *, is_rated: bool) -> tuple[float, int]:
    """How long one task takes from its start to its end, and how often it is claimed."""
    task = pipeline.enqueue(STEPS, is_rated=is_rated)
    wait_for(success_of(task))
    task = Task.objects.get(pk=task.pk)
    assert task.started_at is not None
    assert task.finished_at is not None
    return (task.finished_at - task.started_at).total_seconds(), task.lease
