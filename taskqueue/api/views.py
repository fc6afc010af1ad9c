"""The base class of the API's views. It sets everything itself, so that a project needs no DRF settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve, reverse
from django.urls.converters import PathConverter, UUIDConverter
from django.utils import translation
from drf_spectacular.openapi import AutoSchema
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from taskqueue.api.authentication import BearerToken, RequiredPermissions, StaffSession, TokenRateThrottle
from taskqueue.api.json_parser import StrictJsonParser, buffer_chunked_body, refuse_compressed
from taskqueue.api.problems import MEDIA_TYPE, Kind, Refusal, exception_handler
from taskqueue.errors import TaskqueueError

ACCEPTED = {JSONRenderer.media_type, MEDIA_TYPE, "application/*", "*/*", ""}


class JsonOnly(DefaultContentNegotiation):
    """Answers are JSON whatever `?format=` says, or 406 for a caller that accepts neither JSON nor problems."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        accepted = {part.partition(";")[0].strip().lower() for part in request.META.get("HTTP_ACCEPT", "").split(",")}
        if not accepted & ACCEPTED:
            raise NotAcceptable
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """An endpoint of the API."""

    authentication_classes: Sequence[type[BaseAuthentication]] = (BearerToken, StaffSession)
    permission_classes: Sequence[type[BasePermission]] = (RequiredPermissions,)
    parser_classes = (StrictJsonParser,)
    renderer_classes: Sequence[type[BaseRenderer]] = (JSONRenderer,)
    content_negotiation_class: type[BaseContentNegotiation] = JsonOnly
    throttle_classes: Sequence[type[BaseThrottle]] = (TokenRateThrottle,)
    versioning_class = None
    metadata_class = None
    http_method_names = ["get", "post", "head"]
    schema = AutoSchema()

    required_permissions: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """By method, the Django permissions that a caller needs."""
    status_overrides: ClassVar[Mapping[type[TaskqueueError], int]] = {}
    """Statuses that differ from `problems.STATUSES`."""
    pointer_overrides: ClassVar[Mapping[type[TaskqueueError], str]] = {}
    """Pointers that differ from `problems.POINTERS`."""

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:  # the stubs have a type of their own for it
        """Stay out of the project's own schema; `openapi.schema.OurEndpoints` finds the view nevertheless."""
        return super().as_view(**{"schema": None, **initkwargs})

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer in English whatever the project's language: programs read these texts."""
        with translation.override("en"):
            return super().dispatch(request, *args, **kwargs)

    @property
    def allowed_methods(self) -> list[str]:
        """What `Allow` lists: the methods of the schema."""
        methods = {name: getattr(self, name, None) for name in self.http_method_names if name != "head"}
        return [name.upper() for name, method in methods.items() if method and not getattr(method, "is_hidden", False)]

    @property
    def default_response_headers(self) -> dict[str, str]:
        headers: dict[str, str] = super().default_response_headers
        return {name: value for name, value in headers.items() if value}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Check the caller first, then read a chunked body, which Django would take for an empty one."""
        super().initial(request, *args, **kwargs)
        refuse_compressed(request)
        if "HTTP_TRANSFER_ENCODING" in request.META:
            buffer_chunked_body(request._request, self.parser_classes[0]().limit())

    def check_permissions(self, request: Request) -> None:
        """Throttle first: a request without permission counts as well."""
        super().check_throttles(request)
        super().check_permissions(request)

    def check_throttles(self, request: Request) -> None:
        """Nothing: `check_permissions` did it."""

    def get_exception_handler(self) -> Any:
        return exception_handler


class NotFoundView(ApiView):
    """Every other address below the API."""

    permission_classes = ()
    throttle_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Answer 404 to every method."""
        suggestion = path_with_other_slash(request)
        hint = f" Did you mean {suggestion}?" if suggestion else ""
        docs = reverse("taskqueue:docs")
        raise Refusal(Kind.NOT_FOUND, f"There is nothing at {request.path}.{hint} The API is described at {docs}.")


def path_with_other_slash(request: Request) -> str:
    """The request's path with a final slash added or removed, if that resolves; otherwise ""."""
    requested = request.path_info
    for path in (requested.rstrip("/"), f"{requested}/"):
        try:
            match = resolve(path, getattr(request, "urlconf", None))
        except Resolver404:
            continue
        if getattr(match.func, "view_class", None) is not NotFoundView:
            return request.path.removesuffix(requested) + path
    return ""


class PipelineNameConverter(PathConverter):
    """A pipeline's name in an address: it may contain slashes but not end in one."""

    regex = ".*[^/]"


class AnyCaseUUIDConverter(UUIDConverter):
    """A UUID in an address, also in upper case, as some languages print it."""

    regex = re.sub("a-f", "a-fA-F", UUIDConverter.regex)

    def to_python(self, value: str) -> UUID:
        return UUID(value)
