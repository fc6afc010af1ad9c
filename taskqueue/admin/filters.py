"""The filters of the task list. Each one owns its URL parameter and refuses values that it does not know."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from taskqueue.ids import earliest_at
from taskqueue.models import Attempt, Pipeline, Task
from taskqueue.states import TaskStatus

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin


class KnownChoices(admin.SimpleListFilter):
    """A filter that takes the values it offers and no others."""

    def chosen(self) -> str | None:
        """The value in the URL, or None.

        Raises:
            IncorrectLookupParameters: it is not one of those offered; the list then shows itself unfiltered.
        """
        value = self.value()
        if value is not None and value not in {str(known) for known, _label in self.lookup_choices}:
            raise IncorrectLookupParameters
        return value


class StatusFilter(admin.SimpleListFilter):
    """By status; several are joined with commas in the URL."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """All statuses, in the order in which a task may pass through them."""
        return [(status.value, status.value.capitalize()) for status in TaskStatus]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """Tasks in one of the statuses asked for."""
        if not (value := self.value()):
            return queryset
        asked = value.split(",")
        if not set(asked) <= set(TaskStatus):
            raise IncorrectLookupParameters
        return queryset.filter(status__in=asked)


class PipelineFilter(KnownChoices):
    """By pipeline."""

    title = "pipeline"
    parameter_name = "pipeline"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """All pipelines that ever were."""
        return [(name, name) for name in Pipeline.objects.order_by("name").values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """Tasks of that pipeline."""
        name = self.chosen()
        return queryset if name is None else queryset.filter(pipeline=name)


class CreatedFilter(KnownChoices):
    """By age."""

    title = "created"
    parameter_name = "created"
    AGES = {
        "15m": ("Last 15 minutes", timedelta(minutes=15)),
        "1h": ("Last hour", timedelta(hours=1)),
        "6h": ("Last 6 hours", timedelta(hours=6)),
        "24h": ("Last 24 hours", timedelta(hours=24)),
        "7d": ("Last 7 days", timedelta(days=7)),
    }

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Iterator[tuple[str, str]]:
        """From a quarter of an hour to a week."""
        return ((value, label) for value, (label, _age) in self.AGES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """Tasks not older than that."""
        value = self.chosen()
        if value is None:
            return queryset
        age = self.AGES[value][1]
        # Ids carry the clock of the machine that made them; created_at is the database's and has the last word.
        since = datetime.fromtimestamp(time.time(), UTC) - age
        return queryset.filter(id__gte=earliest_at(since), created_at__gte=Now() - age)


class RetriedFilter(KnownChoices):
    """By whether a try failed."""

    title = "failed tries"
    parameter_name = "retried"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """With and without."""
        return [("yes", "Has been retried"), ("no", "No failed try")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """Tasks that have failed tries, or have none."""
        value = self.chosen()
        if value is None:
            return queryset
        failed_try = Exists(Attempt.objects.filter(task=OuterRef("pk")))
        return queryset.filter(failed_try if value == "yes" else ~failed_try)


class EndedFilter(admin.SimpleListFilter):
    """By a slice of time in which tasks ended, as the bars of the charts ask for; it offers nothing by itself."""

    title = "ended"
    parameter_name = "ended"
    MOST = 10_001

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """The slice in the address."""
        slice_ = self.slice_of(request.GET.get(self.parameter_name, ""))
        return (
            []
            if slice_ is None
            else [(written_slice(*slice_), "{:%b %d, %H:%M} to {:%b %d, %H:%M} UTC".format(*slice_))]
        )

    def has_output(self) -> bool:
        """Only when there is one, right or wrong."""
        return self.value() is not None

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """Tasks that ended in it: the last ten thousand, by the index of their ends and whatever the planner thinks."""
        slice_ = self.slice_of(self.value() or "")
        if slice_ is None:
            raise IncorrectLookupParameters
        ended = Task.objects.filter(finished_at__gte=slice_[0], finished_at__lt=slice_[1])
        return queryset.filter(pk__in=ended.order_by("-finished_at").values("pk")[: self.MOST])

    @staticmethod
    def slice_of(text: str) -> tuple[datetime, datetime] | None:
        """The moments of a slice such as `2026-05-04T10:00Z..2026-05-04T10:05Z`; None of anything else."""
        try:
            start, end = (datetime.fromisoformat(part) for part in text.split(".."))
        except ValueError:
            return None
        return (start, end) if start.tzinfo and end.tzinfo and start < end else None


def written_slice(start: datetime, end: datetime) -> str:
    """A slice of time as its filter takes it."""
    return "..".join(f"{moment.astimezone(UTC):%Y-%m-%dT%H:%MZ}" for moment in (start, end))
