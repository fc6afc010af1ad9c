"""The named schemas of request bodies. Titles are component names: generators make class names of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from taskqueue.api.requests import (
    CancelRequest,
    EventSubmission,
    NoBody,
    PauseRequest,
    RetryRequest,
    Submission,
)
from taskqueue.conf import settings
from taskqueue.definitions import PipelineDefinition, registry
from taskqueue.engine.enqueue.bulk import BATCH_MOST

PREFIX: Final = "#/components/schemas/"
BODIES: Final[tuple[type[BaseModel], ...]] = (CancelRequest, EventSubmission, NoBody, PauseRequest, RetryRequest)
"""The bodies that are the same whatever pipelines there are."""
OWN: Final = ("Payload", "Submission")
"""The ends of the names of a pipeline's own components."""
BY_MEMBER: Final = ("properties", "patternProperties")
WITHIN: Final = ("anyOf", "oneOf", "allOf", "prefixItems", "items", "additionalProperties", "not")
"""The keywords under which there are other schemas."""


def name_of(model: type[BaseModel]) -> str:
    """The name of a body's component."""
    return model.__name__


def reference_to(model: type[BaseModel]) -> dict[str, str]:
    """A reference to a body's component."""
    return {"$ref": f"{PREFIX}{name_of(model)}"}


def component_of(model: type[BaseModel]) -> dict[str, Any]:
    """The component of a body that no pipeline has a part in."""
    schema = {**model.model_json_schema(ref_template=f"{PREFIX}{{model}}"), "description": model.__doc__}
    return {**for_callers(schema), "title": name_of(model)}


def add_pipelines(components: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Add the components of every registered pipeline; examples of the operations that take them, by operation id."""
    mapping: dict[str, str] = {}
    examples: dict[str, Any] = {}
    for definition in sorted(registry.all(), key=lambda each: each.name != settings().EXAMPLE_PIPELINE):
        mapping[definition.name] = f"{PREFIX}{add_components(components, definition)}Submission"
        if (payload := definition.payload.example()) is not None:
            examples[definition.name] = {"value": {"pipeline": definition.name, "payload": payload}}
    components["TaskSubmission"] = union_of(mapping)
    components["TaskBatch"] = batch_of(f"{PREFIX}TaskSubmission")
    batch = {"tasks": {"value": {"tasks": [each["value"] for each in examples.values()][:BATCH_MOST]}}}
    return {"createTask": examples, "createTasks": batch if examples else {}}


def batch_of(reference: str) -> dict[str, Any]:
    """Many of these in one request."""
    tasks = {"type": "array", "items": {"$ref": reference}, "minItems": 1, "maxItems": BATCH_MOST}
    return {
        "type": "object",
        "title": "TaskBatch",
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
    inner = {inner_name(f"{name}{key}", name): model for key, model in payload.pop("$defs", {}).items()}
    if isinstance(reference := payload.get("$ref"), str):
        # A model that holds itself is only a reference at its root, which generators pass over.
        payload = inner[inner_name(reference.removeprefix(PREFIX), name)]
    envelope = Submission.model_json_schema()
    request = {
        "type": "object",
        "description": definition.description,
        "properties": {
            **envelope["properties"],
            "pipeline": {"type": "string", "const": definition.name},
            "payload": {"$ref": f"{PREFIX}{name}Payload"},
        },
        "required": envelope["required"],
        "additionalProperties": False,
    }
    models = {key: for_callers(model, name) for key, model in {**inner, f"{name}Payload": payload}.items()}
    models[f"{name}Submission"] = for_callers(request)
    return {key: {**model, "title": key} for key, model in models.items()}


def inner_name(component: str, name: str) -> str:
    """The component of a model within a payload, which may be called as the pipeline's own ones are."""
    return f"{component}Model" if component in {f"{name}{end}" for end in OWN} else component


def for_callers(schema: Any, name: str = "") -> Any:
    """A schema without the titles that pydantic makes of names, and with defaults told in words.

    Generators take a title for a class name, and some take a field with a default for one that is always there.

    Args:
        schema: any schema, or what stands in the place of one.
        name: the beginning of the names of the pipeline's components.
    """
    if isinstance(schema, list):
        return [for_callers(each, name) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {
        key: part_for_callers(key, value, name) for key, value in schema.items() if key not in ("title", "default")
    }
    if schema.get("default") not in (None, "", [], {}):
        words = f"Default: {json.dumps(schema['default'], ensure_ascii=False)}."
        found["description"] = f"{schema.get('description', '')} {words}".strip()
    return found


def part_for_callers(key: str, value: Any, name: str) -> Any:
    """What stands under a keyword of a schema, the same way."""
    if key in BY_MEMBER:
        return {member: for_callers(each, name) for member, each in value.items()}
    if key in WITHIN:
        return for_callers(value, name)
    return f"{PREFIX}{inner_name(value.removeprefix(PREFIX), name)}" if key == "$ref" and name else value
