"""Callers that wait for the ends of their tasks, and ordinary calls meanwhile, on one ASGI process."""

from __future__ import annotations

import asyncio
import http.client
import statistics
import threading
import time
from functools import partial
from uuid import UUID

from django.db import transaction

from benchmarks.pipelines import one_step
from benchmarks.processes import wait_for, web
from taskqueue.engine.tasks import control
from taskqueue.models import EndWatch

WAITERS = 500
CALLS = 200


def waiting_milliseconds() -> tuple[float, float, float]:
    """Milliseconds from a task's end to its caller's answer, p50 and p95; then an ordinary call's relative time."""
    with transaction.atomic():
        tasks = [one_step.enqueue(number).pk for number in range(WAITERS)]
    with web(debug=True, asynchronous=True) as server:
        host = server.address.removeprefix("http://")
        baseline = ordinary_call(host)
        answered_at: dict[UUID, float] = {}
        callers = threading.Thread(target=lambda: asyncio.run(wait_for_all(host, tasks, answered_at)))
        callers.start()
        wait_for(lambda: EndWatch.objects.count() >= WAITERS)
        meanwhile = ordinary_call(host)
        ended_at = {}
        for task in tasks:
            control.cancel(task)
            ended_at[task] = time.monotonic()
            # One after the other: otherwise the answers would wait for each other.
            wait_for(partial(answered_at.__contains__, task), every=0.001)
        callers.join()
    durations = [(answered_at[task] - ended_at[task]) * 1000 for task in tasks]
    return statistics.median(durations), statistics.quantiles(durations, n=20)[-1], meanwhile / baseline


async def wait_for_all(host: str, tasks: list[UUID], answered_at: dict[UUID, float]) -> None:
    """One caller for each task; stores when each was answered."""

    async def caller(task: UUID) -> None:
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(
            f"GET /api/tasks/{task}/status?wait=60 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        answered_at[task] = time.monotonic()
        body = await reader.read()
        writer.close()
        assert b" 200 " in head, head
        assert b'"waited":true' in body, body

    await asyncio.gather(*(caller(task) for task in tasks))


def ordinary_call(host: str) -> float:
    """The median duration of a call that does not wait, in milliseconds."""
    durations = []
    connection = http.client.HTTPConnection(host, timeout=30)
    for _ in range(CALLS):
        started_at = time.perf_counter()
        connection.request("GET", "/api/tasks?limit=1")
        with connection.getresponse() as response:
            response.read()
            assert response.status == 200
        durations.append((time.perf_counter() - started_at) * 1000)
    connection.close()
    return statistics.median(durations)
