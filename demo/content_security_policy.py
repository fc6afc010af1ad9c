"""The content security policy of every page: no inline code or style, no other hosts, no framing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER: Final = "Content-Security-Policy"
POLICY: Final = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
DEBUG_PAGES: Final = {404, 500}
"""Statuses of Django's own error pages in DEBUG, which have inline styles."""


class ContentSecurityPolicy:
    """Middleware that adds the header to responses without a policy of their own, such as the API's documentation."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self._answer_async(request)
        return with_policy(self.get_response(request))

    async def _answer_async(self, request: HttpRequest) -> HttpResponse:
        return with_policy(await self.get_response(request))


def with_policy(response: HttpResponse) -> HttpResponse:
    if not (settings.DEBUG and response.status_code in DEBUG_PAGES):
        response.headers.setdefault(HEADER, POLICY)
    return response
