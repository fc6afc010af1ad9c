"""The settings of drf-spectacular for `openapi.yaml`. Imports nothing, because settings files import this module."""

from __future__ import annotations

from typing import Any, Final

SETTINGS: Final[dict[str, Any]] = {
    "TITLE": "taskqueue",
    "VERSION": "0.1.0",
    "DESCRIPTION": (
        "Durable multi-step tasks: submit, watch and retry them.\n\n"
        "Times are RFC 3339 in UTC, ids are UUIDv7, bodies are JSON, and no path ends in a slash. Every refusal is "
        "`application/problem+json` (RFC 9457); programs compare its `code`, which never changes.\n\n"
        "Send a token (`Authorization: Bearer …`), or the admin's session cookie with its CSRF token in the header "
        "`X-CSRFToken`. With `DEBUG` on, callers on the same machine need neither. Django permissions decide what a "
        "caller may do: `view_task` to read, `add_task` to submit and rerun, `retry_task`, `cancel_task`, "
        "`view_pipeline`, `pause_pipeline`, `view_schedule`, `view_worker`, `view_event`, `add_event`, and "
        "`view_subscription`, `add_subscription`, `change_subscription`, `delete_subscription`. A pipeline with "
        "permissions of its own admits only the users and groups listed there. Without `view_task_payload` secret "
        "fields are masked."
    ),
    "CONTACT": {"name": "taskqueue contributors"},
    "LICENSE": {"name": "MIT", "identifier": "MIT"},
    "SERVERS": [{"url": "/", "description": "The server of this description."}],
    "OAS_VERSION": "3.1.0",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "TaskStatus": "taskqueue.states.TaskStatus",
        "StepStatus": "taskqueue.states.StepStatus",
        "AttemptOutcome": "taskqueue.states.AttemptOutcome",
        "SkipKind": "taskqueue.states.SkipKind",
        "ProblemCode": "taskqueue.api.problems.CODES",
        "WorkerState": "taskqueue.engine.runtime.worker_states.WorkerState",
        "ReasonCode": "taskqueue.engine.queries.reasons.Code",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "taskqueue.api.openapi.schema.complete",
    ],
    "TAGS": [
        {"name": "tasks", "description": "Submit, find, watch and manage tasks."},
        {"name": "pipelines", "description": "The pipelines of the deployed code."},
        {"name": "operations", "description": "Bulk operations: an action on all tasks that match filters."},
        {"name": "limits", "description": "Concurrency limits and rate limits."},
        {"name": "access", "description": "Tokens, and permissions for single pipelines."},
        {"name": "workers", "description": "The processes that execute tasks."},
        {"name": "events", "description": "Events start tasks and resolve their waits."},
        {"name": "questions", "description": "People answer them, and tasks continue."},
        {"name": "subscriptions", "description": "Addresses that are called when tasks end."},
        {"name": "alerts", "description": "Rules about what to tell people, and what fires now."},
        {"name": "metrics", "description": "For Prometheus."},
        {"name": "health", "description": "For supervisors and load balancers; no login needed."},
    ],
}
