"""Wrap every admin view: pages are in English, and errors are answered with an admin page that links home."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import SimpleTemplateResponse, TemplateResponse
from django.utils import translation

from taskqueue.admin.shared.plain_pages import unavailable
from taskqueue.engine.runtime.database_errors import CONNECTION_ERRORS

View = Callable[..., HttpResponse]


def in_english(view: View) -> View:
    """Render a view's page in English, whatever language the project has."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with translation.override("en"):
            response = view(request, *args, **kwargs)
            # Django would render a template response later, in the project's language.
            return response.render() if isinstance(response, SimpleTemplateResponse) else response

    return wrapper


def with_error_pages(view: View, site: AdminSite) -> View:
    """Answer 403, 404 and database outages with an admin page."""

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except PermissionDenied as error:
            message = " ".join(str(arg) for arg in error.args if arg) or "Your account has no permission for this page."
            return error_page(request, site, 403, "Permission denied", message)
        except Http404:
            return error_page(request, site, 404, "Page not found", "It may have been moved, or pruned with its task.")
        except CONNECTION_ERRORS as error:
            return unavailable(request, site, error)

    return wrapper


def error_page(request: HttpRequest, site: AdminSite, status: int, title: str, message: str) -> HttpResponse:
    request.current_app = site.name
    context = {**site.each_context(request), "title": title, "message": message}
    return TemplateResponse(request, "taskqueue/error_page.html", context, status=status).render()
