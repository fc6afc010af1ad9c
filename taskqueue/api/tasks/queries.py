"""List tasks, get one with its steps, explain why one is not running."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import pipeline_permissions_of
from taskqueue.api.fields import Moment, Text, invalid
from taskqueue.api.openapi.operations import operation
from taskqueue.api.pagination import Page, PageQuery, between, keyset_page
from taskqueue.api.parameters import invalid_query
from taskqueue.api.tasks.change import TaskChangeView
from taskqueue.api.tasks.serializers import ExplanationRecord, TaskDetail, TaskPage
from taskqueue.api.tasks.submit import TaskSubmissionView
from taskqueue.api.views import ApiView
from taskqueue.definitions import registry
from taskqueue.engine.access import redaction
from taskqueue.engine.queries import tasks
from taskqueue.engine.queries.why import why
from taskqueue.errors import FieldError
from taskqueue.models import Pipeline, Task
from taskqueue.states import TaskStatus


def split_commas(texts: list[str]) -> list[str]:
    """The values of a parameter that is repeated, comma-separated, or both."""
    return [part for text in texts for part in text.split(",")]


def label_filter(text: str) -> str:
    if ":" not in text:
        raise invalid("it must be a label's name and value with a colon between them, such as tenant:acme")
    return text


class TaskQuery(PageQuery):
    """Filters and page of the list of tasks."""

    pipeline: Text = Field(default="", min_length=1, max_length=200, description="Tasks of this pipeline.")
    status: Annotated[list[TaskStatus], BeforeValidator(split_commas)] = Field(
        default_factory=list,
        description="Tasks in one of these statuses: repeat the parameter, or separate them by commas.",
    )
    key: Text = Field(default="", min_length=1, max_length=200, description="Tasks created with this idempotency key.")
    label: list[Annotated[Text, AfterValidator(label_filter)]] = Field(
        default_factory=list,
        description="Tasks with this label, as `name:value`. Repeat the parameter for tasks with several labels.",
        json_schema_extra={"items": {"type": "string", "pattern": "^[^:]*:"}},
    )
    created_after: Moment | None = Field(default=None, description="Tasks created after this time.")
    created_before: Moment | None = Field(default=None, description="Tasks created before this time.")


class TaskListView(TaskSubmissionView):
    """All tasks. A POST to their address submits one."""

    required_permissions = {**TaskSubmissionView.required_permissions, "GET": ("taskqueue.view_task",)}

    @operation(
        "listTasks",
        "List tasks",
        "Newest first. A task must match all filters. Tasks that arrive while you page do not shift the pages.",
        tag="tasks",
        success={200: (TaskPage, "A page of tasks.")},
        query=TaskQuery,
    )
    def get(self, request: Request) -> Response:
        return Response(TaskPage(task_page(TaskQuery.of(request.query_params))).data)


def task_page(query: TaskQuery) -> Page[Task]:
    found = tasks.listing()
    if query.pipeline:
        refuse_unknown_pipeline(query.pipeline)
        found = found.filter(pipeline=query.pipeline)
    if query.status:
        found = found.filter(status__in=query.status)
    if query.key:
        found = found.filter(key=query.key)
    for label in query.label:
        name, _colon, value = label.partition(":")
        found = found.filter(labels__contains={name: value})
    return keyset_page(between(found, "created_at", query.created_after, query.created_before), query)


def refuse_unknown_pipeline(name: str) -> None:
    # A query is needed only for a name that this code does not define: older code may have.
    if name not in registry.names() and not Pipeline.objects.filter(pk=name).exists():
        raise invalid_query([FieldError("/pipeline", f"no pipeline is called {name!r}")])


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
