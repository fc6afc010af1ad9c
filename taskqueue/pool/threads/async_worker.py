"""The async worker of a worker process: starts it with its heartbeat."""

from __future__ import annotations

from collections.abc import Callable

from taskqueue.engine.async_worker.event_loop import EventLoop
from taskqueue.engine.async_worker.heartbeat import AsyncHeartbeat, CompanyRecord
from taskqueue.engine.async_worker.loop import AsyncWorker
from taskqueue.engine.worker.heartbeat_thread import HeartbeatThread
from taskqueue.models.worker import EVENT_LOOP
from taskqueue.pool.shared_memory import STOP, PoolStatus
from taskqueue.pool.threads.thread_worker import ThreadWorker, log_execution


def start_async_worker(
    status: PoolStatus, index: int, first: ThreadWorker, *, on_change: Callable[[], None]
) -> AsyncWorker:
    """Start the event loop; the worker's row is written before its first claim.

    Args:
        status: of the pool.
        index: of this process in it.
        first: the worker of the main thread.
        on_change: called when the worker begins or ends a task, in the loop's thread.
    """
    loop = EventLoop()
    heartbeat = AsyncHeartbeat(
        first.cluster,
        number=EVENT_LOOP,
        slots=status.async_slots,
        loop=loop,
        thread=first.heartbeat_thread or HeartbeatThread(),
    )
    record = status.worker_states[index][-1]
    heartbeat.crash_record, heartbeat.company = record, CompanyRecord(record)
    worker = AsyncWorker(
        heartbeat,
        loop,
        slots=status.async_slots,
        threads=status.threads,
        stopping=STOP.is_set,
        on_change=on_change,
        on_execution=log_execution,
    )
    worker.start()
    return worker
