"""Render admin pages, and register the URLs that change one row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST


def admin_page(
    admin: Any, request: HttpRequest, template: str, title: str, context: Mapping[str, Any], *, status: int = 200
) -> TemplateResponse:
    """A page with the admin's header and navigation; `template` is below admin/taskqueue/."""
    request.current_app = admin.admin_site.name
    shared = {**admin.admin_site.each_context(request), "title": title, "opts": admin.opts, "media": admin.media}
    return TemplateResponse(request, f"admin/taskqueue/{template}", {**shared, **context}, status=status)


def post_urls(
    admin: Any, model: str, views: Mapping[str, Callable[..., HttpResponse]], *, prefix: str = "<path:object_id>"
) -> list[URLPattern]:
    """POST-only URLs `<prefix>/<action>/` named `taskqueue_<model>_<action>`.

    They must come before Django's own patterns, which match any path as an id.
    """
    return [
        path(
            f"{prefix}/{action}/",
            admin.admin_site.admin_view(require_POST(view)),
            name=f"taskqueue_{model}_{action}",
        )
        for action, view in views.items()
    ]


def name_from_url(object_id: str) -> str:
    """A row's name as its URL writes it, without NUL characters, which PostgreSQL refuses."""
    return unquote(object_id).replace("\0", "")
