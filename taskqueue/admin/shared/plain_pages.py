"""Pages that need neither the database nor a session: for what happens outside of the admin's own pages."""

from __future__ import annotations

from typing import Final

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from rest_framework.views import set_rollback

from taskqueue.engine.runtime.outages import outage

RETRY_AFTER: Final = 2
SAFE: Final = {"GET", "HEAD"}


def plain_page(site: AdminSite, status: int, title: str, said: str, *, address: str = "") -> HttpResponse:
    """A page with a sentence and the way to the first page of this admin site; and to this address, to try again.

    It is rendered without the request: context processors read the session and its user.
    """
    context = {
        "title": title,
        "said": said,
        "address": address,
        "home": reverse("admin:index", current_app=site.name),
        "site_title": site.site_title,
    }
    return HttpResponse(render_to_string("taskqueue/plain_page.html", context), status=status)


def unavailable(request: HttpRequest, site: AdminSite, error: Exception) -> HttpResponse:
    """The page of a request that the database did not answer."""
    set_rollback()
    outage.begin(error)
    is_safe = request.method in SAFE
    said = (
        "This page needs it. Try again in a few seconds."
        if is_safe
        else "Your change may or may not have been made. Look at the page before you send it again."
    )
    address = request.get_full_path() if is_safe else ""
    response = plain_page(site, 503, "The database does not answer", said, address=address)
    response["Retry-After"] = str(RETRY_AFTER)
    return response
