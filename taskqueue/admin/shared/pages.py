"""Render admin pages, redirect with a message, and register the URLs of an admin's own views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods

if TYPE_CHECKING:
    from django.db.models import QuerySet

Row = TypeVar("Row", bound=Model)

GET: Final = ("GET", "HEAD")
POST: Final = ("POST",)
FORM: Final = (*GET, *POST)

View = tuple[str, str, Callable[..., HttpResponseBase], tuple[str, ...]]
"""Path, the end of the name `taskqueue_<model>_<…>`, a function of the admin and the request, and methods."""


def admin_page(
    admin: Any, request: HttpRequest, template: str, title: str, context: Mapping[str, Any], *, status: int = 200
) -> TemplateResponse:
    """A page with the admin's header and navigation; `template` is below admin/taskqueue/."""
    request.current_app = admin.admin_site.name
    shared = {**admin.admin_site.each_context(request), "title": title, "opts": admin.opts, "media": admin.media}
    return TemplateResponse(request, f"admin/taskqueue/{template}", {**shared, **context}, status=status)


def redirect(
    admin: Any, request: HttpRequest, address: str, message: str, level: int = messages.SUCCESS
) -> HttpResponseRedirect:
    admin.message_user(request, message, level)
    return HttpResponseRedirect(address)


def urls_of(admin: Any, views: Iterable[View]) -> list[URLPattern]:
    """URLs of views that take the admin and the request first."""
    return [
        path(
            route,
            admin.admin_site.admin_view(require_http_methods(list(methods))(bound(view, admin))),
            name=f"taskqueue_{admin.opts.model_name}_{name}",
        )
        for route, name, view, methods in views
    ]


def bound(view: Callable[..., HttpResponseBase], admin: Any) -> Any:
    # Django reads attributes of views, such as that of `non_atomic_requests`; a partial object does not take them over.
    return update_wrapper(partial(view, admin), view)


def row_of_button(request: HttpRequest, object_id: str, rows: QuerySet[Row], permission: str) -> Row | None:
    """The row of a button's URL; None when it is gone.

    Raises:
        PermissionDenied: the user lacks the permission.
    """
    if not request.user.has_perm(permission):
        raise PermissionDenied
    key = name_from_url(object_id)
    return rows.filter(pk=int(key)).first() if key.isascii() and key.isdigit() else None


def name_from_url(object_id: str) -> str:
    """A row's name as its URL writes it, without NUL characters, which PostgreSQL refuses."""
    return unquote(object_id).replace("\0", "")
