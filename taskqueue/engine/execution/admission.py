"""Turns: what a step needs before it is really called, besides a worker: a free place, and the time of its rate."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta

from taskqueue.definitions import StepDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.execution import rate_limits, slots
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.notify import LOOK_EVERY, ring
from taskqueue.engine.runtime.outcomes import STEP_LIMIT, Blocked, Release
from taskqueue.errors import RetryAfter

Turn = timedelta | Blocked | Release


@dataclass
class AdmissionControl:
    """The turns of one execution's steps."""

    journal: Journal
    taken: set[str] = field(default_factory=set)
    """The steps that hold a place."""
    timed: set[str] = field(default_factory=set)
    """The steps that their rate has given a time which was ahead."""
    limited: bool = field(init=False)
    """Whether the pipeline's steps need places."""

    def __post_init__(self) -> None:
        """See what the code or a person has said."""
        lease = self.journal.lease
        self.limited = lease.steps_limited or bool(registry.get(lease.pipeline).policies.step_concurrency)

    def may_begin(self) -> bool:
        """Whether the task may begin its body: its throttle lets it, if it has one and it did not begin before."""
        definition = registry.get(self.journal.lease.pipeline)
        throttle = definition.policies.throttle
        if throttle is None or self.journal.entries:
            return True
        wait = rate_limits.start(self.journal, definition.throttle_name, is_keyed=throttle.template is not None)
        time.sleep(wait.total_seconds() if wait is not None else 0)
        return wait is not None

    def concern(self, step: StepDefinition) -> bool:
        """Whether a step needs one at all."""
        return self.limited or bool(step.rate)

    def take(self, step: StepDefinition, key: str, arguments: str) -> Turn:
        """Take one; how long the worker has to wait before it calls the step, or what the task pauses with.

        An async step that has waited for the time which it was given takes its turn again, in the same execution.
        """
        if self.limited:
            match slots.take(self.journal, key):
                case True:
                    self.taken.add(key)
                case False:
                    return Blocked(STEP_LIMIT)
                case None:
                    return Release()
        if not step.rate:
            return timedelta(0)
        request = rate_limits.Request(step=step, key=key, arguments=arguments, has_waited=key in self.timed)
        turn: Turn = rate_limits.turn_of(self.journal, request)
        if not isinstance(turn, timedelta):
            self.timed.add(key)
            self.leave(key)
        return turn

    def leave(self, key: str) -> None:
        """Give back the place that a step held. It is void by itself when the worker dies before."""
        if key in self.taken:
            self.taken.discard(key)
            slots.free(self.journal, key)

    def heed(self, step: StepDefinition, key: str, arguments: str | None, error: BaseException) -> None:
        """Hold the step's rate for all its users, if its error asks for that."""
        if step.rate and isinstance(error, RetryAfter) and error.hold and arguments is not None:
            rate_limits.hold(self.journal, rate_limits.Request(step=step, key=key, arguments=arguments), error)


def hold_back(lease: Lease, outcome: Blocked) -> None:
    """Let the task wait for its turn. Nothing is written when the lease is gone."""
    values = {"keys": list(outcome.keys), "blocked_on": outcome.blocked_on, "wait": outcome.wait}
    changed = {"changed_at": outcome.rate_changed_at, "is_new": outcome.is_new}
    rows = sql.fetch(sql.HOLD_BACK, {**values, **changed, **lease.fence})
    if not outcome.keys and slots.grant(lease.pipeline):
        ring()  # a place became free between the look for one and the wait, and nobody saw this task
    elif any(due_in is not None and due_in < LOOK_EVERY for (due_in,) in rows):
        ring()  # the doorbell looks when the time comes, and not only when it would have looked without this task
