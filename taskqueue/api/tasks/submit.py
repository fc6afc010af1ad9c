"""Submit a task."""

from __future__ import annotations

from typing import Any, Final

from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of, has_permissions, pipeline_permissions_of
from taskqueue.api.json_parser import parse_body, refuse_list
from taskqueue.api.openapi.operations import idempotency_key, location, operation
from taskqueue.api.requests import Submission
from taskqueue.api.tasks.serializers import SubmittedTask
from taskqueue.api.views import ApiView
from taskqueue.engine.access import redaction
from taskqueue.engine.actions import submissions
from taskqueue.engine.actions.callbacks import require_submission
from taskqueue.engine.enqueue.options import KEY_MAX_LENGTH
from taskqueue.models import Task

CREATED: Final = (SubmittedTask, "The task was created.")
EXISTING: Final = (
    SubmittedTask,
    "An existing task is returned instead of a new one (`duplicate` is true): it has the same key, or its pipeline is "
    "a singleton, debounced or batched. Callers without `view_task` do not see its labels, error, progress note and "
    "origin.",
)
SUBMITTED: Final = SubmittedTask()
"""Built once: a new serializer would copy all its fields for each request, at the cost of an INSERT."""


class TaskSubmissionView(ApiView):
    required_permissions = {"POST": ("taskqueue.add_task",)}

    @operation(
        "createTask",
        "Submit a task",
        "The answer is sent after the task is committed: 202 for a new task, 200 if an existing one is returned "
        "instead. A worker executes it later.",
        tag="tasks",
        success={202: CREATED, 200: EXISTING},
        body="TaskSubmission",
        headers=(idempotency_key("key", max_length=KEY_MAX_LENGTH), location("task", 200, 202)),
    )
    def post(self, request: Request) -> Response:
        submission = parse_body(Submission, refuse_list(request.data))
        options = submission.options(request.headers.get("Idempotency-Key"))
        require_submission(pipeline_permissions_of(request), submission.pipeline, submission.callback_url)
        task = submissions.submit(submission.pipeline, submission.payload, options=options, actor=actor_of(request))
        return submitted(request, task, key=options.key)


def submitted(request: Request, task: Task, *, key: str = "") -> Response:
    """The answer with a new task (202) or an existing one (200)."""
    address = reverse("taskqueue:task", args=[task.pk])
    status = 200 if task.duplicate else 202
    return Response(representation(request, task, key=key), status=status, headers={"Location": address})


def representation(request: Request, task: Task, *, key: str) -> dict[str, Any]:
    """A submitted task as the answer shows it; an existing one is redacted, because it may be another caller's."""
    if task.duplicate and not has_permissions(request, "taskqueue.view_task"):
        redaction.redact_existing_task(task, key=key)
    return SUBMITTED.to_representation(task)
