"""Batches in real worker commands: each item runs once."""

import threading

import pytest
from django.db import connection

from taskqueue.models import Task
from taskqueue.states import TaskStatus
from tests.support.processes.pipelines import gather
from tests.support.waiting import eventually

pytestmark = pytest.mark.process

CALLERS, REQUESTS = 4, 100


@pytest.mark.slow
def test_each_item_of_due_batches_runs_once(start):
    commands = [start(), start()]

    def call(first: int) -> None:
        try:
            for number in range(first, first + REQUESTS):
                gather.enqueue([number])
        finally:
            connection.close()

    callers = [threading.Thread(target=call, args=(index * REQUESTS,)) for index in range(CALLERS)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    unfinished = Task.objects.exclude(status=TaskStatus.SUCCEEDED)
    eventually(lambda: not unfinished.exists(), details=commands[0].output)
    results: list[list[int]] = [task.result for task in Task.objects.all() if task.result is not None]
    assert sorted(number for result in results for number in result) == list(range(CALLERS * REQUESTS))
    assert max(len(result) for result in results) <= 7
