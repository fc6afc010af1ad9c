"""Callers who wait for the ends of their tasks, beside ordinary calls, on one process under ASGI."""

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
    """Milliseconds from a task's end to its caller's answer, p50 and p95; then an ordinary call's time, times alone."""
    with transaction.atomic():
        tasks = [one_step.enqueue(number).pk for number in range(WAITERS)]
    with web(debug=True, asynchronous=True) as address:
        host = address.removeprefix("http://")
        alone = ordinary_call(host)
        answered: dict[UUID, float] = {}
        callers = threading.Thread(target=lambda: asyncio.run(wait_for_all(host, tasks, answered)))
        callers.start()
        wait_for(lambda: EndWatch.objects.count() >= WAITERS)
        beside = ordinary_call(host)
        ended = {}
        for task in tasks:
            control.cancel(task)
            ended[task] = time.monotonic()
            wait_for(partial(answered.__contains__, task), every=0.001)  # else they would wait for each other
        callers.join()
    took = [(answered[task] - ended[task]) * 1000 for task in tasks]
    return statistics.median(took), statistics.quantiles(took, n=20)[-1], beside / alone


async def wait_for_all(host: str, tasks: list[UUID], answered: dict[UUID, float]) -> None:
    """A caller for each task; when each was answered."""

    async def caller(task: UUID) -> None:
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(
            f"GET /api/tasks/{task}/status?wait=60 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        answered[task] = time.monotonic()
        body = await reader.read()
        writer.close()
        assert b" 200 " in head, head
        assert b'"waited":true' in body, body

    await asyncio.gather(*(caller(task) for task in tasks))


def ordinary_call(host: str) -> float:
    """The median of milliseconds of a call that does not wait."""
    took = []
    connection = http.client.HTTPConnection(host, timeout=30)
    for _ in range(CALLS):
        began = time.perf_counter()
        connection.request("GET", "/api/tasks?limit=1")
        with connection.getresponse() as answer:
            answer.read()
            assert answer.status == 200
        took.append((time.perf_counter() - began) * 1000)
    connection.close()
    return statistics.median(took)
