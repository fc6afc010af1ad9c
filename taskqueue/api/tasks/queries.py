"""List tasks, get one with its steps, explain why one is not running."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import pipeline_permissions_of
from taskqueue.api.openapi.operations import operation
from taskqueue.api.pagination import Page, PageQuery, keyset_page
from taskqueue.api.tasks.change import TaskChangeView
from taskqueue.api.tasks.filters import TaskFilters
from taskqueue.api.tasks.serializers import ExplanationRecord, TaskDetail, TaskPage
from taskqueue.api.tasks.submit import TaskSubmissionView
from taskqueue.api.views import ApiView
from taskqueue.engine.access import redaction
from taskqueue.engine.queries import filters, tasks
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.engine.queries.why import why
from taskqueue.models import Task


class TaskQuery(TaskFilters, PageQuery):
    """Filters and page of the list of tasks."""


class TaskListView(TaskSubmissionView):
    """All tasks. A POST to their address submits one."""

    required_permissions = {**TaskSubmissionView.required_permissions, "GET": ("taskqueue.view_task",)}

    @operation(
        "listTasks",
        "List tasks",
        "Newest first. A task must match all filters. Tasks that arrive while you page do not shift the pages. The "
        "filters `pipeline_prefix`, `error…`, `ended_…` and `took_…` have no index: a page looks at "
        f"{filters.SCAN_LIMIT:,} tasks, so it may have fewer rows than `limit`, or none, and yet a `next_cursor`.",
        tag="tasks",
        success={200: (TaskPage, "A page of tasks.")},
        query=TaskQuery,
    )
    def get(self, request: Request) -> Response:
        return Response(TaskPage(task_page(TaskQuery.of(request.query_params))).data)


def task_page(query: TaskQuery) -> Page[Task]:
    task_filter = query.task_filter()
    found = tasks.listing().filter(task_filter.indexed() & task_filter.unindexed())
    return keyset_page(found, query, end=end_of_page(task_filter, query.cursor) if query.is_searching else None)


def end_of_page(task_filter: TaskFilter, cursor: Any) -> UUID | None:
    """The last task that a page of a search reads: it looks at `SCAN_LIMIT` tasks that the indexes find."""
    if not cursor or cursor.older:
        return filters.oldest_scanned(replace(task_filter, below=cursor.row) if cursor else task_filter)
    return filters.newest_scanned(task_filter, cursor.row)


class TaskDetailView(TaskChangeView):
    """One task. A PATCH to its address changes it."""

    required_permissions = {**TaskChangeView.required_permissions, "GET": ("taskqueue.view_task",)}

    @operation(
        "getTask",
        "Get a task",
        "Payload, result, error, and every step with its failed attempts.",
        tag="tasks",
        success={200: (TaskDetail, "The task.")},
    )
    def get(self, request: Request, task_id: UUID) -> Response:
        task = tasks.with_details(task_id)
        redaction.redact_task(task, pipeline_permissions_of(request))
        return Response(TaskDetail(task).data)


class TaskWhyView(ApiView):
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
