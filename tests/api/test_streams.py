"""GET /api/tasks/{id}/stream: who may follow a task, and what they see of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import AsyncRequestFactory
from pydantic import BaseModel, SecretStr

from taskqueue import current_task, pipeline, step
from taskqueue.api.tasks import asgi, stream
from taskqueue.engine.actions import tokens
from taskqueue.engine.runtime import watcher
from taskqueue.engine.streams.watch import watch
from taskqueue.models import Task, Token
from taskqueue.testing import work
from tests.support.api import enqueue_order, problem_of
from tests.support.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _closed_connections(monkeypatch):
    """The watch and the thread that queries close their connections before the test ends."""
    monkeypatch.setattr(watcher, "IDLE_TIMEOUT", 0.01)
    with ThreadPoolExecutor(1) as thread:
        monkeypatch.setattr(asgi, "STATUS_THREADS", thread)
        yield
        thread.submit(connections.close_all).result()
    eventually(lambda: watch._thread is None)


class Card(BaseModel):
    number: SecretStr


@step
def charge(card: Card) -> str:
    current_task().write(f"charging {card.number.get_secret_value()}")
    current_task().logger.info("charging %s", card.number.get_secret_value())
    return "done"


@pipeline("streams/charge")
def charging(card: Card) -> str:
    return charge(card)


def follower(*permissions: str) -> tuple[Token, str]:
    user = User.objects.create_user("follower", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return tokens.issue(user, name="follower")


def follow(task: Task, secret: str, after_status: Callable[[], object] = lambda: None) -> list[str]:
    """All that a stream sends, after a first status during which something is done."""

    async def receive() -> list[str]:
        request = AsyncRequestFactory().get(
            f"/api/tasks/{task.pk}/stream", headers={"Authorization": f"Bearer {secret}", "Accept": "text/event-stream"}
        )
        response: Any = await stream.stream_async(request, task.pk)
        if not response.streaming:
            return [response.content.decode()]
        parts: list[str] = []
        async for part in response:
            parts.append(part.decode())
            if "event: status" in parts[-1]:
                await asgi.in_status_thread(after_status)
        return parts

    return asyncio.run(receive())


def data_of(parts: list[str], name: str) -> list[Any]:
    found = [part.splitlines() for part in parts if part.startswith(f"event: {name}\n")]
    return [json.loads(lines[2].removeprefix("data: ")) for lines in found]


def test_under_wsgi_a_problem_names_the_remedy(api):
    response = api.get(f"/api/tasks/{enqueue_order('A').pk}/stream")

    assert problem_of(response) == (501, "asgi-required", [])
    assert "/api/tasks/{id}/status?wait=60" in response.json()["detail"]


def test_a_revoked_token_ends_an_open_stream(monkeypatch):
    monkeypatch.setattr(stream, "KEEP_ALIVE", 0.05)
    token, secret = follower("view_task")

    parts = follow(enqueue_order("A"), secret, after_status=lambda: tokens.revoke(token.pk))

    begins = [part.partition("\n")[0] for part in parts]
    assert [each for each in begins if each != ": keep-alive"] == ["retry: 2000", "event: status"]


def test_a_lost_permission_ends_an_open_stream_and_comments_keep_it_alive(monkeypatch):
    monkeypatch.setattr(stream, "KEEP_ALIVE", 0.05)
    _token, secret = follower("view_task")
    checks: list[bool] = []
    still_allowed = stream.TaskStreamView.is_still_allowed

    def check(view: stream.TaskStreamView) -> bool:
        checks.append(still_allowed(view))
        User.objects.get().user_permissions.clear()
        return checks[-1]

    monkeypatch.setattr(stream.TaskStreamView, "is_still_allowed", check)

    parts = follow(enqueue_order("A"), secret)

    comments = [part for part in parts if part.startswith(":")]  # on a slow machine one comes before the first event
    assert (comments, checks) == ([": keep-alive\n\n"], [True, False])


def test_a_caller_without_the_permission_is_refused():
    _token, secret = follower()

    [problem] = follow(enqueue_order("A"), secret)

    assert json.loads(problem)["code"] == "not-allowed"


def test_chunks_and_lines_show_no_secrets_to_a_caller_who_may_not_view_payloads():
    task = charging.enqueue(Card(number=SecretStr("4111-1111")))
    work()
    _token, secret = follower("view_task")

    parts = follow(task, secret)

    assert [chunk["text"] for chunk in data_of(parts, "chunk")] == ["**********"]
    assert [line["text"] for line in data_of(parts, "log")] == ["charging **********"]
    assert data_of(parts, "end")[0]["status"] == "succeeded"


def test_a_caller_who_may_view_payloads_gets_the_chunks():
    task = charging.enqueue(Card(number=SecretStr("4111-1111")))
    work()
    _token, secret = follower("view_task", "view_task_payload")

    assert [chunk["text"] for chunk in data_of(follow(task, secret), "chunk")] == ["charging 4111-1111"]


def test_without_notifications_streams_are_read_by_polling(monkeypatch):
    monkeypatch.setattr(watcher, "is_direct_connection", lambda _connection: False)
    task = charging.enqueue(Card(number=SecretStr("4111-1111")))
    _token, secret = follower("view_task")

    parts = follow(task, secret, after_status=work)

    assert data_of(parts, "end")[0]["status"] == "succeeded"
