"""What an awake worker process does: claim and execute tasks in its threads until nothing is due."""

from __future__ import annotations

import signal

from taskqueue.pool.threads.worker_threads import worker_threads


def run_claimed_tasks() -> None:
    """Execute what is due until nothing is left, or WORKER_LOOP_TIME is over. Raises nothing.

    The notifier's wake-up messages name this function. `async_task("taskqueue.pool.claimed_tasks.run_claimed_tasks")`
    on any django-q2 broker has the same effect.
    """
    # django-q2 arms an alarm for its own timeout. The timeouts of steps belong to the engine.
    signal.alarm(0)
    worker_threads.run_until_idle()
