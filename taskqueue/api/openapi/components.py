"""The schemas of request bodies. Each title is the component's name: client generators use it as the class name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from drf_spectacular.contrib.pydantic import PydanticExtension

from taskqueue.api.requests import Batch, Submission
from taskqueue.conf import settings
from taskqueue.definitions import INTERNAL, PipelineDefinition, registry
from taskqueue.engine.enqueue.bulk import BULK_MAX

PREFIX: Final = "#/components/schemas/"
RESERVED_ENDINGS: Final = ("Payload", "Submission")
"""How the component names of a pipeline end."""
SCHEMAS_BY_NAME: Final = ("properties", "patternProperties")
SUBSCHEMAS: Final = ("anyOf", "oneOf", "allOf", "prefixItems", "items", "additionalProperties", "not")
"""The keywords whose values are schemas or lists of schemas."""


class BodySchema(PydanticExtension):  # type: ignore[no-untyped-call]  # its own untyped hook
    """Describes a request body by its model."""

    target_class = "taskqueue.api.requests.Body"
    priority = 1

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        schema = self.target.model_json_schema()
        plain = without_references(schema, schema.pop("$defs", {}))
        return {**for_callers({**plain, "description": self.target.__doc__}), "title": self.target.__name__}


def without_references(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema with each reference replaced by its definition: below a component, generators find no `$defs`."""
    if isinstance(schema, list):
        return [without_references(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
        del schema["$ref"]
    return {name: without_references(each, definitions) for name, each in schema.items()}


def add_pipelines(components: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Add every pipeline's components to the schema, in place.

    Returns:
        The examples of the two operations that submit tasks, by operation id.
    """
    mapping: dict[str, str] = {}
    examples: dict[str, Any] = {}
    callable_ones = [each for each in registry.all() if each.name not in INTERNAL]
    for definition in sorted(callable_ones, key=lambda each: each.name != settings().EXAMPLE_PIPELINE):
        mapping[definition.name] = f"{PREFIX}{add_components(components, definition)}Submission"
        if (payload := definition.payload.example()) is not None:
            examples[definition.name] = {"value": {"pipeline": definition.name, "payload": payload}}
    components["TaskSubmission"] = union_of(mapping)
    components["TaskBatch"] = batch_schema()
    batch = {"tasks": {"value": {"tasks": [each["value"] for each in examples.values()][:BULK_MAX]}}}
    return {"createTask": examples, "createTasks": batch if examples else {}}


def batch_schema() -> dict[str, Any]:
    schema = Batch.model_json_schema()
    schema["properties"]["tasks"]["items"] = {"$ref": f"{PREFIX}TaskSubmission"}
    del schema["$defs"]
    return {**for_callers(schema), "title": "TaskBatch"}


def union_of(mapping: dict[str, str]) -> dict[str, Any]:
    """One of several requests, discriminated by `pipeline`. Without any pipeline no request is valid."""
    if not mapping:
        return {"not": {}, "description": "No pipeline is registered."}
    return {
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "pipeline", "mapping": mapping},
    }


def add_components(components: dict[str, Any], definition: PipelineDefinition) -> str:
    """Add a pipeline's components to the schema, in place.

    Returns:
        How their names begin: `DemoSendMail` for `demo/send-mail`, with a number if that is in use already.
    """
    plain = name = "".join(part.capitalize() for part in re.split(r"[^a-z0-9]+", definition.name))
    number = 1
    while components.keys() & (added := components_of(definition, name)).keys():
        number += 1
        name = f"{plain}{number}"
    components |= added
    return name


def components_of(definition: PipelineDefinition, name: str) -> dict[str, Any]:
    """A pipeline's request, payload, and the payload's models, by component name."""
    payload = definition.payload.model.model_json_schema(ref_template=f"{PREFIX}{name}{{model}}")
    inner = {model_component(f"{name}{key}", name): model for key, model in payload.pop("$defs", {}).items()}
    if isinstance(reference := payload.get("$ref"), str):
        # The schema of a recursive model is only a reference, which client generators ignore.
        payload = inner[model_component(reference.removeprefix(PREFIX), name)]
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


def model_component(component: str, name: str) -> str:
    """The component of a payload's model, renamed if the pipeline itself needs that name."""
    return f"{component}Model" if component in {f"{name}{end}" for end in RESERVED_ENDINGS} else component


def for_callers(schema: Any, name: str = "") -> Any:
    """A schema without pydantic's titles, and with each default in the description.

    Client generators use a title as a class name, and some treat a field with a default as always present.

    Args:
        schema: a schema, a list of schemas, or any other value, which is returned as it is.
        name: how the names of the pipeline's components begin.
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
    if key in SCHEMAS_BY_NAME:
        return {member: for_callers(each, name) for member, each in value.items()}
    if key in SUBSCHEMAS:
        return for_callers(value, name)
    return f"{PREFIX}{model_component(value.removeprefix(PREFIX), name)}" if key == "$ref" and name else value
