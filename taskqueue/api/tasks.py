"""Tasks: make one, list them, look at one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from django.urls import reverse
from django.utils.decorators import method_decorator
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import actor_of, may, rights_of
from taskqueue.api.json_parser import BatchJson, fitted
from taskqueue.api.openapi import operations
from taskqueue.api.pagination import page_of
from taskqueue.api.parameters import TaskQuery
from taskqueue.api.problems import InvalidBody
from taskqueue.api.requests import Batch, Submission, bad_key
from taskqueue.api.serializers import ExplanationRecord, SubmittedTask, TaskDetail, TaskPage
from taskqueue.api.views import Door, described
from taskqueue.engine.access import redaction
from taskqueue.engine.access.permissions import Action
from taskqueue.engine.actions import audited
from taskqueue.engine.enqueue.bulk import Request as Wanted
from taskqueue.engine.enqueue.bulk import each_of
from taskqueue.engine.queries import tasks as task_queries
from taskqueue.engine.queries.why import why
from taskqueue.errors import FieldError
from taskqueue.models import Task


class Tasks(Door):
    """All tasks."""

    needs = {"GET": ("taskqueue.view_task",), "POST": ("taskqueue.add_task",)}

    @described(operations.CREATE_TASK)
    def post(self, request: Request) -> Response:
        """Make a task."""
        submission = fitted(Submission, no_list(request.data))
        options = submission.options(request.headers.get("Idempotency-Key"))
        rights_of(request).require(Action.RUN, submission.pipeline)
        task = audited.submit(submission.pipeline, submission.payload, options=options, actor=actor_of(request))
        return submitted(told_to(request, task, key=options.key))

    @described(operations.LIST_TASKS)
    def get(self, request: Request) -> Response:
        """List tasks."""
        query: TaskQuery = TaskQuery.of(request.query_params)
        return Response(TaskPage(page_of(query)).data)


class TaskPlace(Door):
    """One task."""

    needs = {"GET": ("taskqueue.view_task",)}

    @described(operations.GET_TASK)
    def get(self, request: Request, task_id: UUID) -> Response:
        """Everything about it."""
        task = task_queries.whole(task_id)
        redaction.cover(task, rights_of(request))
        return Response(TaskDetail(task).data)


class TaskReasons(Door):
    """Why one task is not running."""

    needs = {"GET": ("taskqueue.view_task",)}

    @described(operations.GET_WHY)
    def get(self, request: Request, task_id: UUID) -> Response:
        """The reasons."""
        return Response(ExplanationRecord(why(task_id)).data)


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class TaskBatches(Door):
    """Many tasks at once, or none. Not in a transaction of the project's: the batch's own may have to be done anew."""

    needs = {"POST": ("taskqueue.add_task",)}
    parser_classes = (BatchJson,)

    @described(operations.CREATE_TASKS)
    def post(self, request: Request) -> Response:
        """Make all of them."""
        asked = fitted(Batch, request.data).tasks
        if "Idempotency-Key" in request.headers:
            sentence = (
                "The header Idempotency-Key stands for one task, and this is a batch. Give each task of the batch a "
                "`key` of its own: then the batch can be sent again."
            )
            raise bad_key(sentence, pointer="")
        rights = rights_of(request)
        rights.know_all()
        each_of(asked, lambda each: rights.require(Action.RUN, each.pipeline))
        wanted = each_of(asked, lambda each: Wanted(each.pipeline, each.payload, each.options(header=None)))
        tasks = audited.submit_many(wanted, actor=actor_of(request))
        for each, task in zip(wanted, tasks, strict=True):
            told_to(request, task, key=each.options.key)
        return Response({"tasks": [ANSWER.to_representation(task) for task in tasks]}, status=202)


def no_list(body: Any) -> Any:
    """The body of a single task.

    Raises:
        InvalidBody: it is a list.
    """
    if isinstance(body, list):
        batch = reverse("taskqueue:task-batches")
        sentence = f'The body is a list, and one task is made here. Did you mean POST {batch} with {{"tasks": [...]}}?'
        raise InvalidBody(sentence, [FieldError("", sentence)])
    return body


def told_to(request: Request, task: Task, *, key: str) -> Task:
    """The task of a request with this key, as its caller may see it; one that was there may be somebody else's."""
    if task.duplicate and not may(request, "taskqueue.view_task"):
        redaction.cover_stand_in(task, key=key)
    return task


ANSWER = SubmittedTask()
"""Built once: a serializer copies all its fields each time it is made, which costs as much as the task's INSERT."""


def submitted(task: Task) -> Response:
    """The answer that a task was made, or found by its key."""
    place = reverse("taskqueue:task", args=[task.pk])
    return Response(ANSWER.to_representation(task), status=200 if task.duplicate else 202, headers={"Location": place})
