"""`GET /api/tasks/{id}/status`: where a task stands, now or at its end. Under ASGI waiting takes no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, update_wrapper
from threading import BoundedSemaphore
from typing import Any, Final, TypeVar
from uuid import UUID

from asgiref.sync import SyncToAsync, iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.db import close_old_connections, connections, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.openapi import operations
from taskqueue.api.parameters import StatusQuery
from taskqueue.api.serializers import TaskProgress
from taskqueue.api.views import Door, described
from taskqueue.conf import settings
from taskqueue.engine.queries import tasks
from taskqueue.engine.queries.end_watch import watch
from taskqueue.states import ENDED

Result = TypeVar("Result")
TRY_AGAIN_AFTER: Final = 2
"""Seconds after which a caller who was not held may ask again."""
LOOKERS: Final = ThreadPoolExecutor(8, thread_name_prefix="taskqueue-status")
"""What asks the database under ASGI: so many threads and connections for however many callers."""


@cache
def waiters() -> BoundedSemaphore:
    """The places for those who wait in a thread of this process."""
    return BoundedSemaphore(settings().STATUS_WAITERS)


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class TaskStatusPlace(Door):
    """Where a task stands. Never in a transaction: a waiting one would hold back the database's clean-up."""

    needs = {"GET": ("taskqueue.view_task",)}
    suspends = False
    """Whether a request that is to be held is suspended by the view around this one, in its event loop."""
    hold = 0
    """For how many seconds it is to be held; then the first answer is not sent."""

    @described(operations.GET_STATUS)
    def get(self, request: Request, task_id: UUID) -> Response:
        """Where it stands now, or at its end if that comes within the wait."""
        query: StatusQuery = StatusQuery.of(request.query_params)
        snapshot = tasks.status_of(task_id)
        if not query.wait or snapshot.status in ENDED:
            return answer(snapshot)
        if self.suspends:
            self.hold = query.wait
            return answer(snapshot)
        # A server without threads could answer nobody else meanwhile, not even who asks whether it is alive.
        if not request.META.get("wsgi.multithread") or not waiters().acquire(blocking=False):
            return answer(snapshot, headers={"Retry-After": str(TRY_AGAIN_AFTER)})
        try:
            with watch.joined(task_id) as ended, suppress(TimeoutError):
                ended.result(query.wait)
        finally:
            waiters().release()
        return answer(tasks.status_of(task_id), waited=True)

    def begin(self, request: HttpRequest, task_id: UUID) -> HttpResponseBase:
        """The first answer, after all that comes before one."""
        self.setup(request, task_id=task_id)
        return self.dispatch(request, task_id=task_id)

    def answer_after_hold(self, task_id: UUID) -> HttpResponseBase:
        """The answer to a request that was held."""
        try:
            response: Any = answer(tasks.status_of(task_id), waited=True)
        except Exception as error:  # noqa: BLE001 - answered as everywhere
            response = self.handle_exception(error)
        return self.finalize_response(self.request, response)


def answer(snapshot: tasks.Snapshot, *, waited: bool = False, headers: dict[str, str] | None = None) -> Response:
    """Where a task stands, and whether the answer was held back for it."""
    return Response(TaskProgress(snapshot, context={"waited": waited}).data, headers=headers)


async def suspended(request: HttpRequest, task_id: UUID) -> HttpResponseBase:
    """The same under ASGI: whoever waits has neither a thread nor a connection."""
    view = TaskStatusPlace(suspends=True)
    response = await looked_up(view.begin, request, task_id)
    if view.hold:
        release_thread()
        with watch.joined(task_id) as ended, suppress(TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(ended), view.hold)
        response = await looked_up(view.answer_after_hold, task_id)
    return response


async def looked_up(ask: Callable[..., Result], *values: Any) -> Result:
    """What the database says, asked by one of the few threads that do."""

    def with_sound_connection() -> Result:
        close_old_connections()
        return ask(*values)

    return await sync_to_async(with_sound_connection, thread_sensitive=False, executor=LOOKERS)()


def release_thread() -> None:
    """End the thread that middleware has made asgiref keep for this request; for what follows it makes another one."""
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is not None and (executor := SyncToAsync.context_to_thread_executor.pop(context, None)):
        executor.shutdown(wait=False)


class StatusView:
    """`TaskStatusPlace` for urls: plain where threads serve, and async once it is known that this process is.

    An async view would make a thread and an event loop for each request under WSGI.
    """

    def __init__(self) -> None:
        self._plain = TaskStatusPlace.as_view()
        update_wrapper(self, self._plain)
        # Of every database: Django refuses async views where any wants a transaction for each request.
        self._non_atomic_requests = set(connections)

    def __call__(self, request: HttpRequest, task_id: UUID) -> Any:
        """Answer, or a coroutine that does."""
        return suspended(request, task_id) if iscoroutinefunction(self) else self._plain(request, task_id=task_id)

    def be_async(self) -> None:
        """Let Django await it from now on."""
        markcoroutinefunction(self)


task_status = StatusView()
