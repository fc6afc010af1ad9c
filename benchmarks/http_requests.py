"""Requests to the API with a token, relative to a bare view of the same project, which is measured in between."""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.contrib.auth.models import Permission, User

from benchmarks.bare import empty_table
from benchmarks.measures import percentiles
from benchmarks.pipelines import one_step
from benchmarks.processes import web
from taskqueue.engine.actions import tokens
from taskqueue.models import Task

CLIENTS = 20
ROUNDS = 5
REQUESTS = 50
"""Of each client in each round."""
PERMISSIONS = ("add_task", "view_task")


def post_relative_to_bare_view() -> tuple[float, float, float]:
    """POST /api/tasks with a token by twenty clients: p95 relative to a bare view's, and its own p50 and p95."""
    empty_table()
    body = json.dumps({"pipeline": one_step.definition.name, "payload": {"number": 1}}).encode()
    with web(debug=False) as address:
        ours = request_bytes(address, "POST", "/api/tasks", body, token=token_of_service())
        bare = request_bytes(address, "POST", "/bare/rows", body)
        return compare(address, ours, bare, clients=CLIENTS, status=202)


def hot_key_milliseconds() -> tuple[float, float]:
    """POST /api/tasks with a token and one key that is taken, by twenty clients: p50 and p95."""
    body = json.dumps({"pipeline": one_step.definition.name, "payload": {"number": 1}, "key": "hot"}).encode()
    with web(debug=False) as address:
        request = request_bytes(address, "POST", "/api/tasks", body, token=token_of_service())
        send(address, request, clients=1, number=1, status=202)
        durations = send(address, request, clients=CLIENTS, number=REQUESTS, status=200)
    Task.objects.all().delete()
    return percentiles(durations)


def status_relative_to_bare_read() -> tuple[float, float, float]:
    """GET status of a queued task with a token: median relative to a bare read's, and its own p50 and p95."""
    task = one_step.enqueue(1)
    with web(debug=False) as address:
        ours = request_bytes(address, "GET", f"/api/tasks/{task.pk}/status", token=token_of_service())
        bare = request_bytes(address, "GET", f"/bare/tasks/{task.pk}")
        return compare(address, ours, bare, clients=1, status=200)


def compare(address: str, ours: bytes, bare: bytes, *, clients: int, status: int) -> tuple[float, float, float]:
    """Send both requests in turn, in rounds: with one client compare the medians, with more the p95."""
    median, p95 = 0, 1
    compared = median if clients == 1 else p95
    for request in (ours, bare):
        send(address, request, clients=clients, number=REQUESTS // 5, status=status)
    ratios, durations = [], []
    for _ in range(ROUNDS):
        baseline = percentiles(send(address, bare, clients=clients, number=REQUESTS, status=status))
        found = send(address, ours, clients=clients, number=REQUESTS, status=status)
        ratios.append(percentiles(found)[compared] / baseline[compared])
        durations += found
    Task.objects.all().delete()
    return statistics.median(ratios), *percentiles(durations)


def token_of_service() -> str:
    """The secret of a token whose user has only the permissions that the requests need, as a deployment's has."""
    user, _ = User.objects.get_or_create(username="benchmark service")
    user.user_permissions.set(Permission.objects.filter(codename__in=PERMISSIONS))
    _token, secret = tokens.issue(user, name="benchmark")
    return secret


def request_bytes(address: str, method: str, path: str, body: bytes = b"", *, token: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(address).netloc}", "Accept: application/json"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Client:
    """A client that sends one request after the other on a connection that stays open."""

    socket: socket.socket
    left: int
    sent_at: float = 0.0
    received: bytes = field(default=b"")


def send(address: str, request: bytes, *, clients: int, number: int, status: int) -> list[float]:
    """Send a request `number` times from each client. Returns the milliseconds of each request, in order.

    One thread serves all clients, so that the measure takes little of the processors that the service needs.
    """
    url = urlsplit(address)
    durations: list[float] = []
    with selectors.DefaultSelector() as selector:
        for _ in range(clients):
            client = Client(socket.create_connection((url.hostname, url.port)), number)
            selector.register(client.socket, selectors.EVENT_READ, client)
            send_next(client, request)
        while selector.get_map():
            for key, _events in selector.select():
                client = key.data
                if receive(client, status):
                    durations.append((time.perf_counter() - client.sent_at) * 1000)
                    if client.left:
                        send_next(client, request)
                    else:
                        selector.unregister(client.socket)
                        client.socket.close()
    return durations


def send_next(client: Client, request: bytes) -> None:
    client.left -= 1
    client.received = b""
    client.sent_at = time.perf_counter()
    client.socket.sendall(request)


def receive(client: Client, status: int) -> bool:
    """Read what has arrived. Returns whether the answer is complete."""
    client.received += client.socket.recv(65_536)
    head, end, body = client.received.partition(b"\r\n\r\n")
    if not end:
        return False
    assert head.split(b" ", 2)[1] == str(status).encode(), client.received
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(body) == int(length)
