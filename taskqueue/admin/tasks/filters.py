"""The filters of the task list. They offer values; `search.parameters` reads the URL and selects the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest

from taskqueue.admin.search import parameters as list_parameters
from taskqueue.admin.shared import filters, formats
from taskqueue.admin.shared.filters import FILTER, ChoiceFilter, other_params
from taskqueue.engine import sql
from taskqueue.models import Task
from taskqueue.states import TaskStatus

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin.views.main import ChangeList

MAX_ERROR_TYPES = 20
Parsed = TypeVar("Parsed")


class StatusFilter(admin.SimpleListFilter):
    """By status, or several joined by commas. The tabs above the list show it."""

    title = "status"
    parameter_name = "status"
    template = "admin/taskqueue/task/no_filter.html"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(status.value, status.value.capitalize()) for status in TaskStatus]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        return queryset


class RetriedFilter(ChoiceFilter):
    title = "failed attempts"
    parameter_name = "retried"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [("yes", "Has failed attempts"), ("no", "No failed attempt")]


class ErrorFilter(admin.SimpleListFilter):
    """By error type; the URL may have a type that is not offered."""

    title = "error type"
    parameter_name = "error"
    template = FILTER

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        names = [name for (name,) in sql.fetch(sql.ERROR_TYPES, {"limit": MAX_ERROR_TYPES})]
        chosen = request.GET.get(self.parameter_name, "")
        return [(name, name) for name in [*names, *([chosen] if chosen and chosen not in names else [])]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        return queryset


class ParameterFilter(admin.ListFilter):
    """A filter whose value is not one of a few choices."""

    parameters: tuple[str, ...] = ()
    parameter_name = ""
    """Admin themes read it."""

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: type[Task], model_admin: ModelAdmin[Any]
    ) -> None:
        super().__init__(request, params, model, model_admin)
        self.parameter_name = self.parameters[0] if self.parameters else ""
        for name in self.parameters:
            if name in params:
                self.used_parameters[name] = params.pop(name)[-1]

    def value(self, name: str) -> str:
        return str(self.used_parameters.get(name, ""))

    def parsed(self, parse: Callable[[str], Parsed], name: str) -> Parsed | None:
        return parse(self.value(name)) if self.value(name) else None

    def has_output(self) -> bool:
        return True

    def expected_parameters(self) -> list[str | None]:
        return list(self.parameters)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        return queryset


class LabelFilter(ParameterFilter):
    title = "label"
    template = "admin/taskqueue/task/label_filter.html"
    parameters = ("label",)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        yield {
            "value": self.value("label"),
            "other_params": other_params(changelist, "label"),
            "without": changelist.get_query_string(remove=["label"]),
        }


class TimeFilter(ParameterFilter):
    """By time: a preset such as the last hour, or a range."""

    template = "taskqueue/time_filter.html"
    bounds: tuple[str, str]
    presets: Mapping[str, str] = {}

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        first = self.parameters[0]
        chosen = self.value(first)
        yield {
            "summary": self.summary(),
            "presets": [
                (label, changelist.get_query_string({first: value}, [*self.bounds, "p", "id__lt"]), value == chosen)
                for value, label in self.presets.items()
            ],
            "bounds": [
                (name, f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M}" if moment else "")
                for name, moment in zip(self.bounds, self.ends(), strict=True)
            ],
            "other_params": other_params(changelist, *self.parameters),
            "without": changelist.get_query_string(remove=list(self.parameters)),
        }

    def ends(self) -> tuple[datetime | None, datetime | None]:
        begin, end = (self.parsed(list_parameters.moment_of, name) for name in self.bounds)
        return begin, end

    def summary(self) -> str:
        begin, end = self.ends()
        parts = [
            f"from {formats.time_to_minute(begin)}" if begin else "",
            f"before {formats.time_to_minute(end)}" if end else "",
        ]
        return " ".join(filter(None, parts))


class CreatedFilter(TimeFilter):
    title = "created"
    parameters = ("created", *list_parameters.CREATED_RANGE)
    bounds = list_parameters.CREATED_RANGE
    presets: Mapping[str, str] = {value: label for value, (label, _age) in filters.AGES.items()}

    def summary(self) -> str:
        return ", ".join(filter(None, [self.presets.get(self.value("created"), ""), super().summary()]))


class EndedFilter(TimeFilter):
    """By end time; the bars of charts link to it."""

    title = "ended"
    parameters = ("ended", *list_parameters.ENDED_RANGE)
    bounds = list_parameters.ENDED_RANGE

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """Unchanged; an empty value is refused."""
        if self.used_parameters.get("ended") == "":
            raise IncorrectLookupParameters
        return queryset

    def ends(self) -> tuple[datetime | None, datetime | None]:
        return self.parsed(list_parameters.time_range_of, "ended") or super().ends()

    def summary(self) -> str:
        chosen = self.parsed(list_parameters.time_range_of, "ended")
        if chosen is None:
            return super().summary()
        return f"{formats.time_to_minute(chosen[0])} to {formats.time_to_minute(chosen[1])}"


class LinkedFilter(ParameterFilter):
    """A filter that other pages link to: it is shown only while it is in the URL, and offers to remove it."""

    template = FILTER

    def has_output(self) -> bool:
        return bool(self.used_parameters)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        without = changelist.get_query_string(remove=list(self.parameters))
        yield {"selected": False, "query_string": without, "display": "All"}
        if summary := self.summary():
            yield {"selected": True, "query_string": changelist.get_query_string(), "display": summary}

    def summary(self) -> str:
        raise NotImplementedError


class FailureFilter(LinkedFilter):
    """By error type and step of failed tasks; the overview's failure groups link to it."""

    title = "failed with"
    parameters = ("failure",)

    def summary(self) -> str:
        return " in ".join(filter(None, list_parameters.failure_of(self.value("failure"))))


class RepairedFilter(LinkedFilter):
    title = "fixed by retry"
    parameters = ("repaired",)

    def summary(self) -> str:
        return "Succeeded after a retry" if self.value("repaired") == "yes" else ""
