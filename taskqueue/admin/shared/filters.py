"""Filters that several lists share, and the stretches of time in their addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest

from taskqueue.models import Pipeline

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin.views.main import ChangeList


FILTER = "taskqueue/filter.html"
AGES = {
    "15m": ("Last 15 minutes", timedelta(minutes=15)),
    "1h": ("Last hour", timedelta(hours=1)),
    "6h": ("Last 6 hours", timedelta(hours=6)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
}
LISTED = 12
"""So many pipelines are listed; of more the name is typed."""
NEAR = 8
"""So many of those in view are offered then."""


class KnownChoices(admin.SimpleListFilter):
    """A filter that takes the values it offers and no others."""

    template = FILTER

    def chosen(self) -> str | None:
        """The value in the URL, or None.

        Raises:
            IncorrectLookupParameters: it is not one of those offered; the list then shows itself unfiltered.
        """
        value = self.value()
        if value is not None and value not in {str(known) for known, _label in self.lookup_choices}:
            raise IncorrectLookupParameters
        return value


class PipelineFilter(KnownChoices):
    """By pipeline: tasks, skips or schedules. Of many pipelines the name is typed."""

    title = "pipeline"
    parameter_name = "pipeline"
    template = "taskqueue/pipeline_filter.html"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """All pipelines that ever were."""
        return [(name, name) for name in Pipeline.objects.order_by("name").values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of that pipeline."""
        name = self.chosen()
        return queryset if name is None else queryset.filter(pipeline=name)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """What its form needs."""
        names = [str(name) for name, _label in self.lookup_choices]
        near = Counter(row.pipeline_id for row in changelist.result_list)
        offered = names if len(names) <= LISTED else [name for name, _count in near.most_common(NEAR)]
        yield {
            "value": self.value() or "",
            "names": names if len(names) > LISTED else [],
            "offered": [(name, changelist.get_query_string({"pipeline": name}, ["p", "id__lt"])) for name in offered],
            "others": others_of(changelist, "pipeline"),
            "without": changelist.get_query_string(remove=["pipeline"]),
        }


def others_of(changelist: ChangeList, *names: str) -> list[tuple[str, str]]:
    """The rest of the address, which a form keeps as hidden fields."""
    return [(name, text) for name, text in changelist.params.items() if name not in {*names, "p", "id__lt"}]


def written_slice(start: datetime, end: datetime) -> str:
    """A slice of time as its filter takes it."""
    return "..".join(written(moment.astimezone(UTC)) for moment in (start, end))


def written(moment: datetime) -> str:
    """A moment in UTC, without the seconds if it has none."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" if moment.second or moment.microsecond else f"{moment:%Y-%m-%dT%H:%MZ}"
