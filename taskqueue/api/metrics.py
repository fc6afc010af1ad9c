"""Where Prometheus asks. What is told is another face's affair, which the addresses put in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request

from taskqueue.api.openapi import operations
from taskqueue.api.views import Door, described

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class TextAlone(BaseContentNegotiation):
    """There is one format, which every scraper reads, whatever it says that it would rather have."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """None is needed."""
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        """None is needed: the text is ready."""
        return renderers[0], CONTENT_TYPE


class Metrics(Door):
    """The metrics of the whole service."""

    needs = {"GET": ("taskqueue.view_task",)}
    content_negotiation_class = TextAlone
    exposition: Callable[[], bytes] | None = None
    """What makes the text; given by `as_view`."""

    @described(operations.READ_METRICS)
    def get(self, request: Request) -> HttpResponse:
        """The metrics of this moment."""
        assert self.exposition is not None  # noqa: S101 - the addresses give it
        return HttpResponse(self.exposition(), content_type=CONTENT_TYPE)
