"""What the compose file starts works as plain processes: a PostgreSQL server of its own, DEBUG off, real commands."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.processes.postgres import own_server
from tests.support.processes.processes import ROOT, free_port, http_status, running
from tests.support.waiting import eventually

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """A PostgreSQL server that listens on a port, as one on another machine would."""
    with own_server() as server:
        yield server.url


@pytest.fixture
def environment(database_url, tmp_path) -> dict[str, str]:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    names = set(compose["services"]["web"]["environment"])
    given = {"SECRET_KEY": "only-for-this-test", "DATABASE_URL": database_url, "HTTPS": "false", "WORKERS": "1"}
    return {
        **{name: value for name, value in os.environ.items() if name not in {*names, "DEBUG"}},
        **given,
        "DEBUG": "false",
        "ALLOWED_HOSTS": "127.0.0.1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }


def command_of(service: str) -> list[str]:
    """The command that the compose file gives this service."""
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    command: list[str] = compose["services"][service]["command"]
    return command


@pytest.mark.slow
def test_the_commands_of_the_compose_file_make_a_service_that_is_ready(environment, tmp_path):
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    subprocess.run(command_of("migrate"), cwd=ROOT, env=environment, check=True, capture_output=True, timeout=200)

    with (
        running(command_of("web"), env={**environment, "PORT": str(port)}, log=tmp_path / "web.log") as web,
        running(command_of("worker"), env=environment, log=tmp_path / "worker.log") as worker,
    ):
        ready = f"{site}/api/health/ready?workers=1"
        eventually(lambda: http_status(ready) == 200, details=logs(tmp_path))
        assert http_status(f"{site}/api/health/live") == 200
        assert http_status(f"{site}/api/tasks") in {401, 403}
        for process in (web, worker):
            process.terminate()
        assert [web.wait(timeout=90), worker.wait(timeout=90)] == [0, 0]


def logs(folder: Path) -> Any:
    return lambda: "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(folder.glob("*.log")))


def test_without_a_secret_key_a_deployment_does_not_start(environment):
    del environment["SECRET_KEY"]

    refused = subprocess.run(
        command_of("migrate"), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )

    assert refused.returncode != 0
    assert "Set SECRET_KEY to a long random text" in refused.stderr


def test_other_databases_are_refused_with_a_hint(environment):
    environment["DATABASE_URL"] = "sqlite:///tasks.db"

    refused = subprocess.run(
        command_of("migrate"), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )

    assert refused.returncode != 0
    assert "DATABASE_URL must name a PostgreSQL database" in refused.stderr
