"""The verb watch and `submit --wait`, to the end of tasks that a worker executes meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from django.db import connections

from taskqueue.cli import watching
from taskqueue.engine.actions import tokens
from taskqueue.engine.tasks import control
from taskqueue.models import Task
from taskqueue.testing import work
from tests.support.api import enqueue_order
from tests.support.command_line import CommandLine, over_http
from tests.support.pipelines.orders import broken
from tests.support.processes.proxy import Proxy
from tests.support.waiting import eventually

ORDER = '{"number": "A1"}'


@pytest.fixture
def worker(transactional_db) -> Iterator[None]:
    """Executes the next task as soon as there is one."""

    def execute() -> None:
        try:
            eventually(lambda: Task.objects.filter(status="queued").exists())
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=execute)
    thread.start()
    yield
    thread.join()


def test_submit_waits_for_the_end_and_prints_the_result(cli, worker):
    result = cli("submit", "shop/order", "--payload", ORDER, "--wait")

    assert (result.code, result.data) == (0, {"charge": "charged A1", "ship": "shipped A1"})
    assert ": succeeded, 2/2 steps" in result.err


def test_submit_reports_how_a_task_failed(cli, worker):
    broken["ship"] = 1

    result = cli("submit", "shop/order", "--payload", ORDER, "--wait")

    assert (result.code, result.out) == (1, "")
    assert "failed: Permanent in step ship: ship is broken" in result.err


def test_submit_prints_the_whole_task_as_json(cli, worker):
    data = cli("submit", "shop/order", "--payload", ORDER, "--wait", "--json").data

    assert (data["status"], len(data["steps"])) == ("succeeded", 2)


def test_watch_ends_when_all_tasks_have_ended(cli, failed, succeeded):
    result = cli("watch", succeeded.pk, failed.pk)

    assert result.code == 1
    assert result.out == f"{succeeded.pk}  succeeded\n{failed.pk}  failed\n"
    assert f"Task {failed.pk} failed: Permanent in step ship: ship is broken" in result.err


def test_watch_prints_each_change_as_a_line_of_json(cli, queued, worker):
    result = cli("watch", queued.pk, "--json")

    states = [json.loads(line) for line in result.out.splitlines()]
    assert result.code == 0
    assert states[-1]["status"] == "succeeded"
    assert all(state["id"] == str(queued.pk) for state in states)


def test_a_cancelled_task_is_no_success(cli, queued):
    control.cancel(queued.pk)

    result = cli("watch", queued.pk)

    assert result.code == 1
    assert f"Task {queued.pk} cancelled." in result.err


def test_watch_ends_at_its_timeout(cli, queued):
    other = enqueue_order("other")

    result = cli("watch", queued.pk, other.pk, "--timeout", "1s")

    assert (result.code, result.out) == (124, "")
    assert "2 of 2 tasks have not ended within the timeout." in result.err


def test_ctrl_c_ends_quietly(cli, queued, monkeypatch):
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "next_states", interrupt)

    result = cli("watch", queued.pk)

    assert (result.code, result.out) == (130, "")
    assert "Traceback" not in result.err


def test_watch_survives_a_lost_connection(http, dana, live_server, queued, monkeypatch):
    """The proxy refuses everything after the first answers, until the command has noticed it."""
    proxy = Proxy(live_server.thread.port)
    cli = CommandLine("http", "", "", over_http(f"http://127.0.0.1:{proxy.port}", tokens.issue(dana, name="p")[1]))
    notes: list[str] = []
    follow = watching.next_states

    def note(text: str) -> None:
        notes.append(text)
        proxy.go_on()

    def cut_first(client, screen, pending, deadline):
        if not notes:
            proxy.refuse()
            monkeypatch.setattr(screen, "note", note)
            work()
        return follow(client, screen, pending, deadline)

    monkeypatch.setattr(watching, "next_states", cut_first)
    monkeypatch.setattr(watching, "PAUSE", 0.05)
    try:
        result = cli("watch", queued.pk)
    finally:
        proxy.close()

    assert (result.code, result.out) == (0, f"{queued.pk}  succeeded\n")
    assert "Trying again; the tasks continue without this command." in notes[0]
    assert "The service answers again." in notes
