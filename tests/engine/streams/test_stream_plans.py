"""Streams read the rows of the tasks that are followed, however many others there are."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from taskqueue import current_task, pipeline, step
from taskqueue.engine import sql
from taskqueue.engine.streams.changes import values_of
from taskqueue.engine.streams.position import Position
from taskqueue.models import Attempt, Chunk, Step, Task, Worker
from tests.support.database.backlogs import forget_statistics
from tests.support.database.plans import HISTORY, explain, rows_read, sequential_scans
from tests.support.endings import finish
from tests.support.moves import arranging

pytestmark = pytest.mark.django_db


@pytest.fixture
def task() -> Task:
    """A task with a chunk, among many others; the statistics are those of an empty database."""

    @step
    def write() -> None:
        current_task().write("text")

    @pipeline("plans/write")
    def body() -> None:
        write()

    task, other = finish(body.enqueue()), finish(body.enqueue())
    worker = Worker.objects.latest("pk").pk
    with arranging(), connection.cursor() as cursor:
        cursor.execute(HISTORY.replace("engine/one-step", "plans/write"), [worker])
    rows: dict[str, Any] = {"step": "write", "attempt": 1, "lease": 1, "text": "x" * 50, "total": 1}
    Chunk.objects.bulk_create(Chunk(task=other, **rows) for _ in range(5_000))
    times = {"started_at": task.created_at, "finished_at": task.created_at}
    others = Task.objects.exclude(pk=task.pk).values_list("pk", flat=True)[:5_000]
    Attempt.objects.bulk_create(
        Attempt(task_id=pk, step_key="write", number=1, outcome="failed", error_type="E", lease=1, logs={}, **times)
        for pk in others
    )
    done: dict[str, Any] = {"key": "write", "name": "write", "status": "succeeded", "input_hash": "", "logs": {}}
    Step.objects.bulk_create(Step(task_id=pk, **done, **times) for pk in others if pk != other.pk)
    return task


@pytest.mark.parametrize("has_statistics", [False, True])
def test_a_stream_reads_only_its_tasks_rows(task, has_statistics):
    forget_statistics()  # other tests have left some, of nearly empty tables
    if has_statistics:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE taskqueue_task, taskqueue_chunk, taskqueue_attempt, taskqueue_step")

    tree = explain(sql.READ_STREAMS, values_of([(task.pk, Position())] * 3))

    assert sequential_scans(tree) == []
    assert [rows_read(tree, f"taskqueue_{table}") for table in ("chunk", "attempt", "step")] == [3, 0, 3]


@pytest.mark.parametrize("has_statistics", [False, True])
def test_a_batch_of_chunks_reads_only_the_last_chunk_of_its_task(task, has_statistics):
    forget_statistics()
    with arranging():
        Task.objects.filter(pk=task.pk).update(status="running", result=None, finished_at=None)
    if has_statistics:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE taskqueue_task, taskqueue_chunk")
    task.refresh_from_db()
    values = {
        "tasks": [task.pk], "workers": [task.worker_id], "leases": [task.lease], "targets": [task.pk],
        "steps": ["write"], "attempts": [1], "texts": ["more"], "are_secret": [False], "limit": 1000,
    }  # fmt: skip

    tree = explain(sql.APPEND_CHUNKS, values)

    assert sequential_scans(tree) == []
    assert rows_read(tree, "taskqueue_chunk") == 2  # with the one that it adds
    assert list(Chunk.objects.filter(task=task).order_by("pk").values_list("text", "total")) == [
        ("text", 4),
        ("more", 8),
    ]
