"""The service as gunicorn serves it behind a proxy that shows it below a path."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import clear_script_prefix, set_script_prefix

from taskqueue.api.json_parser import StrictJsonParser
from taskqueue.engine.catalog.sync import sync_pipelines
from tests.support.processes.network_namespace import skip_or_fail
from tests.support.processes.pgbouncer import SEARCH_PATH, direct_url
from tests.support.processes.processes import ROOT, free_port, http_status, running
from tests.support.waiting import eventually

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
    """A superuser behind that proxy."""
    settings.DEBUG = True
    sync_pipelines()
    client = Client(SERVER_NAME="localhost", SCRIPT_NAME=PREFIX)
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_a_tasks_location_is_below_the_prefix(below):
    made = below.post("/api/tasks", json.dumps(BODY), content_type="application/json")

    assert made["Location"] == f"{PREFIX}/api/tasks/{made.json()['id']}"


def test_the_schemas_server_is_below_the_prefix(below):
    schema = below.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi+json"}).json()

    assert [server["url"] for server in schema["servers"]] == [PREFIX]
    assert "/api/tasks" in schema["paths"]


@pytest.mark.parametrize(
    "path", ["/api/docs", "/api/redoc", "/admin/", "/admin/taskqueue/task/", "/admin/taskqueue/pipeline/"]
)
def test_every_link_on_a_page_is_below_the_prefix(below, path):
    page = below.get(path).content.decode()

    found = [address for address in ADDRESSES.findall(page) if not address.startswith("/static/")]
    assert found
    assert [address for address in found if not f"{address}/".startswith(f"{PREFIX}/")] == []


def test_the_login_redirect_is_below_the_prefix(settings, db, prefix):
    settings.DEBUG = False
    answer = Client(SCRIPT_NAME=PREFIX).get("/api/docs")

    assert answer["Location"] == f"{PREFIX}/admin/login/?next={PREFIX}/api/docs"


@pytest.fixture
def port(transactional_db: None, tmp_path: Path) -> Iterator[int]:
    """The address of the demo project under gunicorn, with the prefix in its settings."""
    port = free_port()
    given = {"DATABASE_URL": direct_url(), "DJANGO_SETTINGS_MODULE": "demo.settings", "DEBUG": "true"}
    environment = {**os.environ, **given, "URL_PREFIX": PREFIX, "PORT": str(port)}
    log = tmp_path / "web.log"
    with running([sys.executable, "-m", "gunicorn", "demo.wsgi"], env=environment, log=log):
        alive = f"http://127.0.0.1:{port}/api/health/live"
        eventually(lambda: http_status(alive) == 200, details=log.read_text)
        yield port


@pytest.fixture
def proxy(port: int, tmp_path: Path) -> Iterator[int]:
    """Where nginx listens, with the configuration of docs/deploy.md."""
    program = shutil.which("nginx", path=SEARCH_PATH)
    if program is None:
        skip_or_fail("There is no `nginx` command. Install nginx.")
    shown = free_port()
    (configured,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "deploy.md").read_text(), flags=re.DOTALL)
    for words, ours in (
        ("127.0.0.1:8000", f"127.0.0.1:{port}"),
        ("listen 80", f"listen 127.0.0.1:{shown}"),
        ("/tasks/ {", f"{PREFIX}/ {{"),
    ):
        assert words in configured
        configured = configured.replace(words, ours)
    paths = "".join(f"{name}_temp_path {tmp_path};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; user root; worker_processes 1; pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {paths}\n{configured}\n}}"
    )
    log = tmp_path / "nginx.log"
    with running([program, "-e", "stderr", "-c", str(tmp_path / "nginx.conf")], env=os.environ, log=log):
        ready = f"http://127.0.0.1:{shown}{PREFIX}/api/health/ready"
        eventually(lambda: http_status(ready) == 200, details=log.read_text)
        yield shown


@pytest.mark.process
def test_gunicorn_reads_a_chunked_body_up_to_the_limit(port):
    sync_pipelines()
    body = json.dumps(BODY).encode()
    kind = {"Content-Type": "application/json"}

    with closing(HTTPConnection("127.0.0.1", port, timeout=200)) as site:
        site.request("POST", "/api/tasks", iter([body[:20], body[20:]]), kind)
        with site.getresponse() as made:
            assert made.status == 202
            assert made.headers["Location"] == f"{PREFIX}/api/tasks/{json.load(made)['id']}"
        # One byte too many, and no more: the server closes the connection, and the caller could not send the rest.
        whole, rest = divmod(StrictJsonParser().limit() + 1, 65_536)
        site.request("POST", "/api/tasks", iter([b" " * 65_536] * whole + [b" " * rest]), kind)
        with site.getresponse() as refused:
            assert (refused.status, json.load(refused)["code"]) == (413, "too-large")


@pytest.mark.slow
@pytest.mark.process
def test_the_documented_nginx_configuration_works(proxy):
    with ExitStack() as slow, closing(HTTPConnection("127.0.0.1", proxy, timeout=200)) as site:
        for _ in range(40):
            caller = slow.enter_context(socket.create_connection(("127.0.0.1", proxy)))
            caller.sendall(
                f"POST {PREFIX}/api/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[".encode()
            )

        site.request("GET", f"{PREFIX}/")
        with site.getresponse() as answer:
            answer.read()
            assert (answer.status, answer.headers["Location"]) == (302, f"{PREFIX}/admin/")
        site.request("GET", f"{PREFIX}/admin/login/")
        with site.getresponse() as login:
            addresses = set(ADDRESSES.findall(login.read().decode()))
        assert {address.startswith(f"{PREFIX}/") for address in addresses} == {True}
        for address in filter(lambda address: "/static/" in address, addresses):
            site.request("GET", address)
            with site.getresponse() as served:
                served.read()
                assert served.status == 200, address
