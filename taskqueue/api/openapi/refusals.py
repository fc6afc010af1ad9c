"""Examples of refusals for the OpenAPI schema, and their headers."""

from __future__ import annotations

from typing import Any, Final

from taskqueue import errors
from taskqueue.api.problems import MEDIA_TYPE, STATUSES, Kind, Refusal, problem_of
from taskqueue.errors import FieldError

ASGI_REQUIRED: Final = (
    "This server runs the service under WSGI, where each open stream would take a thread. Serve it by ASGI (gunicorn "
    "--worker-class asgi, uvicorn), or call GET /api/tasks/{id}/status?wait=60 again and again."
)
ID: Final = "0192d5a0-7c1e-7b3a-9f4e-2d6c8a1b5e90"
UNKNOWN_FIELD: Final = FieldError("/colour", "Extra inputs are not permitted")

DEFAULT_EXAMPLES: Final[tuple[Exception, ...]] = (
    Refusal(Kind.MALFORMED_BODY, "Expecting value, at line 1, column 1."),
    Refusal(Kind.LOGIN_REQUIRED),
    Refusal(Kind.NOT_ALLOWED, "Your account lacks the permission taskqueue.add_task."),
    Refusal(Kind.NOT_ACCEPTABLE),
    Refusal(Kind.TOO_LARGE, "The request body is larger than 1,638,400 bytes (see the setting PAYLOAD_MAX_BYTES)."),
    Refusal(Kind.UNSUPPORTED_MEDIA_TYPE),
    Refusal(
        Kind.INVALID_BODY, "The request body is not valid: /colour: Extra inputs are not permitted.", [UNKNOWN_FIELD]
    ),
    Refusal(Kind.TOO_MANY_REQUESTS),
    Refusal(Kind.INTERNAL_ERROR),
    Refusal(Kind.ASGI_REQUIRED, ASGI_REQUIRED),
    Refusal(Kind.DATABASE_UNAVAILABLE),
)
"""The example of each status, unless the operation has one of its own."""

QUERY: Final = Refusal(
    Kind.INVALID_QUERY, "The query is not valid: /color: Extra inputs are not permitted.", [UNKNOWN_FIELD]
)
PAYLOAD: Final = errors.InvalidPayload("The payload has 1 error.", [FieldError("/payload/label", "Field required")])
LIMIT: Final = errors.InvalidLimit(
    "A limit is 1 to 10,000; to stop all, pause.", [FieldError("/tasks", "A limit is 1 to 10,000; to stop all, pause.")]
)
NO_PIPELINE: Final = Refusal(Kind.UNKNOWN_PIPELINE, "No pipeline is called 'shop/ordr'.")
NO_TASK: Final = errors.TaskNotFound(ID)  # type: ignore[arg-type]  # only its text is used

OPERATION_EXAMPLES: Final[dict[str, tuple[Exception, ...]]] = {
    "createTask": (PAYLOAD,),
    "createTasks": (
        errors.InvalidPayload(
            "1 of 2 tasks was refused, so none was created. The first is at 1: The payload has 1 error.",
            [FieldError("/tasks/1/payload/label", "Field required")],
        ),
    ),
    "listTasks": (QUERY,),
    "previewBulkOperation": (QUERY,),
    "createBulkOperation": (
        QUERY,
        errors.UnfilteredOperation("Without a filter this would be done to all tasks. Narrow the list first."),
    ),
    "abortBulkOperation": (errors.BulkOperationEnded("The operation is done; there is nothing to abort."),),
    "drainWorker": (errors.NotDrainable("Worker node-1:7 drains already."),),
    "resumeWorker": (errors.NotDrainable("Worker node-1:7 does not drain."),),
    "runSchedule": (errors.UnknownPipeline("No pipeline is called 'shop/order'."),),
    "changeConcurrencyLimit": (LIMIT,),
    "listSkips": (QUERY,),
    "listEvents": (QUERY,),
    "getTaskStatus": (QUERY,),
    "isReady": (
        QUERY,
        Refusal(
            Kind.NOT_READY,
            "Not applied: taskqueue.0001_initial. Run manage.py migrate.",
            [FieldError("/migrations", "Not applied: taskqueue.0001_initial. Run manage.py migrate.")],
        ),
    ),
    "retryTask": (
        errors.NotRetryable("The task has succeeded. Name a step to retry it from, or rerun it as a new task."),
    ),
    "runTaskNow": (errors.NotDelayed("The task is queued: it is due already."),),
    "changeTask": (errors.NotChangeable("The task is failed: it has ended. Rerun it as a new task."),),
    "cancelTask": (errors.NotCancellable("The task is failed; it has ended, so there is nothing to cancel."),),
    "rerunTask": (errors.UnknownPipeline("No pipeline is called 'shop/order'."),),
    "answerTask": (
        errors.AlreadyAnswered("The question was answered already by anna at 2026-03-01 09:30:00 UTC."),
        errors.InvalidAnswer("The answer has 1 error.", [FieldError("/data/approved", "Field required")]),
    ),
    "listQuestions": (QUERY,),
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
ON_OLD_CODE: Final = {"rerunTask", "runSchedule"}
"""Operations whose task may not fit the code any more, so that an unknown pipeline is a conflict."""
RETRY_AFTER: Final = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}


def add_refusal_examples(operation: dict[str, Any]) -> None:
    """Add an example to each refusal of an operation, and `Retry-After` where it is sent."""
    name = operation["operationId"]
    statuses = {**STATUSES, errors.UnknownPipeline: 409} if name in ON_OLD_CODE else STATUSES
    examples = (*DEFAULT_EXAMPLES, NO_TASK, *OPERATION_EXAMPLES.get(name, ()))
    found = [problem_of(error, statuses=statuses, pointers={}) for error in examples]
    # The operation's own examples replace the default ones of the same status.
    bodies = {problem.status: problem.body() for problem in found if problem is not None}
    for status, response in operation["responses"].items():
        if int(status) >= 400:
            response["content"][MEDIA_TYPE]["example"] = bodies[int(status)]
        if status in ("429", "503"):
            response["headers"] = RETRY_AFTER
