"""`manage.py worker --reload` continues with the code that was saved last."""

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
    """The pipelines file of an app that this process has loaded too."""
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
    """The result of a new task."""
    task = enqueue.enqueue("reloaded/answer", {})
    eventually(lambda: Task.objects.filter(pk=task.pk, status="succeeded").exists(), details=worker.output)
    return Task.objects.get(pk=task.pk).result


def restarted(worker: WorkerCommand, before: list[int]) -> Callable[[], bool]:
    return lambda: len(found := worker.workers()) == 1 and found != before


def test_saved_code_is_reloaded_and_broken_code_is_reported(worker, module):
    """A syntax error does not stop the worker; code that cannot be imported does, until it is corrected."""
    assert answer(worker) == "first"

    first = worker.workers()
    module.write_text(CODE.format(answer="second"))
    eventually(restarted(worker, first), details=worker.output)
    assert answer(worker) == "second"

    second = worker.workers()
    module.write_text("def broken(:\n")
    eventually(lambda: "pipelines.py, line 1: " in worker.output(), details=worker.output)
    assert answer(worker) == "second"
    assert worker.workers() == second

    module.write_text("no_such_name\n")
    eventually(lambda: "is restarted after the next change" in worker.output(), details=worker.output)
    assert "NameError: name 'no_such_name' is not defined" in worker.output()

    module.write_text(CODE.format(answer="third"))
    eventually(restarted(worker, second), details=worker.output)
    assert answer(worker) == "third"

    family = worker.living_processes()
    assert worker.stop(signal.SIGINT) == 0, worker.output()
    assert len(family) > 3
    assert worker.living_processes() == set()


def test_no_worker_outlives_a_killed_reloader(worker):
    family = worker.living_processes()

    worker.stop(signal.SIGKILL)

    assert len(family) > 3
    eventually(lambda: worker.living_processes() == set(), details=worker.output)


def test_a_worker_that_cannot_start_ends_the_command(module, start, tmp_path):
    command = WorkerCommand(tmp_path, processes=1, reload=True, broker="django_q.brokers.orm.ORM")

    assert command.wait() == 1
    assert 'Set Q_CLUSTER["broker_class"]' in command.output()
