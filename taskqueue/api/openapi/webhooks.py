"""The calls that subscribers and callback URLs get, as the `webhooks` of the schema."""

from __future__ import annotations

from typing import Any, Final

from taskqueue.states import ENDED

TIME: Final = {"type": "string", "format": "date-time"}
MAYBE_TIME: Final = {"type": ["string", "null"], "format": "date-time"}

DATA: Final[dict[str, Any]] = {
    "task": {"type": "string", "format": "uuid", "description": "The task's id."},
    "pipeline": {"type": "string"},
    "status": {"type": "string", "enum": [ending.value for ending in ENDED]},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "key": {"type": "string", "description": "Its idempotency key, or empty."},
    "result": {"description": "Of a task that succeeded; secrets are masked."},
    "result_omitted": {"type": "boolean", "description": "Whether the result is too large to be sent."},
    "error": {"type": ["object", "null"], "description": "Type, message and step, of a task that did not succeed."},
    "created_at": TIME,
    "started_at": MAYBE_TIME,
    "finished_at": TIME,
}
EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "A task has ended. The format is that of Standard Webhooks.",
    "properties": {
        "type": {"type": "string", "enum": [f"task.{ending.value}" for ending in ENDED]},
        "timestamp": {**TIME, "description": "When the task ended."},
        "data": {"type": "object", "properties": DATA, "required": list(DATA)},
    },
    "required": ["type", "timestamp", "data"],
}
HEADERS: Final = {
    "webhook-id": "The delivery's id, the same for each attempt.",
    "webhook-timestamp": "When this attempt was sent, in seconds since 1970.",
    "webhook-signature": "`v1,` and the HMAC-SHA256 of id, timestamp and body, in base64; several with spaces between.",
}


def add_webhooks(schema: dict[str, Any]) -> None:
    """Add the event and the call to the schema, in place."""
    schema["components"]["schemas"]["TaskEvent"] = EVENT
    parameters = [
        {"name": name, "in": "header", "required": True, "schema": {"type": "string"}, "description": description}
        for name, description in HEADERS.items()
    ]
    schema["webhooks"] = {
        "taskEnded": {
            "post": {
                "operationId": "taskEnded",
                "summary": "A task has ended",
                "description": "Sent to each matching subscription, and to the task's callback URL. "
                "Every answer but 2xx and 410 is tried again for 24 hours.",
                "tags": ["subscriptions"],
                "parameters": parameters,
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/TaskEvent"}}},
                },
                "responses": {
                    "2XX": {"description": "Accepted."},
                    "410": {"description": "Do not call again: the subscription is disabled."},
                },
                "security": [],
            }
        }
    }
