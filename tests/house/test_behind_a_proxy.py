"""The service as gunicorn serves it behind a proxy that shows it below a path."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import clear_script_prefix, set_script_prefix

from taskqueue.engine.mirror import mirror_pipelines
from tests.house.processes import answer_of, eventually, free_port, running
from tests.workers.poolers import direct_url

PREFIX = "/tasks-of/acme"
ADDRESSES = re.compile(r"""(?:href|src|action|data-schema|spec-url)=\s*["'](/[^"'/][^"']*)["']""")
BODY = {"pipeline": "demo/task", "payload": {"label": "hello"}}


@pytest.fixture
def prefix() -> Iterator[None]:
    """What Django's handlers do with SCRIPT_NAME or a root path, and the test client's does not."""
    set_script_prefix(PREFIX)
    yield
    clear_script_prefix()


@pytest.fixture
def below(db: None, prefix: None, settings: Any) -> Client:
    """A superuser whose requests come from such a proxy."""
    settings.DEBUG = True
    mirror_pipelines()
    client = Client(SERVER_NAME="localhost", SCRIPT_NAME=PREFIX)
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_a_task_and_its_place_are_below_the_path(below):
    made = below.post("/api/tasks", json.dumps(BODY), content_type="application/json")

    assert made["Location"] == f"{PREFIX}/api/tasks/{made.json()['id']}"


def test_programs_that_read_the_schema_call_below_the_path(below):
    schema = below.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"}).json()

    assert [server["url"] for server in schema["servers"]] == [PREFIX]
    assert "/api/tasks" in schema["paths"]


@pytest.mark.parametrize(
    "path", ["/api/docs", "/api/redoc", "/admin/", "/admin/taskqueue/task/", "/admin/taskqueue/pipeline/"]
)
def test_every_address_on_a_page_is_below_the_path(below, path):
    page = below.get(path).content.decode()

    found = [address for address in ADDRESSES.findall(page) if not address.startswith("/static/")]
    assert found
    assert [address for address in found if not f"{address}/".startswith(f"{PREFIX}/")] == []


def test_who_has_to_sign_in_is_led_there(settings, db, prefix):
    settings.DEBUG = False
    answer = Client(SCRIPT_NAME=PREFIX).get("/api/docs")

    assert answer["Location"] == f"{PREFIX}/admin/login/?next={PREFIX}/api/docs"


@pytest.fixture
def site(transactional_db: None, tmp_path: Any) -> Iterator[HTTPConnection]:
    """The demo project under gunicorn, told of the path by its setting."""
    port = free_port()
    given = {"DATABASE_URL": direct_url(), "DJANGO_SETTINGS_MODULE": "demo.settings", "DEBUG": "true"}
    environment = {**os.environ, **given, "URL_PREFIX": PREFIX, "PORT": str(port)}
    log = tmp_path / "web.log"
    with running([sys.executable, "-m", "gunicorn", "demo.wsgi"], env=environment, log=log):
        alive = f"http://127.0.0.1:{port}/api/health/live"
        eventually(lambda: answer_of(alive) == 200, within=60, otherwise=log.read_text)
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        yield connection
        connection.close()


@pytest.mark.process
def test_a_body_in_chunks_and_static_files_reach_the_service_as_a_proxy_passes_them_on(site):
    mirror_pipelines()
    body = json.dumps(BODY).encode()

    site.request("POST", "/api/tasks", iter([body[:20], body[20:]]), {"Content-Type": "application/json"})
    with site.getresponse() as made:
        assert made.status == 202
        assert made.headers["Location"] == f"{PREFIX}/api/tasks/{json.load(made)['id']}"

    site.request("GET", "/admin/login/")
    with site.getresponse() as login:
        addresses = set(ADDRESSES.findall(login.read().decode()))
    assert {address.startswith(f"{PREFIX}/") for address in addresses} == {True}
    for address in filter(lambda address: "/static/" in address, addresses):
        site.request("GET", address.removeprefix(PREFIX))
        with site.getresponse() as served:
            served.read()
            assert served.status == 200, address

    site.request("POST", "/api/tasks", iter([b" " * 65_536] * 40), {"Content-Type": "application/json"})
    with site.getresponse() as refused:
        assert (refused.status, json.load(refused)["code"]) == (413, "too-large")
