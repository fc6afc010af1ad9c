"""The command line in both modes, and tasks in several statuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from taskqueue.cli import in_project as client_in_project
from taskqueue.engine.actions import tokens
from taskqueue.engine.runtime import end_watch, watcher
from taskqueue.models import Task
from tests.support.api import enqueue_order, fail_order, finish_order
from tests.support.command_line import CommandLine, in_project, over_http
from tests.support.pipelines import orders as pipelines
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _quick_watch(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The watch for ends closes its connection before the test ends.

    It asks for the database by name: pytest-django does not see what `cli` asks for.
    """
    monkeypatch.setattr(watcher, "IDLE_TIMEOUT", 0.01)
    yield
    eventually(lambda: end_watch.watch._thread is None)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TASKQUEUE_URL", "TASKQUEUE_TOKEN", "SUDO_USER", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client_in_project, "operating_system_user", lambda: "dana")


@pytest.fixture(autouse=True)
def _reset_broken_steps() -> Iterator[None]:
    yield
    pipelines.broken.clear()


@pytest.fixture
def dana(transactional_db: None) -> User:
    return User.objects.create_superuser("dana")


@pytest.fixture
def http(dana: User, live_server: Any) -> CommandLine:
    secret = tokens.issue(dana, name="laptop")[1]
    return CommandLine("http", "dana", " By token laptop.", over_http(live_server.url, secret))


@pytest.fixture
def project(transactional_db: None) -> CommandLine:
    return CommandLine("project", "CLI: dana", "", in_project)


@pytest.fixture(params=["http", "project"])
def cli(request: pytest.FixtureRequest) -> CommandLine:
    """Each test that uses it runs in both modes."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def http_with(live_server: Any) -> Callable[..., CommandLine]:
    """Creates a command line with the token of a user who has these permissions."""

    def make(*permissions: str) -> CommandLine:
        user = User.objects.create_user("kim")
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        secret = tokens.issue(user, name="kim")[1]
        return CommandLine("http", "kim", " By token kim.", over_http(live_server.url, secret))

    return make


@pytest.fixture
def queued(transactional_db: None) -> Task:
    return enqueue_order("queued")


@pytest.fixture
def succeeded(transactional_db: None) -> Task:
    return finish_order()


@pytest.fixture
def failed(transactional_db: None) -> Task:
    """A task that failed in its second step."""
    return fail_order()
