"""Cron: enqueue the scheduled runs of pipelines, each run at most once over all processes.

The schedule's row is the lock. Under it the due runs are enqueued and the next time is written, in one transaction: a
crash leaves the schedule due, and a second process finds the next time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from taskqueue.conf import settings
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.access.actor import Actor
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Origin
from taskqueue.engine.runtime.failures import is_author_error, message_of
from taskqueue.errors import FieldError, InvalidPayload, TaskqueueError
from taskqueue.json_values.codec import within
from taskqueue.models import Schedule, Skip, Task
from taskqueue.policies import Cron
from taskqueue.states import SkipKind, TaskStatus

GRACE: Final = timedelta(seconds=60)
"""How late a run may be that misfire="skip" still enqueues."""

RUNS_PER_TRANSACTION: Final = 100
TRANSACTIONS_PER_SWEEP: Final = 20
"""A year of minutes must not keep the dispatcher from its other work; the next sweep goes on."""

MISSED_COUNT_CAP: Final = 1000
"""More missed runs than these are not counted."""

MICROSECOND: Final = timedelta(microseconds=1)


def enqueue_due() -> int:
    """Enqueue the due runs of this process's pipelines; how many tasks are queued."""
    usable = [definition.name for definition in registry.all() if definition.policies.cron is not None]
    queued = 0
    for _ in range(TRANSACTIONS_PER_SWEEP if usable else 0):
        with transaction.atomic():
            rows = sql.fetch(sql.NEXT_SCHEDULE, {"pipelines": usable})
            if not rows:
                break
            try:
                queued += enqueue_runs(DueSchedule.of(rows[0]))
            except ValueError:
                # Such as a timezone that this machine does not know: another machine may, and other schedules go on.
                usable.remove(rows[0][0])
    return queued


@dataclass(frozen=True, kw_only=True)
class DueSchedule:
    """A schedule that is due, with its row locked.

    Attributes:
        pipeline: its pipeline.
        cron: as the row has it; the newest deployed code may differ from this process's.
        next_at: the time of its next run.
        now: the database's time.
        pause: who paused the pipeline, and why; empty when it is not paused.
    """

    pipeline: str
    cron: Cron
    next_at: datetime
    now: datetime
    pause: str

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> DueSchedule:
        """From a row of NEXT_SCHEDULE.

        Raises:
            ValueError: this machine does not know the timezone.
        """
        pipeline, expression, timezone, misfire, next_at, now, pause = row
        cron = Cron(expression, timezone=timezone, misfire=misfire)
        return cls(pipeline=pipeline, cron=cron, next_at=next_at, now=now, pause=pause)

    @property
    def runs(self) -> list[datetime]:
        """The runs to enqueue now."""
        if self.pause:
            return []
        return self.cron.due(self.next_at - MICROSECOND, self.now, grace=GRACE)[:RUNS_PER_TRANSACTION]


def enqueue_runs(schedule: DueSchedule) -> int:
    """Enqueue the runs of one schedule and write its next time; how many tasks are queued."""
    runs = schedule.runs
    # With misfire="all" there may be more runs than fit into one transaction: the schedule stays due.
    until = runs[-1] if runs and schedule.cron.misfire == "all" else schedule.now
    record_missed(schedule, until, runs)
    definition = registry.get(schedule.pipeline)
    queued = sum(enqueue_run(definition, run) for run in runs)
    changed: dict[str, Any] = {"next_at": schedule.cron.next_after(until)}
    if runs:
        changed["last_at"] = runs[-1]
    Schedule.objects.filter(pipeline=schedule.pipeline).update(**changed)
    return queued


def enqueue_run(definition: PipelineDefinition, run: datetime) -> bool:
    """Enqueue one run; whether its task is queued."""
    try:
        payload = default_payload(definition)
    except BaseException as error:
        if not is_author_error(error):
            raise
        skip(definition.name, SkipKind.INVALID, f"The run of {run:%Y-%m-%d %H:%M} UTC: {message_of(error)}")
        return False
    task = insert(definition, payload, origin=Origin(cron_at=run))
    return task.status == TaskStatus.QUEUED and not task.duplicate


def run_now(schedule: Schedule, *, actor: Actor) -> Task:
    """Submit a task as the schedule would, without changing when its next run is due.

    Raises:
        UnknownPipeline, TooLarge
        InvalidPayload: the defaults of its parameters do not fit.
    """
    definition = registry.get(schedule.pipeline_id)
    with transaction.atomic():
        try:
            payload = default_payload(definition)
        except TaskqueueError:
            raise
        except BaseException as error:
            if not is_author_error(error):
                raise
            detail = f"The defaults of its parameters do not fit: {message_of(error)}"
            raise InvalidPayload(detail, [FieldError("", detail)]) from error
        task = insert(definition, payload)
        if not task.duplicate:
            actor.record(schedule, f"Ran now as {task.pk}.")
            actor.record(task, "Submitted from its schedule.", added=True)
    return task


def default_payload(definition: PipelineDefinition) -> str:
    """The defaults of a pipeline's parameters. They were valid at the import, but a default factory may fail now.

    Raises:
        BaseException: they do not fit. Other schedules must go on.
    """
    with transaction.atomic():
        payload = definition.payload.pack((), {})
    limit = settings().PAYLOAD_MAX_BYTES
    return within(payload, limit=limit, what="The payload", setting="PAYLOAD_MAX_BYTES")


def record_missed(schedule: DueSchedule, until: datetime, runs: list[datetime]) -> None:
    """Record all runs that are not enqueued in one row of skips."""
    all_runs = schedule.cron.times_between(schedule.next_at - MICROSECOND, until, limit=MISSED_COUNT_CAP + 1)
    missed = [run for run in all_runs if run not in set(runs)]
    if not missed:
        return
    if len(missed) == 1:
        which = f"The run of {missed[0]:%Y-%m-%d %H:%M} UTC"
    else:
        number = f"More than {MISSED_COUNT_CAP:,}" if len(all_runs) > MISSED_COUNT_CAP else f"{len(missed):,}"
        which = f"{number} runs from {missed[0]:%Y-%m-%d %H:%M} UTC on"
    if schedule.pause:
        skip(schedule.pipeline, SkipKind.PAUSED, f"{which} came while the pipeline was paused: {schedule.pause}")
    else:
        skip(schedule.pipeline, SkipKind.MISFIRE, f'{which} came too late, and misfire is "{schedule.cron.misfire}".')


def skip(pipeline: str, kind: SkipKind, reason: str) -> None:
    Skip.objects.create(pipeline_id=pipeline, kind=kind, reason=reason[:500])
