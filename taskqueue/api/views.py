"""What every door of the API has in common, so that an installing project needs no settings for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve, reverse
from django.urls.converters import PathConverter, UUIDConverter
from django.utils import translation
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from taskqueue.api.authentication import Access, BearerToken, StaffSession, TokenRate
from taskqueue.api.json_parser import StrictJson, refuse_compressed, take_in_chunks
from taskqueue.api.problems import MEDIA_TYPE, NotFound, handle
from taskqueue.errors import TaskqueueError

Method = TypeVar("Method", bound=Callable[..., Any])
ACCEPTED = {JSONRenderer.media_type, MEDIA_TYPE, "application/*", "*/*", ""}


def described(facts: dict[str, Any]) -> Callable[[Method], Method]:
    """Describe a door's method in the OpenAPI schema, whatever schema class the project has chosen for its own."""

    def describe(method: Method) -> Method:
        method.is_hidden = facts.get("exclude", False)  # type: ignore[attr-defined]  # for `Door.allowed_methods`
        method.schema = AutoSchema  # type: ignore[attr-defined]  # where extend_schema looks for its base class
        return extend_schema(**facts)(method)

    return describe


class JsonOnly(DefaultContentNegotiation):
    """Answers are JSON, whatever `?format=` says; who accepts none of it is told so."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        """The only renderer there is."""
        asked = {part.partition(";")[0].strip().lower() for part in request.META.get("HTTP_ACCEPT", "").split(",")}
        if not asked & ACCEPTED:
            raise NotAcceptable
        return renderers[0], renderers[0].media_type


class Door(APIView):
    """An endpoint."""

    authentication_classes: Sequence[type[BaseAuthentication]] = (BearerToken, StaffSession)
    permission_classes: Sequence[type[BasePermission]] = (Access,)
    parser_classes = (StrictJson,)
    renderer_classes: Sequence[type[BaseRenderer]] = (JSONRenderer,)
    content_negotiation_class: type[BaseContentNegotiation] = JsonOnly
    throttle_classes: Sequence[type[BaseThrottle]] = (TokenRate,)
    versioning_class = None
    metadata_class = None
    http_method_names = ["get", "post", "head"]
    schema = AutoSchema()

    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The permissions that each method asks for."""
    statuses: ClassVar[Mapping[type[TaskqueueError], int]] = {}
    """Where this door's statuses differ from those of `problems.STATUSES`."""
    pointers: ClassVar[Mapping[type[TaskqueueError], str]] = {}
    """Where its places in the request differ from those of `problems.POINTERS`."""

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Any:  # the stubs have a type of their own for it
        """Keep it out of a project's own schema; `schema.OurEndpoints` finds it all the same."""
        return super().as_view(**{"schema": None, **initkwargs})

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer in English whatever the project's language: the contract's words are, and programs read them."""
        with translation.override("en"):
            return super().dispatch(request, *args, **kwargs)

    @property
    def allowed_methods(self) -> list[str]:
        """What `Allow` lists: the methods of the schema."""
        methods = {name: getattr(self, name, None) for name in self.http_method_names if name != "head"}
        return [name.upper() for name, method in methods.items() if method and not getattr(method, "is_hidden", False)]

    @property
    def default_response_headers(self) -> dict[str, str]:
        """DRF's, without an `Allow` where there is nothing."""
        headers: dict[str, str] = super().default_response_headers
        return {name: value for name, value in headers.items() if value}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Take in a body without a length, which Django takes for none, once its caller is known to be allowed it."""
        super().initial(request, *args, **kwargs)
        refuse_compressed(request)
        if "HTTP_TRANSFER_ENCODING" in request.META:
            take_in_chunks(request._request, self.parser_classes[0]().limit())

    def check_permissions(self, request: Request) -> None:
        """Count the request first: one that is not permitted costs its token as much as another."""
        super().check_throttles(request)
        super().check_permissions(request)

    def check_throttles(self, request: Request) -> None:
        """Nothing: it was counted before anybody asked what it may."""

    def get_exception_handler(self) -> Any:
        """Ours, in whatever project."""
        return handle


class Nowhere(Door):
    """Every address that is no door."""

    permission_classes = ()
    throttle_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Say so, whatever the method."""
        meant = path_meant(request)
        guess = f" Did you mean {meant}?" if meant else ""
        docs = reverse("taskqueue:docs")
        raise NotFound(f"There is nothing at {request.path}.{guess} The API is described at {docs}.")


def path_meant(request: Request) -> str:
    """The path of this request with one slash more or less at its end, if something is there; "" if not."""
    asked = request.path_info
    for path in (asked.rstrip("/"), f"{asked}/"):
        try:
            found = resolve(path, getattr(request, "urlconf", None))
        except Resolver404:
            continue
        if getattr(found.func, "view_class", None) is not Nowhere:
            return request.path.removesuffix(asked) + path
    return ""


class NameConverter(PathConverter):
    """The name of a pipeline in an address: it may hold slashes, and ends in none."""

    regex = ".*[^/]"


class AnyCaseUUIDConverter(UUIDConverter):
    """A UUID in an address. Some languages print theirs in upper case."""

    regex = re.sub("a-f", "a-fA-F", UUIDConverter.regex)

    def to_python(self, value: str) -> UUID:
        """The id."""
        return UUID(value)
