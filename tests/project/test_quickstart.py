"""`make run`: one command up, Ctrl-C down, and sentences for what goes wrong."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from tests.support.processes.processes import ROOT, free_port, http_status, open_directory, running
from tests.support.processes.worker_command import is_alive
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

COMMAND = [sys.executable, "manage.py", "quickstart"]


@pytest.fixture
def data_directory() -> Iterator[Path]:
    with open_directory() as folder:
        yield folder / "data"


@pytest.fixture
def environment(data_directory) -> dict[str, str]:
    """An environment with nothing set but the data directory."""
    ours = {"DATABASE_URL", "SECRET_KEY", "ALLOWED_HOSTS", "PORT", "WORKERS"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, "DEBUG": "true", "TASKQUEUE_DATA_DIR": str(data_directory)}


@pytest.fixture
def debug(settings: Any) -> None:
    """DEBUG is on, as on a developer's machine."""
    settings.DEBUG = True


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def refusal(port: object) -> str:
    with pytest.raises(CommandError) as refused:
        call_command("quickstart", port=str(port))
    return str(refused.value)


@pytest.mark.parametrize("port", ["abc", "65536", "0", "-1", "", "\u0668\u0660"])
def test_an_invalid_port_is_explained(debug, port):
    assert "PORT must be a number from 1 to 65535" in refusal(port)


def test_a_port_in_use_is_explained_with_a_hint(debug, used_port):
    assert refusal(used_port).endswith(f"Port {used_port} is in use. Try another one: make run PORT=8010")


def test_a_deployment_gets_no_default_login(settings):
    settings.DEBUG = False

    assert "needs DEBUG=true" in refusal(free_port())


def test_an_unreachable_database_is_explained_without_a_traceback(environment):
    environment |= {"DATABASE_URL": "postgres://missing@127.0.0.1:1/nothing"}

    refused = subprocess.run(
        [*COMMAND, "--port", str(free_port())], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )

    assert refused.returncode == 1
    assert "The database does not answer" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.django_db
def test_a_database_of_another_version_is_refused(debug, monkeypatch):
    MigrationRecorder(connection).record_applied("taskqueue", "9999_later")
    monkeypatch.setitem(connection.settings_dict, "EMBEDDED", {"data_dir": "/srv/data"})

    output = refusal(free_port())

    assert "Another version of taskqueue made this database" in output
    assert "delete /srv/data, or set TASKQUEUE_DATA_DIR" in output

    monkeypatch.delitem(connection.settings_dict, "EMBEDDED")
    assert "create another database, and set DATABASE_URL" in refusal(free_port())


@pytest.mark.smoke
def test_make_run_starts_serves_and_stops_cleanly(environment, data_directory, tmp_path):
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    log = tmp_path / "quickstart.log"

    with running([*COMMAND, "--port", str(port)], env=environment, log=log) as quickstart:
        eventually(lambda: "taskqueue is running" in log.read_text(), details=log.read_text)
        started = psutil.Process(quickstart.pid).children(recursive=True)
        answers = [http_status(f"{site}{path}") for path in ("/", "/api/docs", "/api/health/ready")]
        accepted = follow_the_greeting(log.read_text())
        eventually(lambda: status_of(site, accepted["id"]) == "succeeded", details=log.read_text)
        os.killpg(quickstart.pid, signal.SIGINT)
        code = quickstart.wait(timeout=90)

    assert answers == [200, 200, 200]
    assert code == 0
    assert [process for process in started if process.is_running()] == []
    assert "Traceback" not in log.read_text()
    eventually(lambda: not (data_directory / "postgres" / "postmaster.pid").exists())


@pytest.mark.slow
def test_make_run_restarts_after_kill_9(environment, data_directory, tmp_path):
    port = free_port()

    start_and_kill(environment, port=port, log=tmp_path / "first.log")
    start_and_kill(environment, port=port, log=tmp_path / "second.log")

    eventually(lambda: not (data_directory / "postgres" / "postmaster.pid").exists())


def start_and_kill(environment: dict[str, str], *, port: int, log: Path) -> None:
    with running([*COMMAND, "--port", str(port)], env=environment, log=log) as quickstart:
        eventually(lambda: "taskqueue is running" in log.read_text(), details=log.read_text)
        started = psutil.Process(quickstart.pid).children(recursive=True)
        quickstart.kill()
        eventually(lambda: not any(is_alive(process.pid) for process in started))


def follow_the_greeting(text: str) -> dict[str, Any]:
    """Send what the printed curl line sends."""
    line = re.search(r"curl -X POST .*", text)
    assert line is not None
    _, _, method, address, _, header, _, body = shlex.split(line[0])
    name, value = header.split(": ")
    request = Request(address, method=method, data=body.encode(), headers={name: value})  # noqa: S310 - ours
    with urlopen(request, timeout=60) as response:  # noqa: S310 - ours
        accepted: dict[str, Any] = json.load(response)
    return accepted


def status_of(site: str, task: str) -> str:
    with urlopen(f"{site}/api/tasks/{task}/status", timeout=60) as response:  # noqa: S310 - ours
        return str(json.load(response)["status"])
