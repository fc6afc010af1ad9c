"""The service under a real ASGI server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psutil
from django.db import connection

from tests.support.processes.pgbouncer import direct_url
from tests.support.processes.processes import free_port, http_status, running
from tests.support.waiting import eventually

SERVERS = {
    "gunicorn": ["gunicorn", "demo.asgi", "--worker-class", "asgi", "--workers", "1", "--bind"],
}
if find_spec("uvicorn") is not None:
    SERVERS["uvicorn"] = ["uvicorn", "demo.asgi:application", "--log-level", "warning", "--port"]


@contextmanager
def served(server: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The service on this server: its port, and the process that serves."""
    port, log = free_port(), folder / "web.log"
    environment = {
        **os.environ,
        "DATABASE_URL": direct_url(),
        "DJANGO_SETTINGS_MODULE": "demo.settings",
        "DEBUG": "true",
    }
    command = [sys.executable, "-m", *SERVERS[server], str(port) if server == "uvicorn" else f"127.0.0.1:{port}"]
    with running(command, env=environment, log=log) as process:
        alive = f"http://127.0.0.1:{port}/api/health/live"
        eventually(lambda: http_status(alive) == 200, details=log.read_text)
        found = psutil.Process(process.pid)
        yield port, (found.children() or [found])[0]


def connections() -> int:
    """How many connections the service has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'taskqueue web%' "
            "AND datname = current_database() AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]
