"""The time from `kill -9` of a worker process until its tasks run again."""

from __future__ import annotations

import os
import signal
import statistics
import time

from benchmarks.many_at_once import AT_ONCE, start_sleeping
from benchmarks.processes import wait_for, workers
from benchmarks.task_ends import all_succeeded
from taskqueue.models import Attempt, Task, Worker

KILLS = 3


def one_task_seconds() -> tuple[float, float]:
    """Of a process with one task, while the other process is idle: the median and the longest of some kills."""
    return median_and_longest(1, 1.5)


def all_threads_seconds() -> tuple[float, float]:
    """Of a process whose threads are all busy, as are those of the other process."""
    return median_and_longest(AT_ONCE, 4.0)


def median_and_longest(tasks: int, task_seconds: float) -> tuple[float, float]:
    with workers():
        found = [seconds_of_kill(tasks, task_seconds) for _ in range(KILLS)]
    return statistics.median(found), max(found)


def seconds_of_kill(tasks: int, task_seconds: float) -> float:
    """Kill the process of one of so many tasks. Returns the seconds until all tasks of that process run again."""
    all_tasks = start_sleeping(tasks, task_seconds)
    (pid, *_) = Worker.objects.filter(tasks__in=all_tasks).values_list("pid", flat=True)
    lost = list(all_tasks.filter(worker__pid=pid).values_list("pk", flat=True))
    again = Task.objects.filter(pk__in=lost, status="running", lease=2)
    os.kill(pid, signal.SIGKILL)
    killed_at = time.monotonic()
    wait_for(lambda: again.count() == len(lost), every=0.01)
    seconds = time.monotonic() - killed_at
    wait_for(lambda: all_succeeded(all_tasks))
    assert Attempt.objects.filter(task__in=all_tasks, outcome="lost").count() == len(lost)
    return seconds
