"""Examples of refusals for the OpenAPI schema, and their headers."""

from __future__ import annotations

from typing import Any, Final

from taskqueue import errors
from taskqueue.api import problems
from taskqueue.api.problems import MEDIA_TYPE, STATUSES, problem_body
from taskqueue.errors import FieldError, TaskqueueError

ID: Final = "0192d5a0-7c1e-7b3a-9f4e-2d6c8a1b5e90"
UNKNOWN_FIELD: Final = FieldError("/colour", "Extra inputs are not permitted")

DEFAULT_EXAMPLES: Final[tuple[TaskqueueError, ...]] = (
    problems.MalformedBody("Expecting value, at line 1, column 1."),
    problems.LoginRequired(),
    problems.NotAllowed("Your account lacks the permission taskqueue.add_task."),
    problems.NotAcceptable(),
    problems.BodyTooLarge("The request body is larger than 1,638,400 bytes (see the setting PAYLOAD_MAX_BYTES)."),
    problems.UnsupportedMediaType(),
    problems.InvalidBody("The request body is not valid: /colour: Extra inputs are not permitted.", [UNKNOWN_FIELD]),
    problems.TooManyRequests(),
    problems.InternalError(),
    problems.DatabaseUnavailable(),
)
"""The example of each status, unless the operation has one of its own."""

QUERY: Final = problems.InvalidQuery("The query is not valid: /color: Extra inputs are not permitted.", [UNKNOWN_FIELD])
PAYLOAD: Final = errors.InvalidPayload("The payload has 1 error.", [FieldError("/payload/label", "Field required")])
NO_PIPELINE: Final = problems.PipelineNotFound("No pipeline is called 'shop/ordr'.")
NO_TASK: Final = errors.TaskNotFound(ID)  # type: ignore[arg-type]  # only its text is used

OPERATION_EXAMPLES: Final[dict[str, tuple[TaskqueueError, ...]]] = {
    "createTask": (PAYLOAD,),
    "createTasks": (
        errors.InvalidPayload(
            "1 of 2 tasks was refused, so none was created. The first is at 1: The payload has 1 error.",
            [FieldError("/tasks/1/payload/label", "Field required")],
        ),
    ),
    "listTasks": (QUERY,),
    "listEvents": (QUERY,),
    "getTaskStatus": (QUERY,),
    "isReady": (
        QUERY,
        problems.NotReady(
            "Not applied: taskqueue.0001_initial. Run manage.py migrate.",
            [FieldError("/migrations", "Not applied: taskqueue.0001_initial. Run manage.py migrate.")],
        ),
    ),
    "retryTask": (
        errors.NotRetryable("The task has succeeded. Name a step to retry it from, or rerun it as a new task."),
    ),
    "runTaskNow": (errors.NotDelayed("The task is queued: it is due already."),),
    "cancelTask": (errors.NotCancellable("The task is failed; it has ended, so there is nothing to cancel."),),
    "rerunTask": (errors.UnknownPipeline("No pipeline is called 'shop/order'."),),
    "pausePipeline": (errors.AlreadyPaused("Pipeline 'shop/order' is paused already by dana: audit"), NO_PIPELINE),
    "resumePipeline": (errors.NotPaused("Pipeline 'shop/order' is not paused."), NO_PIPELINE),
    "getPipeline": (NO_PIPELINE,),
    "sendEvent": (
        errors.InvalidEvent(
            "The event is not valid: An event's name has 1 to 200 printable characters and no spaces.",
            [FieldError("/name", "An event's name has 1 to 200 printable characters and no spaces.")],
        ),
    ),
    "getEvent": (errors.EventNotFound(ID),),  # type: ignore[arg-type]  # only its text is used
}
"""By operation id, its most frequent refusals."""
STATUS_OVERRIDES: Final[dict[str, dict[type[TaskqueueError], int]]] = {"rerunTask": {errors.UnknownPipeline: 409}}
"""By operation id, the `status_overrides` of its view."""
RETRY_AFTER: Final = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}


def add_refusal_examples(operation: dict[str, Any]) -> None:
    """Add an example to each refusal of an operation, and `Retry-After` where it is sent."""
    name = operation["operationId"]
    statuses = {**STATUSES, **STATUS_OVERRIDES.get(name, {})}
    # The operation's own examples replace the default ones of the same status.
    examples = {
        statuses[type(error)]: error for error in (*DEFAULT_EXAMPLES, NO_TASK, *OPERATION_EXAMPLES.get(name, ()))
    }
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            example = problem_body(examples[int(status)], status=int(status))
            response["content"][MEDIA_TYPE]["example"] = example
        if status in ("429", "503"):
            response["headers"] = RETRY_AFTER
