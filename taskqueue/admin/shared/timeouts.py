"""Limit the time of a page's queries; a page that takes longer suggests a narrower filter."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.db import OperationalError, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from taskqueue.admin.shared.filters import AGES
from taskqueue.admin.shared.pages import admin_page
from taskqueue.conf import settings
from taskqueue.engine.runtime.locks import is_statement_timeout, limit_statement_time

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


def limit_read_time(view: View) -> View:
    """Limit each query of an admin's GET view to `DASHBOARD_TIMEOUT`."""

    @wraps(view)
    def wrapper(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method not in {"GET", "HEAD"}:
            return view(self, request, *args, **kwargs)
        try:
            with transaction.atomic():
                limit_statement_time(settings().DASHBOARD_TIMEOUT)
                response = view(self, request, *args, **kwargs)
                # Rendered here, because templates send queries too.
                return response.render() if isinstance(response, TemplateResponse) else response
        except OperationalError as error:
            if not is_statement_timeout(error):
                raise
            return too_broad(self, request)

    return cast("View", wrapper)


def too_broad(admin: Any, request: HttpRequest) -> HttpResponseBase:
    narrower = []
    for age, (label, _length) in AGES.items():
        query = request.GET.copy()
        query["created"] = age
        for name in ("p", "created_at__gte", "created_at__lt"):
            query.pop(name, None)
        narrower.append((label, query.urlencode()))
    context = {"seconds": settings().DASHBOARD_TIMEOUT.total_seconds(), "narrower": narrower}
    return admin_page(admin, request, "too_broad.html", "Too broad", context, status=503)
