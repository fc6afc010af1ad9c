"""A page that asks too much of the database says so instead of keeping both busy."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.db import OperationalError, transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from taskqueue.admin.shared.filters import AGES
from taskqueue.admin.shared.pages import framed
from taskqueue.conf import settings
from taskqueue.engine.runtime.locks import bound_reads, ran_out_of_time

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


def bounded(view: View) -> View:
    """A method of an admin that answers a GET: none of its questions may take longer than the setting allows."""

    @wraps(view)
    def within_time(self: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method not in {"GET", "HEAD"}:
            return view(self, request, *args, **kwargs)
        try:
            with transaction.atomic():
                bound_reads(settings().DASHBOARD_TIMEOUT)
                response = view(self, request, *args, **kwargs)
                # Templates ask too.
                return response.render() if isinstance(response, TemplateResponse) else response
        except OperationalError as error:
            if not ran_out_of_time(error):
                raise
            return too_broad(self, request)

    return cast("View", within_time)


def too_broad(admin: Any, request: HttpRequest) -> HttpResponseBase:
    """The page that says how to go on."""
    narrower = []
    for age, (label, _length) in AGES.items():
        query = request.GET.copy()
        query["created"] = age
        for name in ("p", "created_at__gte", "created_at__lt"):
            query.pop(name, None)
        narrower.append((label, query.urlencode()))
    context = {"seconds": settings().DASHBOARD_TIMEOUT.total_seconds(), "narrower": narrower}
    return framed(admin, request, "too_broad.html", "Too broad", context, status=503)
