"""Web processes behind a real PgBouncer, and workers on a direct connection."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlencode

import pytest
from django.conf import global_settings
from django.contrib.auth.models import User

from taskqueue.models import Task
from tests.support.processes.pgbouncer import pgbouncer
from tests.support.processes.processes import free_port, http_status, running
from tests.support.processes.worker_command import WorkerCommand, enqueue_walk, finished
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]

TOKEN = "a" * 32
JSON = {"Content-Type": "application/json"}
CLIENTS, TASKS = 4, 5
BODY = json.dumps({"pipeline": "demo/task", "payload": {"label": "pooled", "delay_seconds": 0}})


@pytest.mark.slow
def test_the_web_works_behind_a_pooler_and_workers_without_it(tmp_path, settings):
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS  # the web process knows no others
    User.objects.create_superuser("root", password="a password")
    port, log = free_port(), tmp_path / "web.log"
    with pgbouncer("transaction") as pooler:
        environment = {
            "DATABASE_URL": pooler.url,
            "WORKER_DATABASE_URL": pooler.direct_url,
            "DJANGO_SETTINGS_MODULE": "demo.settings",
            "DEBUG": "true",
            "PORT": str(port),
        }
        worker = WorkerCommand(tmp_path, environment=environment)
        command = [sys.executable, "-m", "gunicorn", "demo.wsgi"]
        try:
            with running(command, env={**os.environ, **environment}, log=log):
                eventually(lambda: http_status(f"http://127.0.0.1:{port}/api/health/ready") == 200)
                with ThreadPoolExecutor(CLIENTS) as clients:
                    answers = list(clients.map(call, [port] * CLIENTS))
                eventually(lambda: not Task.objects.exclude(status="succeeded").exists())
                page = page_of_root(port)
        finally:
            worker.kill_all()

    assert answers == [[202] * TASKS + [200] * TASKS] * CLIENTS, log.read_text()
    assert Task.objects.count() == CLIENTS * TASKS
    assert "demo/task" in page
    assert "prepared statement" not in log.read_text() + worker.output() + page


def call(port: int) -> list[int]:
    """Create tasks, then request each. Returns the statuses."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=200)) as connection:
        made = [ask(connection, "POST", "/api/tasks", BODY, JSON) for _ in range(TASKS)]
        ids = [json.loads(text).get("id") if status == 202 else None for status, text, _ in made]
        seen = [ask(connection, "GET", f"/api/tasks/{task}/status?wait=5") for task in ids]
    return [status for status, _, _ in made + seen]


def page_of_root(port: int) -> str:
    """The task list of the admin, as a signed-in user sees it."""
    form = urlencode({"username": "root", "password": "a password", "csrfmiddlewaretoken": TOKEN})
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": f"csrftoken={TOKEN}"}
    with closing(HTTPConnection("127.0.0.1", port, timeout=200)) as connection:
        _, _, cookies = ask(connection, "POST", "/admin/login/", form, headers)
        return ask(connection, "GET", "/admin/taskqueue/task/", headers={"Cookie": "; ".join(cookies)})[1]


def ask(
    connection: HTTPConnection, method: str, path: str, body: str = "", headers: Mapping[str, str] | None = None
) -> tuple[int, str, list[str]]:
    """The status, the body and the cookies."""
    connection.request(method, path, body, dict(headers or {}))
    with connection.getresponse() as answer:
        cookies = [value.partition(";")[0] for value in answer.headers.get_all("Set-Cookie", [])]
        return answer.status, answer.read().decode(), cookies


def test_a_worker_behind_a_pooler_names_the_remedy(tmp_path):
    with pgbouncer("transaction") as pooler:
        command = WorkerCommand(tmp_path, environment={"DATABASE_URL": pooler.url, "DEBUG": "true"})

        assert command.wait() == 1

    assert command.output().splitlines() == [
        "CommandError: This is a pooler in transaction mode, and a worker needs the PostgreSQL server itself, for its "
        "locks and its notifications: put the server's address into DATABASES and name it in "
        'TASKQUEUE["WORKER_DATABASE"] (see docs/deploy.md).'
    ]


def test_a_worker_behind_a_pooler_in_session_mode_works(tmp_path, notes):
    with pgbouncer("session", servers=20) as pooler:
        command = WorkerCommand(tmp_path, processes=1, environment={"DATABASE_URL": pooler.url, "DEBUG": "true"})
        try:
            command.ready()
            notes.release_steps()
            task = enqueue_walk(notes)
            eventually(lambda: finished(task), details=command.output)
        finally:
            command.kill_all()
