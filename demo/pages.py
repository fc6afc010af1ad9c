"""What the project answers outside of the admin and the API: missing, refused and broken pages."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse


def not_found(_request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django's signature
    """404."""
    return page(404, "There is no such page", "Nothing is at this address.")


def forbidden(_request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - the same
    """403."""
    return page(403, "You may not do this", "Your account has no permission for this page.")


def failed(_request: HttpRequest) -> HttpResponse:
    """500."""
    return page(500, "Something went wrong here", "The error is in the log of the web server.")


def csrf_failure(_request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 - the same
    """403 for a form that came without its token."""
    said = (
        "It was not accepted, because its security token is missing or belongs to another session: you may have signed "
        "in again in another tab, or your browser refuses cookies of this site. "
        "Go back, reload the page and send the form again."
    )
    return page(403, "This form is out of date", said)


def page(status: int, title: str, said: str) -> HttpResponse:
    """The page."""
    # Imported late: Django's checks import CSRF_FAILURE_VIEW, also where the admin is not installed, as for workers.
    from taskqueue.admin.shared.plain_pages import plain_page

    return plain_page(admin.site, status, title, said)
