"""What the author's handle, the caller of steps and the recorder share of one execution."""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta
from typing import Final

from taskqueue import context
from taskqueue.definitions import KEY_MAX_LENGTH, StepDefinition
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.drift import Drift
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.runtime.outcomes import Blocked, EarlyOutcome, Move, Release, Suspended
from taskqueue.engine.runtime.taken_queues import taken_queues
from taskqueue.errors import InvalidContext

VAIN_MOVE_WAIT: Final = timedelta(seconds=1)


class Execution:
    """One run of a task in one worker, from the claim until the body returns, fails or suspends.

    Attributes:
        pid: the process that runs it; a child that author code forks has another one.
        keys: the keys of the steps that the body has requested so far.
        suspended: why the task suspends, once a step has found a reason.
        queues: the queues that the worker takes.
        has_called_step: whether the body has called a step that is not recorded.
    """

    def __init__(self, journal: Journal, activity: Activity, stopping: context.ShouldStop) -> None:
        self.journal = journal
        self.lease = journal.lease
        self.activity = activity
        self.stopping = stopping
        self.pid = os.getpid()
        self.drift = Drift(journal)
        self.keys: set[str] = set()
        self.suspended: EarlyOutcome | None = None
        self.queues = taken_queues()
        self.has_called_step = False
        self._calls: Counter[str] = Counter()

    @property
    def should_stop(self) -> bool:
        """Whether the worker is stopping, or the pipeline was paused at the last checkpoint."""
        return self.stopping() or self.journal.is_paused

    def check(self) -> None:
        """Refuse every further call once the database is lost or the task suspends.

        Raises:
            DatabaseLost, Suspended
        """
        self.journal.check()
        if not self.journal.write_held():
            raise self.suspend(Release())
        if self.suspended is not None:
            raise Suspended(self.suspended)

    def suspend(self, outcome: EarlyOutcome) -> Suspended:
        """Note that the task suspends, and make the exception that unwinds its body."""
        if isinstance(self.suspended, Blocked) and isinstance(outcome, Blocked):
            self.suspended = self.suspended.merge(outcome)
        if self.suspended is None or isinstance(self.suspended, Move):
            self.suspended = outcome
        return Suspended(self.suspended)

    def move_for(self, step: StepDefinition) -> Move | None:
        """The move to the queue of a step that is about to be called; None if this worker takes that queue."""
        queue = step.queue or self.lease.pipeline_queue
        if not queue or self.queues.takes(queue):
            self.has_called_step = True
            return None
        # A worker of a step's queue calls a step before it moves the task again, unless its code is another one than
        # that of the worker that has moved it there: then both would move the task to each other at once, for ever.
        is_in_vain = self.lease.queue != self.lease.pipeline_queue and not self.has_called_step
        return Move(step.queue, wait=VAIN_MOVE_WAIT if is_in_vain else timedelta(0))

    def step_key(self, name: str, explicit_key: str) -> str:
        """The key of the next call of a step: `.named()`'s, else its name, then name#2 and so on in the order of calls.

        Raises:
            InvalidContext: the key is taken, or a step's row cannot hold it.
        """
        key = explicit_key
        if not key:
            self._calls[name] += 1
            key = name if self._calls[name] == 1 else f"{name}#{self._calls[name]}"
        if not 0 < len(key) <= KEY_MAX_LENGTH or not key.isprintable():
            raise InvalidContext(f"A step's key has 1 to {KEY_MAX_LENGTH} printable characters, not {key!r}.")
        if key in self.keys:
            raise InvalidContext(f"Two steps of this task are named {key!r}. Give each call its own name.")
        self.keys.add(key)
        return key
