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
from taskqueue.engine import statements
from taskqueue.engine.endings import follow
from taskqueue.engine.patience import is_busy
from taskqueue.engine.troubles import AWAY
from taskqueue.engine.wakeups import ring_on_commit
from taskqueue.models import Task

logger = logging.getLogger("taskqueue.engine")


def tell_now(task: UUID) -> None:
    """Tell an end just committed. What fails here is done by the next sweep."""
    try:
        tell(task)
    except Error:
        logger.exception("The end of task %s was not told yet; a sweep will do it", task)


def tell_untold() -> int:
    """Tell the ends that nobody has told yet; how many. What somebody else tells at this moment is passed over."""
    told = 0
    for (task,) in statements.fetch(statements.UNTOLD, {"pipelines": registry.names()}):
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
        facts = Task.objects.filter(pk=task).values_list("parent_id", "branch").first()
        if facts is None:
            return False
        parent, branch = cast("tuple[UUID | None, str]", facts)
        lock_parent, lock = (
            (statements.LOCK_PARENT, statements.LOCK_UNTOLD)
            if patient
            else (statements.LOCK_FREE_PARENT, statements.LOCK_FREE_UNTOLD)
        )
        # The parent first: so does everybody who locks both.
        if parent is not None and not statements.fetch(lock_parent, {"task": parent}):
            return False
        if not statements.fetch(lock, {"task": task}):
            return False
        if parent is not None:
            tell_parent(task, parent, branch=branch)
        if branch:
            statements.fetch(statements.DISSOLVE, {"tasks": [task]})
        else:
            follow(Task.objects.get(pk=task))
            statements.fetch(statements.TOLD, {"task": task})
    return True


def tell_parent(task: UUID, parent: UUID, *, branch: str) -> None:
    """Write into the parent's record what came of its step, and let the parent go on if that was the last one."""
    limit = settings().TASK_OUTPUT_MAX_BYTES
    resolved = statements.fetch(statements.RESOLVE_PARENT, {"task": task, "limit": limit})
    ready = False
    if branch:
        statements.fetch(statements.MOVE_ATTEMPTS, {"task": task})
        ready = bool(statements.fetch(statements.RELEASE, {"task": task}))
    if resolved:
        ready = bool(statements.fetch(statements.WAKE, {"task": parent})) or ready
    if ready:
        ring_on_commit()
