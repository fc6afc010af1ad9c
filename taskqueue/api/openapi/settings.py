"""The settings of drf-spectacular with which `openapi.yaml` is written. Nothing is imported: settings files need it."""

from __future__ import annotations

from typing import Any, Final

SETTINGS: Final[dict[str, Any]] = {
    "TITLE": "taskqueue",
    "VERSION": "0.1.0",
    "DESCRIPTION": (
        "Durable multi-step tasks: submit one, watch it, retry it.\n\n"
        "Times are RFC 3339 in UTC, ids are UUIDv7, bodies are JSON, and nothing ends in a slash. Every refusal is "
        "`application/problem+json` (RFC 9457); programs compare its `code`, which never changes.\n\n"
        "Callers bring a token (`Authorization: Bearer …`), or are logged-in staff users of the admin, with its "
        "session cookie and its CSRF token in the header `X-CSRFToken`. While `DEBUG` is on, callers on the same "
        "machine need neither. What a caller may do is a matter of Django's permissions: `view_task` to look, "
        "`add_task` to submit and rerun, `retry_task`, `cancel_task`, `view_pipeline`, `pause_pipeline`, `view_event`, "
        "`add_event`; and of a pipeline's own rights, where somebody is named for it. Without `view_task_payload` "
        "fields that are marked as secret are masked."
    ),
    "CONTACT": {"name": "taskqueue contributors"},
    "LICENSE": {"name": "MIT", "identifier": "MIT"},
    "SERVERS": [{"url": "/", "description": "The service that serves this description."}],
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "TaskStatus": "taskqueue.states.TaskStatus",
        "StepStatus": "taskqueue.states.StepStatus",
        "AttemptOutcome": "taskqueue.states.AttemptOutcome",
        "ProblemCode": "taskqueue.api.problems.CODES",
        "ReasonCode": "taskqueue.engine.queries.reasons.Code",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "taskqueue.api.openapi.schema.complete",
    ],
    "TAGS": [
        {"name": "tasks", "description": "Make tasks, find them, watch them, act on them."},
        {"name": "pipelines", "description": "What the deployed code can do."},
        {"name": "events", "description": "Say what has happened: it starts tasks, and ends their waits."},
        {"name": "metrics", "description": "For Prometheus."},
        {"name": "health", "description": "For supervisors and load balancers; needs no login."},
    ],
}
