"""Filters that several lists share, and how URLs write time ranges."""

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
MAX_LISTED = 12
"""With more pipelines than this, the filter has a text input instead of a list."""
MAX_OFFERED = 8
"""Pipelines of the current page that are offered below the text input."""


class ChoiceFilter(admin.SimpleListFilter):
    """A filter that refuses values that it does not offer. Without a column, the list itself selects the rows."""

    template = FILTER
    column = ""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.chosen()
        return queryset.filter(**{self.column: value}) if value is not None and self.column else queryset

    def chosen(self) -> str | None:
        """The value in the URL, or None. Unless it is offered, Django redirects to the unfiltered list."""
        value = self.value()
        if value is not None and value not in {str(choice) for choice, _label in self.lookup_choices}:
            raise IncorrectLookupParameters
        return value


class PipelineFilter(ChoiceFilter):
    title = parameter_name = column = "pipeline"
    template = "taskqueue/pipeline_filter.html"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """All pipelines, removed ones included."""
        return [(name, name) for name in Pipeline.objects.order_by("name").values_list("name", flat=True)]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        names = [str(name) for name, _label in self.lookup_choices]
        is_long = len(names) > MAX_LISTED
        on_page = Counter(row.pipeline_id for row in changelist.result_list)
        offered = [name for name, _count in on_page.most_common(MAX_OFFERED)] if is_long else names
        yield {
            "value": self.value() or "",
            "names": names if is_long else [],
            "offered": [(name, changelist.get_query_string({"pipeline": name}, ["p", "id__lt"])) for name in offered],
            "other_params": other_params(changelist, "pipeline"),
            "without": changelist.get_query_string(remove=["pipeline"]),
        }


def other_params(changelist: ChangeList, *names: str) -> list[tuple[str, str]]:
    """The list's other parameters, which a form keeps as hidden fields."""
    return [(name, text) for name, text in changelist.params.items() if name not in {*names, "p", "id__lt"}]


def format_time_range(start: datetime, end: datetime) -> str:
    """Write a time range as the `ended` parameter reads it."""
    return "..".join(format_time(moment.astimezone(UTC)) for moment in (start, end))


def format_time(moment: datetime) -> str:
    """Write a time in UTC, without seconds if they are zero."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" if moment.second or moment.microsecond else f"{moment:%Y-%m-%dT%H:%MZ}"
