"""Errors as RFC 9457 problem details: one exception handler, and one table from error to status."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse
from django.utils.log import log_response
from rest_framework import exceptions
from rest_framework.views import set_rollback

from taskqueue import errors
from taskqueue.engine.runtime.outages import outage_log
from taskqueue.errors import FieldError, InvalidValue, TaskqueueError
from taskqueue.json_values import codec

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = 2
"""Seconds after which to repeat a request that failed because the database did not answer."""
MAX_ERRORS: Final = 1_000
"""Field errors in one answer; a body can have many more."""


def exception_handler(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Answer an exception of a view with its problem."""
    view, request = context["view"], context["request"]
    known = as_taskqueue_error(error)
    if known is None:
        return internal_error(error, request)
    set_rollback()
    if isinstance(known, DatabaseUnavailable):
        outage_log.begin(error)
    statuses: Mapping[type[TaskqueueError], int] = {**STATUSES, **getattr(view, "status_overrides", {})}
    pointers: Mapping[type[TaskqueueError], str] = {**POINTERS, **getattr(view, "pointer_overrides", {})}
    # A batch has the status and code that the first refused task would have by itself.
    cause = known.refusals[0][1] if isinstance(known, errors.BatchRefused) else known
    response = problem_response(
        cause, status=statuses[type(cause)], detail=known.detail, errors=field_errors(known, pointers)
    )
    if (challenge := getattr(error, "auth_header", None)) is not None:
        response["WWW-Authenticate"] = challenge
    if isinstance(error, exceptions.Throttled):
        response["Retry-After"] = str(error.wait)  # type: ignore[attr-defined]  # the stubs leave it out
    elif response.status_code == 503:
        response["Retry-After"] = str(RETRY_AFTER)
    elif isinstance(known, UnsupportedEncoding):
        response["Accept-Encoding"] = "identity"
    return response


def field_errors(error: TaskqueueError, pointers: Mapping[type[TaskqueueError], str]) -> list[FieldError]:
    """The errors with pointers into the request, if their place is known."""
    if isinstance(error, errors.BatchRefused):
        return [
            FieldError(f"/tasks/{position}{each.pointer}", each.detail)
            for position, refusal in error.refusals
            for each in field_errors(refusal, pointers) or [FieldError("", refusal.detail)]
        ]
    pointer = pointers.get(type(error), "")
    found = error.errors if isinstance(error, InvalidValue) else [FieldError("", error.detail)] if pointer else []
    return [FieldError(pointer + each.pointer, each.detail) for each in found]


def problem_response(
    error: TaskqueueError, *, status: int, detail: str = "", errors: Sequence[FieldError] = ()
) -> HttpResponse:
    body = problem_body(error, status=status, detail=detail, errors=errors)
    return HttpResponse(json.dumps(body, ensure_ascii=False), status=status, content_type=MEDIA_TYPE)


def problem_body(
    error: TaskqueueError, *, status: int, detail: str = "", errors: Sequence[FieldError] | None = None
) -> dict[str, Any]:
    """The body of the response for an error; `detail` and `errors` replace the error's own.

    Texts are made printable, because a message may quote what the caller sent.
    """
    if errors is None:
        errors = error.errors if isinstance(error, InvalidValue) else ()
    return {
        "type": f"urn:taskqueue:problem:{error.code}",
        "title": error.title(),
        "status": status,
        "detail": codec.printable(detail or error.detail),
        "code": error.code,
        "errors": [
            {"pointer": codec.printable(each.pointer), "detail": codec.printable(each.detail)}
            for each in errors[:MAX_ERRORS]
        ],
    }


def as_taskqueue_error(error: Exception) -> TaskqueueError | None:
    """The error, or its counterpart for an error of Django or DRF; None for an unexpected one."""
    if isinstance(error, TaskqueueError):
        return error if type(error) in STATUSES or isinstance(error, errors.BatchRefused) else None
    for kind, counterpart in COUNTERPARTS.items():
        if isinstance(error, kind):
            return counterpart(str(error) if isinstance(error, exceptions.APIException | PermissionDenied) else "")
    return None


def internal_error(error: Exception, request: Any) -> HttpResponse:
    """Answer 500 without details, and log the error as Django logs those that leave a view."""
    set_rollback()
    got_request_exception.send(sender=None, request=request)
    response = problem_response(InternalError(), status=500)
    log_response("%s: %s", "Internal Server Error", request.path, response=response, request=request, exception=error)
    return response


class MalformedBody(TaskqueueError):
    """The request body is not valid JSON."""

    code = "malformed-body"


class MalformedRequest(TaskqueueError):
    """The request could not be read."""

    code = "malformed-request"


class InvalidBody(InvalidValue):
    """The request body is not valid."""

    code = "invalid-body"


class NotSerializableBody(InvalidValue):
    """A value has something that JSON or PostgreSQL cannot store."""

    code = errors.NotSerializable.code


class InvalidQuery(InvalidValue):
    """A query parameter is not valid."""

    code = "invalid-query"


class BodyTooLarge(TaskqueueError):
    """The request body is larger than its limit."""

    code = errors.TooLarge.code


class LoginRequired(TaskqueueError):
    """This needs a login."""

    code = "login-required"


class TokenRefused(exceptions.AuthenticationFailed):
    """Raised while authenticating a request whose token is not valid."""


class TooManyRequests(TaskqueueError):
    """The token has used up its requests for now."""

    code = "too-many-requests"


class NotAllowed(TaskqueueError):
    """You are not allowed to do this."""

    code = "not-allowed"


class NotFound(TaskqueueError):
    """There is nothing at this address."""

    code = "not-found"


class PipelineNotFound(TaskqueueError):
    """No pipeline has this name."""

    code = errors.UnknownPipeline.code


class MethodNotAllowed(TaskqueueError):
    """This address does not support this method."""

    code = "method-not-allowed"


class NotAcceptable(TaskqueueError):
    """The answer cannot be given in a media type that the request accepts."""

    code = "not-acceptable"


class UnsupportedMediaType(TaskqueueError):
    """The request body must be application/json."""

    code = "unsupported-media-type"


class UnsupportedEncoding(TaskqueueError):
    """The request body must not be compressed."""

    code = "unsupported-encoding"


class NotReady(InvalidValue):
    """The service is not ready."""

    code = "not-ready"


class DatabaseUnavailable(TaskqueueError):
    """The database did not answer; try again, with the same key when you submit a task."""

    code = "database-unavailable"


class InternalError(TaskqueueError):
    """An unexpected error; it was logged."""

    code = "internal-error"


STATUSES: Final[dict[type[TaskqueueError], int]] = {
    MalformedBody: 400,
    MalformedRequest: 400,
    InvalidQuery: 400,
    LoginRequired: 401,
    errors.InvalidToken: 401,
    NotAllowed: 403,
    errors.NotPermitted: 403,
    NotFound: 404,
    PipelineNotFound: 404,
    errors.TaskNotFound: 404,
    errors.EventNotFound: 404,
    MethodNotAllowed: 405,
    NotAcceptable: 406,
    errors.NotRetryable: 409,
    errors.NotCancellable: 409,
    errors.NotDelayed: 409,
    errors.AlreadyPaused: 409,
    errors.NotPaused: 409,
    errors.WorkerNotFound: 404,
    errors.NotDrainable: 409,
    BodyTooLarge: 413,
    errors.TooLarge: 413,
    UnsupportedMediaType: 415,
    UnsupportedEncoding: 415,
    InvalidBody: 422,
    NotSerializableBody: 422,
    errors.UnknownPipeline: 422,
    errors.InvalidPayload: 422,
    errors.InvalidOptions: 422,
    errors.KeyReused: 422,
    errors.InvalidEvent: 422,
    errors.NotSerializable: 422,
    errors.UnknownStep: 422,
    TooManyRequests: 429,
    InternalError: 500,
    DatabaseUnavailable: 503,
    NotReady: 503,
}
"""The status of each error that a caller can get. A view can change it in `status_overrides`."""

CODES: Final = sorted({error.code for error in STATUSES})
"""Every code that a caller can get."""

POINTERS: Final[dict[type[TaskqueueError], str]] = {
    errors.UnknownPipeline: "/pipeline",
    errors.InvalidPayload: "/payload",
    errors.NotSerializable: "/payload",
    errors.TooLarge: "/payload",
    errors.KeyReused: "/key",
    errors.UnknownStep: "/from_step",
}
"""Prefixes for the pointers of the engine's errors: the engine knows the payload, not the body around it.

A view can change them in `pointer_overrides`.
"""

COUNTERPARTS: Final[dict[type[Exception], type[TaskqueueError]]] = {
    exceptions.NotAuthenticated: LoginRequired,
    TokenRefused: errors.InvalidToken,
    exceptions.AuthenticationFailed: LoginRequired,
    exceptions.Throttled: TooManyRequests,
    exceptions.PermissionDenied: NotAllowed,
    PermissionDenied: NotAllowed,
    exceptions.NotFound: NotFound,
    Http404: NotFound,
    exceptions.MethodNotAllowed: MethodNotAllowed,
    exceptions.NotAcceptable: NotAcceptable,
    exceptions.UnsupportedMediaType: UnsupportedMediaType,
    exceptions.ParseError: MalformedRequest,
    RequestDataTooBig: BodyTooLarge,
    SuspiciousOperation: MalformedRequest,
    OperationalError: DatabaseUnavailable,
    InterfaceError: DatabaseUnavailable,
}
"""Errors of Django and DRF, and their counterparts here; the first match counts."""
