"""`GET /api/tasks/{id}/status`: the status now, or with `?wait=` at the end. Under ASGI waiting takes no thread."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache
from threading import BoundedSemaphore
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from drf_spectacular.utils import OpenApiParameter
from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.openapi.operations import operation
from taskqueue.api.parameters import Query
from taskqueue.api.tasks.asgi import AsgiEndpoint, in_status_thread, release_thread
from taskqueue.api.tasks.serializers import TaskProgress
from taskqueue.api.views import ApiView
from taskqueue.conf import settings
from taskqueue.engine.queries.status import Snapshot, status_of
from taskqueue.engine.runtime.end_watch import watch
from taskqueue.states import ENDED

MAX_WAIT_SECONDS: Final = 60
RETRY_AFTER_SECONDS: Final = 2
"""When a caller may ask again whose request could not wait."""
PROGRESS: Final = {waited: TaskProgress(context={"waited": waited}) for waited in (False, True)}
"""Built once: a new serializer would copy all its fields for each request."""
RETRY_AFTER: Final = OpenApiParameter(
    "Retry-After",
    {"type": "integer", "minimum": 1},
    OpenApiParameter.HEADER,
    description="Seconds after which to ask again; only if the request asked to `wait` and could not.",
    response=[200],
)


class StatusQuery(Query):
    """How long to wait for the task's end."""

    wait: int = Field(
        default=0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Seconds to wait for the task's end before the answer is sent.",
    )


@cache
def waiter_slots() -> BoundedSemaphore:
    return BoundedSemaphore(settings().STATUS_WAITERS)


# Never in a transaction: an open one during the wait would hold back VACUUM.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class TaskStatusView(ApiView):
    required_permissions = {"GET": ("taskqueue.view_task",)}
    waits_in_event_loop = False
    """Whether `status_async` around this view does the waiting."""
    remaining_wait = 0
    """Seconds that `status_async` has to wait; then the first answer is not sent."""

    @operation(
        "getTaskStatus",
        "Get task status",
        "With `wait` the answer is sent as soon as the task has ended, at the latest after that many seconds. If too "
        "many requests wait already, the answer comes at once with `waited` false and `Retry-After`.",
        tag="tasks",
        success={200: (TaskProgress, "The task's status and progress.")},
        query=StatusQuery,
        headers=(RETRY_AFTER,),
    )
    def get(self, request: Request, task_id: UUID) -> Response:
        query = StatusQuery.of(request.query_params)
        snapshot = status_of(task_id)
        if not query.wait or snapshot.status in ENDED:
            return status_response(snapshot)
        if self.waits_in_event_loop:
            self.remaining_wait = query.wait
            return status_response(snapshot)
        # A single-threaded server must not wait: it could not answer anything else, health checks included.
        if not request.META.get("wsgi.multithread") or not waiter_slots().acquire(blocking=False):
            return status_response(snapshot, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        try:
            with watch.subscribe(task_id) as ended, suppress(TimeoutError):
                ended.result(query.wait)
        finally:
            waiter_slots().release()
        return status_response(status_of(task_id), waited=True)

    def first_response(self, request: HttpRequest, task_id: UUID) -> HttpResponseBase:
        """Authenticate, check and answer as the plain view does."""
        self.setup(request, task_id=task_id)
        return self.dispatch(request, task_id=task_id)

    def response_after_wait(self, task_id: UUID) -> HttpResponseBase:
        try:
            response: Any = status_response(status_of(task_id), waited=True)
        except Exception as error:  # noqa: BLE001 - becomes a problem as in every view
            response = self.handle_exception(error)
        return self.finalize_response(self.request, response)


def status_response(snapshot: Snapshot, *, waited: bool = False, headers: dict[str, str] | None = None) -> Response:
    return Response(PROGRESS[waited].to_representation(snapshot), headers=headers)


async def status_async(request: HttpRequest, task_id: UUID) -> HttpResponseBase:
    """`TaskStatusView` under ASGI: a request that waits uses neither a thread nor a connection."""
    view = TaskStatusView(waits_in_event_loop=True)
    response = await in_status_thread(view.first_response, request, task_id)
    if view.remaining_wait:
        release_thread()
        with watch.subscribe(task_id) as ended, suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(ended), view.remaining_wait)
        response = await in_status_thread(view.response_after_wait, task_id)
    return response


task_status = AsgiEndpoint(TaskStatusView.as_view(), status_async)
