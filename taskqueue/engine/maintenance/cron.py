"""The clock: ticks of schedules become tasks, each tick at most once over all processes.

The schedule's row is the lock. Under it the tasks of the ticks that have come are made and the next time is written, in
one transaction: whoever dies in the middle has taken nothing, and who comes later finds the next time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from taskqueue.codec import within
from taskqueue.conf import settings
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine import sql
from taskqueue.engine.enqueue.enqueue import insert
from taskqueue.engine.enqueue.options import Origin
from taskqueue.engine.runtime.failures import is_of_the_author, message_of
from taskqueue.errors import FieldError, InvalidPayload, TaskqueueError
from taskqueue.models import Schedule, Skip, Task
from taskqueue.policies import Cron
from taskqueue.states import SkipKind, TaskStatus

GRACE: Final = timedelta(seconds=60)
"""How late a tick may be that misfire="skip" still runs."""

AT_ONCE: Final = 100
"""Ticks taken in one transaction."""

TURNS: Final = 20
"""Transactions in one go: a year of minutes must not keep a doorbell for long, and it is back in a moment."""

COUNTED: Final = 1000
"""Of more ticks that were missed than these nobody asks how many exactly."""

MOMENT: Final = timedelta(microseconds=1)


def enqueue_due() -> int:
    """Make the tasks of all ticks that have come, for the pipelines of this process's code; how many are ready."""
    usable = [definition.name for definition in registry.all() if definition.policies.cron is not None]
    ready = 0
    for _ in range(TURNS if usable else 0):
        with transaction.atomic():
            rows = sql.fetch(sql.NEXT_SCHEDULE, {"pipelines": usable})
            if not rows:
                break
            try:
                ready += take(Due.of(rows[0]))
            except ValueError:
                # A zone that this machine does not know, for example: another one may, and the other clocks go on.
                usable.remove(rows[0][0])
    return ready


@dataclass(frozen=True, kw_only=True)
class Due:
    """A schedule whose time has come, and whose row is locked."""

    pipeline: str
    cron: Cron
    """By its row: the newest deployed code may be another than this process's."""
    next_at: datetime
    now: datetime
    pause: str
    """Why the pipeline is paused; empty when it is not."""

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> Due:
        """From a row of NEXT_SCHEDULE.

        Raises:
            ValueError: this machine cannot tell the times of this schedule.
        """
        pipeline, expression, timezone, misfire, next_at, now, pause = row
        cron = Cron(expression, timezone=timezone, misfire=misfire)
        return cls(pipeline=pipeline, cron=cron, next_at=next_at, now=now, pause=pause)

    @property
    def runs(self) -> list[datetime]:
        """The ticks for which a task is made now."""
        if self.pause:
            return []
        return self.cron.due(self.next_at - MOMENT, self.now, grace=GRACE)[:AT_ONCE]


def take(due: Due) -> int:
    """Make the tasks of one schedule's ticks, and write when the next one comes; how many tasks are ready."""
    runs = due.runs
    # Of "all" there may be more than fit into one transaction: the rest is due next.
    until = runs[-1] if runs and due.cron.misfire == "all" else due.now
    note_missed(due, until, runs)
    definition = registry.get(due.pipeline)
    ready = sum(start(definition, tick) for tick in runs)
    changed: dict[str, Any] = {"next_at": due.cron.next_after(until)}
    if runs:
        changed["last_at"] = runs[-1]
    Schedule.objects.filter(pipeline=due.pipeline).update(**changed)
    return ready


def start(definition: PipelineDefinition, tick: datetime) -> bool:
    """Make the task of one tick; whether it is ready."""
    try:
        payload = payload_of(definition)
    except BaseException as error:
        if not is_of_the_author(error):
            raise
        note(definition.name, SkipKind.INVALID, f"The tick of {tick:%Y-%m-%d %H:%M} UTC: {message_of(error)}")
        return False
    task = insert(definition, payload, origin=Origin(cron_at=tick))
    return task.status == TaskStatus.QUEUED and not task.duplicate


def run_now(pipeline: str) -> Task:
    """Make the task that a tick would make, without one: the clock goes on as it would have.

    Raises:
        UnknownPipeline, TooLarge
        InvalidPayload: the defaults of its parameters do not fit.
    """
    definition = registry.get(pipeline)
    try:
        payload = payload_of(definition)
    except TaskqueueError:
        raise
    except BaseException as error:
        if not is_of_the_author(error):
            raise
        detail = f"The defaults of its parameters do not fit: {message_of(error)}"
        raise InvalidPayload(detail, [FieldError("", detail)]) from error
    return insert(definition, payload)


def payload_of(definition: PipelineDefinition) -> str:
    """The defaults of its parameters. They were right when the code was imported, but may be made anew each time.

    Raises:
        BaseException: they do not fit. The clocks of other pipelines must go on then.
    """
    with transaction.atomic():
        payload = definition.payload.pack((), {})
    limit = settings().PAYLOAD_MAX_BYTES
    return within(payload, limit=limit, what="The payload", setting="PAYLOAD_MAX_BYTES")


def note_missed(due: Due, until: datetime, runs: list[datetime]) -> None:
    """Write down, in one row, the ticks for which no task is made."""
    ticks = due.cron.ticks(due.next_at - MOMENT, until, most=COUNTED + 1)
    missed = [tick for tick in ticks if tick not in set(runs)]
    if not missed:
        return
    number = f"more than {COUNTED:,} ticks" if len(ticks) > COUNTED else f"{len(missed):,} ticks"
    which = (
        f"The tick of {missed[0]:%Y-%m-%d %H:%M} UTC"
        if len(missed) == 1
        else (f"{number[0].upper()}{number[1:]} from {missed[0]:%Y-%m-%d %H:%M} UTC on")
    )
    if due.pause:
        note(due.pipeline, SkipKind.PAUSED, f"{which} came while the pipeline was paused: {due.pause}")
    else:
        note(due.pipeline, SkipKind.MISFIRE, f'{which} came too late, and misfire is "{due.cron.misfire}".')


def note(pipeline: str, kind: SkipKind, reason: str) -> None:
    """Write down a tick without a task."""
    Skip.objects.create(pipeline_id=pipeline, kind=kind, reason=reason[:500])
