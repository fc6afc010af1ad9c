"""Actions on one task: retry, run now, cancel, rerun."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue import errors
from taskqueue.api.authentication import actor_of, pipeline_permissions_of
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import location, operation
from taskqueue.api.requests import Body, NoBody
from taskqueue.api.tasks.serializers import TaskSummary
from taskqueue.api.tasks.submit import CREATED, EXISTING, submitted
from taskqueue.api.views import ApiView
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.queries import tasks
from taskqueue.engine.tasks import control

CHANGED: Final = {200: (TaskSummary, "The task after the change.")}


class RetryRequest(Body):
    """How to retry a task."""

    from_step: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Run the step with this key, and all that were recorded after it, again.",
    )


class CancelRequest(Body):
    """Why to cancel a task."""

    reason: str = Field(default="", max_length=300, description="Shown with the task.")


class RerunRequest(Body):
    """How to rerun a task."""

    payload: Any = Field(default=None, description="A payload in place of the task's own. Missing or null: its own.")


class TaskRetryView(ApiView):
    required_permissions = {"POST": ("taskqueue.view_task", "taskqueue.retry_task")}

    @operation(
        "retryTask",
        "Retry a task",
        "Queues a failed or cancelled task again and keeps its finished steps. With `from_step` it queues any ended "
        "task again, and that step and all later ones run again.",
        tag="tasks",
        success=CHANGED,
        body=RetryRequest,
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        from_step = parse_body(RetryRequest, request.data).from_step
        pipeline_permissions_of(request).require(Action.RETRY, tasks.pipeline_of(task_id))
        return Response(TaskSummary(control.retry(task_id, actor=actor_of(request), from_step=from_step)).data)


class TaskRunNowView(ApiView):
    required_permissions = {"POST": ("taskqueue.view_task", "taskqueue.retry_task")}

    @operation(
        "runTaskNow",
        "Run a delayed task now",
        "Ends the delay of a scheduled, retrying or sleeping task. Limits, rates and pauses still apply, and no retry "
        "is used up. Answers 409 if the task is due already, has ended, or waits for an event or another task.",
        tag="tasks",
        success=CHANGED,
        body=NoBody,
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        parse_body(NoBody, request.data)
        pipeline_permissions_of(request).require(Action.RETRY, tasks.pipeline_of(task_id))
        return Response(TaskSummary(control.run_now(task_id, actor=actor_of(request))).data)


class TaskCancelView(ApiView):
    required_permissions = {"POST": ("taskqueue.view_task", "taskqueue.cancel_task")}

    @operation(
        "cancelTask",
        "Cancel a task",
        "Ends a task with its parallel steps and children. A step that is running is not interrupted, but its result "
        "is discarded. Answers 409 if the task has ended.",
        tag="tasks",
        success=CHANGED,
        body=CancelRequest,
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        reason = parse_body(CancelRequest, request.data).reason
        pipeline_permissions_of(request).require(Action.CANCEL, tasks.pipeline_of(task_id))
        return Response(TaskSummary(control.cancel(task_id, actor=actor_of(request), reason=reason)).data)


class TaskRerunView(ApiView):
    required_permissions = {"POST": ("taskqueue.view_task", "taskqueue.add_task")}
    # The request is right here: these errors mean that the code has changed since the task was created.
    status_overrides = {
        errors.UnknownPipeline: 409,
        errors.InvalidPayload: 409,
        errors.TooLarge: 409,
        errors.NotSerializable: 409,
    }

    @operation(
        "rerunTask",
        "Rerun a task",
        "Submits a new task with this one's payload, or another one, and its priority and labels, without its key. "
        "Answers 409 if the pipeline's code does not accept the payload.",
        tag="tasks",
        success={202: CREATED, 200: EXISTING},
        body=RerunRequest,
        headers=(location("new task", 202),),
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        given = parse_body(RerunRequest, request.data).payload
        pipeline_permissions_of(request).require(Action.RUN, tasks.pipeline_of(task_id))
        payload = control.UNCHANGED if given is None else given
        return submitted(request, control.rerun(task_id, payload=payload, actor=actor_of(request)))
