"""Selections: which tasks a person means. The list, its export and an operation read the same ones.

What an index answers (status, pipeline, time, the beginning of an id or key) is looked for among all tasks. The rest
(labels, errors, workers, payloads) is looked for among the newest `SEARCHED` that the index answers with, so that no
question walks the table; `floor_of` tells where such a search ended.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import CharField, Exists, F, Func, Lookup, OuterRef, Q, Subquery, Value
from django.db.models.functions import Coalesce, Now
from django.db.models.lookups import Exact

from taskqueue.engine import sql
from taskqueue.ids import earliest_at, latest_at
from taskqueue.models import Attempt, Pipeline, Step, Task, Worker
from taskqueue.states import StepStatus, TaskStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet

    AnyLookup = Lookup[Any]
else:
    AnyLookup = Lookup  # takes no type arguments when it runs

SEARCHED = 20_000
"""Among so many of the newest tasks is looked for what no index answers."""

COUNTED = 10_000
"""Tasks are counted up to here; one more means that there are more."""

HEX = re.compile(r"[0-9a-f]{1,32}")


@dataclass(frozen=True, kw_only=True)
class TaskFilter:
    """Which tasks.

    Attributes:
        statuses: in one of these; all if there is none.
        pipeline: of this pipeline.
        begins: whose id or key begins with this.
        age: made not longer ago; `frozen` makes a moment of it.
        made_from, made_before: made in this time.
        below: older than this task.
        ended: ended in this time.
        pipelines: whose pipeline's name begins with this.
        labels: with these labels.
        error: with a failed try, or a failure, of this type.
        errors: the same, of types that begin with this.
        failure: failed for good with this type of error in the step of this name.
        has_failed_try: with a failed try, or without any.
        repaired: succeeded after a person retried them.
        step: whose step of this name failed, or is not over.
        key_part: whose key contains each of these words, capital or small.
        worker: last held by a worker on this host, or by the worker of this number.
        payload: paths into the payload, each with the values that it may have there.
        closed: not of these pipelines, into whose payloads whoever asks may not look.
    """

    statuses: tuple[str, ...] = ()
    pipeline: str = ""
    begins: str = ""
    age: timedelta | None = None
    made_from: datetime | None = None
    made_before: datetime | None = None
    below: UUID | None = None
    ended: tuple[datetime, datetime] | None = None
    pipelines: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    error: str = ""
    errors: str = ""
    failure: tuple[str, str] | None = None
    has_failed_try: bool | None = None
    step: str = ""
    key_part: str = ""
    repaired: bool | None = None
    worker: str = ""
    payload: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    closed: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it means all tasks."""
        return self == TaskFilter()

    @property
    def is_searched(self) -> bool:
        """Whether it asks for something that no index answers."""
        asked = (
            self.pipelines, self.labels, self.error, self.errors, self.failure, self.repaired, self.step,
            self.key_part, self.worker, self.payload,
        )  # fmt: skip
        return any(asked) or self.has_failed_try is not None

    def frozen(self, now: datetime) -> TaskFilter:
        """The same tasks whenever it is asked again."""
        if self.age is None:
            return self
        since = now - self.age
        return replace(self, age=None, made_from=max(since, self.made_from) if self.made_from else since)

    def in_statuses(self, allowed: tuple[str, ...]) -> TaskFilter | None:
        """Those of them that are in one of these statuses; None when none can be."""
        left = tuple(status for status in allowed if not self.statuses or status in self.statuses)
        return replace(self, statuses=left) if left else None

    def indexed(self, lead: str = "") -> Q:
        """What an index answers of it, led by this column."""
        condition = self.in_time()
        failed_then = self.ended is not None and self.statuses == (TaskStatus.FAILED,)
        if self.statuses and not failed_then:  # who has an error has failed, and statistics may not know it
            condition &= Q(Among(F("status"), list(self.statuses))) if lead == "status" else Q(status__in=self.statuses)
        if self.pipeline:
            condition &= (
                Q(Among(F("pipeline_id"), [self.pipeline])) if lead == "pipeline_id" else Q(pipeline=self.pipeline)
            )
        if self.begins:
            condition &= beginning_with(self.begins)
        if self.ended is not None:
            condition &= ended_in(*self.ended, failed=failed_then)
        return condition

    def leads(self) -> list[tuple[TaskFilter, str]]:
        """It in parts, each with the column that leads the index by which it is read in order.

        Left to itself the planner takes the primary key, whose order is that of the table, for the cheaper way to find
        fifty failed tasks, and walks over a million others if they are old.
        """
        if self.begins or self.ended:
            return [(self, "")]  # an index of their own, or the primary key if most tasks match
        if self.pipeline and (not self.statuses or TaskStatus.SUCCEEDED in self.statuses):
            return [(self, "pipeline_id")]
        if self.statuses:
            return [(replace(self, statuses=(status,)), "status") for status in self.statuses]
        return [(self, "")]

    def in_time(self) -> Q:
        """Its bounds of time. Ids carry the clock of the machine that made them; `created_at` has the last word."""
        condition = Q()
        if self.age is not None:
            since = datetime.fromtimestamp(time.time(), UTC) - self.age
            condition &= Q(id__gte=earliest_at(since), created_at__gte=Now() - self.age)
        if self.made_from is not None:
            condition &= Q(id__gte=earliest_at(self.made_from), created_at__gte=self.made_from)
        if self.made_before is not None:
            condition &= Q(id__lt=latest_at(self.made_before), created_at__lt=self.made_before)
        if self.below is not None:
            condition &= Q(id__lt=self.below)
        return condition

    def searched_for(self) -> Q:
        """What no index answers of it."""
        condition = Q()
        if self.pipelines:
            condition &= Q(pipeline__in=Pipeline.objects.filter(name__startswith=self.pipelines).values("name"))
        if self.labels:
            condition &= Q(labels__contains=dict(self.labels))
        if self.error:
            condition &= Q(error__type=self.error) | failed_try(error_type=self.error)
        if self.errors:
            condition &= Q(error__type__istartswith=self.errors) | failed_try(error_type__istartswith=self.errors)
        if self.has_failed_try is not None:
            condition &= failed_try() if self.has_failed_try else ~failed_try()
        if self.step:
            condition &= stopped_in(self.step)
        if self.worker:
            condition &= held_by(self.worker)
        return condition & self.by_end() & with_words(self.key_part) & self.in_payloads()

    def by_end(self) -> Q:
        """What it asks of how they ended."""
        condition = failed_as(*self.failure) if self.failure is not None else Q()
        return condition & Q(status=TaskStatus.SUCCEEDED, retried_at__isnull=False) if self.repaired else condition

    def in_payloads(self) -> Q:
        """What it asks of payloads, and of which pipelines that may not be asked."""
        condition = ~Q(pipeline__in=self.closed) if self.closed else Q()
        for path, values in self.payload:
            condition &= holding(path, values)
        return condition

    def as_json(self) -> dict[str, Any]:
        """It as a row keeps it; its times must be frozen."""
        kept = {name: value for name, value in asdict(self).items() if value not in ((), "", None)}
        for name in ("made_from", "made_before", "below"):
            if name in kept:
                kept[name] = str(kept[name])
        if self.ended:
            kept["ended"] = [str(moment) for moment in self.ended]
        return kept

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> TaskFilter:
        """The one that a row keeps."""
        values = {name: restored(name, kept[name]) for name in (field.name for field in fields(cls)) if name in kept}
        return cls(**values)


def restored(name: str, value: Any) -> Any:
    """A value of a selection as it was before it became JSON."""
    match name:
        case "made_from" | "made_before":
            return datetime.fromisoformat(value)
        case "below":
            return UUID(value)
        case "failure":
            return tuple(value)
        case "ended":
            return tuple(datetime.fromisoformat(moment) for moment in value)
        case "payload":
            return tuple((path, tuple(values)) for path, values in value)
        case "labels":
            return tuple((label, text) for label, text in value)
        case "statuses" | "closed":
            return tuple(value)
    return value


def beginning_with(text: str) -> Q:
    """Whose id or key begins with this."""
    by_key = Q(key__startswith=text) & ~Q(key="")  # the second half is the index's own condition
    begin = text.replace("-", "").lower()
    if not HEX.fullmatch(begin):
        return by_key
    return by_key | Q(id__gte=UUID(begin.ljust(32, "0")), id__lte=UUID(begin.ljust(32, "f")))


def ended_in(begin: datetime, end: datetime, *, failed: bool = False) -> Q:
    """Among the last that ended, or failed, in this time, as many as are counted."""
    tasks = Task.objects.filter(finished_at__gte=begin, finished_at__lt=end).order_by("-finished_at")
    if failed:  # the index of failures has them in this order, and no others
        tasks = tasks.filter(error__isnull=False)
    return Q(pk__in=tasks.values("pk")[: COUNTED + 1])


def failed_as(error_type: str, step: str) -> Q:
    """Failed for good like that; the step by its name, as `sql.stats.TROUBLES` groups them."""
    named = Step.objects.filter(task=OuterRef("pk"), key=said(OuterRef("error"), "step")).values("name")[:1]
    begin = Func(said(F("error"), "step"), Value("#"), Value(1), function="split_part", output_field=CharField())
    condition = Q(
        Exact(Coalesce(said(F("error"), "type"), Value("")), error_type),
        Exact(Coalesce(Subquery(named), begin, Value(""), output_field=CharField()), step),
    )
    return condition if error_type else condition & Q(error__isnull=False)


def said(error: Any, what: str) -> Func:
    """What an error says of itself, as text."""
    return Func(error, Value(what), template="(%(expressions)s)", arg_joiner=" ->> ", output_field=CharField())


def failed_try(**condition: Any) -> Q:
    """With a failed try like that."""
    return Q(Exists(Attempt.objects.filter(task=OuterRef("pk"), **condition)))


def stopped_in(step: str) -> Q:
    """Whose step of this name failed, or is not over."""
    unfinished = Step.objects.filter(task=OuterRef("pk"), name=step).exclude(status=StepStatus.SUCCEEDED)
    return Q(error__step=step) | Q(Exists(unfinished))


def with_words(text: str) -> Q:
    """Whose key contains each of these words, capital or small."""
    condition = Q()
    for word in text.split():
        condition &= Q(key__icontains=word)
    return condition


def held_by(worker: str) -> Q:
    """Last held by a worker on this host, or by the one of this number."""
    workers = Worker.objects.filter(host__istartswith=worker)
    if worker.isdecimal() and len(worker) < 10:
        workers = Worker.objects.filter(Q(pk=int(worker)) | Q(host__istartswith=worker))
    return Q(worker__in=workers.order_by("-pk").values("pk")[:1000])


def holding(path: str, values: tuple[Any, ...]) -> Q:
    """Whose payload has one of these values at this path."""
    condition = Q()
    for value in values:
        for name in reversed(path.split(".")):
            value = {name: value}
        condition |= Q(payload__contains=value)
    return condition


class Among(AnyLookup):
    """One of these values, as an array, of which the planner does not know that it is only one."""

    lookup_name = "among"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """The comparison."""
        column, parameters = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s)", (*parameters, self.rhs)


def floor_of(selection: TaskFilter) -> UUID | None:
    """Where a search ends: the oldest task that it looks at. None when it looks at all that an index answers with."""
    if not selection.is_searched:
        return None
    return ids_of(selection, limit=SEARCHED, searched=False)[SEARCHED - 1 : SEARCHED].first()


def ids_of(
    selection: TaskFilter, *, limit: int, floor: UUID | None = None, searched: bool = True
) -> QuerySet[Any, UUID]:
    """The ids of the newest that it means, newest first, down to the floor of its search."""
    return merged(selection, Q() if floor is None else Q(id__gte=floor), limit=limit, searched=searched)


def between(
    selection: TaskFilter, after: UUID, until: UUID, *, made_by: datetime, limit: int, searched: bool = True
) -> QuerySet[Any, UUID]:
    """The ids after one and until another, oldest first, of those that the database had by this moment."""
    bounds = Q(id__gt=after, id__lte=until, created_at__lte=made_by)
    return merged(selection, bounds, limit=limit, searched=searched, oldest_first=True)


def merged(
    selection: TaskFilter, bounds: Q, *, limit: int, searched: bool, oldest_first: bool = False
) -> QuerySet[Any, UUID]:
    """Ids in order: each part is read in the order of its index and up to the limit, and then they are merged."""
    sign, order = ("-", "pk") if oldest_first else ("", "-pk")
    queries = []
    for part, lead in selection.leads():
        condition = bounds & part.indexed(lead) & (part.searched_for() if searched else Q())
        tasks = Task.objects.filter(condition, parallel_step="").order_by(*([sign + lead] if lead else []), order)
        queries.append(tasks.values_list("pk", flat=True)[:limit])
    if len(queries) == 1:
        return queries[0]
    return queries[0].union(*queries[1:], all=True).order_by(order)[:limit]


def count_of(selection: TaskFilter, floor: UUID | None = None) -> int:
    """How many it means down to the floor of its search, counted up to the cap and one more."""
    return ids_of(selection, floor=floor, limit=COUNTED + 1).count()


def chunks_of(selection: TaskFilter, *, size: int) -> Iterator[list[UUID]]:
    """Everything that the list would show, newest first, a chunk a query: nothing is held open between them."""
    floor = floor_of(selection)
    while True:
        chunk = list(ids_of(selection, floor=floor, limit=size))
        if chunk:
            yield chunk
        if len(chunk) < size:
            return
        selection = replace(selection, below=chunk[-1])


def newest() -> UUID | None:
    """The newest task's id."""
    return Task.objects.order_by("-pk").values_list("pk", flat=True).first()


def database_now() -> datetime:
    """The database's present moment."""
    now: datetime
    ((now,),) = sql.fetch(sql.MOMENT, {})
    return now
