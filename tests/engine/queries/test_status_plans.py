"""The status of a task is read by indexes, in full tables, also before they were ever analyzed."""

from __future__ import annotations

import pytest
from django.db.models.functions import Now

from taskqueue.engine import sql
from taskqueue.models import Step, Task
from tests.support.database.backlogs import STATISTICS, forget_statistics, unchecked
from tests.support.database.plans import HISTORY, explain, rows_read, sequential_scans
from tests.support.pipelines.basic import one_step

pytestmark = pytest.mark.django_db

STEPS = """
INSERT INTO taskqueue_step (task_id, key, name, kind, status, failures, input_hash, started_at, finished_at)
SELECT id, 'nap', 'nap', 'sleep', 'waiting', 0, '', now(), now() FROM taskqueue_task LIMIT 10000
"""


@pytest.fixture(params=STATISTICS)
def task(request):
    """A task that waits for a child, among twenty thousand others."""
    forget_statistics()
    task, child = one_step.enqueue(1), one_step.enqueue(2)
    with unchecked() as cursor:
        cursor.execute(HISTORY, [None])
        cursor.execute(STEPS)
        if request.param:
            cursor.execute("ANALYZE taskqueue_task, taskqueue_step")
    Step.objects.filter(task=task).delete()
    Step.objects.create(
        task=task, key="report", name="report", kind="child", status="waiting", input_hash="", child=child,
        started_at=Now(), finished_at=Now(),
    )  # fmt: skip
    Task.objects.filter(pk=task.pk).update(status="waiting", started_at=Now(), due_at=None)
    return task


def test_the_status_reads_only_the_rows_of_its_task(task):
    for statement, tasks, steps in ((sql.TASK_STATE, 1, 1), (sql.PENDING_STEPS, 1, 1), (sql.EVENT_WAITS, 0, 0)):
        tree = explain(statement, {"task": task.pk, "with_parallel": False})

        assert not sequential_scans(tree)
        assert rows_read(tree, "taskqueue_task") == tasks
        assert rows_read(tree, "taskqueue_step") == steps
