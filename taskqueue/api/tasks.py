"""Submit a task, or many in one transaction."""

from __future__ import annotations

from typing import Any, Final

from django.db import transaction
from django.urls import reverse
from django.utils.decorators import method_decorator
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of, has_permissions, pipeline_permissions_of
from taskqueue.api.json_parser import BatchParser, parse_body, refuse_list
from taskqueue.api.openapi.operations import idempotency_key, location, operation
from taskqueue.api.requests import Batch, Submission, invalid_key
from taskqueue.api.serializers import SubmittedBatch, SubmittedTask
from taskqueue.api.views import ApiView
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.actions import submissions
from taskqueue.engine.enqueue import bulk
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
"""Built once: each new serializer copies all its fields, which costs as much as the task's INSERT."""


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
        pipeline_permissions_of(request).require(Action.RUN, submission.pipeline)
        task = submissions.submit(submission.pipeline, submission.payload, options=options, actor=actor_of(request))
        return submitted(request, task, key=options.key)


def submitted(request: Request, task: Task, *, key: str = "") -> Response:
    """The answer with a new task (202) or an existing one (200)."""
    address = reverse("taskqueue:task", args=[task.pk])
    status = 200 if task.duplicate else 202
    return Response(representation(request, task, key=key), status=status, headers={"Location": address})


def representation(request: Request, task: Task, *, key: str) -> dict[str, Any]:
    """The task of a request with this key; an existing one may belong to another caller, so it is redacted."""
    if task.duplicate and not has_permissions(request, "taskqueue.view_task"):
        redaction.redact_existing_task(task, key=key)
    return SUBMITTED.to_representation(task)


# A batch repeats its transaction after a deadlock, which it could not do inside the project's (ATOMIC_REQUESTS).
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class TaskBatchView(ApiView):
    required_permissions = TaskSubmissionView.required_permissions
    parser_classes = (BatchParser,)

    @operation(
        "createTasks",
        "Submit tasks in bulk (all or nothing)",
        "Up to 1,000 tasks in one transaction: workers see all of them or none. All are checked first. If one is "
        "refused, none is created; the answer has the status and code of the first error and a pointer to each. "
        "If a key occurs twice, its second entry returns the first one's task as a duplicate. Give every task a key, "
        "so that sending the batch again creates nothing twice.",
        tag="tasks",
        success={202: (SubmittedBatch, "The tasks, one for each entry of the request, in its order.")},
        body="TaskBatch",
    )
    def post(self, request: Request) -> Response:
        items = parse_body(Batch, request.data).tasks
        if "Idempotency-Key" in request.headers:
            raise invalid_key(
                "The header Idempotency-Key works for one task, not for a batch. Give each task of the batch a `key` "
                "of its own: then the batch can be sent again.",
                pointer="",
            )
        permissions = pipeline_permissions_of(request)
        permissions.load_all()
        bulk.for_each_item(items, lambda each: permissions.require(Action.RUN, each.pipeline))
        wanted = bulk.for_each_item(
            items, lambda each: bulk.Request(each.pipeline, each.payload, each.options(header=None))
        )
        tasks = submissions.submit_many(wanted, actor=actor_of(request))
        pairs = zip(wanted, tasks, strict=True)
        return Response(
            {"tasks": [representation(request, task, key=each.options.key) for each, task in pairs]}, status=202
        )
