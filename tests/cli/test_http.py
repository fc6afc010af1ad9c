"""What only the console script has: an address, a token, permissions, and a network that may fail."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from taskqueue.cli.http_client import api_address
from taskqueue.cli.main import main
from taskqueue.engine.actions import tokens
from tests.support.command_line import CommandLine, over_http

SCRIPT = Path(sys.executable).parent / "taskqueue"


def command_line(url: str, token: str = "") -> CommandLine:
    return CommandLine("http", "", "", over_http(url, token))


@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("https://tasks.example.com", "https://tasks.example.com/api"),
        ("http://localhost:8000/", "http://localhost:8000/api"),
        ("https://example.com/queue/api/", "https://example.com/queue/api"),
    ],
)
def test_an_address_without_a_path_is_that_of_the_service(url, api):
    assert api_address(url) == api


@pytest.mark.parametrize("url", ["", "tasks.example.com", "file:///etc/passwd", "https://example.com?x=1"])
def test_other_addresses_are_wrong_use(url):
    result = command_line(url)("list")

    assert (result.code, result.out) == (2, "")
    assert "TASKQUEUE_URL" in result.err


def test_without_a_token_the_remedy_is_named(live_server):
    result = command_line(live_server.url)("list")

    assert (result.code, result.out) == (4, "")
    assert "Set TASKQUEUE_TOKEN or pass --token." in result.err


def test_an_invalid_token_is_not_allowed(live_server):
    result = command_line(live_server.url, "tq_wrong")("list")

    assert result.code == 4
    assert "Check TASKQUEUE_TOKEN or --token." in result.err
    assert command_line(live_server.url, "tq\nX-Other: 1")("list").code == 2


def test_a_missing_permission_is_named(http_with, failed, queued):
    cli = http_with("view_task")

    assert cli("list").code == 0
    result = cli("retry", failed.pk, queued.pk)
    assert (result.code, result.out) == (4, "")
    assert result.err.count("Your account lacks the permission taskqueue.retry_task.") == 1


def test_address_and_token_come_from_the_environment(dana, http, live_server, monkeypatch, capsys):
    monkeypatch.setenv("TASKQUEUE_URL", live_server.url)
    monkeypatch.setenv("TASKQUEUE_TOKEN", tokens.issue(dana, name="environment")[1])

    assert main(["list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == []
    assert main(["list", "--token", "tq_other"]) == 4
    assert main(["--token", "tq_other", "list"]) == 4


def test_a_service_that_does_not_answer_is_named_with_the_cause():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    result = command_line(f"http://127.0.0.1:{port}")("submit", "shop/order")

    assert (result.code, result.out) == (5, "")
    assert f"The service at http://127.0.0.1:{port}/api did not answer: Connection refused." in result.err
    assert "It may have received the request" in result.err


class Strange(BaseHTTPRequestHandler):
    """A server that is no taskqueue."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status = int(self.path.split("/")[1])
        if status == 429 and len(self.asked) > 2:
            status = 200
        self.send_response(status)
        self.send_header("Location", "https://elsewhere.example.com/")
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(b'{"workers": []}' if status == 200 else b"{}" if status == 429 else b"<html>")

    def log_message(self, *_arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def strange() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Strange)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Strange.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_redirects_are_not_followed(strange):
    result = command_line(f"{strange}/302")("workers")

    assert result.code == 2
    assert "redirects to https://elsewhere.example.com/." in result.err


def test_answers_that_are_no_json_name_the_address(strange):
    assert command_line(f"{strange}/404")("workers").code == 2
    result = command_line(f"{strange}/502")("workers")
    assert result.code == 5
    assert f"{strange}/502/workers answered 502, and not with JSON." in result.err


def test_a_throttled_request_is_sent_again(strange):
    result = command_line(f"{strange}/429")("workers", "--json")

    assert (result.code, result.data) == (0, {"workers": []})
    assert len(Strange.asked) == 3


def script(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The console script, in an environment without Django's settings."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    return subprocess.run(
        [SCRIPT, *words], env=kept | environment, cwd="/", capture_output=True, text=True, timeout=120
    )


@pytest.mark.process
def test_the_console_script_needs_no_django_project(dana, http, live_server, succeeded):
    token = tokens.issue(dana, name="script")[1]

    listed = script("list", "-q", TASKQUEUE_URL=live_server.url, TASKQUEUE_TOKEN=token)
    refused = script("list", TASKQUEUE_URL=live_server.url)

    assert (listed.returncode, listed.stdout, listed.stderr) == (0, f"{succeeded.pk}\n", "")
    assert (refused.returncode, refused.stdout) == (4, "")


@pytest.mark.process
def test_the_verbs_import_no_django():
    modules = ["actions", "listings", "main", "tasks", "watching"]
    code = (
        f"import sys; {'; '.join(f'import taskqueue.cli.{name}' for name in modules)}; print('django' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.process
def test_a_reader_that_ends_early_is_no_error(dana, http, live_server, succeeded):
    command = f"{SCRIPT} pipelines --json | head -c 1"
    environment = {"TASKQUEUE_URL": live_server.url, "TASKQUEUE_TOKEN": tokens.issue(dana, name="pipe")[1]}

    done = subprocess.run(["sh", "-c", command], env=os.environ | environment, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("{", "")
