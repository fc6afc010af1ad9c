"""Deploy check: replay unfinished tasks with the present code. No step is executed, and nothing is written.

The body of each task runs as a worker would run it, with the results that its steps have recorded, up to its first call
that is not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

from django.db import connection, transaction

from taskqueue.definitions import registry
from taskqueue.engine.execution.activity import Activity
from taskqueue.engine.execution.journal import Journal, read_entries
from taskqueue.engine.execution.run import run_task
from taskqueue.engine.execution.state import Execution
from taskqueue.engine.runtime.failures import message_of
from taskqueue.engine.runtime.lease import Lease
from taskqueue.engine.runtime.outcomes import Failed, Outcome, Release, RetryLater, Succeeded, Suspended
from taskqueue.errors import Drift, OutputChanged, UnknownPipeline
from taskqueue.json_values import codec
from taskqueue.models import Task
from taskqueue.states import LIVE, DriftKind

Kind = Literal["pipeline", "payload", "output", "body", "arguments", "unused", "unreached", "version"]

BATCH: Final = 100
"""Tasks that one transaction reads."""

MESSAGE_MAX_LENGTH: Final = 2_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that would happen to a task with the present code."""

    task: UUID
    pipeline: str
    kind: Kind
    key: str
    breaks: bool
    """Whether the task would fail or wait for ever; if not, this is a warning."""
    message: str


Progress = Callable[[int, int], None]
"""Called with the number of tasks that are checked, and of all."""


def replay_live(*, pipeline: str = "", limit: int | None = None, on_progress: Progress) -> Iterator[Finding]:
    """Replay every unfinished task, oldest first.

    Args:
        pipeline: only this one's tasks.
        limit: at most this many tasks.
        on_progress: called before each batch and at the end.
    """
    live = Task.objects.filter(status__in=LIVE, **({"pipeline": pipeline} if pipeline else {})).order_by("pk")
    with read_only():
        chosen = list(live.values_list("pk", flat=True)[:limit])
    for start in range(0, len(chosen), BATCH):
        on_progress(start, len(chosen))
        with read_only():
            found = [each for lease in leases_of(chosen[start : start + BATCH]) for each in findings_of(lease)]
        yield from found
    on_progress(len(chosen), len(chosen))


@contextmanager
def read_only() -> Iterator[None]:
    """A transaction in which PostgreSQL refuses writes, and which is rolled back."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
        yield
        transaction.set_rollback(True)


def leases_of(chosen: Sequence[UUID]) -> list[Lease]:
    """Leases of the tasks that are still unfinished, as their next executions would get them."""
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
    outcome = replay(execution)
    yield from drift_findings(execution, outcome)
    if (broken := body_finding(lease, outcome)) is not None:
        yield broken


class RecordedJournal(Journal):
    """A journal that suspends the body at its first write: the call is not recorded."""

    def write(self, statement: LiteralString, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        raise Suspended(Release())


def replay(execution: Execution) -> Outcome:
    """Call the body until it ends, or makes a call that is not recorded.

    In a savepoint: a body that queries the database itself may leave an error behind.
    """
    execution.journal.session.in_transaction = True
    with transaction.atomic():
        outcome = run_task(execution)
        transaction.set_rollback(True)
    return execution.suspended or outcome


def body_finding(lease: Lease, outcome: Outcome) -> Finding | None:
    """How the body fails before it comes to a new call; drift has findings of its own."""
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


def drift_findings(execution: Execution, outcome: Outcome) -> Iterator[Finding]:
    """The drift that the replay has found, and the recorded steps that the body has not requested by its end."""
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
    # The first new call cuts short everything that an async body gathers.
    if remaining and not has_ended and not is_async and not isinstance(outcome, RetryLater | Failed):
        message = "not requested before the first new call: replayed if the body requests it later, else ignored"
        yield finding(lease, "unreached", key=", ".join(sorted(remaining)), breaks=False, message=message)


def finding(lease: Lease, kind: Kind, *, breaks: bool, message: str, key: str = "") -> Finding:
    return Finding(
        task=lease.task,
        pipeline=lease.pipeline,
        kind=kind,
        key=key,
        breaks=breaks,
        message=message[:MESSAGE_MAX_LENGTH],
    )
