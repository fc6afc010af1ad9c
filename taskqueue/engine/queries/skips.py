"""Skips: the requests that made no task, and why, for those who look for them."""

from __future__ import annotations

from taskqueue.models import Pipeline, Skip, Task

SHOWN = 20
"""A batch may have gathered thousands of requests; the newest are shown."""


def ended_in(task: Task) -> list[Skip]:
    """The latest requests for which this task stood in, newest first."""
    # By time and not by id: the index of ids would seem good enough, and lead through all other tasks' skips.
    return list(Skip.objects.filter(task=task).order_by("-created_at", "-pk")[:SHOWN])


def of_pipeline(pipeline: Pipeline) -> list[Skip]:
    """The latest requests of this pipeline that made no task, newest first."""
    return list(Skip.objects.filter(pipeline=pipeline).order_by("-pk")[:SHOWN])
