"""Echoes: the end of a task is told to those whom it concerns, once.

One transaction per end, done at once by whoever has written the end, else by a sweep. Whoever dies before its commit
has told nobody, and whoever comes second finds nothing to tell.
"""

from __future__ import annotations

import logging
from typing import cast
from uuid import UUID

from django.db import Error, transaction

from taskqueue.conf import settings
from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.runtime.database_errors import AWAY
from taskqueue.engine.runtime.locks import is_busy
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.tasks.endings import follow
from taskqueue.models import Task

logger = logging.getLogger("taskqueue.engine")


def notify_completion_now(task: UUID) -> None:
    """Tell an end just committed. What fails here is done by the next sweep."""
    try:
        tell(task)
    except Error:
        logger.exception("The end of task %s was not told yet; a sweep will do it", task)


def notify_pending_completions() -> int:
    """Tell the ends that nobody has told yet; how many. What somebody else tells at this moment is passed over."""
    told = 0
    for (task,) in sql.fetch(sql.UNTOLD, {"pipelines": registry.names()}):
        try:
            told += tell(task, patient=False)
        except AWAY as error:
            if not is_busy(error):
                raise
        except Exception:
            logger.exception("The end of task %s cannot be told; it is tried again at the next look", task)
    return told


def tell(task: UUID, *, patient: bool = True) -> bool:
    """Tell the end of a task; False when there is nothing to tell, or somebody else does.

    Args:
        task: the task that has ended.
        patient: wait for locks.
    """
    with transaction.atomic():
        facts = Task.objects.filter(pk=task).values_list("parent_id", "parallel_step").first()
        if facts is None:
            return False
        parent, parallel_step = cast("tuple[UUID | None, str]", facts)
        lock_parent, lock = (
            (sql.LOCK_PARENT, sql.LOCK_UNTOLD) if patient else (sql.LOCK_FREE_PARENT, sql.LOCK_FREE_UNTOLD)
        )
        # The parent first: so does everybody who locks both.
        if parent is not None and not sql.fetch(lock_parent, {"task": parent}):
            return False
        if not sql.fetch(lock, {"task": task}):
            return False
        if parent is not None:
            notify_parent(task, parent, parallel_step=parallel_step)
        if parallel_step:
            sql.fetch(sql.DISSOLVE, {"tasks": [task]})
        else:
            follow(Task.objects.get(pk=task))
            sql.fetch(sql.TOLD, {"task": task})
    return True


def notify_parent(task: UUID, parent: UUID, *, parallel_step: str) -> None:
    """Write into the parent's record what came of its step, and let the parent go on if that was the last one."""
    limit = settings().TASK_OUTPUT_MAX_BYTES
    resolved = sql.fetch(sql.RESOLVE_PARENT, {"task": task, "limit": limit})
    ready = False
    if parallel_step:
        sql.fetch(sql.MOVE_ATTEMPTS, {"task": task})
        ready = bool(sql.fetch(sql.RELEASE, {"task": task}))
    if resolved:
        ready = bool(sql.fetch(sql.WAKE, {"task": parent})) or ready
    if ready:
        notify_on_commit()
