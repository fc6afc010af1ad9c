"""The task list: finds the ids of a page by an index, then reads only their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.core.paginator import Page
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from taskqueue.admin.search import syntax
from taskqueue.admin.search.parameters import TaskListParams, list_params_of
from taskqueue.admin.search.suggestions import Suggestion, suggestions_for, unknown_qualifiers
from taskqueue.admin.shared import pagination
from taskqueue.admin.shared.pagination import CappedPaginator, PagedChangeList
from taskqueue.admin.tasks import activity_histogram, columns, tabs
from taskqueue.engine.access.permissions import CallerPermissions
from taskqueue.engine.queries import filters
from taskqueue.engine.queries.filters import TaskFilter


class TaskIdPaginator(CappedPaginator):
    """Pages through the ids of a task filter; a search ends at the id `floor`, and an invalid one is empty."""

    def __init__(self, task_filter: TaskFilter, floor: UUID | None, per_page: int, *, is_empty: bool) -> None:
        super().__init__([], per_page)
        self.task_filter = task_filter
        self.floor = floor
        self.is_empty = is_empty

    @cached_property
    def capped_count(self) -> int:
        """Number of tasks, at most `CAP + 1`."""
        if self.is_empty:
            return 0
        if self.task_filter.needs_scan:
            return len(self.search_results)
        return min(filters.count_of(self.task_filter, self.floor), pagination.CAP + 1)

    @cached_property
    def search_results(self) -> list[UUID]:
        """All ids of a search; to read one page would cost as much."""
        return list(filters.ids_of(self.task_filter, oldest=self.floor, limit=pagination.CAP + 1))

    def page(self, number: int | str) -> Page[Any]:
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        last = min(first + self.per_page, self.count)
        return Page(self.ids(first, last), number, self)

    def ids(self, first: int, last: int) -> list[UUID]:
        if self.is_empty or not last:
            return []
        if self.task_filter.needs_scan:
            return self.search_results[first:last]
        return list(filters.ids_of(self.task_filter, oldest=self.floor, limit=last)[first:last])


class TaskChangeList(PagedChangeList):
    """The list with its tabs, histogram and suggestions.

    Attributes:
        suggestions: for a search that found nothing.
        older_query: query string of the tasks after the last page of a capped list.
        deeper_query: query string of the tasks at which a search has not looked.
    """

    list_params: TaskListParams
    rights: CallerPermissions
    suggestions: Sequence[Suggestion] = ()
    older_query = ""
    deeper_query = ""
    qualifiers = ", ".join(f"{name}:" for name in syntax.QUALIFIERS)
    placeholder = syntax.PLACEHOLDER

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        self.rights = CallerPermissions(request.user)
        self.list_params = list_params_of(request.GET, self.rights)
        tasks = super().get_queryset(request, exclude_parameters)
        if self.list_params.error:
            return tasks.none()
        return tasks.filter(self.list_params.task_filter.indexed() & self.list_params.task_filter.unindexed())

    def get_results(self, request: HttpRequest) -> None:
        task_filter, is_invalid = self.list_params.task_filter, bool(self.list_params.error)
        floor = None if is_invalid else filters.oldest_scanned(task_filter)
        paginator = TaskIdPaginator(task_filter, floor, self.list_per_page, is_empty=is_invalid)
        ids = self.rows_of_page(paginator)
        self.result_list = list(columns.listing().filter(pk__in=ids).order_by("-id")) if ids else []
        if self.query and not self.result_count and not is_invalid:
            self.suggestions = suggestions_for(self.query, self.rights)
        if paginator.is_capped and self.page_num == paginator.num_pages and self.result_list:
            self.older_query = self.get_query_string({"id__lt": str(self.result_list[-1].pk)})
        elif floor is not None:
            self.deeper_query = self.get_query_string({"id__lt": str(floor)})

    @property
    def is_narrowed(self) -> bool:
        """Whether the list has filters other than statuses, which the counts of the tabs ignore."""
        return bool(self.list_params.error) or not replace(self.list_params.task_filter, statuses=()).is_empty

    @property
    def search_depth(self) -> int:
        return filters.SCAN_LIMIT

    def tabs(self) -> list[dict[str, Any]]:
        statuses = self.list_params.task_filter.statuses
        return tabs.tabs_of(statuses, self.get_query_string, has_counts=not self.is_narrowed)

    def histogram(self) -> activity_histogram.ActivityHistogram:
        return activity_histogram.histogram_of(
            filters.database_now(),
            self.get_query_string,
            pipeline=self.list_params.task_filter.pipeline,
            is_narrowed=self.is_narrowed,
        )

    @property
    def unknown_qualifiers(self) -> str:
        return ", ".join(f"{name}:" for name in unknown_qualifiers(self.query))

    def search_options(self) -> list[str]:
        """What the search box offers while the user types: qualifiers, error types and pipelines."""
        choices = {
            spec.title: [value for value, _label in getattr(spec, "lookup_choices", [])] for spec in self.filter_specs
        }
        return [
            *(f"{name}:" for name in syntax.QUALIFIERS if name != "payload"),
            "payload.",
            *(f"error:{name}" for name in choices.get("error type", [])),
            *(f"pipeline:{name}" for name in choices.get("pipeline", [])),
        ]
