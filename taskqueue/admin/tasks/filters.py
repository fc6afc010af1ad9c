"""The filters of the task list. Each owns a parameter, offers its values, and leaves their meaning to `parameters`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest

from taskqueue.admin.search import parameters as list_parameters
from taskqueue.admin.shared import filters, formats
from taskqueue.admin.shared.filters import FILTER, KnownChoices, others_of
from taskqueue.engine import sql
from taskqueue.models import Task
from taskqueue.states import TaskStatus

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin.views.main import ChangeList

ERRORS_OFFERED = 20


class KnownOfTasks(KnownChoices):
    """One of the task list, whose selection knows what is asked for."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """The same."""
        self.chosen()
        return queryset


class StatusFilter(admin.SimpleListFilter):
    """By status; several are joined with commas in the address. The tabs above the list show it."""

    title = "status"
    parameter_name = "status"
    template = "admin/taskqueue/task/no_filter.html"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """All statuses, in the order in which a task may pass through them."""
        return [(status.value, status.value.capitalize()) for status in TaskStatus]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """The same."""
        return queryset


class RetriedFilter(KnownOfTasks):
    """By whether an attempt failed."""

    title = "failed attempts"
    parameter_name = "retried"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """With and without."""
        return [("yes", "Has been retried"), ("no", "No failed attempt")]


class ErrorFilter(admin.SimpleListFilter):
    """By the type of an error; one that is not offered can be named in the address."""

    title = "error type"
    parameter_name = "error"
    template = FILTER

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """The first types by name, and the one that is asked for."""
        names = [name for (name,) in sql.fetch(sql.ERROR_TYPES, {"limit": ERRORS_OFFERED})]
        chosen = request.GET.get(self.parameter_name, "")
        return [(name, name) for name in [*names, *([chosen] if chosen and chosen not in names else [])]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """The same."""
        return queryset


class OwnFilter(admin.ListFilter):
    """A filter whose values are not a list of choices."""

    parameters: tuple[str, ...] = ()
    parameter_name = ""
    """Themes ask each filter for one."""

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: type[Task], model_admin: ModelAdmin[Any]
    ) -> None:
        super().__init__(request, params, model, model_admin)
        self.parameter_name = self.parameters[0] if self.parameters else ""
        for name in self.parameters:
            if name in params:
                self.used_parameters[name] = params.pop(name)[-1]

    def has_output(self) -> bool:
        """Always."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """Its own."""
        return list(self.parameters)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """The same."""
        return queryset


class LabelFilter(OwnFilter):
    """By a label with its value, typed in."""

    title = "label"
    template = "admin/taskqueue/task/label_filter.html"
    parameters = ("label",)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """What its form needs: the value, and the rest of the address."""
        yield {
            "value": self.used_parameters.get("label", ""),
            "others": others_of(changelist, "label"),
            "without": changelist.get_query_string(remove=["label"]),
        }


class TimeFilter(OwnFilter):
    """By a time: one of the last hours or days, or from one moment to another."""

    template = "taskqueue/time_filter.html"
    bounds: tuple[str, str]
    presets: Mapping[str, str] = {}

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """What its form needs."""
        first = self.parameters[0]
        chosen = self.used_parameters.get(first, "")
        yield {
            "words": self.words(lambda name: str(self.used_parameters.get(name, ""))),
            "presets": [
                (label, changelist.get_query_string({first: value}, [*self.bounds, "p", "id__lt"]), value == chosen)
                for value, label in self.presets.items()
            ],
            "bounds": [(name, moment) for name, moment in zip(self.bounds, self.ends(), strict=True)],
            "others": others_of(changelist, *self.parameters),
            "without": changelist.get_query_string(remove=list(self.parameters)),
        }

    def ends(self) -> tuple[str, str]:
        """Both ends as the inputs show them, in UTC."""
        begin, end = (list_parameters.moment_of(str(self.used_parameters.get(name, ""))) for name in self.bounds)
        return input_value(begin), input_value(end)

    def words(self, value: Callable[[str], str]) -> str:
        """What is chosen, of the values of its parameters; empty for nothing."""
        begin, end = (list_parameters.moment_of(value(name)) for name in self.bounds)
        words = [f"from {formats.minute(begin)}" if begin else "", f"before {formats.minute(end)}" if end else ""]
        return " ".join(filter(None, words))


class CreatedFilter(TimeFilter):
    """By a time in which tasks were made."""

    title = "created"
    parameters = ("created", *list_parameters.SLICE)
    bounds = list_parameters.SLICE
    presets: Mapping[str, str] = {value: label for value, (label, _age) in filters.AGES.items()}

    def words(self, value: Callable[[str], str]) -> str:
        """The age, and the ends."""
        return ", ".join(filter(None, [self.presets.get(value("created"), ""), super().words(value)]))


class EndedFilter(TimeFilter):
    """By a time in which tasks ended, as the bars of charts lead to."""

    title = "ended"
    parameters = ("ended", *list_parameters.ENDED)
    bounds = list_parameters.ENDED

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """The same, unless it names no slice at all."""
        if self.used_parameters.get("ended") == "":
            raise IncorrectLookupParameters
        return queryset

    def ends(self) -> tuple[str, str]:
        """Those of the slice, if there is one."""
        chosen = list_parameters.slice_of(str(self.used_parameters.get("ended", "")))
        return (input_value(chosen[0]), input_value(chosen[1])) if chosen else super().ends()

    def words(self, value: Callable[[str], str]) -> str:
        """Both ends."""
        chosen = list_parameters.slice_of(value("ended"))
        if chosen is None:
            return super().words(value)
        return f"{formats.minute(chosen[0])} to {formats.minute(chosen[1])}"


class ShownWhenUsed(OwnFilter):
    """One that offers nothing but to leave it, shown when the address has it."""

    template = FILTER

    def has_output(self) -> bool:
        """When there is one."""
        return bool(self.used_parameters)

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """All, and the one that is chosen."""
        without = changelist.get_query_string(remove=list(self.parameters))
        yield {"selected": False, "query_string": without, "display": "All"}
        if words := self.words(lambda name: str(self.used_parameters.get(name, ""))):
            yield {"selected": True, "query_string": changelist.get_query_string(), "display": words}

    def words(self, value: Callable[[str], str]) -> str:
        """What is chosen, of the values of its parameters; empty for nothing."""
        raise NotImplementedError


class FailureFilter(ShownWhenUsed):
    """By the failure for good, as the groups of the overview lead to."""

    title = "failed with"
    parameters = ("failure",)

    def words(self, value: Callable[[str], str]) -> str:
        """The type of the error and the step."""
        failure = list_parameters.failure_of(value("failure"))
        return " in ".join(filter(None, failure)) if failure else ""


class RepairedFilter(ShownWhenUsed):
    """By whether a retry by a person made it succeed."""

    title = "fixed by retry"
    parameters = ("repaired",)

    def words(self, value: Callable[[str], str]) -> str:
        """That they are."""
        return "Succeeded after a retry" if value("repaired") == "yes" else ""


def input_value(moment: datetime | None) -> str:
    """A moment as an input takes it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M}" if moment else ""
