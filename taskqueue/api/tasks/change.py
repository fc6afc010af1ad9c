"""Change a task that has not ended."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, Field
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of, pipeline_permissions_of
from taskqueue.api.fields import Moment, integral
from taskqueue.api.json_parser import parse_body
from taskqueue.api.openapi.operations import operation
from taskqueue.api.requests import Body
from taskqueue.api.tasks.actions import CHANGED
from taskqueue.api.tasks.serializers import TaskSummary
from taskqueue.api.views import ApiView
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.enqueue.options import LABEL_MAX_LENGTH, LABELS_MAX
from taskqueue.engine.queries import tasks
from taskqueue.engine.tasks.change import change
from taskqueue.models.task import PRIORITY_LIMIT


class TaskChange(Body):
    """What changes of a task; the rest stays."""

    priority: Annotated[int | None, BeforeValidator(integral)] = Field(
        default=None,
        ge=-PRIORITY_LIMIT,
        le=PRIORITY_LIMIT,
        description="Seconds by which the task is queued ahead of tasks of the same age.",
    )
    run_at: Moment | None = Field(
        default=None, description="When the task may start; now, if it is in the past. Only for a task that waits to."
    )
    labels: dict[str, str] | None = Field(
        default=None,
        max_length=LABELS_MAX,
        description=f"All labels of the task; at most {LABEL_MAX_LENGTH} characters for each name and value.",
    )


class TaskChangeView(ApiView):
    http_method_names = ["get", "patch", "head"]
    required_permissions = {"PATCH": ("taskqueue.view_task", "taskqueue.retry_task")}

    @operation(
        "changeTask",
        "Change a task",
        "Changes the priority, the start and the labels of a task that has not ended: all that the body has, or "
        "nothing. What was computed from the labels when the task was enqueued (its concurrency key, the events that "
        "cancel it) stays. Answers 409 if the task has ended, or if its start is to change and it has started.",
        tag="tasks",
        success=CHANGED,
        body=TaskChange,
    )
    def patch(self, request: Request, task_id: UUID) -> Response:
        values = parse_body(TaskChange, request.data).model_dump()
        pipeline_permissions_of(request).require(Action.RETRY, tasks.pipeline_of(task_id))
        return Response(TaskSummary(change(task_id, **values, actor=actor_of(request))).data)
