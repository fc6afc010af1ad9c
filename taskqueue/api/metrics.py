"""The metrics endpoint. `taskqueue/urls.py` passes in the function that writes the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request

from taskqueue.api.openapi.operations import operation
from taskqueue.api.views import ApiView

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class AlwaysText(BaseContentNegotiation):
    """Ignore `Accept`: every scraper reads the one format."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        return renderers[0], CONTENT_TYPE


class MetricsView(ApiView):
    """The metrics of the whole service."""

    required_permissions = {"GET": ("taskqueue.view_task",)}
    content_negotiation_class = AlwaysText
    exposition: Callable[[], bytes] | None = None
    """Writes the text; given to `as_view`."""

    @operation(
        "readMetrics",
        "Get metrics for Prometheus",
        "In Prometheus' text format, read from the database at request time: every web process answers with the same "
        "numbers.",
        tag="metrics",
        success={(200, "text/plain"): (OpenApiTypes.STR, "The metrics.")},
        never=(406,),
    )
    def get(self, request: Request) -> HttpResponse:
        assert self.exposition is not None  # noqa: S101 - urls.py gives it
        return HttpResponse(self.exposition(), content_type=CONTENT_TYPE)
