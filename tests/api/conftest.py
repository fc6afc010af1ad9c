"""Clients of the API, and tasks in several statuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from taskqueue.models import Task
from tests.support.api import Api, enqueue_order, fail_order, finish_order
from tests.support.pipelines import orders as pipelines


@pytest.fixture(autouse=True)
def _reset_broken_steps() -> Iterator[None]:
    yield
    pipelines.broken.clear()


@pytest.fixture
def api(db: None, settings: Any) -> Api:
    """A local client with DEBUG on, which needs no login."""
    settings.DEBUG = True
    return Api(SERVER_NAME="localhost")


@pytest.fixture
def caller_with(db: None) -> Callable[..., Api]:
    """Creates a logged-in client with these permissions; DEBUG is off."""

    def make(*permissions: str, is_staff: bool = True, enforce_csrf_checks: bool = False) -> Api:
        user = User.objects.create_user("dana", is_staff=is_staff)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        caller = Api(enforce_csrf_checks=enforce_csrf_checks)
        caller.client.force_login(user)
        return caller

    return make


@pytest.fixture
def anonymous(db: None) -> Api:
    """A client without login; DEBUG is off."""
    return Api()


@pytest.fixture
def queued(db: None) -> Task:
    """A queued task."""
    return enqueue_order("queued")


@pytest.fixture
def succeeded(db: None) -> Task:
    """A succeeded task."""
    return finish_order()


@pytest.fixture
def failed(db: None) -> Task:
    """A task that failed in its second step."""
    return fail_order()


EVERYTHING = ("view_task", "view_task_payload", "add_task", "retry_task", "cancel_task")


@pytest.fixture
def dana(db: None) -> User:
    """A staff user with every permission for tasks."""
    user = User.objects.create_user("dana", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="taskqueue", codename__in=EVERYTHING))
    return user


@pytest.fixture
def in_admin(dana) -> Client:
    client = Client()
    client.force_login(dana)
    return client
