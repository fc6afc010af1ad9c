"""Many tasks that wait for something: how many a pool executes at once, and what that needs."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

from django.db.models import QuerySet

from benchmarks.pipelines import sleeping, waiting
from benchmarks.process_usage import connections, family, mebibytes
from benchmarks.processes import PROCESSES, wait_for, workers
from benchmarks.task_ends import all_succeeded, seconds_until_finished
from taskqueue import Pipeline
from taskqueue.conf import settings
from taskqueue.models import Task, Worker
from taskqueue.pool.threads.worker_threads import CLOSE_AFTER

PLAIN = 200
ASYNC = 1_000
AT_ONCE = PROCESSES * settings().THREADS
"""Plain tasks that two processes execute at once by default."""
ASYNC_AT_ONCE = PROCESSES * settings().ASYNC_SLOTS
"""Async tasks that they execute at once too."""


def plain_tasks(threads: int | None) -> float:
    """Seconds for 200 plain tasks of one second, relative to what so many threads need at least.

    Args:
        threads: of each process; None for the default.
    """
    with workers(threads=threads):
        tasks = [sleeping.enqueue(1.0).pk for _ in range(PLAIN)]
        seconds = seconds_until_finished(Task.objects.filter(pk__in=tasks))
    return seconds / (PLAIN / (PROCESSES * (threads or settings().THREADS)))


def async_tasks() -> tuple[float, float]:
    """Seconds for 1,000 async tasks of one second, and relative to what the default slots need at least."""
    with workers():
        tasks = [waiting.enqueue(1.0).pk for _ in range(ASYNC)]
        seconds = seconds_until_finished(Task.objects.filter(pk__in=tasks))
    return seconds, seconds / (ASYNC / ASYNC_AT_ONCE)


def memory_and_connections() -> tuple[float, ...]:
    """Mebibytes of a worker process, and of the whole command; connections of the command.

    Each idle, then with all plain tasks that the default allows, then with all async ones.
    """
    with workers() as pid:
        time.sleep(CLOSE_AFTER + 1)  # then idle threads have closed their connections
        used = [used_by(pid)]
        for pipeline, number in ((sleeping, AT_ONCE), (waiting, ASYNC_AT_ONCE)):
            tasks = start_sleeping(number, 8.0, pipeline)
            used.append(used_by(pid))
            wait_for(partial(all_succeeded, tasks))
    return tuple(figure for figures in zip(*used, strict=True) for figure in figures)


def start_sleeping(tasks: int, seconds: float, pipeline: Pipeline[..., Any] = sleeping) -> QuerySet[Task]:
    """So many tasks, all of which run, each for so long."""
    started = Task.objects.filter(pk__in=[pipeline.enqueue(seconds).pk for _ in range(tasks)])
    wait_for(lambda: started.filter(status="running").count() == tasks, every=0.01)
    return started


def used_by(pid: int) -> tuple[float, float, float]:
    """What a worker command uses."""
    processes = Worker.objects.filter(ended_at=None, pid__in=family(pid)).values_list("pid", flat=True)
    return statistics.median(mebibytes(set(processes))), sum(mebibytes(family(pid))), connections()
