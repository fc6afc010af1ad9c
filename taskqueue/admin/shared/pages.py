"""What the pages of the admins share: their frame, the addresses of what is done to a row, and names in addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST


def framed(
    admin: Any, request: HttpRequest, template: str, title: str, context: Mapping[str, Any], *, status: int = 200
) -> TemplateResponse:
    """A page of an admin, with what the frame around every page needs; `template` is below admin/taskqueue/."""
    request.current_app = admin.admin_site.name
    shared = {**admin.admin_site.each_context(request), "title": title, "opts": admin.opts, "media": admin.media}
    return TemplateResponse(request, f"admin/taskqueue/{template}", {**shared, **context}, status=status)


def posted_to(
    admin: Any, model: str, views: Mapping[str, Callable[..., HttpResponse]], *, place: str = "<path:object_id>"
) -> list[URLPattern]:
    """The addresses of what is done to one row, `<place>/<noun>/`, which take POST alone.

    Their names are `taskqueue_<model>_<noun>`. They belong before the stock ones, which would take them for ids.
    """
    return [
        path(
            f"{place}/{noun}/",
            admin.admin_site.admin_view(require_POST(view)),
            name=f"taskqueue_{model}_{noun}",
        )
        for noun, view in views.items()
    ]


def named(object_id: str) -> str:
    """The name that an address means; PostgreSQL refuses a NUL in one."""
    return unquote(object_id).replace("\0", "")
