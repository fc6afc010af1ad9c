"""Children that author code forks: they share no connection with the worker and never return into the engine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.contrib.auth.models import Group

from taskqueue import Retry, current_task, pipeline, step
from taskqueue.engine.runtime.forks import FORKED_EXIT_CODE, detach_children
from taskqueue.models import Attempt, Step
from tests.support.endings import finish

pytestmark = pytest.mark.django_db(transaction=True)


def code_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_on() -> None:
    """Return into the engine."""


def leave() -> None:
    sys.exit(0)


def raise_error() -> None:
    raise LookupError


def write_and_leave() -> None:
    Group.objects.create(name=f"child's {os.getpid()}")
    os._exit(7)


def know_no_task() -> None:
    try:
        current_task()
    except Exception:  # noqa: BLE001 - whatever it is, there is none
        os._exit(8)


CHILDREN = {
    run_on: FORKED_EXIT_CODE,
    leave: FORKED_EXIT_CODE,
    raise_error: FORKED_EXIT_CODE,
    write_and_leave: 7,
    know_no_task: 8,
}


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("where", ["step", "atomic", "body", "async"])
def test_a_forked_child_does_not_affect_worker_or_task(where):
    detach_children()

    def fork(number: int) -> int:
        pid = os.fork()
        if pid == 0:
            list(CHILDREN)[number]()
            return -1
        return code_of(pid)

    @(step.atomic if where == "atomic" else step)(retry=Retry.never())
    def forking(number: int) -> int:
        Group.objects.create(name=f"parent's {number}")
        return fork(number)

    @step(retry=Retry.never())
    async def aforking(number: int) -> int:
        return fork(number)

    @pipeline("forks/body", retry=Retry.never())
    def body(number: int) -> int:
        return fork(number) if where == "body" else forking(number)

    @pipeline("forks/async", retry=Retry.never())
    async def abody(number: int) -> int:
        return await aforking(number)

    for number, expected in enumerate(CHILDREN.values()):
        task = finish((abody if where == "async" else body).enqueue(number))
        assert (task.status, task.result) == ("succeeded", expected)
    assert Group.objects.filter(name__startswith="child's").count() == 1
    assert Step.objects.count() == (0 if where == "body" else len(CHILDREN))
    assert not Attempt.objects.exists()


def test_a_program_that_a_step_starts_is_only_a_program():
    @step
    def run() -> str:
        return subprocess.run(
            [sys.executable, "-c", "print(40 + 2)"], capture_output=True, text=True, check=True
        ).stdout

    @pipeline("forks/subprocess")
    def body() -> str:
        return run()

    assert finish(body.enqueue()).result == "42\n"
