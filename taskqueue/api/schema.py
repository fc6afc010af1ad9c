"""The OpenAPI schema: what drf-spectacular finds, and each pipeline's own request beside it."""

from __future__ import annotations

import re
from functools import lru_cache
from threading import Lock
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from drf_spectacular.settings import patched_settings
from rest_framework.views import APIView

from taskqueue.api.contract import SETTINGS
from taskqueue.api.requests import Submission
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine.batches import BATCH_MOST

PREFIX = "#/components/schemas/"
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


def offer_pipelines(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """Describe the body of `POST /api/tasks` as one of the registered pipelines' own requests."""
    components: dict[str, Any] = result["components"]["schemas"]
    mapping: dict[str, str] = {}
    examples: dict[str, Any] = {}
    components["TaskSubmission"] = union_of(mapping)
    for definition in registry.all():
        name = add_components(components, definition)
        mapping[definition.name] = f"{PREFIX}{name}Submission"
        examples[definition.name] = {"value": {"pipeline": definition.name, "payload": definition.payload.example()}}
    components["TaskSubmission"] = union_of(mapping)
    components["TaskBatch"] = batch_of(f"{PREFIX}TaskSubmission")
    for path in result["paths"].values():
        post = path.get("post", {})
        if post.get("operationId") == "createTask":
            require_body(post, examples)
        elif post.get("operationId") == "createTasks":
            require_body(post, {"tasks": {"value": {"tasks": [each["value"] for each in examples.values()]}}})
    result["components"]["schemas"] = dict(sorted(components.items()))
    return result


def require_body(operation: dict[str, Any], examples: dict[str, Any]) -> None:
    """Say of an operation that it needs its body, and how that may look."""
    operation["requestBody"]["required"] = True
    operation["requestBody"]["content"]["application/json"]["examples"] = examples


def batch_of(reference: str) -> dict[str, Any]:
    """Many of these in one request."""
    tasks = {"type": "array", "items": {"$ref": reference}, "minItems": 1, "maxItems": BATCH_MOST}
    return {
        "type": "object",
        "description": "Many tasks to be made, or none of them.",
        "properties": {"tasks": tasks},
        "required": ["tasks"],
        "additionalProperties": False,
    }


def union_of(mapping: dict[str, str]) -> dict[str, Any]:
    """One of several requests, told apart by `pipeline`; without any pipeline, no request can be right."""
    if not mapping:
        return {"not": {}, "description": "No pipeline is registered."}
    return {
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "pipeline", "mapping": mapping},
    }


def add_components(components: dict[str, Any], definition: PipelineDefinition) -> str:
    """Add a pipeline's components; the name with which theirs begin.

    `demo/send-mail` becomes `DemoSendMail`, and a number follows if another component has such a name already.
    """
    plain = name = "".join(part.capitalize() for part in re.split(r"[^a-z0-9]+", definition.name))
    number = 1
    while components.keys() & (added := components_of(definition, name)).keys():
        number += 1
        name = f"{plain}{number}"
    components |= added
    return name


def components_of(definition: PipelineDefinition, name: str) -> dict[str, Any]:
    """A pipeline's request, its payload, and the models within that, by component name."""
    payload = definition.payload.model.model_json_schema(ref_template=f"{PREFIX}{name}{{model}}")
    inner = payload.pop("$defs", {})
    envelope = Submission.model_json_schema()
    properties = {
        **envelope["properties"],
        "pipeline": {"type": "string", "const": definition.name},
        "payload": {"$ref": f"{PREFIX}{name}Payload"},
    }
    request = {
        "type": "object",
        "title": definition.name,
        "description": definition.description,
        "properties": {key: untitled(value) for key, value in properties.items()},
        "required": envelope["required"],
        "additionalProperties": False,
    }
    models = {f"{name}{key}": value for key, value in inner.items()}
    return {**models, f"{name}Payload": payload, f"{name}Submission": request}


def untitled(schema: dict[str, Any]) -> dict[str, Any]:
    """A property without the title that pydantic makes of its name."""
    return {key: value for key, value in schema.items() if key != "title"}


class BearerTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its own untyped hook
    """How the schema describes a token."""

    target_class = "taskqueue.api.access.BearerToken"
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

    target_class = "taskqueue.api.access.StaffSession"
    name = "adminSession"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """The admin's cookie."""
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "The admin's session. Other methods than GET also need the header X-CSRFToken.",
        }
