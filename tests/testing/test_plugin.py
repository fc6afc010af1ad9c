"""The pytest plugin: its fixtures, and that it loads without Django's settings and apps."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest

from taskqueue import pipeline, sleep, step, testing
from taskqueue.definitions import active_fakes
from taskqueue.engine.maintenance import dispatch
from taskqueue.models import Task, Worker
from taskqueue.testing import InProcessWorker
from tests.support.moves import arranging

ROOT = Path(__file__).parents[2]


@step
def fetch(url: str) -> str:
    raise AssertionError("The real function was called.")


@pipeline("plugin/crawl")
def crawl(url: str) -> str:
    sleep("politeness", timedelta(minutes=5))
    return fetch(url)


def test_the_fixture_worker_recovers_dead_workers_at_once(taskqueue_worker, fake_step, advance):
    fetched = fake_step(fetch, returns="page")
    task = crawl.enqueue("https://example.org")
    assert timedelta(0) == vars(dispatch)["STARTUP_GRACE"]

    taskqueue_worker.work()
    advance(minutes=5)
    dead = InProcessWorker()
    with arranging():
        Task.objects.update(status="running", worker=dead.row, lease=7)
    dead.die()
    taskqueue_worker.work()

    task.refresh_from_db()
    assert (task.status, task.result) == ("succeeded", "page")
    assert fetched.calls == [{"url": "https://example.org"}]


def test_a_fake_of_the_fixture_ends_with_the_test():
    assert active_fakes == {}


def test_run_inline_and_a_fake_need_no_marker(run_inline, fake_step):
    fake_step(fetch, returns="page")

    assert run_inline(crawl, "x").result == "page"
    assert Worker.objects.filter(ended_at=None).count() == 0


def test_work_that_waits_for_a_commit_does_no_harm(run_inline, fake_step, django_capture_on_commit_callbacks):
    fake_step(fetch, returns="page")

    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        run = run_inline(crawl, "x")

    assert run.result == "page"
    assert callbacks


def test_the_plugin_loads_without_django(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    command = [sys.executable, "-m", "pytest", "-p", "taskqueue.testing.plugin", "-p", "no:django", "-c", os.devnull]
    looked = subprocess.run(
        [*command, "--fixtures", "--rootdir", "/", "-q", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip

    for fixture in ("taskqueue_worker", "run_inline", "advance", "fake_step"):
        assert f"\n{fixture} -- " in looked.stdout, looked.stdout + looked.stderr


def test_every_public_name_can_be_imported():
    for name in testing.__all__:
        assert getattr(import_module("taskqueue.testing"), name).__module__.startswith("taskqueue.testing.")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = testing.nonsense


def test_nothing_but_the_plugin_itself_imports_pytest():
    code = "import django; django.setup(); import sys, taskqueue.testing as t; [getattr(t, n) for n in t.__all__]"
    code += "; assert 'pytest' not in sys.modules and '_pytest' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=200, env={**os.environ})
