"""Many tasks that wait for something: how many a pool executes at once."""

from __future__ import annotations

from benchmarks.measures import seconds_until_finished
from benchmarks.pipelines import sleeping, waiting
from benchmarks.processes import workers
from taskqueue.models import Task

PLAIN = 200
ASYNC = 1_000
PROCESSES = 2


def async_tasks() -> tuple[float, float]:
    """Seconds for 1,000 async tasks of one second, and relative to what the default slots need at least."""
    from taskqueue.conf import settings

    with workers():
        tasks = [waiting.enqueue(1.0).pk for _ in range(ASYNC)]
        seconds = seconds_until_finished(Task.objects.filter(pk__in=tasks))
    return seconds, seconds / (ASYNC / (PROCESSES * settings().ASYNC_SLOTS))


def plain_tasks(threads: int | None) -> float:
    """Seconds for 200 plain tasks of one second, relative to what so many threads need at least.

    Args:
        threads: of each process; None for the default.
    """
    from taskqueue.conf import settings

    with workers(threads=threads):
        tasks = [sleeping.enqueue(1.0).pk for _ in range(PLAIN)]
        seconds = seconds_until_finished(Task.objects.filter(pk__in=tasks))
    return seconds / (PLAIN / (PROCESSES * (threads or settings().THREADS)))
