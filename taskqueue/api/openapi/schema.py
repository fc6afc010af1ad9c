"""The OpenAPI schema: what drf-spectacular finds, and each pipeline's own request beside it."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.settings import patched_settings
from rest_framework.views import APIView

from taskqueue.api.openapi.components import BODIES, add_pipelines, component_of, name_of
from taskqueue.api.openapi.refusals import add_refusals
from taskqueue.api.openapi.settings import SETTINGS
from taskqueue.definitions import registry

generating = Lock()


def current_schema() -> dict[str, Any]:
    """The schema of this process's code."""
    return schema_with(tuple(registry.names()))


@lru_cache(maxsize=1)
def schema_with(_pipelines: tuple[str, ...]) -> dict[str, Any]:
    """The schema, made once for as long as the pipelines are the same ones."""
    # drf-spectacular's settings are patched for the whole process: never by two threads at once.
    with generating, patched_settings(SETTINGS):
        generator = OurSchema()  # type: ignore[no-untyped-call]  # drf-spectacular's
        schema: dict[str, Any] = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        return schema


class OurEndpoints(EndpointEnumerator):
    """Of a project's endpoints those of taskqueue, which are in no other schema."""

    def should_include_endpoint(self, path: str, callback: Any) -> bool:
        """Whether it is one of ours."""
        return issubclass(getattr(callback, "cls", object), APIView) and callback.cls.__module__.startswith(
            "taskqueue.api."
        )


class OurSchema(SchemaGenerator):
    """Makes the schema of taskqueue's endpoints."""

    endpoint_inspector_cls = OurEndpoints


def complete(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Add what drf-spectacular cannot know: each pipeline's own request, named bodies, examples of refusals."""
    components: dict[str, Any] = result["components"]["schemas"]
    components |= {name_of(model): component_of(model) for model in BODIES}
    examples = add_pipelines(components)
    for path in result["paths"].values():
        for operation in path.values():
            name = operation["operationId"]
            if name in examples:
                operation["requestBody"]["required"] = True
                operation["requestBody"]["content"]["application/json"]["examples"] = examples[name]
            if name in ("sendEvent", "pausePipeline"):
                operation["requestBody"]["required"] = True
            if operation["tags"] == ["health"]:
                operation["security"] = []
            add_refusals(operation)
    result["components"]["schemas"] = dict(sorted(components.items()))
    return result


class BearerTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its own untyped hook
    """How the schema describes a token."""

    target_class = "taskqueue.api.authentication.BearerToken"
    name = "bearerToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """The header."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A token made in the admin or by `manage.py token create`. It may do what its user may.",
        }


class StaffSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its own untyped hook
    """How the schema describes a login."""

    target_class = "taskqueue.api.authentication.StaffSession"
    name = "adminSession"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """The admin's cookie."""
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "The admin's session. Other methods than GET also need the header X-CSRFToken.",
        }
