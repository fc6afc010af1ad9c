"""A proxy model that gives the overview an address and a menu entry in every admin site."""

from __future__ import annotations

from taskqueue.models.task import Task


class Overview(Task):
    """Stands for the overview page; it has no rows of its own."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = verbose_name_plural = "overview"
