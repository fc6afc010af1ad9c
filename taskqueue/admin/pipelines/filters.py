"""The filters of the list of pipelines, which go by their figures, and its order: those with trouble come first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from django.db.models import QuerySet
from django.http import HttpRequest

from taskqueue.admin.shared.filters import KnownChoices
from taskqueue.models import Pipeline

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

SHOWN: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "failed": ("failures in 24 hours", lambda row: row.figures.day.total.failed > 0),
    "queued": ("tasks in queue", lambda row: row.figures.load.queued > 0),
    "active": ("tasks in 24 hours", lambda row: row.figures.day.total.ended > 0 or row.figures.load.queued > 0),
    "paused": ("paused", lambda row: row.paused_at is not None),
}
ORDERS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "trouble": (
        "failures, paused, queue",
        lambda row: (-row.figures.day.total.failed, row.paused_at is None, -row.figures.load.queued, row.pk),
    ),
    "name": ("name", lambda row: row.pk),
    "queue": ("longest queue", lambda row: (-row.figures.load.queued, row.pk)),
    "ended": ("most tasks in 24 hours", lambda row: (-row.figures.day.total.ended, row.pk)),
}


class GroupFilter(KnownChoices):
    """By what comes before the slash in its name."""

    title = "group"
    parameter_name = "group"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """Each group with the number of its pipelines."""
        names = Pipeline.objects.order_by("name").values_list("name", flat=True)
        groups = Counter(name.partition("/")[0] for name in names if "/" in name)
        return [(group, f"{group} ({count})") for group, count in groups.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Pipeline]) -> QuerySet[Pipeline]:
        """Those of that group."""
        group = self.chosen()
        return queryset if group is None else queryset.filter(name__startswith=f"{group}/")


class ByFigures(KnownChoices):
    """One that `chosen` applies, when the figures are read."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Pipeline]) -> QuerySet[Pipeline]:
        """The same."""
        self.chosen()
        return queryset


class ShownFilter(ByFigures):
    """Only those with failures, with a queue, or paused."""

    title = "only with"
    parameter_name = "only"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """All of them."""
        return [(value, label) for value, (label, _is_shown) in SHOWN.items()]


class OrderFilter(ByFigures):
    """In which order."""

    title = "sorted by"
    parameter_name = "sort"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """All of them."""
        return [(value, label) for value, (label, _key) in ORDERS.items()]

    def choices(self, changelist: Any) -> Any:
        """The orders alone; the first one unless another is chosen."""
        every, first, *others = super().choices(changelist)
        yield {**first, "selected": first["selected"] or every["selected"]}
        yield from others


def chosen(pipelines: Iterable[Any], parameters: Mapping[str, str]) -> list[Any]:
    """Those that are shown, in their order."""
    _label, is_shown = SHOWN.get(parameters.get("only", ""), ("", lambda _row: True))
    _label, key = ORDERS.get(parameters.get("sort", ""), ORDERS["trouble"])
    return sorted(filter(is_shown, pipelines), key=key)
