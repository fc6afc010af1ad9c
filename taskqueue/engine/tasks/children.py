"""Child tasks and parallel steps: a body creates tasks and waits for them.

A parallel step runs on any worker. Its task is deleted when it ends, and its result recorded in its parent's step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Greatest, Now

from taskqueue.conf import settings
from taskqueue.context import ChildSpec, Suspension
from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Options, Origin
from taskqueue.engine.runtime.cancel_tree import cancel_with_descendants
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import notify_on_commit
from taskqueue.engine.tasks.completion import notify_completion_now
from taskqueue.engine.tracing import current_traceparent
from taskqueue.errors import NestingTooDeep, TaskqueueError
from taskqueue.ids import uuid7
from taskqueue.json_values import codec
from taskqueue.models import IdempotencyKey, Step
from taskqueue.states import StepStatus


def check_depth(lease: Lease, pauses: Sequence[Suspension]) -> None:
    """Check that a child is not nested too deep.

    Raises:
        NestingTooDeep
    """
    most = settings().DEPTH_MAX
    for _pause, spec in specs_of(pauses):
        if not spec.parallel_step and lease.depth >= most:
            raise NestingTooDeep(spec.pipeline, most)


def create(lease: Lease, pauses: Sequence[Suspension]) -> None:
    """Create the tasks that these suspensions wait for, in the transaction that records them."""
    specs = specs_of(pauses)
    create_parallel_steps(lease, [(pause, spec) for pause, spec in specs if spec.parallel_step])
    for pause, spec in specs:
        if not spec.parallel_step:
            create_child(lease, pause, spec)


def specs_of(pauses: Sequence[Suspension]) -> list[tuple[Suspension, ChildSpec]]:
    return [(pause, pause.child_spec) for pause in pauses if pause.child_spec is not None]


def create_parallel_steps(lease: Lease, steps: Sequence[tuple[Suspension, ChildSpec]]) -> None:
    """Insert the tasks of parallel steps by one statement. Beyond their limit they wait until another one ends."""
    if not steps:
        return
    running: Counter[str] = Counter()
    if any(spec.limit is not None for _pause, spec in steps):
        running.update(dict(sql.fetch(sql.COUNT_PARALLEL_STEPS, {"task": lease.task})))
    blocked = []
    for _pause, spec in steps:
        blocked.append(spec.limit is not None and running[spec.parallel_step] >= spec.limit)
        running[spec.parallel_step] += not blocked[-1]
    values = {
        "ids": [uuid7() for _ in steps],
        "keys": [pause.key for pause, _spec in steps],
        "payloads": [spec.payload for _pause, spec in steps],
        "parallel_steps": [spec.parallel_step for _pause, spec in steps],
        "limits": [spec.limit for _pause, spec in steps],
        "step_queues": [spec.step_queue for _pause, spec in steps],
        "blocked": blocked,
        "traceparent": current_traceparent(),
    }
    sql.fetch(sql.CREATE_PARALLEL_STEPS, {**values, "task": lease.task})
    notify_on_commit()


def create_child(lease: Lease, pause: Suspension, child_spec: ChildSpec) -> None:
    """Create a child task. Its step fails when that is impossible, else the parent would wait for ever."""
    origin = Origin(parent=lease.task, parent_key=pause.key, depth=lease.depth + 1)
    options = child_spec.options or Options()
    try:
        with transaction.atomic():
            definition = registry.get(child_spec.pipeline)
            if options.key and is_key_of_earlier_child(lease, definition.name, options.key):
                options = replace(options, force=True)
            child = insert(definition, child_spec.payload, options=options, origin=origin)
    except TaskqueueError as error:
        fail_step(lease, pause, type(error).__qualname__, error.detail)
        return
    if child.duplicate:
        reason = f"Task {child.pk} exists already with its key or as its singleton; it is not a child of this task."
        fail_step(lease, pause, "DuplicateChild", reason)
        return
    sql.fetch(sql.LINK_CHILD, {"task": lease.task, "key": pause.key, "child": child.pk})


def is_key_of_earlier_child(lease: Lease, pipeline: str, key: str) -> bool:
    """Whether a key stands for a finished child of this task, which is created again after a retry."""
    keys = IdempotencyKey.objects.filter(pipeline=pipeline, key=key)
    return keys.filter(task__parent=lease.task, task__finished_at__isnull=False).exists()


def fail_step(lease: Lease, pause: Suspension, kind: str, message: str) -> None:
    error = {"type": kind, "message": codec.printable(message)}
    waiting = Step.objects.filter(task=lease.task, key=pause.key, status=StepStatus.WAITING)
    waiting.update(status=StepStatus.FAILED, error=error, until=None, finished_at=Greatest(Now(), "started_at"))


def time_out_suspensions(lease: Lease) -> None:
    """Time out the overdue suspensions of a task, and cancel the children that they wait for."""
    with transaction.atomic():
        if not sql.fetch(sql.LOCK_LEASED_TASK, lease.fence):
            return
        timed_out = sql.fetch(sql.TIME_OUT_SUSPENSIONS, {"task": lease.task})
        reason = "Its parent did not wait any longer."
        cancel_tree([child for _key, _kind, child in timed_out if child is not None], reason=reason)


def cancel_orphans(task: UUID) -> None:
    """Cancel the children for which no step of this task waits any more."""
    rows = sql.fetch(sql.ORPHANED_CHILDREN, {"task": task})
    cancel_tree([child for (child,) in rows], reason="Its parent no longer asks for it.")


def cancel_tree(tasks: list[UUID], *, reason: str) -> list[UUID]:
    """Cancel these tasks and their descendants, and notify their completion after the commit. Needs a transaction.

    Returns:
        The tasks that were cancelled, without those that had ended.
    """
    cancelled, pending = cancel_with_descendants(tasks, reason=reason)
    for task in pending:
        transaction.on_commit(partial(notify_completion_now, task), robust=True)
    return cancelled
