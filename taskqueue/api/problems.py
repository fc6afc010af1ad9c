"""Errors as RFC 9457 problem details: one exception handler, and one table from error to status."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple

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
    set_rollback()
    problem = problem_of(
        error,
        statuses={**STATUSES, **getattr(view, "status_overrides", {})},
        pointers={**POINTERS, **getattr(view, "pointer_overrides", {})},
    )
    if problem is None:
        return internal_error(error, request)
    if problem.code == Kind.DATABASE_UNAVAILABLE.code:
        outage_log.begin(error)
    response = problem_response(problem)
    if (challenge := getattr(error, "auth_header", None)) is not None:
        response["WWW-Authenticate"] = challenge
    if isinstance(error, exceptions.Throttled):
        response["Retry-After"] = str(error.wait)  # type: ignore[attr-defined]  # the stubs leave it out
    elif problem.status == 503:
        response["Retry-After"] = str(RETRY_AFTER)
    elif problem.code == Kind.UNSUPPORTED_ENCODING.code:
        response["Accept-Encoding"] = "identity"
    return response


class Kind(Enum):
    """What the API itself refuses: status, code and title."""

    MALFORMED_BODY = 400, "malformed-body", "The request body is not valid JSON"
    MALFORMED_REQUEST = 400, "malformed-request", "The request could not be read"
    INVALID_QUERY = 400, "invalid-query", "A query parameter is not valid"
    LOGIN_REQUIRED = 401, "login-required", "This needs a login"
    INVALID_TOKEN = 401, errors.InvalidToken.code, errors.InvalidToken.title()
    NOT_ALLOWED = 403, "not-allowed", "You are not allowed to do this"
    NOT_FOUND = 404, "not-found", "There is nothing at this address"
    UNKNOWN_PIPELINE = 404, errors.UnknownPipeline.code, errors.UnknownPipeline.title()
    METHOD_NOT_ALLOWED = 405, "method-not-allowed", "This address does not support this method"
    NOT_ACCEPTABLE = 406, "not-acceptable", "The answer cannot be given in a media type that the request accepts"
    TOO_LARGE = 413, errors.TooLarge.code, "The request body is larger than its limit"
    UNSUPPORTED_MEDIA_TYPE = 415, "unsupported-media-type", "The request body must be application/json"
    UNSUPPORTED_ENCODING = 415, "unsupported-encoding", "The request body must not be compressed"
    INVALID_BODY = 422, "invalid-body", "The request body is not valid"
    NOT_SERIALIZABLE = 422, errors.NotSerializable.code, errors.NotSerializable.title()
    TOO_MANY_REQUESTS = 429, "too-many-requests", "The token has used up its requests for now"
    INTERNAL_ERROR = 500, "internal-error", "An unexpected error; it was logged"
    ASGI_REQUIRED = 501, "asgi-required", "This needs an ASGI server"
    NOT_READY = 503, "not-ready", "The service is not ready"
    DATABASE_UNAVAILABLE = (
        503,
        "database-unavailable",
        "The database did not answer; try again, with the same key when you submit a task",
    )

    def __init__(self, status: int, code: str, title: str) -> None:
        self.status = status
        self.code = code
        self.title = title


class Problem(NamedTuple):
    """The problem details of one error."""

    status: int
    code: str
    title: str
    detail: str
    errors: Sequence[FieldError]

    def body(self) -> dict[str, Any]:
        """The members of RFC 9457. Texts are made printable, because a message may quote what the caller sent."""
        return {
            "type": f"urn:taskqueue:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": codec.printable(self.detail),
            "code": self.code,
            "errors": [
                {"pointer": codec.printable(each.pointer), "detail": codec.printable(each.detail)}
                for each in self.errors[:MAX_ERRORS]
            ],
        }


class Refusal(Exception):
    """Raised to answer a request with a problem that the API itself finds; the engine has errors of its own."""

    def __init__(self, kind: Kind, detail: str = "", errors: Sequence[FieldError] = ()) -> None:
        self.problem = Problem(kind.status, kind.code, kind.title, detail or kind.title, errors)
        super().__init__(self.problem.detail)


class TokenRefused(exceptions.AuthenticationFailed):
    """Raised while authenticating a request whose token is not valid."""


def problem_of(
    error: Exception, *, statuses: Mapping[type[TaskqueueError], int], pointers: Mapping[type[TaskqueueError], str]
) -> Problem | None:
    """The problem of an error of the API, the engine, DRF or Django; None for an unexpected one."""
    if isinstance(error, Refusal):
        return error.problem
    if isinstance(error, TaskqueueError):
        # A batch has the status and code that the first refused task would have by itself.
        cause = error.refusals[0][1] if isinstance(error, errors.BatchRefused) else error
        if type(cause) not in statuses:
            return None
        found = field_errors(error, pointers)
        return Problem(statuses[type(cause)], cause.code, cause.title(), error.detail, found)
    for kind, counterpart in COUNTERPARTS.items():
        if isinstance(error, kind):
            has_detail = isinstance(error, exceptions.APIException | PermissionDenied)
            return Refusal(counterpart, str(error) if has_detail else "").problem
    return None


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


def problem_response(problem: Problem) -> HttpResponse:
    text = json.dumps(problem.body(), ensure_ascii=False)
    return HttpResponse(text, status=problem.status, content_type=MEDIA_TYPE)


def internal_error(error: Exception, request: Any) -> HttpResponse:
    """Answer 500 without details, and log the error as Django logs those that leave a view."""
    got_request_exception.send(sender=None, request=request)
    response = problem_response(Refusal(Kind.INTERNAL_ERROR).problem)
    log_response("%s: %s", "Internal Server Error", request.path, response=response, request=request, exception=error)
    return response


STATUSES: Final[dict[type[TaskqueueError], int]] = {
    errors.InvalidToken: 401,
    errors.NotPermitted: 403,
    errors.TaskNotFound: 404,
    errors.EventNotFound: 404,
    errors.WorkerNotFound: 404,
    errors.QuestionNotFound: 404,
    errors.AlreadyAnswered: 409,
    errors.QuestionClosed: 409,
    errors.NotRetryable: 409,
    errors.NotCancellable: 409,
    errors.NotDelayed: 409,
    errors.NotChangeable: 409,
    errors.AlreadyPaused: 409,
    errors.NotPaused: 409,
    errors.NotDrainable: 409,
    errors.BulkOperationEnded: 409,
    errors.TooLarge: 413,
    errors.UnknownPipeline: 422,
    errors.InvalidPayload: 422,
    errors.InvalidOptions: 422,
    errors.KeyReused: 422,
    errors.InvalidEvent: 422,
    errors.InvalidAnswer: 422,
    errors.NotSerializable: 422,
    errors.UnknownStep: 422,
    errors.UnfilteredOperation: 422,
    errors.InvalidLimit: 422,
    errors.InvalidQueue: 422,
}
"""The status of each error of the engine that a caller can get. A view can change it in `status_overrides`."""

CODES: Final = sorted({each.code for each in (*STATUSES, *Kind)})
"""Every code that a caller can get."""

POINTERS: Final[dict[type[TaskqueueError], str]] = {
    errors.UnknownPipeline: "/pipeline",
    errors.InvalidPayload: "/payload",
    errors.InvalidAnswer: "/data",
    errors.NotSerializable: "/payload",
    errors.TooLarge: "/payload",
    errors.KeyReused: "/key",
    errors.UnknownStep: "/from_step",
}
"""Prefixes for the pointers of the engine's errors: the engine knows the payload, not the body around it.

A view can change them in `pointer_overrides`.
"""

COUNTERPARTS: Final[dict[type[Exception], Kind]] = {
    exceptions.NotAuthenticated: Kind.LOGIN_REQUIRED,
    TokenRefused: Kind.INVALID_TOKEN,
    exceptions.AuthenticationFailed: Kind.LOGIN_REQUIRED,
    exceptions.Throttled: Kind.TOO_MANY_REQUESTS,
    exceptions.PermissionDenied: Kind.NOT_ALLOWED,
    PermissionDenied: Kind.NOT_ALLOWED,
    exceptions.NotFound: Kind.NOT_FOUND,
    Http404: Kind.NOT_FOUND,
    exceptions.MethodNotAllowed: Kind.METHOD_NOT_ALLOWED,
    exceptions.NotAcceptable: Kind.NOT_ACCEPTABLE,
    exceptions.UnsupportedMediaType: Kind.UNSUPPORTED_MEDIA_TYPE,
    exceptions.ParseError: Kind.MALFORMED_REQUEST,
    RequestDataTooBig: Kind.TOO_LARGE,
    SuspiciousOperation: Kind.MALFORMED_REQUEST,
    OperationalError: Kind.DATABASE_UNAVAILABLE,
    InterfaceError: Kind.DATABASE_UNAVAILABLE,
}
"""The kinds of Django's and DRF's errors; the first match counts."""
