"""Paging whose cost does not grow with the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import InvalidPage, Paginator
from django.utils.functional import cached_property

CAP = 10_000

if TYPE_CHECKING:
    from django.db.models import QuerySet

    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator  # takes no type arguments at run time


class CappedPaginator(AnyPaginator):
    """Counts and pages no further than `CAP` rows, so that OFFSET is bounded too."""

    @cached_property
    def count(self) -> int:
        return min(self.capped_count, CAP)

    @cached_property
    def capped_count(self) -> int:
        """Number of rows, at most `CAP + 1`."""
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by().values("pk")[: CAP + 1].count()

    @property
    def is_capped(self) -> bool:
        return self.capped_count > CAP


class PagedChangeList(ChangeList):
    """A list with a paginator of its own, which does not count all rows."""

    def rows_of_page(self, paginator: AnyPaginator) -> list[Any]:
        """The rows of the URL's page; also sets what Django's templates read."""
        self.paginator, self.result_count = paginator, paginator.count
        self.show_full_result_count = self.can_show_all = False
        self.full_result_count, self.show_admin_actions = None, True
        self.multi_page = self.result_count > self.list_per_page
        try:
            return list(paginator.page(self.page_num if self.multi_page else 1).object_list)
        except InvalidPage as error:
            raise IncorrectLookupParameters from error
