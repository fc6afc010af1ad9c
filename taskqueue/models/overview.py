"""The overview as a model, so that it has an address and a place in the menu of every admin site."""

from __future__ import annotations

from taskqueue.models.task import Task


class Overview(Task):
    """No rows of its own: the admin asks for a model where a page is to be."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = verbose_name_plural = "overview"
