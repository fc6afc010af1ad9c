"""What can be done to one task: retry it, cancel it, run it anew."""

from __future__ import annotations

from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue import errors
from taskqueue.api.authentication import actor_of, rights_of
from taskqueue.api.json_parser import fitted
from taskqueue.api.openapi import operations
from taskqueue.api.requests import CancelRequest, NoBody, RetryRequest
from taskqueue.api.serializers import TaskSummary
from taskqueue.api.tasks import submitted
from taskqueue.api.views import Door, described
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.actions import audited
from taskqueue.engine.queries import tasks


class TaskRetries(Door):
    """Retries of a task."""

    needs = {"POST": ("taskqueue.view_task", "taskqueue.retry_task")}

    @described(operations.RETRY_TASK)
    def post(self, request: Request, task_id: UUID) -> Response:
        """Queue it again."""
        asked = fitted(RetryRequest, request.data)
        rights_of(request).require(Action.RETRY, tasks.pipeline_of(task_id))
        return Response(TaskSummary(audited.retry(task_id, actor=actor_of(request), from_step=asked.from_step)).data)


class TaskRunsNow(Door):
    """The end of a task's delay."""

    needs = {"POST": ("taskqueue.view_task", "taskqueue.retry_task")}

    @described(operations.RUN_TASK_NOW)
    def post(self, request: Request, task_id: UUID) -> Response:
        """Let it go on at once."""
        fitted(NoBody, request.data)
        rights_of(request).require(Action.RETRY, tasks.pipeline_of(task_id))
        return Response(TaskSummary(audited.run_task_now(task_id, actor=actor_of(request))).data)


class TaskCancellation(Door):
    """The cancellation of a task."""

    needs = {"POST": ("taskqueue.view_task", "taskqueue.cancel_task")}

    @described(operations.CANCEL_TASK)
    def post(self, request: Request, task_id: UUID) -> Response:
        """End it."""
        asked = fitted(CancelRequest, request.data)
        rights_of(request).require(Action.CANCEL, tasks.pipeline_of(task_id))
        return Response(TaskSummary(audited.cancel(task_id, actor=actor_of(request), reason=asked.reason)).data)


class TaskReruns(Door):
    """Reruns of a task."""

    needs = {"POST": ("taskqueue.view_task", "taskqueue.add_task")}
    # Here it is not the request that is wrong: the code has changed since the task was made.
    statuses = {
        errors.UnknownPipeline: 409,
        errors.InvalidPayload: 409,
        errors.TooLarge: 409,
        errors.NotSerializable: 409,
    }

    @described(operations.RERUN_TASK)
    def post(self, request: Request, task_id: UUID) -> Response:
        """Make a new task from the same payload."""
        fitted(NoBody, request.data)
        rights_of(request).require(Action.RUN, tasks.pipeline_of(task_id))
        return submitted(audited.rerun(task_id, actor=actor_of(request)))
