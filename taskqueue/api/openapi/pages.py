"""The OpenAPI schema, Swagger UI and ReDoc. They load nothing from other servers."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.urls import get_script_prefix, reverse
from django.views.decorators.http import require_safe
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from taskqueue.api.authentication import is_local_in_debug, is_staff
from taskqueue.api.openapi.operations import hidden_operation
from taskqueue.api.openapi.schema import current_schema
from taskqueue.api.views import ApiView

# ReDoc would load a picture from its vendor's server.
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class SchemaView(ApiView):
    """The OpenAPI schema, as YAML or as JSON."""

    renderer_classes = (OpenApiYamlRenderer, OpenApiJsonRenderer, OpenApiYamlRenderer2, OpenApiJsonRenderer2)
    content_negotiation_class = DefaultContentNegotiation

    @hidden_operation
    def get(self, request: Request) -> Response:
        schema = current_schema()
        if prefix := get_script_prefix().rstrip("/"):  # behind a proxy that adds a path
            schema = {**schema, "servers": [{"url": prefix}]}
        return Response(schema)


@require_safe
def swagger(request: HttpRequest) -> HttpResponse:
    header = settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-")
    return schema_page(request, "taskqueue/swagger.html", {"csrf_header": header, "csrf_value": get_token(request)})


@require_safe
def redoc(request: HttpRequest) -> HttpResponse:
    return schema_page(request, "taskqueue/redoc.html", {})


def schema_page(request: HttpRequest, template: str, values: dict[str, Any]) -> HttpResponse:
    """A page for staff users; other callers are sent to the admin's login."""
    if not is_local_in_debug(request) and not is_staff(request.user):
        return redirect_to_login(request.get_full_path(), login_url=reverse("admin:login"))
    response = render(request, template, {"schema_url": reverse("taskqueue:schema"), **values})
    response["Content-Security-Policy"] = POLICY
    return response
