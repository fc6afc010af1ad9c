"""Task filters: one set of conditions for the task list, its export and bulk operations.

Conditions on status, pipeline, time and the beginning of an id or key use indexes, and find all tasks. For the other
conditions (labels, errors, workers, payloads) a query scans the newest `SCAN_LIMIT` tasks that the indexes find, so
that no query reads the whole table. `oldest_scanned` says where such a scan ends.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import (
    CharField,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    Lookup,
    OuterRef,
    Q,
    Subquery,
    Value,
)
from django.db.models.functions import Coalesce, Now
from django.db.models.lookups import Exact, GreaterThanOrEqual, LessThan
from pydantic import TypeAdapter

from taskqueue.engine import sql
from taskqueue.ids import earliest_at, latest_at
from taskqueue.models import Attempt, Pipeline, Step, Task, Worker
from taskqueue.states import StepStatus, TaskStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet

    AnyLookup = Lookup[Any]
else:
    AnyLookup = Lookup  # takes no type arguments at run time

SCAN_LIMIT = 20_000
"""So many of the newest tasks are scanned for conditions without an index."""

COUNT_LIMIT = 10_000
"""Tasks are counted up to here; one more means that there are more."""

NEWEST_ID = UUID(int=2**128 - 1)
FAR_FUTURE = datetime(9000, 1, 1, tzinfo=UTC)
HEX = re.compile(r"[0-9a-f]{1,32}")


@dataclass(frozen=True, kw_only=True)
class TaskFilter:
    """Conditions that tasks must meet; empty ones do not count.

    Attributes:
        statuses: one of these statuses.
        pipeline: this pipeline.
        id_or_key_prefix: the id or the key begins with this.
        age: not created longer ago; `with_absolute_times` turns it into a time.
        created_after, created_before: the time of creation.
        below: an id below this one, so an older task.
        key: the key is exactly this.
        subject: about this object, as `subject_of` writes it.
        ended: one of the last that ended in this period, as many as are counted.
        finished: ended from this time on, and before this one; either may be None.
        pipeline_prefix: the pipeline's name begins with this.
        labels: these labels.
        error: a failed attempt, or the failure, has this error type.
        error_prefix: a failed attempt, or the failure, has an error type that begins with this.
        error_text: the message of a failed attempt, or of the failure, contains this, in any case.
        duration: took this long or longer, and shorter than this; either may be None. Without an end, until now.
        failure: failed with this error type in the step of this name.
        has_failed_attempt: with failed attempts, or without.
        repaired: succeeded after a person retried the task.
        step: the step of this name failed or is unfinished.
        key_words: the key contains each of these words, in any case.
        worker: the last worker ran on this host, or has this id.
        payload: paths into the payload, each with its possible values.
        hidden_pipelines: not one of these, whose payloads the caller may not see.
    """

    statuses: tuple[str, ...] = ()
    pipeline: str = ""
    id_or_key_prefix: str = ""
    age: timedelta | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    below: UUID | None = None
    key: str = ""
    subject: str = ""
    ended: tuple[datetime, datetime] | None = None
    finished: tuple[datetime | None, datetime | None] = (None, None)
    pipeline_prefix: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    error: str = ""
    error_prefix: str = ""
    error_text: str = ""
    duration: tuple[timedelta | None, timedelta | None] = (None, None)
    failure: tuple[str, str] | None = None
    has_failed_attempt: bool | None = None
    step: str = ""
    key_words: str = ""
    repaired: bool | None = None
    worker: str = ""
    payload: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    hidden_pipelines: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether all tasks meet it."""
        return self == TaskFilter()

    @property
    def needs_scan(self) -> bool:
        """Whether it has a condition without an index."""
        conditions = (
            self.pipeline_prefix, self.labels, self.error, self.error_prefix, self.error_text, self.failure,
            self.repaired, self.step, self.key_words, self.worker, self.payload,
        )  # fmt: skip
        limits = (*self.finished, *self.duration, self.has_failed_attempt)
        return any(conditions) or any(limit is not None for limit in limits)

    def with_absolute_times(self, now: datetime) -> TaskFilter:
        """The filter with `age` as a time, so that it finds equal tasks later."""
        if self.age is None:
            return self
        since = now - self.age
        return replace(self, age=None, created_after=max(since, self.created_after) if self.created_after else since)

    def in_statuses(self, allowed: tuple[str, ...]) -> TaskFilter | None:
        """The filter restricted to these statuses; None if no task can meet it."""
        statuses = tuple(status for status in allowed if not self.statuses or status in self.statuses)
        return replace(self, statuses=statuses) if statuses else None

    def indexed(self, lead: str = "") -> Q:
        """The conditions with an index, for a query in the order of the index that begins with the column `lead`."""
        condition = self._created()
        is_ended_failure = self.ended is not None and self.statuses == (TaskStatus.FAILED,)
        # A task with an error has failed, which the planner's statistics may not show: no second condition then.
        if self.statuses and not is_ended_failure:
            statuses = list(self.statuses)
            condition &= Q(EqualsAny(F("status"), statuses)) if lead == "status" else Q(status__in=statuses)
        if self.pipeline:
            by_array = Q(EqualsAny(F("pipeline_id"), [self.pipeline]))
            condition &= by_array if lead == "pipeline_id" else Q(pipeline=self.pipeline)
        if self.id_or_key_prefix:
            condition &= id_or_key_begins(self.id_or_key_prefix)
        if self.key:
            condition &= Q(key=self.key) & ~Q(key="")  # the second half is the index's own condition
        if self.subject:
            by_array = Q(EqualsAny(F("subject"), [self.subject]))
            condition &= (by_array if lead == "subject" else Q(subject=self.subject)) & ~Q(subject="")
        if self.ended is not None:
            condition &= ended_in(*self.ended, failed=is_ended_failure)
        return condition

    def by_index(self) -> list[tuple[TaskFilter, str]]:
        """The filter in parts, each with the first column of the index that returns its tasks in order.

        Without this the planner may read the primary key to find fifty failed tasks, and pass a million newer others.
        """
        if self.id_or_key_prefix or self.ended or self.key:
            return [(self, "")]  # an index of their own, or the primary key if most tasks match
        if self.subject:
            return [(self, "subject")]
        if self.pipeline and (not self.statuses or TaskStatus.SUCCEEDED in self.statuses):
            return [(self, "pipeline_id")]
        if self.statuses:
            return [(replace(self, statuses=(status,)), "status") for status in self.statuses]
        return [(self, "")]

    def _created(self) -> Q:
        """Ids begin with the clock of the process that created them, so `created_at` decides."""
        condition = Q()
        if self.age is not None:
            since = datetime.fromtimestamp(time.time(), UTC) - self.age
            condition &= Q(id__gte=earliest_at(since), created_at__gte=Now() - self.age)
        if self.created_after is not None:
            condition &= Q(id__gte=earliest_at(self.created_after), created_at__gte=self.created_after)
        if self.created_before is not None:
            condition &= Q(id__lt=latest_at(self.created_before), created_at__lt=self.created_before)
        if self.below is not None:
            condition &= Q(id__lt=self.below)
        if self.finished[1] is not None:  # no task ends before its creation
            condition &= Q(id__lt=latest_at(self.finished[1]))
        return condition

    def unindexed(self) -> Q:
        """The conditions without an index."""
        condition = Q()
        if self.pipeline_prefix:
            condition &= Q(pipeline__in=Pipeline.objects.filter(name__startswith=self.pipeline_prefix).values("name"))
        if self.labels:
            condition &= Q(labels__contains=dict(self.labels))
        if self.step:
            unfinished = Step.objects.filter(task=OuterRef("pk"), name=self.step).exclude(status=StepStatus.SUCCEEDED)
            condition &= Q(error__step=self.step) | Q(Exists(unfinished))
        if self.worker:
            condition &= last_worker_is(self.worker)
        if self.failure is not None:
            condition &= failed_with(*self.failure)
        if self.repaired:
            condition &= Q(status=TaskStatus.SUCCEEDED, retried_at__isnull=False)
        for word in self.key_words.split():
            condition &= Q(key__icontains=word)
        return condition & self._errors() & self._payloads() & self._times()

    def _times(self) -> Q:
        (begin, end), (shortest, longest) = self.finished, self.duration
        condition = Q() if begin is None else Q(finished_at__gte=begin)
        condition &= Q() if end is None else Q(finished_at__lt=end)
        took = ExpressionWrapper(Coalesce(F("finished_at"), Now()) - F("started_at"), output_field=DurationField())
        condition &= Q() if shortest is None else Q(GreaterThanOrEqual(took, shortest))
        return condition if longest is None else condition & Q(LessThan(took, longest))

    def _errors(self) -> Q:
        condition = Q()
        if self.error:
            condition &= Q(error__type=self.error) | has_attempt(error_type=self.error)
        if self.error_prefix:
            condition &= Q(error__type__istartswith=self.error_prefix) | has_attempt(
                error_type__istartswith=self.error_prefix
            )
        if self.error_text:
            condition &= Q(error__message__icontains=self.error_text) | has_attempt(
                error_message__icontains=self.error_text
            )
        if self.has_failed_attempt is not None:
            condition &= has_attempt() if self.has_failed_attempt else ~has_attempt()
        return condition

    def _payloads(self) -> Q:
        condition = ~Q(pipeline__in=self.hidden_pipelines) if self.hidden_pipelines else Q()
        for path, values in self.payload:
            condition &= payload_has(path, values)
        return condition

    def as_json(self) -> dict[str, Any]:
        """The filter as a JSON object for a row; its times must be absolute."""
        values: dict[str, Any] = FILTER_TYPE.dump_python(self, mode="json", exclude_defaults=True)
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TaskFilter:
        """The filter of a row."""
        return FILTER_TYPE.validate_python(values)


FILTER_TYPE = TypeAdapter(TaskFilter)


def id_or_key_begins(text: str) -> Q:
    by_key = Q(key__startswith=text) & ~Q(key="")  # the second half is the index's own condition
    begin = text.replace("-", "").lower()
    if not HEX.fullmatch(begin):
        return by_key
    return by_key | Q(id__gte=UUID(begin.ljust(32, "0")), id__lte=UUID(begin.ljust(32, "f")))


def ended_in(begin: datetime, end: datetime, *, failed: bool = False) -> Q:
    """One of the last tasks that ended, or failed, in a period: as many as are counted."""
    tasks = Task.objects.filter(finished_at__gte=begin, finished_at__lt=end).order_by("-finished_at")
    if failed:  # the index of failures has this condition and this order
        tasks = tasks.filter(error__isnull=False)
    return Q(pk__in=tasks.values("pk")[: COUNT_LIMIT + 1])


def failed_with(error_type: str, step: str) -> Q:
    """Failed with an error type in the step of this name, as `sql.history.stats.FAILURE_GROUPS` groups failures."""
    named = Step.objects.filter(task=OuterRef("pk"), key=error_text(OuterRef("error"), "step")).values("name")[:1]
    begin = Func(error_text(F("error"), "step"), Value("#"), Value(1), function="split_part", output_field=CharField())
    condition = Q(
        Exact(Coalesce(error_text(F("error"), "type"), Value("")), error_type),
        Exact(Coalesce(Subquery(named), begin, Value(""), output_field=CharField()), step),
    )
    return condition if error_type else condition & Q(error__isnull=False)


def error_text(error: Any, field: str) -> Func:
    """A field of a JSON error as text."""
    return Func(error, Value(field), template="(%(expressions)s)", arg_joiner=" ->> ", output_field=CharField())


def has_attempt(**condition: Any) -> Q:
    return Q(Exists(Attempt.objects.filter(task=OuterRef("pk"), **condition)))


def last_worker_is(worker: str) -> Q:
    """The last worker ran on this host, or has this id."""
    workers = Worker.objects.filter(host__istartswith=worker)
    if worker.isdecimal() and len(worker) < 10:
        workers = Worker.objects.filter(Q(pk=int(worker)) | Q(host__istartswith=worker))
    return Q(worker__in=workers.order_by("-pk").values("pk")[:1000])


def payload_has(path: str, values: tuple[Any, ...]) -> Q:
    condition = Q()
    for value in values:
        for name in reversed(path.split(".")):
            value = {name: value}
        condition |= Q(payload__contains=value)
    return condition


class EqualsAny(AnyLookup):
    """`column = ANY (array)`: the planner cannot see that the array has one value, and keeps the index's order."""

    lookup_name = "equals_any"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """The comparison."""
        column, parameters = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s)", (*parameters, self.rhs)


def oldest_scanned(tasks: TaskFilter) -> UUID | None:
    """The id at which a scan ends; None if all tasks that the indexes find are read."""
    if not tasks.needs_scan:
        return None
    return ids_of(tasks, limit=SCAN_LIMIT, unindexed=False)[SCAN_LIMIT - 1 : SCAN_LIMIT].first()


def newest_scanned(tasks: TaskFilter, after: UUID) -> UUID | None:
    """The id at which a scan towards newer tasks ends; None if all are read."""
    candidates = ids_between(tasks, after, NEWEST_ID, created_by=FAR_FUTURE, limit=SCAN_LIMIT, unindexed=False)
    return candidates[SCAN_LIMIT - 1 : SCAN_LIMIT].first()


def ids_of(tasks: TaskFilter, *, limit: int, oldest: UUID | None = None, unindexed: bool = True) -> QuerySet[Any, UUID]:
    """The ids of the newest tasks that meet a filter, newest first, down to the oldest scanned one."""
    return _merged(tasks, Q() if oldest is None else Q(id__gte=oldest), limit=limit, unindexed=unindexed)


def ids_between(
    tasks: TaskFilter, after: UUID, until: UUID, *, created_by: datetime, limit: int, unindexed: bool = True
) -> QuerySet[Any, UUID]:
    """The ids after one and up to another, oldest first, of tasks created by this time."""
    bounds = Q(id__gt=after, id__lte=until, created_at__lte=created_by)
    return _merged(tasks, bounds, limit=limit, unindexed=unindexed, oldest_first=True)


def _merged(
    tasks: TaskFilter, bounds: Q, *, limit: int, unindexed: bool, oldest_first: bool = False
) -> QuerySet[Any, UUID]:
    """Read each part in the order of its index up to the limit, then merge the parts."""
    sign, order = ("-", "pk") if oldest_first else ("", "-pk")
    queries = []
    for part, lead in tasks.by_index():
        condition = bounds & part.indexed(lead) & (part.unindexed() if unindexed else Q())
        rows = Task.objects.filter(condition, parallel_step="").order_by(*([sign + lead] if lead else []), order)
        queries.append(rows.values_list("pk", flat=True)[:limit])
    if len(queries) == 1:
        return queries[0]
    return queries[0].union(*queries[1:], all=True).order_by(order)[:limit]


def count_of(tasks: TaskFilter, oldest: UUID | None = None) -> int:
    """The number of tasks down to the oldest scanned one, counted up to COUNT_LIMIT and one more."""
    return ids_of(tasks, oldest=oldest, limit=COUNT_LIMIT + 1).count()


def chunks_of(tasks: TaskFilter, *, size: int) -> Iterator[list[UUID]]:
    """The ids that the list would show, newest first, in chunks of one query each. Nothing stays open in between."""
    oldest = oldest_scanned(tasks)
    while True:
        chunk = list(ids_of(tasks, oldest=oldest, limit=size))
        if chunk:
            yield chunk
        if len(chunk) < size:
            return
        tasks = replace(tasks, below=chunk[-1])


def database_now() -> datetime:
    """The database's current time."""
    now: datetime
    ((now,),) = sql.fetch(sql.CLOCK, {})
    return now
