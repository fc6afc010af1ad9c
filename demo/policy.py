"""The content security policy of every page: nothing inline, nothing from elsewhere, in nobody's frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER: Final = "Content-Security-Policy"
POLICY: Final = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
STYLED_INLINE: Final = {404, 500}
"""Django's own pages for mistakes in DEBUG."""


class ContentSecurityPolicy:
    """Middleware that adds the header to pages that have no policy of their own, as the API's documentation has."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """The response with its policy."""
        response = self.get_response(request)
        if not (settings.DEBUG and response.status_code in STYLED_INLINE):
            response.headers.setdefault(HEADER, POLICY)
        return response
