"""The triggers of tasks and steps: they refuse rows that contradict themselves, and compute the derived columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from taskqueue.models import Pipeline, Step, Task, Worker
from taskqueue.models.task import DERIVED, NOT_STARTED, PRIORITY_LIMIT, STEP_QUEUE
from taskqueue.states import ENDED, ON_A_TIMER, StepKind, StepStatus, TaskStatus
from tests.support.moves import arranging

pytestmark = pytest.mark.django_db

NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
PIPELINE = "rows/order"


@pytest.fixture(autouse=True)
def _pipeline() -> None:
    Pipeline.objects.create(name=PIPELINE)


def row(status: str, **columns: Any) -> dict[str, Any]:
    """The columns of a task with this status that contradict each other nowhere."""
    valid: dict[str, Any] = {"pipeline_id": PIPELINE, "payload": {}, "status": status, "due_at": NOW, "sort_at": NOW}
    if status == TaskStatus.RUNNING:
        valid |= {"worker": Worker.objects.create(host="a", pid=1, cluster="a", version="1"), "started_at": NOW}
    if status in ENDED:
        valid |= {"finished_at": NOW}
    if status == TaskStatus.FAILED:
        valid |= {"error": {"type": "ValueError"}}
    return valid | columns


def derived(status: str, **columns: Any) -> dict[str, Any]:
    """The derived columns of such a task that are not null, after an insert and after an update."""
    inserted = Task.objects.create(**row(status, **columns))
    updated = Task.objects.create(**row(status))
    Task.objects.filter(pk=updated.pk).update(**row(status, **columns))
    first, second = ({name: getattr(each, name) for name in DERIVED} for each in reread(inserted, updated))
    assert first == second
    return {name: value for name, value in first.items() if value is not None}


def reread(*tasks: Task) -> list[Task]:
    return [Task.objects.get(pk=task.pk) for task in tasks]


@pytest.mark.parametrize("status", TaskStatus)
def test_each_status_is_known(status):
    assert reread(Task.objects.create(**row(status)))[0].status == status


@pytest.mark.parametrize(
    ("constraint", "columns"),
    [
        ("status_known", {"status": "lost"}),
        ("running_has_worker", {"status": "running", "worker": None}),
        ("running_has_worker", {"status": "running", "started_at": None}),
        ("ended_has_finish", {"status": "succeeded", "finished_at": None}),
        ("ended_has_finish", {"status": "queued", "finished_at": NOW}),
        ("failed_has_error", {"status": "failed", "error": None}),
        ("result_of_success", {"status": "cancelled", "result": {"total": 1}}),
        ("ready_has_place", {"status": "queued", "due_at": None, "sort_at": None}),
        ("ready_has_place", {"status": "retrying", "sort_at": None}),
        ("sorted_by_priority", {"status": "queued", "priority": 5}),
        ("priority_range", {"priority": PRIORITY_LIMIT + 1, "sort_at": NOW - timedelta(seconds=PRIORITY_LIMIT + 1)}),
        ("lease_counts_up", {"lease": -1}),
        ("progress_share", {"progress": 1.5}),
        ("depth_counts_up", {"depth": -1}),
        ("parallel_limit_counts_up", {"parallel_limit": -1}),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(constraint, columns):
    status = columns.pop("status", "queued")
    if status == "lost":
        columns["finished_at"] = None

    broken = pytest.raises(IntegrityError, match=f'violates check constraint "taskqueue_task_{constraint}"')
    with broken, transaction.atomic():
        Task.objects.create(**row(status, **columns))

    task = Task.objects.create(**row("queued"))
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Task.objects.filter(pk=task.pk).update(**row(status, **columns))


@pytest.mark.parametrize("kind", StepKind)
@pytest.mark.parametrize("status", StepStatus)
def test_each_kind_and_status_of_a_step_is_known(kind, status):
    error = None if status in (StepStatus.SUCCEEDED, StepStatus.WAITING) else {"type": "ValueError"}

    step(kind=kind, status=status, error=error)

    assert Step.objects.get().kind == kind


@pytest.mark.parametrize(
    ("constraint", "columns"),
    [
        ("kind_known", {"kind": "jump"}),
        ("status_known", {"status": "lost", "error": {}}),
        ("error_unless_succeeded", {"status": "failed"}),
        ("error_unless_succeeded", {"status": "succeeded", "error": {}}),
        ("error_unless_succeeded", {"status": "waiting", "output": 1}),
        ("ends_after_start", {"finished_at": NOW - timedelta(seconds=1)}),
        ("has_key", {"key": ""}),
    ],
)
def test_a_step_that_contradicts_itself_is_refused(constraint, columns):
    with pytest.raises(IntegrityError, match=f'violates check constraint "taskqueue_step_{constraint}"'):
        step(**columns)


def step(**columns: Any) -> Step:
    task = Task.objects.create(**row("queued"))
    valid = {"key": "a", "name": "a", "status": "succeeded", "input_hash": "", "started_at": NOW, "finished_at": NOW}
    return Step.objects.create(task=task, **(valid | columns))


def test_a_task_is_ready_while_it_is_queued():
    assert derived("queued") == {"ready_queue": PIPELINE + NOT_STARTED}
    assert derived("queued", slot_acquired_at=NOW) == {"ready_queue": PIPELINE, "slot_pipeline": PIPELINE}
    assert derived("running", slot_acquired_at=NOW) == {"slot_pipeline": PIPELINE}
    assert derived("running", slot_acquired_at=NOW, shares_slot=True) == {}


def test_a_started_task_is_ready_in_the_queue_of_its_step():
    queue = derived("queued", slot_acquired_at=NOW, step_queue="gpu")["ready_queue"]

    assert queue == f"{STEP_QUEUE}gpu/{PIPELINE}" == Task(pipeline_id=PIPELINE, step_queue="gpu").started_queue
    assert derived("queued", step_queue="gpu") == {"ready_queue": PIPELINE + NOT_STARTED}


def test_a_task_with_a_key_is_blocked_until_it_has_a_slot():
    assert derived("queued", concurrency_key="a") == {"blocked_queue": PIPELINE}
    assert derived("queued", concurrency_key="a", slot_acquired_at=NOW).keys() == {"ready_queue", "slot_pipeline"}
    assert derived("scheduled", concurrency_key="a").keys() == {"timer_at"}


def test_a_task_waits_for_a_step_limit_or_a_time():
    assert derived("waiting", due_at=None, sort_at=None, blocked_on="a limit") == {"step_limit_queue": PIPELINE}
    assert derived("waiting", blocked_on="a rate") == {"timer_at": NOW}
    assert {status for status in TaskStatus if derived(status).get("timer_at")} == set(ON_A_TIMER)


def test_the_keys_of_a_request_are_unique_while_they_apply():
    assert derived("queued", debounce_key="a").keys() == {"ready_queue"}
    (debounced,) = reread(Task.objects.create(**row("scheduled", debounce_key="a")))
    assert debounced.unique_debounce == f"{PIPELINE} a"
    task = Task.objects.create(**row("queued", singleton_key="a"))
    assert reread(task)[0].unique_singleton == f"{PIPELINE} a"
    with pytest.raises(IntegrityError, match="taskqueue_task_singleton_once"), transaction.atomic():
        Task.objects.create(**row("queued", singleton_key="a"))
    with arranging():
        Task.objects.filter(pk=task.pk).update(status="succeeded", finished_at=NOW)
    assert reread(task)[0].unique_singleton is None


def test_a_deadline_applies_until_the_start_or_the_end():
    assert derived("queued", start_by=NOW)["deadline_at"] == NOW
    assert derived("queued", start_by=LATER, finish_by=NOW)["deadline_at"] == NOW
    assert derived("running", start_by=NOW, finish_by=LATER)["deadline_at"] == LATER
    assert "deadline_at" not in derived("running", start_by=NOW)
    assert derived("succeeded", started_at=NOW, start_by=NOW, finish_by=LATER) == {}


def test_a_completion_is_pending_from_the_end_until_its_notification():
    assert derived("succeeded", notify_completion=True) == {"completion_pending_at": NOW}
    assert derived("queued", notify_completion=True).keys() == {"ready_queue"}
    assert derived("succeeded") == {}


def test_no_caller_can_set_a_derived_column():
    task = Task.objects.create(**row("queued", ready_queue="another", timer_at=NOW))

    assert (reread(task)[0].ready_queue, reread(task)[0].timer_at) == (PIPELINE + NOT_STARTED, None)
    Task.objects.filter(pk=task.pk).update(ready_queue=None)
    assert reread(task)[0].ready_queue == PIPELINE + NOT_STARTED


def test_a_short_tasks_tables_have_no_expressions_that_each_statement_reads_from_text():
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = ANY (%(tables)s::regclass[])
            UNION ALL
            SELECT attname FROM pg_attribute WHERE attgenerated <> '' AND attrelid = ANY (%(tables)s::regclass[])
            UNION ALL
            SELECT tgname FROM pg_trigger
            WHERE tgqual IS NOT NULL AND tgname <> 'tests_moves' AND tgrelid = ANY (%(tables)s::regclass[])
            """,
            {"tables": ["taskqueue_task", "taskqueue_step"]},
        )
        assert cursor.fetchall() == [], "see migrations/0001_initial.py"
