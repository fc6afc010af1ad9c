"""What a woken worker process does: claim and execute tasks in its threads until nothing is due."""

from __future__ import annotations

import queue
import signal
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from django.utils import timezone

from taskqueue.pool.shared_memory import Bell
from taskqueue.pool.threads.worker_threads import worker_threads

A_YEAR = 365 * 24 * 3600
CONTENDED_WAIT = 0.01
"""Seconds that a process waits for a message that another process may have taken."""


def run_claimed_tasks() -> None:
    """Execute what is due until nothing is left, or WORKER_LOOP_TIME is over. Raises nothing.

    Wake-ups name this function. `async_task("taskqueue.pool.claimed_tasks.run_claimed_tasks")` on any django-q2 broker
    has the same effect.
    """
    # django-q2 arms an alarm for its own timeout. The timeouts of steps belong to the engine.
    signal.alarm(0)
    worker_threads.run_until_idle()


def wakeup() -> dict[str, Any]:
    """A message of django-q2 that wakes a worker. Its timeout keeps django-q2 from treating the worker as idle."""
    return {
        "id": "0" * 32,
        "name": "wake-up",
        "func": f"{run_claimed_tasks.__module__}.{run_claimed_tasks.__name__}",
        "args": (),
        "kwargs": {},
        "save": False,
        "timeout": A_YEAR,
        "started": timezone.now(),  # noqa: TID251 - only a failed wake-up would be stored, by django-q2's clock
        "ack_id": None,
    }


class Messages:
    """What an idle worker process waits for: a ring of its bell, or an ordinary message of django-q2.

    A ring is one write to a pipe. A message through the queue takes a thread, a signature and two locks: a millisecond.
    A ring becomes a message here, so that what django-q2 does for messages holds for it too: `recycle`, `max_rss`.

    Args:
        messages: django-q2's queue.
        bell: of this process.
    """

    def __init__(self, messages: Any, bell: Bell) -> None:
        self._messages, self._bell = messages, bell
        self._was_woken = False

    def get(self) -> Any:
        """Wait for the next message, as django-q2's worker calls it. After a ring an ordinary message comes first."""
        while True:
            ready = wait([self._bell.reading, self._messages._reader])
            if self._messages._reader in ready and (self._was_woken or self._bell.reading not in ready):
                self._was_woken = False
                with suppress(queue.Empty):  # another process was faster
                    return self._messages.get(timeout=CONTENDED_WAIT)
            elif self._bell.take():
                self._was_woken = True
                return wakeup()
