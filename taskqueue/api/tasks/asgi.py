"""Views that wait: plain ones under WSGI; async ones under ASGI, where waiting takes neither thread nor connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import update_wrapper
from typing import Any, Final, TypeVar

from asgiref.sync import SyncToAsync, iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.db import close_old_connections, connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase

Result = TypeVar("Result")
STATUS_THREADS: Final = ThreadPoolExecutor(8, thread_name_prefix="taskqueue-status")
"""Under ASGI the threads, and so the connections, that query for any number of waiting callers."""


async def in_status_thread(function: Callable[..., Result], *values: Any) -> Result:
    """Run a function that queries the database, in one of the status threads."""

    def with_usable_connection() -> Result:
        close_old_connections()
        return function(*values)

    return await sync_to_async(with_usable_connection, thread_sensitive=False, executor=STATUS_THREADS)()


def release_thread() -> None:
    """End the thread that asgiref keeps for this request's middleware; asgiref makes another one when it needs it."""
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is not None and (executor := SyncToAsync.context_to_thread_executor.pop(context, None)):
        executor.shutdown(wait=False)


class AsgiEndpoint:
    """What urls.py mounts: a plain view under WSGI, an async one under ASGI.

    An async view would make a thread and an event loop for each request under WSGI.
    """

    def __init__(self, plain: Any, in_event_loop: Callable[..., Awaitable[HttpResponseBase]]) -> None:
        self._plain, self._in_event_loop = plain, in_event_loop
        update_wrapper(self, plain)
        # For every database: Django refuses an async view if any of them has ATOMIC_REQUESTS.
        self._non_atomic_requests = set(connections)

    def __call__(self, request: HttpRequest, **path: Any) -> Any:
        return self._in_event_loop(request, **path) if iscoroutinefunction(self) else self._plain(request, **path)

    def become_async(self) -> None:
        markcoroutinefunction(self)
