"""The project's error pages outside of the admin and the API."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse


def not_found(_request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    return page(404, "Page not found", "Nothing is at this address.")


def forbidden(_request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - the same
    return page(403, "Permission denied", "Your account has no permission for this page.")


def failed(_request: HttpRequest) -> HttpResponse:
    return page(500, "Something went wrong here", "The error is in the log of the web server.")


def csrf_failure(_request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 - the same
    """403 for a form without a valid CSRF token."""
    text = (
        "The form was not accepted, because its security token is missing or belongs to another session: perhaps you "
        "signed in again in another tab, or your browser refuses cookies of this site. "
        "Go back, reload the page and send the form again."
    )
    return page(403, "This form is out of date", text)


def page(status: int, title: str, text: str) -> HttpResponse:
    # Imported late: Django's checks import CSRF_FAILURE_VIEW, also in projects without the admin.
    from taskqueue.admin.shared.plain_pages import plain_page

    return plain_page(admin.site, status, title, text)
