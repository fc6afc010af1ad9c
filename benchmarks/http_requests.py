"""Requests to the API, relative to a bare view of the same project, which is measured in between."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.contrib.auth.models import Permission, User
from django.test import Client as TestClient

from benchmarks.bare import empty_table
from benchmarks.figures import Durations, Figures, compare_durations, percentiles
from benchmarks.pipelines import one_step
from benchmarks.process_usage import Cpu
from benchmarks.processes import WebServer, web
from taskqueue.engine.actions import tokens
from taskqueue.models import Task

CLIENTS = 20
ROUNDS = 5
REQUESTS = 50
"""Of each client in each round."""
PERMISSIONS = ("add_task", "view_task")


def token_post() -> Figures:
    """POST /api/tasks with a token by twenty clients."""
    with web(debug=False) as server:
        return post(server, bearer())


def open_post() -> Figures:
    """POST /api/tasks by twenty clients without authentication, as a local quickstart allows it."""
    with web(debug=True) as server:
        return post(server, {})


def session_post() -> Figures:
    """POST /api/tasks by twenty clients of a signed-in operator, whose session and user are read for each request."""
    with web(debug=False) as server:
        return post(server, signed_in(server.address))


def post(server: WebServer, credentials: dict[str, str]) -> Figures:
    """POST /api/tasks relative to the bare view that inserts a row."""
    empty_table()
    body = json.dumps({"pipeline": one_step.definition.name, "payload": {"number": 1}}).encode()
    ours = request_bytes(server.address, "POST", "/api/tasks", body, headers=credentials)
    bare = request_bytes(server.address, "POST", "/bare/rows", body)
    return compare(server, ours, bare, clients=CLIENTS, status=202)


def hot_key_milliseconds() -> tuple[float, float]:
    """POST /api/tasks with a token and one key that is taken, by twenty clients: p50 and p95."""
    body = json.dumps({"pipeline": one_step.definition.name, "payload": {"number": 1}, "key": "hot"}).encode()
    with web(debug=False) as server:
        request = request_bytes(server.address, "POST", "/api/tasks", body, headers=bearer())
        send(server.address, request, clients=1, number=1, status=202)
        durations = send(server.address, request, clients=CLIENTS, number=REQUESTS, status=200)
    Task.objects.all().delete()
    return percentiles(durations)


def status_read() -> Figures:
    """GET status of a queued task with a token, relative to the bare view that reads a row."""
    task = one_step.enqueue(1)
    with web(debug=False) as server:
        ours = request_bytes(server.address, "GET", f"/api/tasks/{task.pk}/status", headers=bearer())
        bare = request_bytes(server.address, "GET", f"/bare/tasks/{task.pk}")
        return compare(server, ours, bare, clients=1, status=200)


def compare(server: WebServer, ours: bytes, bare: bytes, *, clients: int, status: int) -> Figures:
    """Send both requests in turn, in rounds. The ratio is that of the medians with one client, else that of the p95."""

    def measure(request: bytes) -> Durations:
        before = Cpu.used_by([server.pid])
        durations = send(server.address, request, clients=clients, number=REQUESTS, status=status)
        cpu = Cpu.used_by([server.pid]).since(before, units=len(durations))
        return Durations(durations, cpu, is_p95=clients > 1)

    for request in (ours, bare):
        send(server.address, request, clients=clients, number=REQUESTS // 5, status=status)
    rounds = [(measure(ours), measure(bare)) for _ in range(ROUNDS)]
    Task.objects.all().delete()
    return compare_durations(*zip(*rounds, strict=True))


def bearer() -> dict[str, str]:
    """The token of a user with only the permissions that the requests need, as a deployment's has."""
    user, _ = User.objects.get_or_create(username="benchmark service")
    user.user_permissions.set(Permission.objects.filter(codename__in=PERMISSIONS))
    _token, secret = tokens.issue(user, name="benchmark")
    return {"Authorization": f"Bearer {secret}"}


def signed_in(address: str) -> dict[str, str]:
    """The session of an operator."""
    user, _ = User.objects.get_or_create(username="benchmark", defaults={"is_staff": True, "is_superuser": True})
    client = TestClient()
    client.force_login(user)
    session, token = client.cookies["sessionid"].value, "a" * 32
    return {"Cookie": f"sessionid={session}; csrftoken={token}", "X-CSRFToken": token, "Referer": f"{address}/"}


def request_bytes(
    address: str, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(address).netloc}", "Accept: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
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
