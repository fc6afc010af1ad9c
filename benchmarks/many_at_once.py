"""Many tasks that wait for something: how many a pool executes at once, and what that needs."""

from __future__ import annotations

import statistics
import time

from django.db.models import QuerySet

from benchmarks.pipelines import sleeping
from benchmarks.process_usage import connections, family, mebibytes
from benchmarks.processes import PROCESSES, wait_for, workers
from benchmarks.task_ends import all_succeeded, seconds_until_finished
from taskqueue.conf import settings
from taskqueue.models import Task, Worker
from taskqueue.pool.threads import CLOSE_AFTER

PLAIN = 200
AT_ONCE = PROCESSES * settings().THREADS
"""Tasks that two processes execute at once by default."""


def plain_tasks(threads: int | None) -> float:
    """Seconds for 200 plain tasks of one second, relative to what so many threads need at least.

    Args:
        threads: of each process; None for the default.
    """
    with workers(threads=threads):
        tasks = [sleeping.enqueue(1.0).pk for _ in range(PLAIN)]
        seconds = seconds_until_finished(Task.objects.filter(pk__in=tasks))
    return seconds / (PLAIN / (PROCESSES * (threads or settings().THREADS)))


def memory_and_connections() -> tuple[float, ...]:
    """Mebibytes of a worker process, and of the whole command; connections of the command; each idle, then at work."""
    with workers() as pid:
        time.sleep(CLOSE_AFTER + 1)  # then idle threads have closed their connections
        idle = used_by(pid)
        tasks = start_sleeping(AT_ONCE, 5.0)
        at_work = used_by(pid)
        wait_for(lambda: all_succeeded(tasks))
    return tuple(figure for pair in zip(idle, at_work, strict=True) for figure in pair)


def start_sleeping(tasks: int, seconds: float) -> QuerySet[Task]:
    """So many tasks, all of which run, each for so long."""
    started = Task.objects.filter(pk__in=[sleeping.enqueue(seconds).pk for _ in range(tasks)])
    wait_for(lambda: started.filter(status="running").count() == tasks, every=0.01)
    return started


def used_by(pid: int) -> tuple[float, float, float]:
    """What a worker command uses."""
    processes = Worker.objects.filter(ended_at=None, pid__in=family(pid)).values_list("pid", flat=True)
    return statistics.median(mebibytes(set(processes))), sum(mebibytes(family(pid))), connections()
