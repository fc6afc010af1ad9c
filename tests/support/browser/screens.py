"""Every screen of the dashboard, with example data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.contrib.auth.models import Group, User
from django.db.models.functions import Now

from demo.pipelines import DemoRequest, demo_task
from demo.publishing import PublishRequest, publish
from taskqueue import testing
from taskqueue.definitions import registry
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.actions import tokens
from taskqueue.engine.events import send
from taskqueue.engine.maintenance import bulk_operations
from taskqueue.engine.maintenance.rollups import roll_up
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.engine.tasks import control
from taskqueue.engine.worker.heartbeat import running_version
from taskqueue.models import BulkOperation, Event, PipelinePermission, Question, Schedule, Task, Worker
from taskqueue.states import BulkOperationVerb
from taskqueue.testing import advance
from tests.support.browser.workers import in_thread, work

EXAMPLES: dict[str, dict[str, object]] = {
    "fine": {},
    "unsteady": {"failures_before_success": 1},
    "broken": {"simulate_failure": True},
    "hopeless": {"failures_before_success": 9},
}


def create_examples() -> None:
    """Tasks in every status, an hour of history, a schedule, a skip, a paused pipeline, a finished bulk operation."""
    for _ in range(3):
        for label, options in EXAMPLES.items():
            enqueue(label, options)
        work()
        advance(minutes=7)
    work()
    doomed = enqueue("unwanted", {})
    control.cancel(doomed.pk, reason="It was ordered twice.")
    publish.enqueue(PublishRequest(title="On waiting", pages=3))
    work()
    advance(minutes=2)
    work()
    in_thread(roll_up)
    demo_task.using(run_at=datetime(2040, 1, 1, tzinfo=UTC)).enqueue(DemoRequest(label="later"))
    for _ in range(2):  # the second one finds the first
        demo_task.using(key="order-7", labels={"tenant": "acme"}, priority=300).enqueue(DemoRequest(label="order"))
    schedule_a_pipeline()
    send.send("demo/approved", {"title": "On nothing", "by": "dana"})
    dana = User.objects.create_user("dana")
    control.pause_pipeline("demo/print", reason="The printer is being mended.", actor=Actor(dana.pk, "dana"))
    in_thread(retry_failed_tasks)
    in_thread(create_access_and_workers)


def viewer() -> User:
    """The user who views the screens."""
    return User.objects.earliest("pk")


def schedule_a_pipeline() -> None:
    """A schedule. The demo's pipelines have no `cron=`, which would start tasks in every test."""
    cron = {"expression": "0 3 * * *", "timezone": "Europe/Berlin", "misfire": "once"}
    now = datetime.now(UTC)
    Schedule.objects.create(
        pipeline_id="demo/publish", **cron, next_at=now + timedelta(hours=8), last_at=now - timedelta(hours=16)
    )


def create_access_and_workers() -> None:
    """A token that expires soon, a pipeline permission, and workers: busy, with a claim error, silent."""
    tokens.issue(viewer(), name="billing service", expires_in=timedelta(days=3), per_minute=600)
    PipelinePermission.objects.create(
        pipeline_id="demo/publish", group=Group.objects.create(name="editors"), retry=True
    )
    task = Task.objects.filter(status="waiting").latest("pk")
    states: list[dict[str, Any]] = [
        {"task_id": task.pk, "step": "print-pages", "step_started_at": Now() - timedelta(seconds=42)},
        {"claim_error": "permission denied for table taskqueue_task"},
        {"heartbeat_at": Now() - timedelta(minutes=4)},
    ]
    for number, state in enumerate(states):
        process = {"host": f"worker-{number}", "pid": 4711, "cluster": str(number), "version": running_version()}
        Worker.objects.create(**process, **state, pipelines=registry.names())


def retry_failed_tasks() -> None:
    """A bulk retry of the demo's failed tasks, which fail again."""
    bulk_operations.plan(
        TaskFilter(statuses=("failed",), pipeline="demo/task"),
        verb=BulkOperationVerb.RETRY,
        query="status=failed&pipeline=demo%2Ftask",
        message=lambda estimate: f"Retry {estimate} tasks: status failed, pipeline demo/task.",
        reason="The service is back.",
        actor=Actor(viewer().pk, viewer().get_username()),
    )
    testing.work()


def enqueue(label: str, options: dict[str, object]) -> Task:
    request = DemoRequest(label=label, delay_seconds=0, **options)  # type: ignore[arg-type]  # its own fields
    return demo_task.using(labels={"tenant": "acme"}).enqueue(request)


class Screen(NamedTuple):
    """A page with its expected HTTP status."""

    name: str
    address: str
    status: int = 200


def screens() -> Iterator[Screen]:
    """All screens; their names are those of the pictures."""
    yield Screen("overview", "/admin/?range=1h")
    for name in ("task", "pipeline", "worker", "event", "schedule", "skip", "token"):
        yield Screen(f"{name}s", f"/admin/taskqueue/{name}/")
    yield Screen("rates", "/admin/taskqueue/ratelimit/")
    yield Screen("operations", "/admin/taskqueue/bulkoperation/")
    yield Screen("rights", "/admin/taskqueue/pipelinepermission/")
    yield Screen("limits", "/admin/taskqueue/concurrencylimit/")
    yield Screen("usage", "/admin/taskqueue/ratelimitbucket/")
    yield Screen("audit", "/admin/admin/logentry/")
    yield Screen("failed tasks", "/admin/taskqueue/task/?status=failed")
    yield Screen("nothing found", "/admin/taskqueue/task/?q=nothing-like-it")
    for status in ("failed", "waiting", "succeeded", "scheduled"):
        task = Task.objects.filter(status=status, parent=None).latest("pk")
        yield Screen(f"{status} task", f"/admin/taskqueue/task/{task.pk}/change/")
    failed = Task.objects.filter(status="failed").latest("pk")
    yield Screen("rerun", f"/admin/taskqueue/task/{failed.pk}/edit/")
    yield Screen("rerun question", f"/admin/taskqueue/task/{failed.pk}/rerun/")
    yield Screen("retry question", f"/admin/taskqueue/task/{failed.pk}/retry/?from_step=simulate-processing")
    yield Screen("questions", "/admin/taskqueue/question/")
    yield Screen("question", f"/admin/taskqueue/question/{Question.objects.latest('pk').pk}/change/")
    yield Screen("missing", "/admin/no/such/page/", 404)
    yield Screen("pipeline", "/admin/taskqueue/pipeline/demo_2Ftask/change/")
    yield Screen("parallel steps", "/admin/taskqueue/pipeline/demo_2Fpublish/change/")
    yield Screen("submit", "/admin/taskqueue/pipeline/demo_2Ftask/submit/")
    yield Screen("event", f"/admin/taskqueue/event/{Event.objects.latest('pk').pk}/change/")
    yield Screen("send an event", "/admin/taskqueue/event/send/")
    yield Screen("new token", "/admin/taskqueue/token/add/")
    yield Screen("worker", f"/admin/taskqueue/worker/{Worker.objects.get(host='worker-1').pk}/change/")
    yield Screen("preview", "/admin/taskqueue/bulkoperation/new/retry/?status=failed")
    yield Screen("operation", f"/admin/taskqueue/bulkoperation/{BulkOperation.objects.earliest('pk').pk}/change/")


PIPELINE_PERMISSIONS = (
    "view_task",
    "view_pipeline",
    "pause_pipeline",
    "add_task",
    "view_concurrencylimit",
    "change_concurrencylimit",
)


ALL_PERMISSIONS = (
    *PIPELINE_PERMISSIONS, "view_worker", "change_worker", "view_event", "add_event", "view_schedule",
    "view_ratelimit", "change_ratelimit",
)  # fmt: skip
