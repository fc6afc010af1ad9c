"""The filters of the task list. Each owns its parameter and offers its values; `asked` says what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest

from taskqueue.admin import asked, formats
from taskqueue.engine import statements
from taskqueue.models import Pipeline, Task
from taskqueue.states import TaskStatus

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin.views.main import ChangeList

ERRORS_OFFERED = 20


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


class PipelineFilter(KnownChoices):
    """By pipeline: tasks, skips or schedules."""

    title = "pipeline"
    parameter_name = "pipeline"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """All pipelines that ever were."""
        return [(name, name) for name in Pipeline.objects.order_by("name").values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Those of that pipeline."""
        name = self.chosen()
        return queryset if name is None else queryset.filter(pipeline=name)


class CreatedFilter(KnownOfTasks):
    """By age."""

    title = "created"
    parameter_name = "created"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> Iterator[tuple[str, str]]:
        """From a quarter of an hour to a week."""
        return ((value, label) for value, (label, _age) in asked.AGES.items())


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

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        """The first types by name, and the one that is asked for."""
        names = [name for (name,) in statements.fetch(statements.ERROR_TYPES, {"limit": ERRORS_OFFERED})]
        chosen = request.GET.get(self.parameter_name, "")
        return [(name, name) for name in [*names, *([chosen] if chosen and chosen not in names else [])]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """The same."""
        return queryset


class OwnFilter(admin.ListFilter):
    """A filter whose values are not a list of choices."""

    parameters: tuple[str, ...] = ()

    def __init__(
        self, request: HttpRequest, params: dict[str, Any], model: type[Task], model_admin: ModelAdmin[Any]
    ) -> None:
        super().__init__(request, params, model, model_admin)
        for name in self.parameters:
            if name in params:
                self.used_parameters[name] = params.pop(name)[-1]

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

    def has_output(self) -> bool:
        """Always."""
        return True

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """What its form needs: the value, and the rest of the address."""
        value = self.used_parameters.get("label", "")
        others = [(name, text) for name, text in changelist.params.items() if name != "label"]
        yield {"value": value, "others": others, "without": changelist.get_query_string(remove=["label"])}


class ShownWhenUsed(OwnFilter):
    """One that offers nothing but to leave it, shown when the address has it."""

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


class EndedFilter(ShownWhenUsed):
    """By a slice of time in which tasks ended, as the bars of charts lead to."""

    title = "ended"
    parameters = ("ended",)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Task]) -> QuerySet[Task]:
        """The same, unless it names no slice at all."""
        if self.used_parameters.get("ended") == "":
            raise IncorrectLookupParameters
        return queryset

    def words(self, value: Callable[[str], str]) -> str:
        """Both ends."""
        chosen = asked.slice_of(value("ended"))
        return "{:%b %d, %H:%M} to {:%b %d, %H:%M} UTC".format(*chosen) if chosen else ""


class FailureFilter(ShownWhenUsed):
    """By the failure for good, as the groups of the overview lead to."""

    title = "failed with"
    parameters = ("failure",)

    def words(self, value: Callable[[str], str]) -> str:
        """The type of the error and the step."""
        failure = asked.failure_of(value("failure"))
        return " in ".join(filter(None, failure)) if failure else ""


class RepairedFilter(ShownWhenUsed):
    """By whether a retry by a person made it succeed."""

    title = "fixed by retry"
    parameters = ("repaired",)

    def words(self, value: Callable[[str], str]) -> str:
        """That they are."""
        return "Succeeded after a retry" if value("repaired") == "yes" else ""


class SliceFilter(ShownWhenUsed):
    """By a slice of time in which tasks were made."""

    title = "time"
    parameters = asked.SLICE

    def words(self, value: Callable[[str], str]) -> str:
        """The ends that it has."""
        begin, end = (asked.moment_of(value(name)) for name in self.parameters)
        words = [f"from {formats.exact(begin)}" if begin else "", f"before {formats.exact(end)}" if end else ""]
        return " ".join(filter(None, words))


def written_slice(start: datetime, end: datetime) -> str:
    """A slice of time as its filter takes it."""
    return "..".join(written(moment.astimezone(UTC)) for moment in (start, end))


def written(moment: datetime) -> str:
    """A moment in UTC, without the seconds if it has none."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" if moment.second or moment.microsecond else f"{moment:%Y-%m-%dT%H:%MZ}"
