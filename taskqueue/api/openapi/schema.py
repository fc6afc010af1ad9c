"""The OpenAPI schema: what drf-spectacular finds, plus a request schema for each pipeline."""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.settings import patched_settings
from rest_framework.views import APIView

from taskqueue.api.openapi.components import add_pipelines
from taskqueue.api.openapi.operations import PUBLIC_TAG
from taskqueue.api.openapi.refusals import add_refusal_examples
from taskqueue.api.openapi.settings import SETTINGS
from taskqueue.api.openapi.webhooks import add_webhooks
from taskqueue.definitions import registry

generator_lock = Lock()


def current_schema() -> dict[str, Any]:
    return schema_with(tuple(registry.names()))


@lru_cache(maxsize=1)
def schema_with(_pipelines: tuple[str, ...]) -> dict[str, Any]:
    """The schema, cached until the set of pipelines changes."""
    # drf-spectacular patches its settings for the whole process.
    with generator_lock, patched_settings(SETTINGS):
        generator = OurSchema()  # type: ignore[no-untyped-call]  # drf-spectacular's
        schema: dict[str, Any] = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        return schema


class OurEndpoints(EndpointEnumerator):
    """Lists the endpoints of taskqueue only."""

    def should_include_endpoint(self, path: str, callback: Any) -> bool:
        return issubclass(getattr(callback, "cls", object), APIView) and callback.cls.__module__.startswith(
            "taskqueue.api."
        )


class OurSchema(SchemaGenerator):
    """Generates the schema of taskqueue's endpoints."""

    endpoint_inspector_cls = OurEndpoints


def complete(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Add what drf-spectacular does not find: request schemas of pipelines, examples of refusals."""
    components: dict[str, Any] = result["components"]["schemas"]
    examples = add_pipelines(components)
    for path in result["paths"].values():
        for operation in path.values():
            name = operation["operationId"]
            if name in examples:
                operation["requestBody"]["required"] = True
                operation["requestBody"]["content"]["application/json"]["examples"] = examples[name]
            if operation["tags"] == [PUBLIC_TAG]:
                operation["security"] = []
            add_refusal_examples(operation)
    add_webhooks(result)
    result["components"]["schemas"] = dict(sorted(components.items()))
    return result


class BearerTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its own untyped hook
    """Describes tokens in the schema."""

    target_class = "taskqueue.api.authentication.BearerToken"
    name = "bearerToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A token from the admin or `manage.py token create`. It has the permissions of its user.",
        }


class StaffSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its own untyped hook
    """Describes the admin's session in the schema."""

    target_class = "taskqueue.api.authentication.StaffSession"
    name = "adminSession"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "The admin's session. POST also needs the header X-CSRFToken.",
        }
