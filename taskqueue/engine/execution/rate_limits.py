"""Rates: a step is given a time, over all workers, and waits for it without a worker, or beside steps that execute."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from taskqueue import codec, masks
from taskqueue.definitions import StepDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.catalog.sync import sync_rate
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.secrets import secrets_at
from taskqueue.engine.runtime.outcomes import Blocked, Release
from taskqueue.errors import RetryAfter

BRIEF = timedelta(milliseconds=20)
"""So short a wait costs less in the worker than to give it back."""

SOON = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A step that wants to be called."""

    step: StepDefinition
    key: str
    """The step's."""
    arguments: str
    """As JSON."""
    has_waited: bool = False
    """Whether this execution has waited for the time that it was given."""


@dataclass(frozen=True)
class Given:
    """The time that a rate gives: so long from now."""

    wait: timedelta
    rate_changed_at: datetime | None = None


def turn_of(journal: Journal, request: Request) -> timedelta | Blocked | Release:
    """How long the worker has to wait before it calls the step: next to nothing, else the task waits.

    A step that was given its time before does not pay again, unless the rate is held or the one before it came late.
    """
    entry = journal.entries.get(request.key)
    name, keys = request.step.rate_name, (request.key,)
    if entry is not None and entry.is_held_back and not entry.is_due and not request.has_waited:
        return Blocked(name, keys, comes_at=entry.comes_at)
    has_time = request.has_waited or (entry is not None and entry.is_held_back)
    if has_time and (wait := take_up(journal, request)) is not None:
        return wait if wait <= BRIEF else Blocked(name, keys, comes_at=comes_at(wait))
    given = reserve(journal, request)
    if given is None:
        return Release()
    if given.wait > BRIEF:
        return Blocked(name, keys, given.rate_changed_at, is_new=True, comes_at=comes_at(given.wait))
    return given.wait


def comes_at(wait: timedelta) -> float:
    """When a wait that begins now is over, by this process's monotonic clock."""
    return time.monotonic() + wait.total_seconds()


def reserve(journal: Journal, request: Request) -> Given | None:
    """Give the step the next free time; one that lies ahead is recorded. None when the lease is gone."""
    while True:
        rows = journal.write(sql.RESERVE, parameters(journal, request))
        if not rows:
            return None
        allowed_at, now, changed_at, is_known = rows[0]
        if is_known:
            return Given(max(allowed_at - now, SOON), changed_at)
        # Not mirrored yet: a new deploy, or an emptied test database.
        sync_rate(request.step.rate_name, registry.rate(request.step.rate_name))


def take_up(journal: Journal, request: Request) -> timedelta | None:
    """How long a step whose time has come has to wait for those before it; None when it has to ask for a new one."""
    rows = journal.write(sql.PASS, parameters(journal, request))
    return max(rows[0][0] - rows[0][1], SOON) if rows else None


def start(journal: Journal, rate: str, *, is_keyed: bool) -> timedelta | None:
    """Let a task begin whose gate has given it a time; None when it has to wait for another one.

    A child under its parent's place did not come through the gate: it is given its time here.
    """
    use = journal.lease.concurrency_key if is_keyed else ""
    values = {"rate": rate, "use": use, "brief": BRIEF}
    rows = journal.write(sql.START, values)
    if rows and rows[0][2]:
        rows = journal.write(sql.START_CHILD, values)
    return max(rows[0][0] - rows[0][1], SOON) if rows else None


def hold(journal: Journal, request: Request, error: RetryAfter) -> None:
    """Let nobody pass before the time that a step has asked for."""
    journal.session.mend()
    values = {"rate": request.step.rate_name, "use": use_of(journal, request)}
    secrets = secrets_at(journal, request.step, request.arguments)
    reason = codec.printable(masks.hidden(f"{request.step.name}: {error}", secrets))[:300]
    journal.write(sql.HOLD_RATE, {**values, "delay": error.delay, "reason": reason})


def parameters(journal: Journal, request: Request) -> dict[str, object]:
    """The parameters of a request; the journal adds the lease."""
    return {
        "rate": request.step.rate_name,
        "use": use_of(journal, request),
        "key": request.key,
        "name": request.step.name,
        "input": request.arguments,
        "input_hash": codec.fingerprint_of(request.arguments),
        "brief": BRIEF,
    }


def use_of(journal: Journal, request: Request) -> str:
    """The value of the rate's key for a call."""
    template = registry.rate(request.step.rate_name).template
    return template.render(codec.read(request.arguments), journal.lease.labels) if template is not None else ""
