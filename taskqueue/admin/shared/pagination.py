"""Paging whose cost does not grow with the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.core.paginator import Paginator
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
