"""What the OpenAPI schema tells of refusals besides their shape: an example of each, and the headers they bring."""

from __future__ import annotations

from typing import Any, Final

from taskqueue import errors
from taskqueue.api import problems
from taskqueue.api.problems import MEDIA_TYPE, STATUSES, problem_of
from taskqueue.errors import FieldError, TaskqueueError

ID: Final = "0192d5a0-7c1e-7b3a-9f4e-2d6c8a1b5e90"
FORBIDDEN: Final = FieldError("/colour", "Extra inputs are not permitted")

ANY: Final[tuple[TaskqueueError, ...]] = (
    problems.MalformedBody("Expecting value, at line 1, column 1."),
    problems.LoginRequired(),
    problems.NotAllowed("Your account lacks the permission taskqueue.add_task."),
    problems.NotAcceptable(),
    problems.BodyTooLarge("The request body is larger than 1,638,400 bytes (see the setting PAYLOAD_MAX_BYTES)."),
    problems.UnsupportedMediaType(),
    problems.InvalidBody("The request body does not fit: /colour: Extra inputs are not permitted.", [FORBIDDEN]),
    problems.TooManyRequests(),
    problems.InternalError(),
    problems.DatabaseUnavailable(),
)
"""One for each status, where the operation has no better one."""

QUERY: Final = problems.InvalidQuery("The query does not fit: /color: Extra inputs are not permitted.", [FORBIDDEN])
PAYLOAD: Final = errors.InvalidPayload("The payload has 1 fault.", [FieldError("/payload/label", "Field required")])
NO_PIPELINE: Final = problems.PipelineNotFound("No pipeline is called 'shop/ordr'.")
NO_TASK: Final = errors.TaskNotFound(ID)  # type: ignore[arg-type]  # it is only written out

OWN: Final[dict[str, tuple[TaskqueueError, ...]]] = {
    "createTask": (PAYLOAD,),
    "createTasks": (
        errors.InvalidPayload(
            "Of 2 tasks 1 were refused, so none was made. The first is at 1: The payload has 1 fault.",
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
    "getEvent": (errors.EventNotFound(ID),),  # type: ignore[arg-type]  # the same
}
"""By operation id: what it is refused with most often."""
STATUSES_OF: Final[dict[str, dict[type[TaskqueueError], int]]] = {"rerunTask": {errors.UnknownPipeline: 409}}
"""Where an operation's statuses differ, as its view's do."""
RETRY_AFTER: Final = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}


def add_refusals(operation: dict[str, Any]) -> None:
    """Give each refusal of an operation an example, and the header that says when to try again."""
    name = operation["operationId"]
    statuses = {**STATUSES, **STATUSES_OF.get(name, {})}
    # What comes later counts: the operation's own after those that fit any.
    examples = {statuses[type(error)]: error for error in (*ANY, NO_TASK, *OWN.get(name, ()))}
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            example = problem_of(examples[int(status)], status=int(status))
            response["content"][MEDIA_TYPE]["example"] = example
        if status in ("429", "503"):
            response["headers"] = RETRY_AFTER
