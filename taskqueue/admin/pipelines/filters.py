"""Filters and orders of the list of pipelines, by their numbers of the last 24 hours and their queues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Count, QuerySet
from django.http import HttpRequest

from taskqueue.admin.shared.filters import ChoiceFilter
from taskqueue.models import Pipeline
from taskqueue.models.pipeline import EFFECTIVE_QUEUE

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

CONDITIONS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "failed": ("failures in 24 hours", lambda row: row.stats.day.total.failed > 0),
    "queued": ("tasks in queue", lambda row: row.stats.load.queued > 0),
    "active": ("tasks in 24 hours", lambda row: row.stats.day.total.ended > 0 or row.stats.load.queued > 0),
    "paused": ("paused", lambda row: row.paused_at is not None),
}
ORDERS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "trouble": (
        "failures, paused, queue",
        lambda row: (-row.stats.day.total.failed, row.paused_at is None, -row.stats.load.queued, row.pk),
    ),
    "name": ("name", lambda row: row.pk),
    "queue": ("longest queue", lambda row: (-row.stats.load.queued, row.pk)),
    "ended": ("most tasks in 24 hours", lambda row: (-row.stats.day.total.ended, row.pk)),
}
DEFAULT_ORDER: Final = "trouble"


def filtered_and_sorted(pipelines: Iterable[Any], parameters: Mapping[str, str]) -> list[Any]:
    """The pipelines that the URL parameters select, in the order that they name."""
    _label, matches = CONDITIONS.get(parameters.get("only", ""), ("", lambda _row: True))
    _label, key = ORDERS.get(parameters.get("sort", ""), ORDERS[DEFAULT_ORDER])
    return sorted(filter(matches, pipelines), key=key)


class GroupFilter(ChoiceFilter):
    """Pipelines with the same name before the slash."""

    title = "group"
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        names = Pipeline.objects.order_by("name").values_list("name", flat=True)
        groups = Counter(name.partition("/")[0] for name in names if "/" in name)
        return [(group, f"{group} ({count})") for group, count in groups.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Pipeline]) -> QuerySet[Pipeline]:
        group = self.chosen()
        return queryset if group is None else queryset.filter(name__startswith=f"{group}/")


class QueueFilter(ChoiceFilter):
    """Pipelines in one queue; absent while all pipelines are in one."""

    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        counts = Pipeline.objects.order_by().values_list(EFFECTIVE_QUEUE).annotate(Count("pk"))
        queues = [(queue, f"{queue} ({count})") for queue, count in sorted(counts)]
        return queues if len(queues) > 1 else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Pipeline]) -> QuerySet[Pipeline]:
        queue = self.chosen()
        return queryset if queue is None else queryset.alias(in_queue=EFFECTIVE_QUEUE).filter(in_queue=queue)


class ConditionFilter(ChoiceFilter):
    title = "only with"
    parameter_name = "only"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(value, label) for value, (label, _matches) in CONDITIONS.items()]


class OrderFilter(ChoiceFilter):
    title = "sorted by"
    parameter_name = "sort"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(value, label) for value, (label, _key) in ORDERS.items()]

    def choices(self, changelist: Any) -> Any:
        """The orders without the choice "All"; the first one is selected when the URL names none."""
        every, first, *others = super().choices(changelist)
        yield {**first, "selected": first["selected"] or every["selected"]}
        yield from others
