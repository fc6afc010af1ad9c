"""The measures of the design, each a function that does the work once and returns its figure."""

from __future__ import annotations

import http.client
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Max, Min, QuerySet

from benchmarks.bare import empty_table
from benchmarks.pipelines import first_line, five_steps, hundred_steps, limited_each, one_step, sleeping
from benchmarks.processes import wait_for, web, workers
from taskqueue import Pipeline, enqueue_many
from taskqueue.models import Attempt, Task, Worker

PARALLEL_STEPS = 2000
BARE_ROWS = """
INSERT INTO benchmarks_row
SELECT gen_random_uuid(), jsonb_build_object('number', number) FROM generate_series(1, 1000) AS number
"""


def seconds_to_finish(pipeline: Pipeline[[int], int], tasks: int) -> float:
    """Seconds in which two workers finish so many tasks that were enqueued before their start."""
    with transaction.atomic():
        for number in range(tasks):
            pipeline.enqueue(number)
    ours = Task.objects.filter(pipeline=pipeline.definition.name)
    with workers():
        return seconds_until_finished(ours, last=tasks)


def seconds_until_finished(tasks: QuerySet[Task], *, last: int | None = None) -> float:
    """Seconds from the first start to the last end of the tasks, or of the last ones, when all have succeeded."""
    wait_for(lambda: not tasks.exclude(status="succeeded").exists(), seconds=300, every=0.2)
    times = tasks.order_by("-pk")[:last].aggregate(started=Min("started_at"), finished=Max("finished_at"))
    duration: timedelta = times["finished"] - times["started"]
    return duration.total_seconds()


def one_step_tasks_per_second() -> float:
    return 3000 / seconds_to_finish(one_step, 3000)


def steps_per_second() -> float:
    return 5 * 1500 / seconds_to_finish(five_steps, 1500)


def parallel_steps_per_second() -> float:
    """Steps of one `each` with `limit=8`, from the start of its task to its end, on two workers."""
    with workers():
        task = limited_each.enqueue(PARALLEL_STEPS)
        return PARALLEL_STEPS / seconds_until_finished(Task.objects.filter(pk=task.pk))


def bulk_enqueue() -> tuple[float, float]:
    """Tasks per second of enqueue_many() with 1,000 tasks; how many times as long it takes as to insert bare rows."""
    calls = [one_step.defer(number) for number in range(1000)]
    empty_table()
    with connection.cursor() as cursor:
        durations = [
            (seconds_of(lambda: enqueue_many(calls)), seconds_of(lambda: cursor.execute(BARE_ROWS))) for _ in range(9)
        ]
    Task.objects.filter(status="queued").delete()
    ours, bare = map(statistics.median, zip(*durations, strict=True))
    return 1000 / ours, ours / bare


def seconds_of(action: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    action()
    return time.perf_counter() - started_at


def milliseconds_per_step() -> float:
    """One task of a hundred steps; the median of five."""
    with workers():
        durations = []
        for number in range(5):
            task = hundred_steps.enqueue(number)
            durations.append(seconds_until_finished(Task.objects.filter(pk=task.pk)) * 1000 / 100)
    return statistics.median(durations)


def first_line_latency() -> tuple[float, float]:
    """Milliseconds from the call of enqueue() to the first line of author code on idle workers: p50 and p95."""
    durations = []
    with workers():
        for _ in range(100):
            called = time.monotonic_ns()
            task = first_line.enqueue()
            wait_for(success_of(task), every=0.03)
            durations.append((int(str(Task.objects.get(pk=task.pk).result)) - called) / 1e6)
    return percentiles(durations)


def enqueue_milliseconds() -> tuple[float, float]:
    """Milliseconds of enqueue() in process: p50 and p95."""
    durations = []
    for number in range(500):
        started_at = time.perf_counter()
        one_step.enqueue(number)
        durations.append((time.perf_counter() - started_at) * 1000)
    Task.objects.filter(status="queued").delete()
    return percentiles(durations)


def open_post_milliseconds() -> tuple[float, float]:
    """Milliseconds of POST /api/tasks by twenty clients at once, without authentication: p50 and p95."""
    with web(debug=True) as address:
        return post_milliseconds(address, {})


def signed_in_post_milliseconds() -> tuple[float, float]:
    """POST /api/tasks by a signed-in operator, whose session and user are read for each request."""
    with web(debug=False) as address:
        return post_milliseconds(address, signed_in(address))


def post_milliseconds(address: str, credentials: dict[str, str]) -> tuple[float, float]:
    """Twenty clients post fifty tasks each, one after the other, on a connection that stays open."""
    durations: list[float] = []
    body = json.dumps({"pipeline": "benchmarks/one-step", "payload": {"number": 1}})
    headers = {"Content-Type": "application/json", **credentials}

    def client() -> None:
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=30)
        for _ in range(50):
            started_at = time.perf_counter()
            connection.request("POST", "/api/tasks", body, headers)
            with connection.getresponse() as response:
                response.read()
                assert response.status == 202
            durations.append((time.perf_counter() - started_at) * 1000)
        connection.close()

    client()
    durations.clear()
    at_once(20, client)
    Task.objects.filter(status="queued").delete()
    return percentiles(durations)


def recovery_seconds() -> float:
    """Seconds from kill -9 of a worker process until its task runs again on another."""
    with workers():
        task = sleeping.enqueue(1.5)
        ours = Task.objects.filter(pk=task.pk)
        wait_for(lambda: ours.filter(status="running", lease=1).exists())
        worker = Worker.objects.get(tasks=task.pk)
        os.kill(worker.pid, signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda: ours.filter(status="running", lease=2).exists(), every=0.005)
        seconds = time.monotonic() - killed
        wait_for(lambda: ours.filter(status="succeeded").exists())
    assert Attempt.objects.filter(task=task, outcome="lost").count() == 1
    return seconds


def signed_in(address: str) -> dict[str, str]:
    from django.contrib.auth.models import User
    from django.test import Client

    user, _ = User.objects.get_or_create(username="benchmark", defaults={"is_staff": True, "is_superuser": True})
    client = Client()
    client.force_login(user)
    session = client.cookies["sessionid"].value
    token = "a" * 32
    return {"Cookie": f"sessionid={session}; csrftoken={token}", "X-CSRFToken": token, "Referer": f"{address}/"}


def success_of(task: Task) -> Callable[[], bool]:
    return Task.objects.filter(pk=task.pk, status="succeeded").exists


def percentiles(values: list[float]) -> tuple[float, float]:
    return statistics.median(values), statistics.quantiles(values, n=20)[-1]


def at_once(callers: int, action: Callable[[], object]) -> None:
    """Call an action in several threads and wait for all of them."""
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            action()
        except BaseException as failure:  # noqa: BLE001 - raised again below, in the main thread
            failures.append(failure)
        finally:
            connection.close()

    threads = [threading.Thread(target=attempt) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
