"""The list of tasks: which rows a page has, and what stands around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import InvalidPage, Page
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from taskqueue.admin.search import syntax
from taskqueue.admin.search.parameters import TaskListParams, list_params_of
from taskqueue.admin.search.suggestions import Suggestion, suggestions_for, unknown_qualifiers
from taskqueue.admin.shared import pagination
from taskqueue.admin.shared.pagination import CappedPaginator
from taskqueue.admin.tasks import columns, strip, tabs
from taskqueue.engine.access.permissions import Rights
from taskqueue.engine.queries import filters
from taskqueue.engine.queries.filters import TaskFilter
from taskqueue.models import Task


class IdPaginator(CappedPaginator):
    """Pages through the ids of a selection."""

    def __init__(self, selection: TaskFilter, floor: UUID | None, per_page: int, *, is_empty: bool) -> None:
        super().__init__([], per_page)
        self.selection = selection
        self.floor = floor
        self.is_empty = is_empty

    @cached_property
    def counted(self) -> int:
        """How many there are, up to one more than the cap."""
        if self.is_empty:
            return 0
        if self.selection.is_searched:
            return len(self.found)
        return min(filters.count_of(self.selection, self.floor), pagination.CAP + 1)

    @cached_property
    def found(self) -> list[UUID]:
        """All ids of a search: it would cost as much again to look for those of the page."""
        return list(filters.ids_of(self.selection, floor=self.floor, limit=pagination.CAP + 1))

    def page(self, number: int | str) -> Page[Any]:
        """A page of ids, newest first."""
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        last = min(first + self.per_page, self.count)
        return Page(self.ids(first, last), number, self)

    def ids(self, first: int, last: int) -> list[UUID]:
        """Those from one place to another."""
        if self.is_empty or not last:
            return []
        if self.selection.is_searched:
            return self.found[first:last]
        return list(filters.ids_of(self.selection, floor=self.floor, limit=last)[first:last])


class TaskChangeList(ChangeList):
    """A list that finds the ids of a page first, by an index, and reads only their rows.

    It says where a search ended, and offers what is older than its last row when the cap ends it.
    """

    asked: TaskListParams
    rights: Rights
    suggestions: Sequence[Suggestion] = ()
    """What a search that found nothing may have meant."""
    older_query = ""
    deeper_query = ""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """What is asked for."""
        self.rights = Rights(request.user)
        self.asked = list_params_of(request.GET, self.rights)
        tasks = super().get_queryset(request, exclude_parameters)
        if self.asked.fault:
            return tasks.none()
        return tasks.filter(self.asked.selection.indexed() & self.asked.selection.searched_for())

    def get_results(self, request: HttpRequest) -> None:
        """Read the page."""
        selection = self.asked.selection
        floor = None if self.asked.fault else filters.floor_of(selection)
        self.paginator = IdPaginator(selection, floor, self.list_per_page, is_empty=bool(self.asked.fault))
        self.result_count = self.paginator.count
        self.show_full_result_count = self.show_admin_actions = True
        self.full_result_count = None  # nobody counts all tasks
        self.can_show_all = False
        self.multi_page = self.result_count > self.list_per_page
        self.result_list = self.rows()
        if self.query and not self.result_count and not self.asked.fault:
            self.suggestions = suggestions_for(self.query, self.rights)
        self.say_more(floor)

    def rows(self) -> list[Task]:
        """The rows of the page."""
        try:
            page = list(self.paginator.page(self.page_num if self.multi_page else 1).object_list)
        except InvalidPage as error:
            raise IncorrectLookupParameters from error
        return list(columns.listed().filter(pk__in=page).order_by("-id")) if page else []

    def say_more(self, floor: Any) -> None:
        """How to go on where the page, or the search, ended."""
        if self.paginator.is_capped and self.page_num == self.paginator.num_pages and self.result_list:
            self.older_query = self.get_query_string({"id__lt": str(self.result_list[-1].pk)})
        elif floor is not None:
            self.deeper_query = self.get_query_string({"id__lt": str(floor)})

    @property
    def is_narrowed(self) -> bool:
        """Whether more is asked for than statuses: the numbers in the tabs would not be those of the list."""
        return bool(self.asked.fault) or not replace(self.asked.selection, statuses=()).is_empty

    @property
    def searched(self) -> int:
        """Among how many tasks a search looks."""
        return filters.SEARCHED

    def tabs(self) -> list[tabs.Tab]:
        """The tabs above it."""
        return tabs.tabs_of(self.asked.selection.statuses, self.get_query_string, has_counts=not self.is_narrowed)

    def strip(self) -> strip.Strip:
        """The bars of the last day."""
        return strip.strip_of(
            filters.database_now(),
            self.get_query_string,
            pipeline=self.asked.selection.pipeline,
            is_narrowed=self.is_narrowed,
        )

    @property
    def unknown(self) -> str:
        """What was written like a qualifier and is none."""
        return ", ".join(f"{name}:" for name in unknown_qualifiers(self.query))

    @property
    def qualifiers(self) -> str:
        """Those that there are."""
        return ", ".join(f"{name}:" for name in syntax.QUALIFIERS)

    def searches(self) -> list[str]:
        """What the search box offers while somebody types: the qualifiers, and the values that the filters know."""
        known = {
            spec.title: [value for value, _label in getattr(spec, "lookup_choices", [])] for spec in self.filter_specs
        }
        return [
            *(f"{name}:" for name in syntax.QUALIFIERS if name != "payload"),
            "payload.",
            *(f"error:{name}" for name in known.get("error type", [])),
            *(f"pipeline:{name}" for name in known.get("pipeline", [])),
        ]

    @property
    def placeholder(self) -> str:
        """The rule of the search, in its box."""
        return syntax.PLACEHOLDER
