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
