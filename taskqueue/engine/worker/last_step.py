"""Keep the checkpoint of a last step, which is written with the end of its task, when that end cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import Error

from taskqueue.engine import sql
from taskqueue.engine.runtime.author_session import AuthorSession
from taskqueue.engine.runtime.database_errors import is_refusal
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import DatabaseLost, Outcome, Succeeded


@contextmanager
def last_step_kept(lease: Lease, outcome: Outcome) -> Iterator[None]:
    """Record the last step alone if writing the outcome fails: on a new connection if that one is lost.

    Raises:
        django.db.Error: the database refuses the end of the task.
        DatabaseLost: whether the end was written is unknown.
    """
    try:
        yield
    except Error as error:
        if not isinstance(outcome, Succeeded) or outcome.last_step is None:
            raise
        with suppress(Error):
            AuthorSession().mend()
            sql.fetch(sql.CHECKPOINT, {**outcome.last_step, **lease.fence})
        if is_refusal(error):
            raise
        raise DatabaseLost(error, step=outcome.last_step["key"]) from error
