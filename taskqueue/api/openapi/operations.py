"""How each door is described in the OpenAPI schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from pydantic import BaseModel

from taskqueue.api import health_serializers, pipeline_serializers, serializers
from taskqueue.api.openapi.components import reference_to
from taskqueue.api.parameters import ReadyQuery, StatusQuery, TaskQuery
from taskqueue.api.problems import MEDIA_TYPE
from taskqueue.api.requests import CancelRequest, NoBody, PauseRequest, RetryRequest
from taskqueue.engine.enqueue.options import KEY_MAX_LENGTH

REFUSALS: Final = {
    400: "The request could not be read.",
    401: "Neither a valid token nor a login.",
    403: "The permission for this is missing, or the pipeline names others; or a login came without a CSRF token.",
    404: "There is no such thing.",
    406: "The answer would not be in an accepted media type.",
    409: "It is in the wrong state for this.",
    413: "The body or the payload is too large.",
    415: "The body is not application/json.",
    422: "The body was read, and does not fit.",
    429: "The token has made all the requests that it may for now. `Retry-After` tells the seconds to wait.",
    500: "An error that nobody foresaw; it has been recorded.",
    503: "The database does not answer, or what was asked for is missing.",
}
READING: Final = (400, 401, 403, 404, 406, 503)
WRITING: Final = (400, 401, 403, 404, 406, 413, 415, 422, 503)


def answers(statuses: tuple[int, ...], given: Mapping[Any, OpenApiResponse]) -> dict[Any, Any]:
    """A door's answers: those of success, and a problem for each of these statuses.

    Whoever asks who calls counts the calls of a token too, so 429 goes with 401; 500 goes with everything.
    """
    told = {*statuses, 500, *({429} if 401 in statuses else ())}
    problems = {
        (status, MEDIA_TYPE): OpenApiResponse(serializers.Problem, description=REFUSALS[status])
        for status in sorted(told)
    }
    return {**given, **problems}


def query_of(model: type[BaseModel]) -> list[OpenApiParameter]:
    """A model's fields as query parameters."""
    schema = model.model_json_schema()
    parameters = []
    for name, field in schema["properties"].items():
        plain = {**inlined(field, schema.get("$defs", {}))}
        plain.pop("title", None)
        if not plain.get("default"):
            plain.pop("default", None)
        description = plain.pop("description", "")
        explode = True if plain.get("type") == "array" else None
        parameters.append(
            OpenApiParameter(
                name, plain, OpenApiParameter.QUERY, description=description, explode=explode, style="form"
            )
        )
    return parameters


def inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema with its definitions in the place of references to them, and null, which no query can say, left out."""
    if isinstance(schema, list):
        return [inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found = inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return {name: value for name, value in found.items() if name not in {"title", "description"}}
    if "anyOf" in schema:
        (only,) = [item for item in schema["anyOf"] if item != {"type": "null"}]
        schema = {**{name: value for name, value in schema.items() if name != "anyOf"}, **only}
    return {name: inlined(value, definitions) for name, value in schema.items()}


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """A model as a request body."""
    return {"application/json": reference_to(model)}


TASK_ID: Final = OpenApiParameter(
    "task_id", {"type": "string", "format": "uuid"}, OpenApiParameter.PATH, description="The task's id."
)
IDEMPOTENCY_KEY: Final = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": KEY_MAX_LENGTH, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="The same as `key` in the body, plain or quoted. When both are given they must be equal.",
)
LOCATION: Final = OpenApiParameter(
    "Location",
    {"type": "string", "format": "uri-reference"},
    OpenApiParameter.HEADER,
    description="The task's address.",
    response=[200, 202],
)
LOCATION_OF_RERUN: Final = OpenApiParameter(
    "Location",
    {"type": "string", "format": "uri-reference"},
    OpenApiParameter.HEADER,
    description="The new task's address.",
    response=[202],
)
RETRY_AFTER: Final = OpenApiParameter(
    "Retry-After",
    {"type": "integer", "minimum": 1},
    OpenApiParameter.HEADER,
    description="Only when `wait` was asked for and could not be given: seconds after which to ask again.",
    response=[200],
)
MADE: Final = OpenApiResponse(serializers.SubmittedTask, description="The task was made.")
FOUND: Final = OpenApiResponse(
    serializers.SubmittedTask,
    description="This task was there already and stands in for the one that was asked for (`duplicate` is true): by "
    "its key, or because its pipeline has one at a time or gathers requests. Its labels, error, note and origin are "
    "left out for callers without `view_task`.",
)
CHANGED: Final = OpenApiResponse(serializers.TaskSummary, description="The task as it is now.")

CREATE_TASK: Final[dict[str, Any]] = {
    "operation_id": "createTask",
    "summary": "Submit a task",
    "description": "Answered once the task is stored for good: with 202 if it was made, with 200 if one that was "
    "there already stands in for it. Workers take it from there.",
    "tags": ["tasks"],
    "parameters": [IDEMPOTENCY_KEY, LOCATION],
    "request": {"application/json": {"$ref": "#/components/schemas/TaskSubmission"}},
    "responses": answers((400, 401, 403, 406, 413, 415, 422, 503), {202: MADE, 200: FOUND}),
}
CREATE_TASKS: Final[dict[str, Any]] = {
    "operation_id": "createTasks",
    "summary": "Submit tasks in bulk (all or nothing)",
    "description": "Each of up to 1,000 is as for one task, and all are checked before any is made: what is wrong with "
    "one refuses all, with the status and code of the first and a pointer to each fault. They are stored in one "
    "transaction, so that workers see all of them or none. The same key twice makes one task; the second answer then "
    "has `duplicate`. Without a key for each, a batch that is sent again makes its tasks again.",
    "tags": ["tasks"],
    "request": {"application/json": {"$ref": "#/components/schemas/TaskBatch"}},
    "responses": answers(
        tuple(status for status in WRITING if status != 404),
        {
            202: OpenApiResponse(
                serializers.SubmittedBatch, description="They are stored: in the order of the request, a task for each."
            )
        },
    ),
}
LIST_TASKS: Final[dict[str, Any]] = {
    "operation_id": "listTasks",
    "summary": "List tasks",
    "description": "Newest first. Pages stay where they are while new tasks arrive. Filters are joined by *and*.",
    "tags": ["tasks"],
    "parameters": query_of(TaskQuery),
    "responses": answers(
        (400, 401, 403, 406, 503), {200: OpenApiResponse(serializers.TaskPage, description="A page of tasks.")}
    ),
}
GET_TASK: Final[dict[str, Any]] = {
    "operation_id": "getTask",
    "summary": "Get a task",
    "description": "Payload, result, error, and each step with its failed attempts.",
    "tags": ["tasks"],
    "parameters": [TASK_ID],
    "responses": answers(
        (401, 403, 404, 406, 503), {200: OpenApiResponse(serializers.TaskDetail, description="The task.")}
    ),
}
GET_STATUS: Final[dict[str, Any]] = {
    "operation_id": "getTaskStatus",
    "summary": "Get task status",
    "description": "With `wait` the answer comes as soon as the task has ended, or when the time is over. A service "
    "that holds as many requests as it can answers at once, with `waited` false and `Retry-After`.",
    "tags": ["tasks"],
    "parameters": [TASK_ID, *query_of(StatusQuery), RETRY_AFTER],
    "responses": answers(READING, {200: OpenApiResponse(serializers.TaskProgress, description="Where it stands.")}),
}
GET_WHY: Final[dict[str, Any]] = {
    "operation_id": "explainTask",
    "summary": "Explain why a task is not running",
    "description": "What it waits for, and what keeps it: a pause, a missing worker, a limit and who holds it, a rate, "
    "its place in the queue. Each reason has a sentence for people and facts for programs.",
    "tags": ["tasks"],
    "parameters": [TASK_ID],
    "responses": answers(
        (401, 403, 404, 406, 503), {200: OpenApiResponse(serializers.ExplanationRecord, description="The reasons.")}
    ),
}
RETRY_TASK: Final[dict[str, Any]] = {
    "operation_id": "retryTask",
    "summary": "Retry a task",
    "description": "Queues a failed or cancelled task again; its finished steps are kept. With `from_step` any ended "
    "task is queued again, and that step and what came after it are done anew.",
    "tags": ["tasks"],
    "parameters": [TASK_ID],
    "request": body_of(RetryRequest),
    "responses": answers((*WRITING, 409), {200: CHANGED}),
}
RUN_TASK_NOW: Final[dict[str, Any]] = {
    "operation_id": "runTaskNow",
    "summary": "Run a delayed task now",
    "description": "A scheduled task starts, a retrying one makes its next attempt, a sleeping one goes on, without "
    "waiting for its time. Limits, rates and pauses hold as for every due task, and no retry is used up. Refused with "
    "409 for a task that is due already, has ended, or waits for an event or another task.",
    "tags": ["tasks"],
    "parameters": [TASK_ID],
    "request": body_of(NoBody),
    "responses": answers((*WRITING, 409), {200: CHANGED}),
}
CANCEL_TASK: Final[dict[str, Any]] = {
    "operation_id": "cancelTask",
    "summary": "Cancel a task",
    "description": "Ends a task that has not ended, with its parallel steps and its children. A step that is being "
    "executed is not interrupted, but "
    "its result is not taken.",
    "tags": ["tasks"],
    "parameters": [TASK_ID],
    "request": body_of(CancelRequest),
    "responses": answers((*WRITING, 409), {200: CHANGED}),
}
RERUN_TASK: Final[dict[str, Any]] = {
    "operation_id": "rerunTask",
    "summary": "Rerun a task",
    "description": "Submits a new task with the payload, priority and labels of this one, without the key. Refused "
    "with 409 if the pipeline's code no longer takes the payload.",
    "tags": ["tasks"],
    "parameters": [TASK_ID, LOCATION_OF_RERUN],
    "request": body_of(NoBody),
    "responses": answers((*WRITING, 409), {202: MADE, 200: FOUND}),
}
LIST_PIPELINES: Final[dict[str, Any]] = {
    "operation_id": "listPipelines",
    "summary": "List pipelines",
    "description": "All that deployed code has defined, those included whose code is gone and whose tasks are not. "
    "Each with its figures.",
    "tags": ["pipelines"],
    "responses": answers(
        (401, 403, 406, 503), {200: OpenApiResponse(pipeline_serializers.PipelineList, description="The pipelines.")}
    ),
}
PIPELINE_NAME: Final = OpenApiParameter(
    "name",
    {"type": "string", "minLength": 1},
    OpenApiParameter.PATH,
    description="The pipeline's name; it may hold slashes, as they are or as %2F.",
)
GET_PIPELINE: Final[dict[str, Any]] = {
    "operation_id": "getPipeline",
    "summary": "Get a pipeline",
    "description": "What it takes, does and returns: the JSON schemas of its payload and result, the steps that it is "
    "known to call, when the clock starts it, how many tasks it has in hand, how its last day was, and the latest "
    "requests that made no task.",
    "tags": ["pipelines"],
    "parameters": [PIPELINE_NAME],
    "responses": answers(
        (401, 403, 404, 406, 503),
        {200: OpenApiResponse(pipeline_serializers.PipelineDetail, description="The pipeline.")},
    ),
}
PAUSE_PIPELINE: Final[dict[str, Any]] = {
    "operation_id": "pausePipeline",
    "summary": "Pause a pipeline",
    "description": "None of its tasks starts or goes on; running ones stop after the step that they are in. "
    "Requests are accepted all the same.",
    "tags": ["pipelines"],
    "parameters": [PIPELINE_NAME],
    "request": body_of(PauseRequest),
    "responses": answers(
        (*WRITING, 409), {200: OpenApiResponse(pipeline_serializers.PipelineDetail, description="It is paused.")}
    ),
}
RESUME_PIPELINE: Final[dict[str, Any]] = {
    "operation_id": "resumePipeline",
    "summary": "Resume a pipeline",
    "description": "Its tasks start and go on, in the order in which they would have been executed.",
    "tags": ["pipelines"],
    "parameters": [PIPELINE_NAME],
    "request": body_of(NoBody),
    "responses": answers(
        (*WRITING, 409), {200: OpenApiResponse(pipeline_serializers.PipelineDetail, description="It goes on.")}
    ),
}
READ_METRICS: Final[dict[str, Any]] = {
    "operation_id": "readMetrics",
    "summary": "Get Prometheus metrics",
    "description": "In the text format of Prometheus, from the database at the moment of asking: every web process "
    "gives the same answer.",
    "tags": ["metrics"],
    "responses": answers(
        (401, 403, 503), {(200, "text/plain"): OpenApiResponse(OpenApiTypes.STR, description="The metrics.")}
    ),
}
HEALTH_LIVE: Final[dict[str, Any]] = {
    "operation_id": "isLive",
    "summary": "Check that the web process is up",
    "description": "Asks nothing of the database.",
    "tags": ["health"],
    "auth": [],
    "responses": answers((406,), {200: OpenApiResponse(health_serializers.Alive, description="It is up.")}),
}
HEALTH_READY: Final[dict[str, Any]] = {
    "operation_id": "isReady",
    "summary": "Check that the service can take tasks",
    "description": "Ready means that the database answers and its migrations are applied. Live workers are counted, "
    "and asked for only with `workers`: tasks can be taken in while no worker is there.",
    "tags": ["health"],
    "auth": [],
    "parameters": query_of(ReadyQuery),
    "responses": answers((400, 406, 503), {200: OpenApiResponse(health_serializers.Ready, description="It can.")}),
}
