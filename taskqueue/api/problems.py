"""Every refusal as RFC 9457 problem details: one handler, and one table from error to status."""

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

from taskqueue import codec, errors
from taskqueue.engine.runtime.outages import outage
from taskqueue.errors import FieldError, InvalidValue, TaskqueueError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = 2
"""Seconds after which a request that met no database may be sent again."""
FAULTS_TOLD: Final = 1_000
"""A body can hold more of them than it is worth to answer."""


def handle(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Answer an error that left a door with its problem: the exception handler of every view here."""
    view, request = context["view"], context["request"]
    known = translated(error)
    if known is None:
        return internal_error(error, request)
    set_rollback()
    if isinstance(known, DatabaseUnavailable):
        outage.begin(error)
    statuses: Mapping[type[TaskqueueError], int] = {**STATUSES, **getattr(view, "statuses", {})}
    pointers: Mapping[type[TaskqueueError], str] = {**POINTERS, **getattr(view, "pointers", {})}
    # A batch is refused as the first of its tasks would have been by itself.
    kind = known.refusals[0][1] if isinstance(known, errors.BatchRefused) else known
    response = problem(kind, status=statuses[type(kind)], detail=known.detail, faults=faults_of(known, pointers))
    if (challenge := getattr(error, "auth_header", None)) is not None:
        response["WWW-Authenticate"] = challenge
    if isinstance(error, exceptions.Throttled):
        response["Retry-After"] = str(error.wait)  # type: ignore[attr-defined]  # the stubs leave it out
    elif response.status_code == 503:
        response["Retry-After"] = str(RETRY_AFTER)
    elif isinstance(known, UnsupportedEncoding):
        response["Accept-Encoding"] = "identity"
    return response


def faults_of(error: TaskqueueError, pointers: Mapping[type[TaskqueueError], str]) -> list[FieldError]:
    """What is wrong in which place of the request, as far as that can be told."""
    if isinstance(error, errors.BatchRefused):
        return [
            FieldError(f"/tasks/{place}{fault.pointer}", fault.detail)
            for place, refusal in error.refusals
            for fault in faults_of(refusal, pointers) or [FieldError("", refusal.detail)]
        ]
    pointer = pointers.get(type(error), "")
    faults = error.errors if isinstance(error, InvalidValue) else [FieldError("", error.detail)] if pointer else []
    return [FieldError(pointer + fault.pointer, fault.detail) for fault in faults]


def problem(error: TaskqueueError, *, status: int, detail: str = "", faults: Sequence[FieldError] = ()) -> HttpResponse:
    """The response that tells an error, with these faults of the request; its own words, or this detail.

    Text is made printable: a message may quote what the caller sent.
    """
    body = problem_of(error, status=status, detail=detail, faults=faults)
    return HttpResponse(json.dumps(body, ensure_ascii=False), status=status, content_type=MEDIA_TYPE)


def problem_of(
    error: TaskqueueError, *, status: int, detail: str = "", faults: Sequence[FieldError] | None = None
) -> dict[str, Any]:
    """The body of that response; with the error's own faults, unless others are given."""
    if faults is None:
        faults = error.errors if isinstance(error, InvalidValue) else ()
    return {
        "type": f"urn:taskqueue:problem:{error.code}",
        "title": error.title(),
        "status": status,
        "detail": codec.printable(detail or error.detail),
        "code": error.code,
        "errors": [
            {"pointer": codec.printable(fault.pointer), "detail": codec.printable(fault.detail)}
            for fault in faults[:FAULTS_TOLD]
        ],
    }


def translated(error: Exception) -> TaskqueueError | None:
    """The error in taskqueue's words; None if it is no answer to a caller."""
    if isinstance(error, TaskqueueError):
        return error if type(error) in STATUSES or isinstance(error, errors.BatchRefused) else None
    for kind, words in TRANSLATIONS.items():
        if isinstance(error, kind):
            said = str(error) if isinstance(error, exceptions.APIException | PermissionDenied) else ""
            return words(said)
    return None


def internal_error(error: Exception, request: Any) -> HttpResponse:
    """An error of our own: recorded as Django records those that leave a view, and told without its details."""
    set_rollback()
    got_request_exception.send(sender=None, request=request)
    response = problem(InternalError(), status=500)
    log_response("%s: %s", "Internal Server Error", request.path, response=response, request=request, exception=error)
    return response


class MalformedBody(TaskqueueError):
    """The request body is not valid JSON."""

    code = "malformed-body"


class MalformedRequest(TaskqueueError):
    """The request could not be read."""

    code = "malformed-request"


class InvalidBody(InvalidValue):
    """The request body does not fit."""

    code = "invalid-body"


class NotSerializableBody(InvalidValue):
    """A value holds something that JSON or PostgreSQL cannot store."""

    code = errors.NotSerializable.code


class InvalidQuery(InvalidValue):
    """A query parameter does not fit."""

    code = "invalid-query"


class BodyTooLarge(TaskqueueError):
    """The request body is larger than its limit."""

    code = errors.TooLarge.code


class LoginRequired(TaskqueueError):
    """This needs a login."""

    code = "login-required"


class TokenRefused(exceptions.AuthenticationFailed):
    """What stops the authentication of a request whose token is not valid."""


class TooManyRequests(TaskqueueError):
    """The token has made all the requests that it may for now."""

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
    """This address does not know this method."""

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
    """The database did not answer; try again, with the same key if a task is to be made."""

    code = "database-unavailable"


class InternalError(TaskqueueError):
    """Something went wrong here; it has been recorded."""

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
"""The status of each error that a caller may meet. A door may say otherwise in its `statuses`."""

CODES: Final = sorted({error.code for error in STATUSES})
"""Every code that a caller may meet."""

POINTERS: Final[dict[type[TaskqueueError], str]] = {
    errors.UnknownPipeline: "/pipeline",
    errors.InvalidPayload: "/payload",
    errors.NotSerializable: "/payload",
    errors.TooLarge: "/payload",
    errors.KeyReused: "/key",
    errors.UnknownStep: "/from_step",
}
"""Where in a request body the engine's errors lie: the engine knows the payload, not the body around it.

A door may say otherwise in its `pointers`.
"""

TRANSLATIONS: Final[dict[type[Exception], type[TaskqueueError]]] = {
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
"""What Django and DRF raise, in our words; the first that fits counts."""
