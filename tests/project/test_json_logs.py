"""With LOG_FORMAT=json web and workers write nothing but JSON, by which a request leads to its task's lines."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from taskqueue.engine.catalog.sync import sync_pipelines
from taskqueue.models import Task
from tests.support.processes.pgbouncer import direct_url
from tests.support.processes.processes import free_port, http_status, running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.django_db(transaction=True)]


def lines(log: Path) -> list[dict[str, Any]]:
    """What was logged. The worker also says in text on stdout that it starts and stops."""
    return [json.loads(line) for line in log.read_text().splitlines() if not line.startswith("Worker")]


def test_a_request_leads_to_the_lines_of_its_task(tmp_path):
    sync_pipelines()
    web_log, worker_log, port = tmp_path / "web.log", tmp_path / "worker.log", free_port()
    site = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ, "DATABASE_URL": direct_url(), "DEBUG": "true", "PORT": str(port), "LOG_FORMAT": "json",
        "DJANGO_SETTINGS_MODULE": "demo.settings", "RELOAD": "false", "ACCESS_LOG": "-", "WORKERS": "1",
    }  # fmt: skip
    web = [sys.executable, "-m", "gunicorn", "--workers", "1", "demo.wsgi"]
    worker = [sys.executable, "manage.py", "worker"]
    with (
        running(web, env=environment, log=web_log) as serving,
        running(worker, env=environment, log=worker_log) as working,
    ):
        eventually(lambda: http_status(f"{site}/health/live") == 200, details=web_log.read_text)
        body = {"pipeline": "demo/task", "payload": {"delay_seconds": 0, "failures_before_success": 1}}
        headers = {"Content-Type": "application/json", "X-Request-ID": "from-the-shop"}
        with urlopen(Request(f"{site}/tasks", json.dumps(body).encode(), headers)) as answer:  # noqa: S310 - our own
            task = json.load(answer)["id"]
        eventually(lambda: Task.objects.get(pk=task).status == "succeeded", details=worker_log.read_text)
        for process in (serving, working):
            process.terminate()
        assert [serving.wait(timeout=90), working.wait(timeout=90)] == [0, 0]

    (request,) = [line for line in lines(web_log) if line.get("request_id") == "from-the-shop"]
    assert (request["path"], request["status"], request["tasks"]) == ("/api/tasks", 202, [task])
    steps = [(line["step"], line["attempt"]) for line in lines(worker_log) if line.get("task") == task]
    assert ("demonstrate-retry", 1) in steps
    assert ("demonstrate-retry", 2) in steps
