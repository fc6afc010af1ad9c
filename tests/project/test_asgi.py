"""The service under ASGI: hundreds of callers wait in one process, without a thread or a connection for each."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from typing import Any

import pytest

from demo.pipelines import DemoRequest, demo_task
from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.engine.tasks import control
from taskqueue.models import EndWatch
from tests.support.processes.asgi import SERVERS, connections, served
from tests.support.processes.processes import http_status
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]

CALLERS = 120
CONNECTIONS = 12
"""Eight that look, one that listens, one for the request at hand, and one or two of earlier tests in this process."""


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_under_asgi_waiting_callers_use_no_threads_or_connections(server, tmp_path):
    sync_pipelines()
    tasks = [demo_task.enqueue(DemoRequest(label="awaited")) for _ in range(CALLERS)]
    with served(server, tmp_path) as (port, process), ExitStack() as stack:
        callers = [stack.enter_context(asking(port, f"/api/tasks/{task.pk}/status?wait=60")) for task in tasks]
        eventually(lambda: EndWatch.objects.count() == CALLERS)
        eventually(lambda: process.num_threads() < CALLERS / 3)
        eventually(lambda: connections() <= CONNECTIONS, details=lambda: str(connections()))
        for path in ("/api/pipelines", "/api/health/ready", "/admin/login/"):
            assert http_status(f"http://127.0.0.1:{port}{path}") == 200

        for task in tasks:
            control.cancel(task.pk)
        answers = [body_of(caller) for caller in callers]

        assert {(answer["status"], answer["waited"]) for answer in answers} == {("cancelled", True)}
        assert {answer["id"] for answer in answers} == {str(task.pk) for task in tasks}
        for _ in range(10):
            for path in ("/api/tasks", f"/api/tasks/{tasks[0].pk}/status", "/admin/login/"):
                assert http_status(f"http://127.0.0.1:{port}{path}") == 200
        eventually(lambda: connections() <= CONNECTIONS, details=lambda: str(connections()))


@contextmanager
def asking(port: int, path: str) -> Iterator[socket.socket]:
    """A request that is waiting for its answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as caller:
        caller.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        yield caller


def body_of(caller: socket.socket) -> Any:
    """The answer, when it comes."""
    with HTTPResponse(caller) as response:
        response.begin()
        return json.load(response)
