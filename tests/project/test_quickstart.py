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

from tests.support.processes.processes import ROOT, free_port, http_status, open_directory, running
from tests.support.processes.worker_command import is_alive, manage
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
def used_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def refusal(environment: dict[str, str], *, port: str) -> str:
    done = subprocess.run(
        [*COMMAND, "--port", port], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "port", ["abc", "65536", *(pytest.param(port, marks=pytest.mark.slow) for port in ("0", "-1", "", "\u0668\u0660"))]
)
def test_an_invalid_port_is_explained(environment, port):
    assert "PORT must be a number from 1 to 65535" in refusal(environment, port=port)


def test_a_port_in_use_is_explained_with_a_hint(environment, used_port):
    output = refusal(environment, port=str(used_port))

    assert output.strip().endswith(f"Port {used_port} is in use. Try another one: make run PORT=8010")


def test_a_deployment_gets_no_default_login(environment):
    environment |= {"DEBUG": "false", "SECRET_KEY": "only-for-this-test"}

    assert "needs DEBUG=true" in refusal(environment, port=str(free_port()))


def test_an_unreachable_database_is_explained(environment):
    environment |= {"DATABASE_URL": "postgres://missing@127.0.0.1:1/nothing"}

    assert "The database does not answer" in refusal(environment, port=str(free_port()))


def test_a_database_of_another_version_is_refused(environment, data_directory):
    applied = "MigrationRecorder(connection).record_applied('taskqueue', '9999_later')"
    code = f"from django.db.migrations.recorder import MigrationRecorder; {applied}"
    manage("migrate", "--verbosity", "0", environment=environment)
    manage("shell", "--command", f"from django.db import connection; {code}", environment=environment)

    output = refusal(environment, port=str(free_port()))

    assert "Another version of taskqueue made this database" in output
    assert f"delete {data_directory}, or set TASKQUEUE_DATA_DIR" in output


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
