"""Paging that costs the same with a thousand rows and with a million."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.core.paginator import Paginator
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
