"""Dockerfile and docker-compose.yml name commands, files and addresses that exist."""

import json
import re
import runpy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from django.urls import resolve

from taskqueue.api.tasks.status import MAX_WAIT_SECONDS
from taskqueue.conf import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services: dict[str, Any] = compose["services"]
    return services


def dockerfile_lines(instruction: str) -> list[str]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{instruction} (.*)$", text, flags=re.MULTILINE)


def test_there_is_a_database_a_migration_a_web_server_and_a_scalable_worker(services):
    assert set(services) == {"postgres", "migrate", "web", "worker"}
    assert "container_name" not in services["worker"]


@pytest.mark.parametrize("name", ["migrate", "worker"])
def test_a_service_runs_a_management_command_that_exists(services, name):
    python, script, command, *_ = services[name]["command"]

    assert python == "python"
    assert (ROOT / script).is_file()
    assert command in get_commands()


def test_web_runs_what_the_image_runs_by_default(services):
    assert json.loads(dockerfile_lines("CMD")[0]) == services["web"]["command"]


def test_every_file_starts_the_same_web_server():
    """Readme, Procfile, compose file and image: threads and timeouts are only in gunicorn.conf.py."""
    words = "gunicorn demo.wsgi"

    assert " ".join(json.loads(dockerfile_lines("CMD")[0])) == words
    assert f"web: exec python -m {words}\n" in (ROOT / "Procfile").read_text()
    assert f"`{words}`" in (ROOT / "README.md").read_text()
    assert "gunicorn.conf.py" in " ".join(dockerfile_lines("COPY"))
    for name in ("Procfile", "Dockerfile", "docker-compose.yml", "README.md", "demo/supervision.py"):
        assert not re.findall(r"--threads|--timeout|--workers[ =\"]", (ROOT / name).read_text()), name


def test_gunicorn_outlasts_the_longest_wait_and_has_free_threads():
    configuration = runpy.run_path(str(ROOT / "gunicorn.conf.py"))

    assert configuration["timeout"] > MAX_WAIT_SECONDS
    assert configuration["threads"] >= 2 * Settings().STATUS_WAITERS


def test_one_image_serves_all_and_each_reaps_its_orphans(services):
    ours = [services[name] for name in ("migrate", "web", "worker")]

    assert {service["image"] for service in ours} == {"taskqueue"}
    assert all(service["init"] for service in ours)


def test_the_container_stop_period_exceeds_the_grace(services):
    seconds = int(services["worker"]["stop_grace_period"].removesuffix("s"))

    assert timedelta(seconds=seconds) > Settings().STOP_GRACE


def test_services_start_in_order(services):
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("web", "worker"):
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


def test_the_web_health_check_asks_an_address_that_exists(services):
    probe = services["web"]["healthcheck"]["test"][-1]
    path = re.search(r"http://127\.0\.0\.1:8000(/[\w/]+)", probe)

    assert path is not None
    compile(probe, "healthcheck", "exec")
    assert resolve(path[1]).route == path[1].removeprefix("/")


def test_every_variable_given_to_the_services_is_one_that_the_settings_read(services):
    settings = (ROOT / "demo" / "settings.py").read_text()

    assert [name for name in services["web"]["environment"] if f'"{name}"' not in settings] == []


def test_the_image_copies_files_that_exist_and_runs_without_root():
    sources = [word for line in dockerfile_lines("COPY") for word in line.split()[:-1]]

    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert dockerfile_lines("USER") == ["10001:10001"]


@pytest.mark.parametrize("name", ["migrate", "web", "worker"])
def test_containers_are_read_only_and_have_no_capabilities(services, name):
    service = services[name]

    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 - the container's own
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "volumes", "cap_add", "user"} & set(service)


def test_only_the_web_server_is_published_on_loopback(services):
    assert [name for name, service in services.items() if "ports" in service] == ["web"]
    assert all(port.startswith("127.0.0.1:") for port in services["web"]["ports"])


@pytest.mark.parametrize("variable", ["SECRET_KEY", "POSTGRES_PASSWORD"])
def test_no_secret_has_a_default(variable):
    text = (ROOT / "docker-compose.yml").read_text()

    assert re.findall(rf"\$\{{{variable}(..)", text)
    assert set(re.findall(rf"\$\{{{variable}(..)", text)) == {":?"}


def test_the_image_installs_the_lock_file():
    locked, ours = [line for line in dockerfile_lines("RUN") if "pip install" in line]

    assert "--require-hashes --requirement /build/requirements.lock" in locked
    assert "--no-deps --no-build-isolation" in ours


def test_the_image_has_no_secrets_and_no_developer_files():
    text = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().split()

    assert "ENV SECRET_KEY" not in text
    assert "ARG" not in [line.split()[0] for line in text.splitlines() if line.strip()]
    assert {".env", ".git"} <= set(ignored)
