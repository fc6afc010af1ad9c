"""Families: a body has tasks made that do something for it, and waits for them.

A parallel step runs on any worker; its task is deleted into its parent's record when it ends. A child is a task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

from django.db import transaction

from taskqueue import codec
from taskqueue.conf import settings
from taskqueue.context import Pause
from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options, Origin
from taskqueue.engine.runtime.cancel_tree import cancel_all
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.tasks.completion import notify_completion_now
from taskqueue.errors import NestingTooDeep, TaskqueueError
from taskqueue.ids import uuid7
from taskqueue.models import IdempotencyKey


def check_depth(lease: Lease, pauses: Sequence[Pause]) -> None:
    """See that a child does not stand too deep.

    Raises:
        NestingTooDeep
    """
    most = settings().DEPTH_MAX
    for pause in pauses:
        if pause.offspring is not None and not pause.offspring.parallel_step and lease.depth >= most:
            raise NestingTooDeep(pause.offspring.pipeline, most)


def make(lease: Lease, pauses: Sequence[Pause]) -> None:
    """In the transaction that records these pauses: make the tasks that they wait for."""
    make_branches(lease, [pause for pause in pauses if pause.offspring is not None and pause.offspring.parallel_step])
    for pause in pauses:
        if pause.offspring is not None and not pause.offspring.parallel_step:
            make_child(lease, pause)


def make_branches(lease: Lease, pauses: Sequence[Pause]) -> None:
    """Insert the tasks of parallel steps by one statement. Beyond their limit they wait until another one ends."""
    if not pauses:
        return
    begun: Counter[str] = Counter()
    if any(pause.offspring is not None and pause.offspring.limit is not None for pause in pauses):
        begun.update(dict(sql.fetch(sql.BRANCHES_AT_WORK, {"task": lease.task})))
    held = []
    for pause in pauses:
        offspring = pause.offspring
        assert offspring is not None  # noqa: S101 - chosen by the caller
        held.append(offspring.limit is not None and begun[offspring.parallel_step] >= offspring.limit)
        begun[offspring.parallel_step] += not held[-1]
    values = {
        "ids": [uuid7() for _ in pauses],
        "keys": [pause.key for pause in pauses],
        "payloads": [pause.offspring.payload for pause in pauses if pause.offspring],
        "parallel_steps": [pause.offspring.parallel_step for pause in pauses if pause.offspring],
        "limits": [pause.offspring.limit for pause in pauses if pause.offspring],
        "held": held,
    }
    sql.fetch(sql.MAKE_BRANCHES, {**values, "task": lease.task})
    notify_on_commit()


def make_child(lease: Lease, pause: Pause) -> None:
    """Make a child task. One that cannot be made has failed: nobody would ever end the wait for it."""
    offspring = pause.offspring
    assert offspring is not None  # noqa: S101 - chosen by the caller
    origin = Origin(parent=lease.task, parent_key=pause.key, depth=lease.depth + 1)
    options = offspring.options or Options()
    try:
        with transaction.atomic():
            definition = registry.get(offspring.pipeline)
            if options.key and is_of_earlier_attempt(lease, definition.name, options.key):
                options = replace(options, force=True)
            child = insert(definition, offspring.payload, options=options, origin=origin)
    except TaskqueueError as error:
        refuse(lease, pause, type(error).__qualname__, error.detail)
        return
    if child.duplicate:
        reason = f"Task {child.pk} stands in its place, by its key or as the only one at a time; it is not a child."
        refuse(lease, pause, "DuplicateChild", reason)
        return
    sql.fetch(sql.BE_CHILD, {"task": lease.task, "key": pause.key, "child": child.pk})


def is_of_earlier_attempt(lease: Lease, pipeline: str, key: str) -> bool:
    """Whether a key still stands for the child of an earlier attempt, which a person has retried."""
    held = IdempotencyKey.objects.filter(pipeline=pipeline, key=key)
    return held.filter(task__parent=lease.task, task__finished_at__isnull=False).exists()


def refuse(lease: Lease, pause: Pause, kind: str, message: str) -> None:
    """Record that a child could not be made."""
    error = codec.write({"type": kind, "message": codec.printable(message)})
    sql.fetch(sql.REFUSE_CHILD, {"task": lease.task, "key": pause.key, "error": error})


def close_overdue(lease: Lease) -> None:
    """End what a task waits for and is over by the clock; children that were too slow are cancelled."""
    with transaction.atomic():
        if not sql.fetch(sql.HOLD, lease.fence):
            return
        over = sql.fetch(sql.CLOSE_OVERDUE, {"task": lease.task})
        reason = "Its parent did not wait any longer."
        cancel_tree([child for _key, _kind, child in over if child is not None], reason=reason)


def forget(task: UUID) -> None:
    """Cancel the tasks that a body no longer asks for: none of its waiting steps is theirs any more."""
    rows = sql.fetch(sql.FORSAKEN, {"task": task})
    cancel_tree([child for (child,) in rows], reason="Its parent no longer asks for it.")


def cancel_tree(tasks: list[UUID], *, reason: str) -> list[UUID]:
    """In a transaction: cancel these tasks and all below them, and tell those who have to know once it is committed.

    Returns:
        Those of them that were cancelled: they had not ended.
    """
    cancelled, untold = cancel_all(tasks, reason=reason)
    for task in untold:
        transaction.on_commit(partial(notify_completion_now, task), robust=True)
    return cancelled
