"""What an atomic step has left to `on_commit`, called after the step's transaction is committed."""

from __future__ import annotations

import os
from collections.abc import Callable

from taskqueue.engine.execution.forks import end_strays
from taskqueue.engine.execution.journal import Journal
from taskqueue.engine.execution.replay import Call
from taskqueue.engine.runtime.failures import describe, is_of_the_author


def run_hooks(journal: Journal, call: Call, secrets_of: Callable[[Call], list[str]]) -> None:
    """Call each hook by itself. The step is done, whatever they raise: an error is recorded beside it.

    Args:
        journal: of the task.
        call: the step's call.
        secrets_of: the values that a recorded error must not show.
    """
    pid = os.getpid()
    for hook in journal.session.take_hooks():
        try:
            hook()
        except BaseException as error:
            end_strays(pid)
            if not is_of_the_author(error):
                raise
            failed = describe(error, elapsed=call.elapsed, key=call.key, name=call.step.name, secrets=secrets_of(call))
            journal.record_failed_hook(failed)
        journal.session.mend()
