"""`@operation` describes a view's method in the OpenAPI schema; the refusals follow from its path, query and body."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from pydantic import BaseModel

from taskqueue.api.openapi.components import PREFIX
from taskqueue.api.problems import MEDIA_TYPE
from taskqueue.api.serializers import Problem

Method = TypeVar("Method", bound=Callable[..., Any])

REFUSALS: Final = {
    400: "The request could not be read.",
    401: "No valid token and no login.",
    403: "The caller lacks a permission, for all pipelines or for this one; or a login came without its CSRF token.",
    404: "Not found.",
    406: "The caller accepts no media type that this endpoint answers with.",
    409: "The current state does not allow this.",
    413: "The body or the payload is too large.",
    415: "The body is not application/json.",
    422: "The body is valid JSON, but its content is not accepted.",
    429: "The token has used up its requests for now. `Retry-After` has the seconds to wait.",
    500: "An unexpected error. It was logged.",
    501: "The server runs the service under WSGI, where an open stream would take a thread.",
    503: "The database does not answer, or something that the request asks for is missing.",
}
PUBLIC_TAG: Final = "health"
"""Endpoints with this tag need no login."""


def numbered(resource: str) -> OpenApiParameter:
    """The id of a row with a number."""
    schema = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
    return OpenApiParameter(f"{resource}_id", schema, OpenApiParameter.PATH, description=f"The {resource}'s id.")


UUID_SCHEMA: Final = {"type": "string", "format": "uuid"}
PATH_PARAMETERS: Final = {
    "task_id": OpenApiParameter("task_id", UUID_SCHEMA, OpenApiParameter.PATH, description="The task's id."),
    "event_id": OpenApiParameter("event_id", UUID_SCHEMA, OpenApiParameter.PATH, description="The event's id."),
    "operation_id": OpenApiParameter("operation_id", UUID_SCHEMA, OpenApiParameter.PATH, description="Its id."),
    "subscription_id": numbered("subscription"),
    "worker_id": numbered("worker"),
    "token_id": numbered("token"),
    "permission_id": numbered("permission"),
    "rule_id": numbered("rule"),
    "rate": OpenApiParameter(
        "rate",
        {"type": "string", "minLength": 1},
        OpenApiParameter.PATH,
        description="The rate's name. Slashes in it may be sent as they are or as %2F.",
    ),
    "name": OpenApiParameter(
        "name",
        {"type": "string", "minLength": 1},
        OpenApiParameter.PATH,
        description="The pipeline's name. Slashes in it may be sent as they are or as %2F.",
    ),
}


def operation(
    operation_id: str,
    summary: str,
    description: str,
    *,
    tag: str,
    success: Mapping[Any, tuple[Any, str]],
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | str | None = None,
    headers: Sequence[OpenApiParameter] = (),
    never: Sequence[int] = (),
) -> Callable[[Method], Method]:
    """Describe a view's method in the OpenAPI schema.

    Args:
        success: for each status of success, or refusal of this method alone, the serializer and its description.
        body: its model, or the name of its component.
        never: statuses that this method never answers with, though others like it do.
    """

    def describe(method: Method) -> Method:
        path = [PATH_PARAMETERS[name] for name in inspect.signature(method).parameters if name in PATH_PARAMETERS]
        statuses = sorted(refusals(tag=tag, path=bool(path), query=bool(query), body=bool(body)) - set(never))
        return described(
            method,
            operation_id=operation_id,
            summary=summary,
            description=description,
            tags=[tag],
            parameters=[*path, *(query_parameters(query) if query else ()), *headers],
            request={"application/json": {"$ref": PREFIX + body}} if isinstance(body, str) else body,
            responses={
                **{status: OpenApiResponse(kind, description=text) for status, (kind, text) in success.items()},
                **{(each, MEDIA_TYPE): OpenApiResponse(Problem, description=REFUSALS[each]) for each in statuses},
            },
        )

    return describe


def hidden_operation(method: Method) -> Method:
    """Leave a view's method out of the OpenAPI schema and of `Allow`."""
    method.is_hidden = True  # type: ignore[attr-defined]  # for `ApiView.allowed_methods`
    return described(method, exclude=True)


def described(method: Method, **description: Any) -> Method:
    """The method with its description, where `extend_schema` would look for the project's schema class."""
    method.schema = AutoSchema  # type: ignore[attr-defined]
    return extend_schema(**description)(method)


def refusals(*, tag: str, path: bool, query: bool, body: bool) -> set[int]:
    return {
        *(() if tag == PUBLIC_TAG else (401, 403, 429)),
        *((400,) if query or body else ()),
        *((404,) if path else ()),
        *((409,) if path and body else ()),
        *((413, 415, 422) if body else ()),
        *(406, 500, 503),
    }


def location(resource: str, *statuses: int) -> OpenApiParameter:
    return OpenApiParameter(
        "Location",
        {"type": "string", "format": "uri-reference"},
        OpenApiParameter.HEADER,
        description=f"The {resource}'s address.",
        response=list(statuses),
    )


def idempotency_key(field: str, *, max_length: int) -> OpenApiParameter:
    """The header that stands for this field of the body."""
    return OpenApiParameter(
        "Idempotency-Key",
        {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": "^[ -~]+$"},
        OpenApiParameter.HEADER,
        description=f"Instead of `{field}` in the body, plain or quoted. If both are sent, they must be equal.",
    )


def query_parameters(model: type[BaseModel]) -> list[OpenApiParameter]:
    schema = model.model_json_schema()
    parameters = []
    for name, field in schema["properties"].items():
        plain = inlined(field, schema.get("$defs", {}))
        plain.pop("title", None)
        if not plain.get("default"):
            plain.pop("default", None)
        description = plain.pop("description", "")
        explode = True if plain["type"] == "array" else None
        parameters.append(
            OpenApiParameter(
                name, plain, OpenApiParameter.QUERY, description=description, explode=explode, style="form"
            )
        )
    return parameters


def inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema with each reference replaced by its definition, and without null, which no query can express."""
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found = inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {name: value for name, value in found.items() if name not in {"title", "description"}}
    if "anyOf" in schema:
        (only,) = [item for item in schema["anyOf"] if item != {"type": "null"}]
        schema = {**{name: value for name, value in schema.items() if name != "anyOf"}, **only}
    return {name: inlined(value, definitions) for name, value in schema.items()}
