"""`manage.py worker --reload` goes on with the code that was saved last."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskqueue.engine.enqueue import enqueue
from taskqueue.models import Task
from tests.support.processes.worker_command import WorkerCommand
from tests.support.registries import own_registry
from tests.support.waiting import eventually

pytestmark = [pytest.mark.process, pytest.mark.slow]

APP = "reloaded_shop"
CODE = """
from taskqueue import pipeline


@pipeline("reloaded/answer")
def answer() -> str:
    return "{answer}"
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The pipelines of an app that this process has loaded as well."""
    app = tmp_path / "site" / APP
    app.mkdir(parents=True)
    (app / "__init__.py").touch()
    module = app / "pipelines.py"
    module.write_text(CODE.format(answer="first"))
    monkeypatch.syspath_prepend(app.parent)
    with own_registry():
        importlib.import_module(f"{APP}.pipelines")
        yield module
    for name in (APP, f"{APP}.pipelines"):
        del sys.modules[name]


@pytest.fixture
def worker(module: Path, start: Callable[..., WorkerCommand]) -> WorkerCommand:
    path = os.pathsep.join([str(module.parents[1]), os.environ.get("PYTHONPATH", "")])
    return start(processes=1, reload=True, environment={"PYTHONPATH": path, "WORKER_TEST_APPS": APP})


def answer(worker: WorkerCommand) -> object:
    """What a new task returns."""
    task = enqueue.enqueue("reloaded/answer", {})
    eventually(lambda: Task.objects.filter(pk=task.pk, status="succeeded").exists(), otherwise=worker.said)
    return Task.objects.get(pk=task.pk).result


def restarted(worker: WorkerCommand, before: list[int]) -> Callable[[], bool]:
    return lambda: len(found := worker.workers()) == 1 and found != before


def test_saved_code_runs_in_the_next_task_and_broken_code_is_named_and_waited_for(worker, module):
    """Code with a syntax error stops nothing; code that cannot be imported leaves no worker until it is mended."""
    assert answer(worker) == "first"

    first = worker.workers()
    module.write_text(CODE.format(answer="second"))
    eventually(restarted(worker, first), otherwise=worker.said)
    assert answer(worker) == "second"

    second = worker.workers()
    module.write_text("def broken(:\n")
    eventually(lambda: "pipelines.py, line 1: " in worker.said(), otherwise=worker.said)
    assert answer(worker) == "second"
    assert worker.workers() == second

    module.write_text("no_such_name\n")
    eventually(lambda: "starts again after the next change" in worker.said(), otherwise=worker.said)
    assert "NameError: name 'no_such_name' is not defined" in worker.said()

    module.write_text(CODE.format(answer="third"))
    eventually(restarted(worker, second), otherwise=worker.said)
    assert answer(worker) == "third"

    family = worker.family()
    assert worker.stop(signal.SIGINT) == 0, worker.said()
    assert len(family) > 3
    assert worker.family() == set()


def test_no_worker_outlives_a_killed_reloader(worker):
    family = worker.family()

    worker.stop(signal.SIGKILL)

    assert len(family) > 3
    eventually(lambda: worker.family() == set(), otherwise=worker.said)


def test_a_worker_that_cannot_start_ends_the_command(module, start, tmp_path):
    command = WorkerCommand(tmp_path, processes=1, reload=True, broker="django_q.brokers.orm.ORM")

    assert command.wait() == 1
    assert 'Set Q_CLUSTER["broker_class"]' in command.said()
