"""Replay: what the present code would make of tasks that are under way. Nothing is executed, nothing is written.

The body of each is called with what its steps have recorded, by the same execution with which a worker would do it, and
is stopped at the first call that is not recorded.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

from django.db import connection, transaction

from taskqueue import codec
from taskqueue.definitions import registry
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.journal import Journal, read_entries
from taskqueue.engine.execution.run import Execution
from taskqueue.engine.runtime.failures import message_of
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Failed, Outcome, Release, RetryLater, Succeeded, Suspended
from taskqueue.errors import Drift, OutputChanged, UnknownPipeline
from taskqueue.models import Task
from taskqueue.states import LIVE, DriftKind

Kind = Literal["pipeline", "payload", "output", "body", "arguments", "unused", "unreached", "version"]

BATCH: Final = 100
"""Tasks that are read in one transaction."""

SHOWN: Final = 2_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that the present code would make of a task."""

    task: UUID
    pipeline: str
    kind: Kind
    key: str
    breaks: bool
    """Whether the task would fail, or wait for ever; else it is a warning."""
    message: str


Watch = Callable[[int, int], None]
"""Told how many tasks have been looked at, and of how many."""


def replay_live(*, pipeline: str = "", limit: int | None = None, watch: Watch) -> Iterator[Finding]:
    """Replay every task that has not ended, oldest first.

    Args:
        pipeline: of this one alone.
        limit: at most so many.
        watch: told of the progress.
    """
    live = Task.objects.filter(status__in=LIVE, **({"pipeline": pipeline} if pipeline else {})).order_by("pk")
    with read_only():
        chosen = list(live.values_list("pk", flat=True)[:limit])
    for start in range(0, len(chosen), BATCH):
        watch(start, len(chosen))
        with read_only():
            leases = leases_of(chosen[start : start + BATCH])
            found = [each for lease in leases for each in findings_of(lease)]
        yield from found
    watch(len(chosen), len(chosen))


@contextmanager
def read_only() -> Iterator[None]:
    """A transaction in which PostgreSQL refuses to write, and which is rolled back."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        yield
        transaction.set_rollback(True)


def leases_of(chosen: Sequence[UUID]) -> list[Lease]:
    """The tasks that have still not ended, as their next executions would see them."""
    return [
        Lease(
            task=task.pk,
            worker=0,
            number=task.lease + 1,
            pipeline=task.pipeline_id,
            payload=codec.write(task.payload),
            labels=task.labels,
            key=task.key,
            failures=task.failures,
            version=task.version,
            parallel_step=task.parallel_step,
            depth=task.depth,
            concurrency_key=task.concurrency_key,
        )
        for task in Task.objects.filter(pk__in=chosen, finished_at=None).order_by("pk")
    ]


def findings_of(lease: Lease) -> Iterator[Finding]:
    """Replay one task and tell what came of it."""
    try:
        if lease.parallel_step:
            registry.step(lease.parallel_step)
            return
        definition = registry.get(lease.pipeline).body_for(lease.version)
    except UnknownPipeline as error:
        yield finding(lease, "pipeline", breaks=True, message=str(error))
        return
    try:
        definition.payload.unpack(lease.payload)
    except Exception as error:  # noqa: BLE001 - validators are author code
        yield finding(lease, "payload", breaks=True, message=message_of(error))
        return
    execution = Execution(RecordedJournal(lease, read_entries(lease)), Activity(), stopping=lambda: True)
    outcome = run(execution)
    yield from disagreements(execution, outcome)
    if (broken := trouble(lease, outcome)) is not None:
        yield broken


class RecordedJournal(Journal):
    """A journal to which nothing can be added: who tries to has come to new work."""

    def write(self, statement: LiteralString, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        raise Suspended(Release())


def run(execution: Execution) -> Outcome:
    """Call the body until it ends, or asks for something that is not recorded.

    In a savepoint: a body that asks the database itself may leave an error behind.
    """
    execution.journal.session.in_transaction = True
    with transaction.atomic():
        outcome = contextvars.Context().run(execution.run)
        transaction.set_rollback(True)
    return execution.suspended or outcome


def trouble(lease: Lease, outcome: Outcome) -> Finding | None:
    """How the body broke before it came to new work, but for drift."""
    match outcome:
        case RetryLater(failed):
            error_type, message = failed.error_type, failed.message
        case Failed(_, error_type, message) if error_type != Drift.__name__:
            pass
        case _:
            return None
    if error_type == OutputChanged.__name__:
        return finding(lease, "output", breaks=True, message=message)
    return finding(lease, "body", breaks=True, message=f"{error_type}: {message}")


def disagreements(execution: Execution, outcome: Outcome) -> Iterator[Finding]:
    """The drift that was found on the way, and what was not asked for by the end of the replay."""
    lease, drift = execution.lease, execution.drift
    remaining = drift.recorded - execution.keys
    has_ended = isinstance(outcome, Succeeded)
    for note in drift.notes(remaining if has_ended else ()):
        yield finding(
            lease,
            DriftKind(note["kind"] or "").value,
            key=note["key"] or "",
            breaks=drift.is_strict and note["kind"] != DriftKind.VERSION,
            message=f"recorded {note['recorded'] or 'none'}, now {note['now'] or 'none'}",
        )
    is_async = drift.definition is not None and drift.definition.is_async
    # What an async body gathers is cut short by the first of it that is new.
    if remaining and not has_ended and not is_async and not isinstance(outcome, RetryLater | Failed):
        message = "not asked for before new work: recalled if the body asks later, else ignored"
        yield finding(lease, "unreached", key=", ".join(sorted(remaining)), breaks=False, message=message)


def finding(lease: Lease, kind: Kind, *, breaks: bool, message: str, key: str = "") -> Finding:
    """Something that was found of a task."""
    return Finding(task=lease.task, pipeline=lease.pipeline, kind=kind, key=key, breaks=breaks, message=message[:SHOWN])
