"""Error pages that need neither the database nor a session."""

from __future__ import annotations

from typing import Final

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from rest_framework.views import set_rollback

from taskqueue.engine.runtime.outages import outage_log

RETRY_AFTER: Final = 2
"""Seconds."""


def plain_page(site: AdminSite, status: int, title: str, message: str, *, address: str = "") -> HttpResponse:
    """A page with a message, a link to the admin's home page and, with `address`, a link to reload.

    It is rendered without the request, because context processors read the session and its user.
    """
    context = {
        "title": title,
        "message": message,
        "address": address,
        "home": reverse("admin:index", current_app=site.name),
        "site_title": site.site_title,
    }
    return HttpResponse(render_to_string("taskqueue/plain_page.html", context), status=status)


def unavailable(request: HttpRequest, site: AdminSite, error: Exception) -> HttpResponse:
    """The 503 page for a request that failed because the database is unreachable."""
    set_rollback()
    outage_log.begin(error)
    is_safe = request.method in {"GET", "HEAD"}
    message = (
        "Try again in a few seconds."
        if is_safe
        else "Your change may or may not have been saved. Check the page before you send it again."
    )
    address = request.get_full_path() if is_safe else ""
    response = plain_page(site, 503, "The database does not answer", message, address=address)
    response["Retry-After"] = str(RETRY_AFTER)
    return response
