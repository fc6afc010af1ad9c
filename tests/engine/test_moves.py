"""The database of the tests, and so each of them, allows the moves of `states.TRANSITIONS` and no other."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from django.db import ProgrammingError, transaction
from django.db.models.functions import Now

from taskqueue.models import Task
from taskqueue.states import ENDED, TRANSITIONS, TaskStatus
from taskqueue.testing import InProcessWorker
from tests.support.moves import arranging
from tests.support.pipelines import basic as pipelines

pytestmark = pytest.mark.django_db
PAIRS = list(permutations(TaskStatus, 2))


@pytest.fixture
def task() -> Task:
    return pipelines.one_step.enqueue(1)


def put(task: Task, status: TaskStatus, worker: InProcessWorker) -> None:
    """Set the status, with what the constraints of the table ask for."""
    values: dict[str, Any] = {"status": status, "worker": worker.row, "started_at": Now(), "error": {}}
    Task.objects.filter(pk=task.pk).update(finished_at=Now() if status in ENDED else None, **values)


def test_a_move_is_refused_unless_the_table_has_it(task):
    refused = {}
    with InProcessWorker() as worker:
        for source, target in PAIRS:
            with arranging():
                put(task, source, worker)
            try:
                with transaction.atomic():
                    put(task, target, worker)
            except ProgrammingError as error:
                refused[source, target] = str(error).splitlines()[0]

    assert refused == {
        (source, target): f"states.TRANSITIONS has no move from {source} to {target}"
        for source, target in PAIRS
        if target not in TRANSITIONS[source]
    }


def test_what_a_test_arranges_is_over_with_its_block(task):
    with InProcessWorker() as worker:
        with arranging():
            put(task, TaskStatus.FAILED, worker)
        with pytest.raises(ProgrammingError, match="from failed to running"), transaction.atomic():
            put(task, TaskStatus.RUNNING, worker)
        with pytest.raises(ZeroDivisionError), arranging():
            _ = 1 / 0
        with pytest.raises(ProgrammingError, match="from failed to running"), transaction.atomic():
            put(task, TaskStatus.RUNNING, worker)
