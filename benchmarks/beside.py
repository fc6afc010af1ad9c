"""Async steps beside each other in one task, against `each`, which gives the same steps to any worker."""

from __future__ import annotations

from typing import Any

from benchmarks.measures import success_of
from benchmarks.pipelines import beside, by_each
from benchmarks.processes import wait_for, workers
from taskqueue import Pipeline
from taskqueue.models import Task

STEPS = 20


def beside_to_each() -> tuple[float, float, float]:
    """How many times as fast as by `each` twenty steps end: under a shared rate, and without one; then the claims that
    the task beside needed under the rate."""
    with workers():
        rated, claims = seconds_and_claims(beside, is_rated=True)
        short, _ = seconds_and_claims(beside, is_rated=False)
        rated_by_each, _ = seconds_and_claims(by_each, is_rated=True)
        short_by_each, _ = seconds_and_claims(by_each, is_rated=False)
    return rated_by_each / rated, short_by_each / short, claims


def seconds_and_claims(pipeline: Pipeline[..., Any], *, is_rated: bool) -> tuple[float, int]:
    """How long one task takes from its start to its end, and how often it was claimed."""
    task = pipeline.enqueue(STEPS, is_rated=is_rated)
    wait_for(success_of(task))
    task = Task.objects.get(pk=task.pk)
    assert task.started_at is not None
    assert task.finished_at is not None
    return (task.finished_at - task.started_at).total_seconds(), task.lease
