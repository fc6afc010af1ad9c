"""Rate limits: a step reserves a time that counts for all workers, and the task waits for it without a worker."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Final

from taskqueue import masks
from taskqueue.definitions import registry
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import sync_rate
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.replay import Call
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.runtime.outcomes import Blocked, Release
from taskqueue.errors import RetryAfter
from taskqueue.json_values import codec

SHORT_WAIT: Final = timedelta(milliseconds=20)
"""A wait of at most this costs less in the worker than releasing the task."""


def acquire(journal: Journal, call: Call, *, has_waited: bool) -> timedelta | Blocked | Release:
    """Get a time for a step: the reserved one, unless the rate limit is blocked or the step before it came late.

    Args:
        journal: of the task.
        call: the step's call.
        has_waited: whether this execution has waited for the reserved time.

    Returns:
        How long the worker waits before it calls the step, or what the task suspends with.
    """
    entry, name, keys = call.entry, call.step.rate_name, (call.key,)
    is_reserved = has_waited or (entry is not None and entry.waits_for_rate)
    if entry is not None and is_reserved and not has_waited and not entry.is_due:
        return Blocked(name, keys, due_at=entry.due_at)
    if is_reserved and (wait := use_reservation(journal, call)) is not None:
        return wait if wait <= SHORT_WAIT else Blocked(name, keys, due_at=due_at(wait))
    if (reservation := reserve(journal, call)) is None:
        return Release()
    wait, changed_at = reservation
    return wait if wait <= SHORT_WAIT else Blocked(name, keys, changed_at, is_new=True, due_at=due_at(wait))


def due_at(wait: timedelta) -> float:
    """When a wait that begins now is over, by this process's monotonic clock."""
    return time.monotonic() + wait.total_seconds()


def reserve(journal: Journal, call: Call) -> tuple[timedelta, datetime | None] | None:
    """Reserve the next free time: the wait for it, and when the rate was last changed. None when the lease is gone."""
    while rows := journal.write(sql.RESERVE_STEP, parameters(journal, call)):
        allowed_at, now, changed_at, is_known = rows[0]
        if is_known:
            return max(allowed_at - now, timedelta(0)), changed_at
        # No row yet: a new deploy, or an emptied test database.
        sync_rate(call.step.rate_name, registry.rate(call.step.rate_name))
    return None


def use_reservation(journal: Journal, call: Call) -> timedelta | None:
    """How long a step whose time has come waits for the steps before it; None when it has to reserve again."""
    return first_wait(journal.write(sql.PASS_STEP, parameters(journal, call)))


def admit_task(journal: Journal, rate: str, *, is_keyed: bool) -> timedelta | None:
    """How long a task with a reserved start waits before it begins; None when it has to reserve again.

    A child that runs in its parent's slot was not admitted by a claim: it reserves its start here.
    """
    use = journal.lease.concurrency_key if is_keyed else ""
    values = {"rate": rate, "use": use, "brief": SHORT_WAIT}
    rows = journal.write(sql.START_TASK, values)
    if rows and rows[0][2]:
        rows = journal.write(sql.START_CHILD, values)
    return first_wait(rows)


def first_wait(rows: list[tuple[datetime, ...]]) -> timedelta | None:
    return max(rows[0][0] - rows[0][1], timedelta(0)) if rows else None


def block(journal: Journal, call: Call, error: RetryAfter) -> None:
    journal.session.mend()
    secrets = secrets_at(journal, call.step, call.arguments)
    reason = codec.printable(masks.hidden(f"{call.step.name}: {error}", secrets))[:300]
    values = {"rate": call.step.rate_name, "use": bucket_key(journal, call)}
    journal.write(sql.BLOCK_RATE, {**values, "delay": error.delay, "reason": reason})


def parameters(journal: Journal, call: Call) -> dict[str, object]:
    return {
        "rate": call.step.rate_name,
        "use": bucket_key(journal, call),
        "key": call.key,
        "name": call.step.name,
        "input": call.arguments,
        "input_hash": codec.fingerprint_of(call.arguments or ""),
        "brief": SHORT_WAIT,
    }


def bucket_key(journal: Journal, call: Call) -> str:
    """The value of the rate limit's key for a call."""
    template = registry.rate(call.step.rate_name).template
    return template.render(codec.read(call.arguments or "null"), journal.lease.labels) if template is not None else ""
