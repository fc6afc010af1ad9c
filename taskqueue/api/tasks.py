"""Tasks: submit one or a batch, list them, get one with its steps, explain why one is not running."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.urls import reverse
from django.utils.decorators import method_decorator
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of, has_permissions, pipeline_permissions_of
from taskqueue.api.json_parser import BatchParser, parse_body
from taskqueue.api.openapi.operations import idempotency_key, location, operation
from taskqueue.api.pagination import task_page
from taskqueue.api.parameters import TaskQuery
from taskqueue.api.problems import InvalidBody
from taskqueue.api.requests import Batch, Submission, invalid_key
from taskqueue.api.serializers import ExplanationRecord, SubmittedBatch, SubmittedTask, TaskDetail, TaskPage
from taskqueue.api.views import ApiView
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.actions import submissions
from taskqueue.engine.enqueue.bulk import Request as BulkRequest
from taskqueue.engine.enqueue.bulk import for_each_item
from taskqueue.engine.enqueue.options import KEY_MAX_LENGTH
from taskqueue.engine.queries import tasks as task_queries
from taskqueue.engine.queries.why import why
from taskqueue.errors import FieldError
from taskqueue.models import Task

CREATED: Final = (SubmittedTask, "The task was created.")
EXISTING: Final = (
    SubmittedTask,
    "An existing task is returned instead of a new one (`duplicate` is true): it has the same key, or its pipeline is "
    "a singleton, debounced or batched. Callers without `view_task` do not see its labels, error, progress note and "
    "origin.",
)


class TaskListView(ApiView):
    """All tasks."""

    required_permissions = {"GET": ("taskqueue.view_task",), "POST": ("taskqueue.add_task",)}

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
        return submitted(redact_duplicate(request, task, key=options.key))

    @operation(
        "listTasks",
        "List tasks",
        "Newest first. A task must match all filters. Tasks that arrive while you page do not shift the pages.",
        tag="tasks",
        success={200: (TaskPage, "A page of tasks.")},
        query=TaskQuery,
    )
    def get(self, request: Request) -> Response:
        query: TaskQuery = TaskQuery.of(request.query_params)
        return Response(TaskPage(task_page(query)).data)


class TaskDetailView(ApiView):
    """One task."""

    required_permissions = {"GET": ("taskqueue.view_task",)}

    @operation(
        "getTask",
        "Get a task",
        "Payload, result, error, and every step with its failed attempts.",
        tag="tasks",
        success={200: (TaskDetail, "The task.")},
    )
    def get(self, request: Request, task_id: UUID) -> Response:
        task = task_queries.with_details(task_id)
        redaction.redact_task(task, pipeline_permissions_of(request))
        return Response(TaskDetail(task).data)


class TaskWhyView(ApiView):
    """Why one task is not running."""

    required_permissions = {"GET": ("taskqueue.view_task",)}

    @operation(
        "explainTask",
        "Explain why a task is not running",
        "What the task waits for and what blocks it: a paused pipeline, no worker, a concurrency limit with the tasks "
        "that use it up, a rate limit, its queue position. Each reason has a sentence for people and fields for "
        "programs.",
        tag="tasks",
        success={200: (ExplanationRecord, "The reasons.")},
    )
    def get(self, request: Request, task_id: UUID) -> Response:
        return Response(ExplanationRecord(why(task_id)).data)


# A batch repeats its transaction after a deadlock, which it could not do inside the project's (ATOMIC_REQUESTS).
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class TaskBatchView(ApiView):
    """Many tasks in one transaction."""

    required_permissions = {"POST": ("taskqueue.add_task",)}
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
        for_each_item(items, lambda each: permissions.require(Action.RUN, each.pipeline))
        wanted = for_each_item(items, lambda each: BulkRequest(each.pipeline, each.payload, each.options(header=None)))
        tasks = submissions.submit_many(wanted, actor=actor_of(request))
        for each, task in zip(wanted, tasks, strict=True):
            redact_duplicate(request, task, key=each.options.key)
        return Response({"tasks": [SUBMITTED.to_representation(task) for task in tasks]}, status=202)


def refuse_list(body: Any) -> Any:
    """The body of a single task.

    Raises:
        InvalidBody: it is a list.
    """
    if isinstance(body, list):
        batch = reverse("taskqueue:task-batches")
        sentence = f'The body is a list; this endpoint creates one task. Did you mean POST {batch} {{"tasks": [...]}}?'
        raise InvalidBody(sentence, [FieldError("", sentence)])
    return body


def redact_duplicate(request: Request, task: Task, *, key: str) -> Task:
    """The task of a request with this key; an existing one may belong to another caller, so it is redacted."""
    if task.duplicate and not has_permissions(request, "taskqueue.view_task"):
        redaction.redact_existing_task(task, key=key)
    return task


SUBMITTED: Final = SubmittedTask()
"""Built once: each new serializer copies all its fields, which costs as much as the task's INSERT."""


def submitted(task: Task) -> Response:
    """The answer with a new task (202) or an existing one (200)."""
    address = reverse("taskqueue:task", args=[task.pk])
    return Response(
        SUBMITTED.to_representation(task), status=200 if task.duplicate else 202, headers={"Location": address}
    )
