"""Paging that costs the same with a thousand rows and with a million."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.functional import cached_property

CAP = 10_000

if TYPE_CHECKING:
    from django.db.models import QuerySet

    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator  # takes no type arguments when it runs


class CappedPaginator(AnyPaginator):
    """Counts up to the cap and no further, which also bounds how far OFFSET has to go."""

    @cached_property
    def count(self) -> int:
        """How many rows there are to page through; at most the cap."""
        return min(self.counted, CAP)

    @cached_property
    def counted(self) -> int:
        """The number of rows, up to one more than the cap."""
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by().values("pk")[: CAP + 1].count()

    @property
    def is_capped(self) -> bool:
        """Whether there are more rows than it pages through."""
        return self.counted > CAP


class CappedChangeList(ChangeList):
    """A list that offers what is older than its last row when the cap ends it."""

    older_query = ""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page; on the last one of a capped list also say how to go on."""
        super().get_results(request)
        if self.paginator.is_capped and self.page_num == self.paginator.num_pages:
            self.result_list = list(self.result_list)
            self.older_query = self.get_query_string({"id__lt": str(self.result_list[-1].pk)}, ["p"])
