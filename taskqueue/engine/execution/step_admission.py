"""Admission of a step: before it is called it acquires a concurrency slot and a time from its rate limit."""

from __future__ import annotations

from datetime import timedelta

from taskqueue.definitions import StepDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.execution import rate_limits, slots
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.replay import Call
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import POLL_INTERVAL, notify_now
from taskqueue.engine.runtime.outcomes import STEP_LIMIT, Blocked, Release
from taskqueue.errors import RetryAfter


class AdmissionControl:
    """The slots and reserved times of one execution's steps."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.slots_held: set[str] = set()
        self._reserved: set[str] = set()
        lease = journal.lease
        self._steps_limited = lease.steps_limited or bool(registry.get(lease.pipeline).policies.step_concurrency)

    def applies_to(self, step: StepDefinition) -> bool:
        return self._steps_limited or bool(step.rate)

    def acquire(self, call: Call) -> timedelta | Blocked | Release:
        """Acquire what the step needs.

        An async step that has waited for its reserved time acquires again, in one execution.

        Returns:
            How long the worker waits before it calls the step, or what the task suspends with.
        """
        if self._steps_limited:
            match slots.acquire(self.journal, call.key):
                case True:
                    self.slots_held.add(call.key)
                case False:
                    return Blocked(STEP_LIMIT)
                case None:
                    return Release()
        if not call.step.rate:
            return timedelta(0)
        admission = rate_limits.acquire(self.journal, call, has_waited=call.key in self._reserved)
        if not isinstance(admission, timedelta):
            self._reserved.add(call.key)
            self.release(call.key)
        return admission

    def release(self, key: str) -> None:
        """Release the slot of a step, if it holds one. A dead worker's slots do not count."""
        if key in self.slots_held:
            self.slots_held.discard(key)
            slots.release(self.journal, key)

    def on_error(self, call: Call, error: BaseException) -> None:
        """Block the step's rate limit for all its users, if the error asks for that."""
        if call.step.rate and isinstance(error, RetryAfter) and error.hold and call.arguments is not None:
            rate_limits.block(self.journal, call, error)


def wait_for_throttle(journal: Journal) -> timedelta | None:
    """How long a task waits before it begins its body under its pipeline's throttle; None when it may not begin now.

    A task that has begun before waits no more.
    """
    definition = registry.get(journal.lease.pipeline)
    throttle = definition.policies.throttle
    if throttle is None or journal.entries:
        return timedelta(0)
    return rate_limits.admit_task(journal, definition.throttle_name, is_keyed=throttle.template is not None)


def block_task(lease: Lease, outcome: Blocked) -> None:
    """Set the task to wait for a slot or a time. Nothing is written when the lease is gone."""
    values = {"keys": list(outcome.keys), "blocked_on": outcome.blocked_on, "wait": outcome.wait}
    changed = {"changed_at": outcome.rate_changed_at, "is_new": outcome.is_new}
    rows = sql.fetch(sql.BLOCK_TASK, {**values, **changed, **lease.fence})
    if not outcome.keys and slots.grant(lease.pipeline):
        notify_now()  # a slot was released after the step's request, before this row showed that the task waits
    elif any(due_in is not None and due_in < POLL_INTERVAL for (due_in,) in rows):
        notify_now()  # the notifier then looks when the time comes, and not only at its next regular look
